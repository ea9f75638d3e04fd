package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/internal/vm"
	"github.com/talosmith/talosmith/pkg/imager"
)

// checkLongSectors compares a disk with sectors of 4096 bytes with one of 512: the same partitions in the same places, with the same files.
func checkLongSectors(t *testing.T, long, usual string) {
	t.Helper()
	said := tooltest.Run(t, "fdisk", "-b", "4096", "-l", "-o", "Start,Sectors,Type-UUID,Name", long)
	if strings.Contains(said, "corrupt") || strings.Contains(said, "mismatch") {
		t.Errorf("fdisk: %s", said)
	}
	said = strings.Join(strings.Fields(said), " ")
	for _, p := range partitions(t, usual) {
		if want := fmt.Sprintf(" %d %d %s %s", p.Start/8, p.Size/8, p.Type, p.Name); !strings.Contains(said, want) {
			t.Errorf("fdisk does not say %q: %s", want, said)
		}
		switch p.Name {
		case "EFI":
			same := t.TempDir()
			tooltest.Run(t, "mcopy", "-s", "-m", "-n", "-i", fmt.Sprintf("%s@@%d", usual, p.Start*512), "::/", same)
			checkESP(t, long, p, same, espFiles...)
		case "BOOT":
			image, other := filepath.Join(t.TempDir(), "long"), filepath.Join(t.TempDir(), "usual")
			copyRange(t, long, image, p)
			copyRange(t, usual, other, p)
			tooltest.Run(t, "xfs_repair", "-n", image)
			for _, file := range []string{"A/vmlinuz", "A/initramfs.xz", "grub/grub.cfg"} {
				var sums []string
				for _, image := range []string{image, other} {
					to := filepath.Join(t.TempDir(), "file")
					tooltest.Run(t, "grub-fstest", image, "cp", "(loop0)/"+file, to)
					sums = append(sums, sumFile(t, to))
				}
				if sums[0] != sums[1] {
					t.Errorf("%s differs", file)
				}
			}
		}
	}
}

// TestBootFormats boots the profile of this repository as disks of other formats and with longer sectors, and from the network.
func TestBootFormats(t *testing.T) {
	t.Parallel()
	first := build(t)
	want := inputs(t, first)
	release := sandboxtest.Open(t)
	dir := t.TempDir()
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(dir, "out"))))
	t.Cleanup(server.Close)
	url := "http://10.0.2.2:" + server.URL[strings.LastIndex(server.URL, ":")+1:] // this machine, as the virtual one sees it
	text := string(read(t, filepath.Join(repository(t), "extensions.hcl")))
	for old, by := range map[string]string{
		`"examples/motd"`: `"` + filepath.Join(repository(t), "examples", "motd") + `"`,
		`output "iso" {}`: "output \"pxe\" {\n    base_url = \"" + url + "\"\n  }",
		`output "disk" {`: "output \"disk\" {\n    sector_size = 4096\n    compression = \"none\"\n  }\n  output \"disk\" {\n    format      = \"vmdk\"\n    compression = \"none\"\n  }\n" +
			"  output \"disk\" {\n    format      = \"qcow2\"",
	} {
		if !strings.Contains(text, old) {
			t.Fatalf("the profile has no %s", old)
		}
		text = strings.Replace(text, old, by, 1)
	}
	profile := filepath.Join(dir, "extensions.hcl")
	write(t, profile, text)
	b := &built{out: filepath.Join(dir, "out"), cache: first.cache}
	out := []string{"-profile=" + profile, "-out=" + b.out}
	t.Log(run{args: append(append([]string{"disk"}, out...), append([]string{"pxe"}, out...)...), env: first.env(release)}.must(t))
	var err error
	if b.manifest, err = imager.ReadManifest(b.out); err != nil {
		t.Fatal(err)
	}
	_, raw := first.artefact(t, ".raw")
	_, qcow2 := b.artefact(t, ".qcow2")
	tooltest.Run(t, "qemu-img", "compare", raw, qcow2)
	_, long := b.artefact(t, ".raw")
	checkLongSectors(t, long, raw)
	for name, m := range map[string]struct {
		suffix  string
		machine func(file string) vm.Machine
	}{
		"qcow2": {".qcow2", func(file string) vm.Machine { return vm.Machine{Disk: file} }},
		"4Kn":   {".raw", func(file string) vm.Machine { return vm.Machine{Disk: file, SectorSize: 4096} }},
		"VMDK":  {".vmdk", func(file string) vm.Machine { return vm.Machine{Disk: file, Firmware: "bios"} }},
		"PXE": {".ipxe", func(file string) vm.Machine {
			return vm.Machine{PXE: url + "/" + filepath.Base(file), Firmware: "bios"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, file := b.artefact(t, m.suffix)
			got := sandboxtest.Boot(t, m.machine(file))
			if name == "PXE" { // a script has none of what it loads
				parts, _ := b.artefact(t, "-initramfs.xz")
				a.Kernel, a.Extensions = parts.Kernel, parts.Extensions
			}
			compare(t, a, want, got)
		})
	}
}
