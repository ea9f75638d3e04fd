package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/sandbox"
	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/vm"
	"github.com/talosmith/talosmith/pkg/imager"
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
	boots{
		"ISO as CD-ROM uefi":   {".iso", func(file string) vm.Machine { return vm.Machine{CDROM: file} }, menu["iso bios"]},
		"ISO as USB disk bios": {".iso", func(file string) vm.Machine { return vm.Machine{USB: file, Firmware: "bios"} }, menu["iso bios"]},
		"disk uefi":            {".raw", func(file string) vm.Machine { return vm.Machine{Disk: file} }, menu["disk bios"]},
		"disk bios":            {".raw", func(file string) vm.Machine { return vm.Machine{Disk: file, Firmware: "bios"} }, menu["disk bios"]},
	}.run(t, b, release)
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
