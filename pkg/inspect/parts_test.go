package inspect_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/inspect"
)

func TestExtract(t *testing.T) {
	w := newWorld(t)
	a := open(t, w.disk())
	dir := filepath.Join(t.TempDir(), "new")
	names, err := a.Extract(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"sd-boot.efi", "uki.efi", "os-release", "loader.conf", "keys/PK.auth", "grub.cfg", "META.img", "vmlinuz", "cmdline", "initramfs.xz",
		"microcode/GenuineIntel.bin", "layers/rootfs.sqsh", "extensions.yaml", "layers/0.sqsh", "layers/1.sqsh", "layers/2.sqsh", "schematic.yaml",
		"layers/3.sqsh", "layers/modules.dep.sqsh",
	}
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("parts %q", names)
	}
	for name, file := range map[string]string{"vmlinuz": w.kernel(), "initramfs.xz": w.initramfs(""), "uki.efi": w.uki(""), "sd-boot.efi": w.systemd("systemd-bootx64.efi")} {
		if w.read(filepath.Join(dir, name)) != w.read(file) {
			t.Errorf("%s is not %s", name, file)
		}
	}
	for name, content := range map[string]string{"cmdline": cmdline, "schematic.yaml": schematic, "microcode/GenuineIntel.bin": "microcode"} {
		if got := w.read(filepath.Join(dir, name)); got != content {
			t.Errorf("%s is %q", name, got)
		}
	}
	if out := tooltest.Run(t, "unsquashfs", "-l", filepath.Join(dir, "layers/1.sqsh")); !strings.Contains(out, "usr/local/bin/runsc") {
		t.Errorf("layer 1: %s", out)
	}
	if _, err := a.Extract(context.Background(), dir); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("again: %v", err)
	}
}

// hostile is an initramfs whose list of layers and whose members name what lies elsewhere.
func TestExtractHostile(t *testing.T) {
	w := newWorld(t)
	p := w.file("hostile", func(p string) {
		d := p + ".d"
		image := w.read(filepath.Join(w.dir, "initramfs.c/0.sqsh"))
		w.write(filepath.Join(d, "sub/0.sqsh"), image)
		w.write(filepath.Join(d, "-x\x1b[2J.sqsh"), image)
		w.write(filepath.Join(d, "extensions.yaml"), layersYAML(
			ext{"../../evil.sqsh", "up", "1", "x", ""}, ext{"sub/0.sqsh", "../up", "1", "x", ""}, ext{"/etc/passwd", "abs", "1", "x", ""},
			ext{"\"-x\\e[2J.sqsh\"", "escape\tcode", "1", "x", ""}))
		w.cpio(p, d)
	})
	a := open(t, p)
	outside := t.TempDir()
	names, err := a.Extract(context.Background(), filepath.Join(outside, "dir"))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"initramfs.xz", "extensions.yaml"}; !slices.Equal(names, want) {
		t.Errorf("parts %q", names)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("beside the folder: %v, %v", entries, err)
	}
	var text strings.Builder
	if err := a.Report.WriteText(&text); err != nil || strings.ContainsAny(text.String(), "\x1b\t") {
		t.Errorf("a terminal would obey: %q, %v", text.String(), err)
	}
	if len(a.Report.Problems) != 2 {
		t.Errorf("problems %q", a.Report.Problems)
	}
}

func TestFiles(t *testing.T) {
	w := newWorld(t)
	a := open(t, w.isoGRUB())
	layers := map[string][]string{}
	if err := a.Files(context.Background(), func(f inspect.File) error {
		layers[f.Layer] = append(layers[f.Layer], f.Path)
		if f.Path == "usr/local/bin/runsc" {
			if want := fmt.Sprintf("%x", sha256.Sum256([]byte("runsc"))); f.SHA256 != want || f.Size != 5 || f.Mode.String() != "-rw-r--r--" {
				t.Errorf("%+v", f)
			}
			var line strings.Builder
			if err := f.WriteText(&line); err != nil || line.String() != "gvisor               -rw-r--r-- 0:0          5 "+f.SHA256[:12]+" usr/local/bin/runsc\n" {
				t.Errorf("%q, %v", line.String(), err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for layer, want := range map[string]string{
		"iso": "boot/grub/grub.cfg", "rootfs": "usr/bin/init", "initramfs": "usr/lib/firmware/bnx2x/a.fw", "iscsi-tools": "usr/local/bin/iscsiadm",
		"embedded-config": "usr/local/etc/talos/config.yaml", "modules.dep": "usr/lib/modules/" + release + "/modules.dep",
	} {
		if !slices.Contains(layers[layer], want) {
			t.Errorf("layer %s: %q", layer, layers[layer])
		}
	}
}

// Of an image, what nothing boots is listed where everything is asked for.
func TestAllFiles(t *testing.T) {
	w := newWorld(t)
	for _, all := range []bool{false, true} {
		a := must[*inspect.Artefact](t)(inspect.Open(context.Background(), w.dockerSave(), inspect.Options{AllFiles: all}))
		found := false
		err := a.Files(context.Background(), func(f inspect.File) error {
			found = found || f.Layer == "image" && f.Path == "bin/installer"
			return nil
		})
		if err != nil || found != all || a.Report.Kind != inspect.KindInstaller {
			t.Errorf("%v: found %v, %v", all, found, err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}
