package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/sandbox"
	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/internal/vm"
	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/inspect"
)

// buildOther makes artefacts of another release, an ISO with its attributes among them.
func buildOther(t testing.TB, version, arch, iso string) (*built, *sandbox.Release) {
	t.Helper()
	release := sandboxtest.OpenOther(t, version, arch)
	dir := t.TempDir()
	extensions := []string{"siderolabs/realtek-firmware", "siderolabs/btrfs", "siderolabs/crun", "siderolabs/fuse3", "siderolabs/tailscale"}
	if arch == "amd64" {
		extensions = append(extensions, "siderolabs/amd-ucode", "siderolabs/intel-ucode")
	}
	profile := filepath.Join(dir, "extensions.hcl")
	write(t, profile, fmt.Sprintf(`
talos {
  version = %q
}
image "metal" {
  architectures = [%q]
  extensions    = ["%s"]
  output "iso" {
    %s
  }
  output "disk" {
    compression = "none"
  }
  output "installer" {}
  output "uki" {}
}
`, version, arch, strings.Join(extensions, `", "`), iso))
	b := &built{out: filepath.Join(dir, "out"), cache: filepath.Join(dir, "cache")}
	t.Log(run{args: []string{"all", "-profile=" + profile, "-out=" + b.out}, env: b.env(release)}.must(t))
	var err error
	if b.manifest, err = imager.ReadManifest(b.out); err != nil {
		t.Fatal(err)
	}
	return b, release
}

// boots is machines to boot from an artefact, by a name, and what their boot menu shows beside the entry that starts Talos.
type boots map[string]struct {
	suffix  string // of the artefact
	machine func(file string) vm.Machine
	menu    string
}

func (all boots) run(t *testing.T, b *built, release *sandbox.Release) {
	a, _ := b.artefact(t, ".iso")
	want := inputsOf(t, release, a)
	for name, c := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, file := b.artefact(t, c.suffix)
			m := c.machine(file)
			m.Arch = a.Architecture
			got := sandboxtest.Boot(t, m)
			compare(t, a, want, got)
			if !slices.ContainsFunc(got.Console, func(line string) bool { return strings.Contains(line, c.menu) }) {
				t.Errorf("the boot menu does not show %q", c.menu)
			}
			t.Logf("%s s after the kernel's start", got.First("UPTIME", "seconds"))
		})
	}
}

// TestBootThroughGRUB boots what was built of a release that knows no other loader, keeps everything below /lib and is compressed with xz.
func TestBootThroughGRUB(t *testing.T) {
	t.Parallel()
	b, release := buildOther(t, "v1.7.6", "amd64", "")
	t.Run("artefacts", func(t *testing.T) { checkOld(t, b) })
	boots{
		"ISO as CD-ROM uefi":   {".iso", func(file string) vm.Machine { return vm.Machine{CDROM: file} }, menu["iso bios"]},
		"ISO as USB disk bios": {".iso", func(file string) vm.Machine { return vm.Machine{USB: file, Firmware: "bios"} }, menu["iso bios"]},
		"disk uefi":            {".raw", func(file string) vm.Machine { return vm.Machine{Disk: file} }, menu["disk bios"]},
		"disk bios":            {".raw", func(file string) vm.Machine { return vm.Machine{Disk: file, Firmware: "bios"} }, menu["disk bios"]},
	}.run(t, b, release)
}

// checkOld looks into artefacts of a release before Talos 1.8, by the programs that others have for them.
func checkOld(t *testing.T, b *built) {
	_, iso := b.artefact(t, ".iso")
	if said := tooltest.Run(t, "isoinfo", "-d", "-i", iso); !strings.Contains(said, "Volume id: ISOIMAGE\n") {
		t.Errorf("isoinfo: %s", said)
	}
	esp := partition(t, iso, espType)
	checkESP(t, iso, esp, "", "EFI/BOOT/BOOTX64.EFI", "boot/grub/grub.cfg", "boot/initramfs.xz", "boot/vmlinuz")
	image := filepath.Join(t.TempDir(), "esp")
	copyRange(t, iso, image, esp)
	kernels := bytes.Count(read(t, iso), []byte("HdrS"))
	if kernels != bytes.Count(read(t, image), []byte("HdrS")) || kernels == 0 {
		t.Errorf("the ISO has %d kernels", kernels)
	}

	a, disk := b.artefact(t, ".raw")
	if a.Size != 1246<<20 {
		t.Errorf("%d bytes", a.Size)
	}
	var names []string
	for _, p := range partitions(t, disk) {
		names = append(names, p.Name)
	}
	if !slices.Equal(names, []string{"EFI", "BIOS", "BOOT", "META", "STATE", "EPHEMERAL"}) {
		t.Errorf("partitions %q", names)
	}
	checkESP(t, disk, partition(t, disk, espType), "", "EFI/BOOT/BOOTX64.EFI")

	_, installer := b.artefact(t, "-installer.tar")
	dir := filepath.Join(t.TempDir(), "dir")
	skopeo(t, "copy", "--quiet", "oci-archive:"+installer, "dir:"+dir)
	var manifest struct{ Layers []struct{ Digest string } }
	if err := json.Unmarshal(read(t, filepath.Join(dir, "manifest.json")), &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest.Layers) != 2 { // the base had two itself
		t.Fatalf("the installer has %d layers", len(manifest.Layers))
	}
	layer := untar(t, unzipped(t, read(t, filepath.Join(dir, strings.TrimPrefix(manifest.Layers[1].Digest, "sha256:")))))
	if got := slices.Sorted(maps.Keys(layer)); !slices.Equal(got, []string{"usr/install/amd64/initramfs.xz", "usr/install/amd64/vmlinuz"}) {
		t.Errorf("the installer's boot assets are %q", got)
	}

	_, ukiFile := b.artefact(t, "-uki.efi")
	for _, s := range sections(t, ukiFile) {
		if s.name == ".profile" {
			t.Error("the UKI has profiles")
		}
		if s.name == ".initrd" && s.sum != fmt.Sprintf("%x", sha256.Sum256(layer["usr/install/amd64/initramfs.xz"])) {
			t.Error("the installer's initramfs is another than the UKI's")
		}
	}
	var report inspect.Report
	if err := json.Unmarshal([]byte(run{args: []string{"inspect", iso, "-json"}}.must(t).stdout), &report); err != nil {
		t.Fatal(err)
	}
	for _, e := range report.Extensions {
		if e.Compression != "xz" {
			t.Errorf("the layer of %s is compressed with %q", e.Name, e.Compression)
		}
	}
	for i, s := range report.Initramfs.Segments {
		if s.Compression != "xz" && s.Compression != "plain" {
			t.Errorf("segment %d of the initramfs is compressed with %s", i, s.Compression)
		}
	}
	if !slices.Equal(report.Bootloaders, []string{"grub"}) || len(report.Loaders) != 2 || len(report.Entries) != 2 || report.Talos != "v1.7.6" || len(report.Problems) > 0 {
		t.Errorf("inspect says %q, %+v, %+v, %s, %q", report.Bootloaders, report.Loaders, report.Entries, report.Talos, report.Problems)
	}
}

// TestBootARM64 boots an ISO through GRUB and a disk through systemd-boot. Nothing of arm64 runs where they are built.
func TestBootARM64(t *testing.T) {
	t.Parallel()
	b, release := buildOther(t, "v1.13.9", "arm64", `bootloader = "grub"`)
	boots{
		"ISO":  {".iso", func(file string) vm.Machine { return vm.Machine{CDROM: file} }, menu["iso bios"]},
		"disk": {".raw", func(file string) vm.Machine { return vm.Machine{Disk: file} }, menu["disk uefi"]},
	}.run(t, b, release)
}
