package imager_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/talosmith/talosmith/internal/elftest"
	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/talos"
)

// describe says what a profile would make, asking for extensions only.
func (r *run) describe(text string, src *source.Sources, lock *profile.Lock) *imager.Description {
	r.t.Helper()
	res, jobs, diags := imager.Resolve(r.t.Context(), r.profile(text), imager.Request{ExtensionsOnly: true, Lock: lock}, src)
	if diags.HasErrors() {
		r.t.Fatal(diags)
	}
	d, err := imager.Describe(res, jobs, lock, nil)
	r.check(err)
	return d
}

// outlook is that, and what it would come to on this machine.
func (r *run) outlook(text string, lock *profile.Lock) (*imager.Description, *imager.Resolution) {
	r.t.Helper()
	res, jobs, diags := imager.Resolve(r.t.Context(), r.profile(text), imager.Request{Patience: time.Minute, Lock: lock, Runner: r.runner}, r.src)
	if diags.HasErrors() {
		r.t.Fatal(diags)
	}
	on, err := imager.Look(r.t.Context(), res, jobs, imager.Options{Store: r.store, Sources: r.src})
	r.check(err)
	d, err := imager.Describe(res, jobs, lock, on)
	r.check(err)
	return d, res
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
	if e := img.Extensions[1]; e.ID != "1" || e.Name != "siderolabs/tiny" || e.Digest != w.digests["tiny:1.0.0"] || *e.Size <= 0 || *e.Version != "1.0.0" || *e.Tier != "extra" || e.Layer != nil || e.Modules != nil {
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
	if a := img.Args[0]; !slices.Equal(a.Reaches, []talos.Kind{"iso", "disk", "installer", "cmdline", "uki"}) || !slices.Equal(a.Misses, []talos.Kind{"initramfs", "kernel"}) {
		t.Errorf("the first argument %+v", a)
	}
	if k := img.Outputs[4]; k.Kind != talos.KindKernel || k.Cmdline != nil || *k.Note != "no kernel command line" || k.Size != nil {
		t.Errorf("kernel %+v", k)
	}
	if c := img.Outputs[5]; c.Kind != talos.KindCmdline || *c.Size != int64(len(*c.Cmdline)) || c.Note != nil {
		t.Errorf("cmdline %+v", c)
	}
	if l := img.Limits; d.Work != nil || len(img.Steps) != 0 || img.Sizes.UKI != nil || len(l) != 1 || l[0].Label != "EFI" || l[0].Room < 2090<<20 || l[0].Need != nil {
		t.Errorf("nobody looked, and it is known: %+v", img)
	}
	if b := img.Bases; len(b) != 2 || b[0].Reference != "ghcr.io/siderolabs/imager:v1.13.9" || b[1].Name != "talos/installer-base" || b[0].Digest != nil {
		t.Errorf("bases %+v", b)
	}
	if len(img.Removed) != 2 || img.Removed[0].Arg != "console=ttyAMA0" || !strings.HasSuffix(img.Removed[0].By, "extensions.hcl:8") {
		t.Errorf("removed %+v", img.Removed)
	}

	lock, err := r.lock(twoArchitectures, nil)
	w.check(err)
	img = r.describe(twoArchitectures, r.src, lock).Images[0]
	if v := img.Extensions[1].Version; v == nil || *v != "1.0.0" {
		t.Errorf("with a lock the version is %v", v)
	}
	if pin, _ := lock.Find("talos/imager"); *img.Bases[0].Digest != pin.Digest || *img.Bases[0].Size != pin.Architectures["amd64"].Size {
		t.Errorf("the lock has %+v, the plan %+v", pin, img.Bases[0])
	}
}

// TestReach: an old installer composes the command line on the machine.
func TestReach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.run()
	const text = "talos {\n version = %q\n}\nimage \"metal\" {\n architectures = [%q]\n output \"installer\" {}\n}\n"
	for _, c := range []struct {
		version, arch string
		carries       bool
		note          string
	}{
		{"v1.9.6", "amd64", false, "the installer of Talos v1.9.6 composes the kernel command line on the machine"},
		{"v1.10.0", "amd64", true, "boot through GRUB (BIOS)"},
		{"v1.10.0", "arm64", true, ""},
		{"v1.12.0", "amd64", true, ""},
	} {
		img := r.describe(fmt.Sprintf(text, c.version, c.arch), r.src, nil).Images[0]
		out := img.Outputs[0]
		if (out.Cmdline != nil) != c.carries || (len(img.Args[0].Reaches) == 1) != c.carries || (len(img.Args[0].Misses) == 0) != c.carries {
			t.Errorf("%s %s: %+v, %+v", c.version, c.arch, out, img.Args[0])
		}
		if (out.Note == nil) != (c.note == "") || out.Note != nil && !strings.Contains(*out.Note, c.note) {
			t.Errorf("%s %s: note %v", c.version, c.arch, out.Note)
		}
	}
}

// TestDescribeSectors: a plan says how long a disk's sectors are, and a difference where they are not as usual.
func TestDescribeSectors(t *testing.T) {
	t.Parallel()
	r := newWorld(t, "v1.13.9").run()
	text := "talos {\n version = \"v1.13.9\"\n}\nimage \"bare\" {\n output \"disk\" {}\n output \"iso\" {}\n}\n"
	usual := r.describe(text, r.src, nil)
	long := r.describe(strings.Replace(text, "\"disk\" {}", "\"disk\" {\n  sector_size = 4096\n }", 1), r.src, nil)
	a, b := usual.Images[0].Outputs, long.Images[0].Outputs
	if *a[0].SectorSize != 512 || *b[0].SectorSize != 4096 || b[1].SectorSize != nil || *a[0].Size != *b[0].Size || b[0].File != "bare-amd64.raw.zst" {
		t.Errorf("outputs %+v and %+v", a, b)
	}
	var differences strings.Builder
	if err := imager.DiffPlans(usual, long).WriteText(&differences); err != nil || strings.Count(differences.String(), "sectors of ") != 1 || !strings.Contains(differences.String(), ", sectors of 4096 bytes, EFI ") {
		t.Errorf("%v:\n%s", err, &differences)
	}
}

// TestForetoldInstaller: the stock boot assets of an installer image, its second layer, are not in ours.
func TestForetoldInstaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1.13.9")
	assets := make([]byte, 4<<20)
	rand.NewChaCha8([32]byte{7}).Read(assets)
	w.push("siderolabs/installer-base:v1.13.9", func(arch string) v1.Image {
		stock, err := w.image(arch, map[string]string{"usr/install/" + arch + "/vmlinuz": string(assets)}).Layers()
		w.check(err)
		img, err := mutate.AppendLayers(w.image(arch, map[string]string{"bin/installer": "installer"}), stock...)
		w.check(err)
		return img
	}, architectures...)
	const text = "talos {\n version = \"v1.13.9\"\n}\nimage \"metal\" {\n architectures = [\"amd64\"]\n output \"installer\" {}\n}\n"
	r := w.run()
	m := r.build(text, imager.Request{})
	d, _ := r.outlook(text, nil)
	foretold, is := *d.Images[0].Outputs[0].Size, m.Artefacts[0].Size
	if slack := int64(1 << 20); foretold-is > slack || is-foretold > slack {
		t.Errorf("%s has %d bytes, foretold were %d", m.Artefacts[0].File, is, foretold)
	}
}

// TestDescribeWithoutNetwork plans an image without extensions where nothing answers.
func TestDescribeWithoutNetwork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.registry.Close()
	r := w.run()
	d, res := r.outlook("talos {\n version = \"v1.13.9\"\n}\nimage \"bare\" {\n output \"disk\" {}\n output \"installer\" {}\n}\n", nil)
	if len(res.Missed) != 2 || !strings.Contains(res.Missed[0].Error(), "connection refused") {
		t.Errorf("missed %v", res.Missed)
	}
	if d.Work.Download != nil || d.Work.Unknown != 2 || d.Work.ToDo != 0 || d.Images[0].Steps[0].State != nil || d.Images[0].Bases[0].Download != nil {
		t.Errorf("work %+v, steps %+v, bases %+v", d.Work, d.Images[0].Steps, d.Images[0].Bases)
	}
	out := d.Images[0].Outputs
	if *out[0].Bootloader != "dual-boot" || *out[0].Size != 4247<<20 || len(out[0].Partitions) != 4 || *out[1].Tag != "talosmith.local/installer:v1.13.9-bare" {
		t.Errorf("outputs %+v", out)
	}
}

// steps counts those of one state, equal ones of several images once.
func steps(d *imager.Description, state string) map[string]int {
	seen := map[string]bool{}
	all := map[string]int{}
	for _, img := range d.Images {
		for _, s := range img.Steps {
			id := s.Name + " " + s.Of
			if s.Of == "the base" || s.Of == "modules.dep" { // of its architecture
				id += img.Architecture
			}
			if s.State != nil && *s.State == state && !seen[id] {
				seen[id] = true
				all[s.Name]++
			}
		}
	}
	return all
}

// TestOutlookComesTrue: what a plan says is to do, a build does, and nothing else.
func TestOutlookComesTrue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.extension("modules:1", map[string]string{"usr/lib/modules/6.18.0-talos/extras/x.ko": string(elftest.Module{Vermagic: "6.18.0-talos SMP", Key: []byte{1}}.Build())})
	w.release("v1.13.9")
	w.own("one")
	text := strings.Replace(twoArchitectures, `architectures = ["amd64", "arm64"]`, `architectures = ["amd64"]`, 1)
	text = strings.Replace(text, `"siderolabs/tiny"]`, `"siderolabs/tiny", "siderolabs/modules", extension.own]`, 1) + "extension \"own\" {\n path = \"own\"\n}\n"

	// Nothing is there: what an extension brings is not known yet.
	cold := w.run()
	d, _ := cold.outlook(text, nil)
	img := d.Images[0]
	if len(cold.ran) > 0 {
		t.Fatalf("a plan ran %v", cold.ran)
	}
	want := map[string]int{"assets": 1, "base": 1, "rootfs": 1, "unpack": 4, "check": 4, "squashfs": 4, "contents": 5}
	if got := steps(d, imager.StateToDo); !maps.Equal(got, want) || d.Work.Stored+d.Work.Shared+d.Work.Unknown != 0 || d.Work.ToDo != 20 {
		t.Errorf("to do %v, want %v; %+v", got, want, d.Work)
	}
	download := *img.Bases[0].Size + *img.Bases[1].Size + *img.Extensions[0].Size + *img.Extensions[1].Size + *img.Extensions[2].Size
	if *d.Work.Download != download || *img.Bases[0].Download != *img.Bases[0].Size || img.Extensions[3].Size != nil {
		t.Errorf("%d bytes to download, want %d; %+v", *d.Work.Download, download, img.Bases)
	}
	if img.Sizes.UKI != nil || img.Limits[0].Need != nil {
		t.Errorf("sizes %+v, limits %+v of what nobody has seen", img.Sizes, img.Limits)
	}
	cold.build(text, imager.Request{})
	for name, n := range want {
		if cold.ran[name] != n {
			t.Errorf("ran %v, foretold were %v", cold.ran, want)
		}
	}
	w.check(cold.store.Close())

	// All is there.
	warm := w.run()
	d, _ = warm.outlook(text, nil)
	if img = d.Images[0]; d.Work.ToDo+d.Work.Shared+d.Work.Unknown != 0 || *d.Work.Download != 0 || *img.Bases[0].Download != 0 {
		t.Errorf("work %+v, to do %v", d.Work, steps(d, imager.StateToDo))
	}
	ucode, tiny, modules, own := img.Extensions[0], img.Extensions[1], img.Extensions[2], img.Extensions[3]
	if *ucode.Microcode == 0 || *ucode.Firmware == 0 || *ucode.Modules != 0 || *ucode.Version != "2" {
		t.Errorf("%+v", ucode)
	}
	if *tiny.Microcode != 0 || *tiny.Firmware != 0 || *tiny.Layer == 0 || *modules.Modules != 1 || *own.Version != "3" {
		t.Errorf("%+v, %+v, %+v", tiny, modules, own)
	}
	m := warm.build(text, imager.Request{})
	if len(warm.ran) > 0 {
		t.Errorf("ran %v", warm.ran)
	}
	for _, o := range img.Outputs {
		for _, a := range m.Artefacts {
			if slack := map[talos.Kind]int64{talos.KindInitramfs: 8 << 10, talos.KindUKI: 1 << 20, talos.KindISO: 5 << 20, talos.KindInstaller: 1 << 20}[o.Kind]; a.Kind == o.Kind && o.Size != nil && (a.Size-*o.Size > slack || *o.Size-a.Size > slack) {
				t.Errorf("%s has %d bytes, foretold were %d", o.File, a.Size, *o.Size)
			}
		}
		if exact := o.Kind == talos.KindKernel || o.Kind == talos.KindDisk || o.Kind == talos.KindCmdline; o.Estimated == exact && o.Size != nil {
			t.Errorf("estimated: %v, %+v", o.Estimated, o)
		}
	}
	if s := img.Sizes; s.Estimated || *s.Memory == 0 || *img.Limits[0].Need != 2**s.UKI+int64(len(fakeStub(0x8664)+"sd-boot amd64")) || *img.Limits[0].Percent != 1 {
		t.Errorf("sizes %+v, limits %+v", s, img.Limits)
	}
	w.check(warm.store.Close())

	// One extension changes.
	w.own("two")
	changed := w.run()
	d, _ = changed.outlook(text, nil)
	foretold := steps(d, imager.StateToDo)
	if s := d.Images[0].Sizes; s.UKI != nil { // it is no archive, and nobody knows how large it is
		t.Errorf("sizes %+v", s)
	}
	changed.build(text, imager.Request{})
	if !maps.Equal(foretold, changed.ran) {
		t.Errorf("ran %v, foretold were %v", changed.ran, foretold)
	}
	// One is new: its compressed layers are a guess.
	w.extension("late:1", map[string]string{"usr/local/late": "late"})
	w.release("v1.13.9")
	d, _ = changed.outlook(strings.Replace(text, "extension.own", `"siderolabs/late"`, 1), nil)
	img = d.Images[0]
	late := img.Extensions[3]
	if s := img.Sizes; !s.Estimated || *s.UKI < *late.Size || !img.Limits[0].Estimated || late.Layer != nil || *d.Work.Download != *late.Size {
		t.Errorf("sizes %+v, limits %+v, work %+v", s, img.Limits, d.Work)
	}
}

// TestDescribeCustom: files in place of Talos's need no image; what is embedded is told without its content.
func TestDescribeCustom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.run()
	w.imageCache("cache", "amd64", map[string]string{"manifests/x": "manifest"})
	for name, content := range map[string]string{
		"machine.yaml": "version: v1alpha1\ntoken: " + secret, "kernel": fakeKernel("6.99.0-acme"), "initramfs": w.baseInitramfs("v1.13.9"), "stub": fakeStub(0x8664), "boot": fakeStub(0x8664),
	} {
		r.check(os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o600))
	}
	const text = `
talos {
  version = "v1.13.9"
}
base {
  kernel    = "kernel"
  initramfs = "initramfs"
  sd_stub   = "stub"
  sd_boot   = "boot"
}
image "metal" {
  embedded_config = file("machine.yaml")
  image_cache     = "cache"
  meta            = { 200 = "a", machine_token = "` + secret + `" }
  output "iso" {
    bootloader = "sd-boot"
    meta       = { 200 = "b" }
  }
  output "pxe" {}
}
`
	w.registry.Close()
	d, res := r.outlook(text, nil)
	img := d.Images[0]
	if len(res.Missed) > 0 || d.Work.Unknown > 0 || *d.Work.Download != 0 {
		t.Errorf("missed %v, work %+v", res.Missed, d.Work)
	}
	if b := img.Bases; len(b) != 1 || b[0].Name != "base files" || b[0].Reference != "base of extensions.hcl" || b[0].Digest == nil {
		t.Errorf("bases %+v", b)
	}
	if e := img.Extensions; len(e) != 1 || e[0].ID != "0" || e[0].Name != "embedded-config" || len(*e[0].Version) != 64 {
		t.Errorf("extensions %+v", e)
	}
	var meta []string
	for _, m := range img.Meta {
		meta = append(meta, fmt.Sprint(m.Label(), " ", m.Size, " ", m.Reaches, " ", m.Misses))
	}
	if got, want := strings.Join(meta, ", "), "16 (machine_token) 16 [iso pxe cmdline] [kernel initramfs], 200 1 [iso] [pxe kernel initramfs cmdline], 200 1 [pxe cmdline] [iso kernel initramfs]"; got != want {
		t.Errorf("META %s", got)
	}
	if adds := img.Outputs[1].Adds; len(adds) != 1 || adds[0].Origin != "meta" {
		t.Errorf("outputs %+v", img.Outputs)
	}
	foretold := steps(d, imager.StateToDo)
	r.build(text, imager.Request{})
	if !maps.Equal(foretold, r.ran) || foretold["imagecache"] != 1 {
		t.Errorf("ran %v, foretold were %v", r.ran, foretold)
	}

	before := r.describe(text, r.src, nil)
	r.check(os.WriteFile(filepath.Join(r.dir, "kernel"), []byte(fakeKernel("6.99.1-acme")), 0o600))
	r.check(os.WriteFile(filepath.Join(r.dir, "machine.yaml"), []byte("version: v1alpha1\n"), 0o600))
	after := r.describe(strings.Replace(text, `meta       = { 200 = "b" }`, "", 1), r.src, nil)
	diff := imager.DiffPlans(before, after)
	if len(diff.Summary) != 3 || !strings.HasPrefix(diff.Summary[0], "this changes embedded-config (") || len(diff.Summary[0]) > 80 ||
		diff.Summary[1] != "this changes META values of metal amd64" || diff.Summary[2] != "this changes base files (the same name, other content) of metal amd64" {
		t.Errorf("%q", diff.Summary)
	}
	if all := asJSON(t, diff); strings.Contains(all, secret) {
		t.Errorf("a secret in %s", all)
	}
}
