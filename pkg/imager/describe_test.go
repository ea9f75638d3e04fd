package imager_test

import (
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
)

// describe says what a profile would make, asking for extensions only.
func (r *run) describe(text string, src *source.Sources, lock *profile.Lock) *imager.Description {
	r.t.Helper()
	res, jobs, diags := imager.Resolve(r.t.Context(), r.profile(text), imager.Request{ExtensionsOnly: true, Lock: lock}, src)
	if diags.HasErrors() {
		r.t.Fatal(diags)
	}
	d, err := imager.Describe(res, jobs, lock)
	r.check(err)
	return d
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1.13.9")
	r := w.run()
	d := r.describe(twoArchitectures, r.src, nil)
	if d.Talos != "v1.13.9" || len(d.Images) != 2 {
		t.Fatalf("%+v", d)
	}
	img := d.Images[1]
	if img.Architecture != "arm64" || strings.Contains(img.Cmdline, "halt_if_installed") || len(img.Outputs) != 7 {
		t.Errorf("image %+v", img)
	}
	if e := img.Extensions[1]; e.ID != "1" || e.Name != "siderolabs/tiny" || e.Digest != w.digests["tiny:1.0.0"] || *e.Size <= 0 || e.Version != nil {
		t.Errorf("extension %+v", e)
	}
	iso, disk := img.Outputs[0], img.Outputs[1]
	if iso.Size != nil || *iso.Bootloader != "sd-boot" || len(iso.Adds) != 1 || iso.Adds[0].Arg != "talos.halt_if_installed=1" || iso.Adds[0].Origin != "iso" {
		t.Errorf("iso %+v", iso)
	}
	if *disk.Size != 2246<<20 || *disk.Format != "raw" || *disk.Compression != "none" || len(disk.Partitions) != 2 || *disk.Partitions[0].Size != 2101<<20 || len(disk.Adds) != 0 {
		t.Errorf("disk %+v", disk)
	}
	origins := map[string]string{}
	for _, a := range img.Args {
		origins[a.Arg] = a.Origin
	}
	if o := origins["console=ttyS9"]; !strings.HasSuffix(o, "extensions.hcl:8") {
		t.Errorf("console comes from %q", o)
	}
	if len(img.Removed) != 2 || img.Removed[0].Arg != "console=ttyAMA0" || !strings.HasSuffix(img.Removed[0].By, "extensions.hcl:8") {
		t.Errorf("removed %+v", img.Removed)
	}

	lock, err := r.lock(twoArchitectures, nil)
	w.check(err)
	if v := r.describe(twoArchitectures, r.src, lock).Images[0].Extensions[1].Version; v == nil || *v != "1.0.0" {
		t.Errorf("with a lock the version is %v", v)
	}
}

// TestDescribeWithoutNetwork plans an image without extensions where nothing answers.
func TestDescribeWithoutNetwork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.registry.Close()
	r := w.run()
	d := r.describe("talos {\n version = \"v1.13.9\"\n}\nimage \"bare\" {\n output \"disk\" {}\n output \"installer\" {}\n}\n", r.src, nil)
	out := d.Images[0].Outputs
	if *out[0].Bootloader != "dual-boot" || *out[0].Size != 4247<<20 || len(out[0].Partitions) != 4 || *out[1].Tag != "talosmith.local/installer:v1.13.9-bare" {
		t.Errorf("outputs %+v", out)
	}
}
