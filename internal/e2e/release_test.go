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

// buildOther makes every artefact of an image of another release.
func buildOther(t testing.TB, version, arch string) (*built, *sandbox.Release) {
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
  output "iso" {}
  output "disk" {
    compression = "none"
  }
  output "installer" {}
  output "uki" {}
  output "initramfs" {}
}
`, version, arch, strings.Join(extensions, `", "`)))
	b := &built{out: filepath.Join(dir, "out"), cache: filepath.Join(dir, "cache")}
	t.Log(run{args: []string{"all", "-profile=" + profile, "-out=" + b.out}, env: b.env(release)}.must(t))
	var err error
	if b.manifest, err = imager.ReadManifest(b.out); err != nil {
		t.Fatal(err)
	}
	return b, release
}

// TestBootThroughGRUB boots what was built of a release that knows no other loader, keeps everything below /lib and is compressed with xz.
func TestBootThroughGRUB(t *testing.T) {
	t.Parallel()
	b, release := buildOther(t, "v1.7.6", "amd64")
	a, iso := b.artefact(t, ".iso")
	want := inputsOf(t, release, a)
	_, disk := b.artefact(t, ".raw")
	for name, m := range map[string]vm.Machine{
		"ISO as CD-ROM uefi":   {CDROM: iso},
		"ISO as USB disk bios": {USB: iso, Firmware: "bios"},
		"disk uefi":            {Disk: disk},
		"disk bios":            {Disk: disk, Firmware: "bios"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, entry := a, "Reset Talos installation"
			if m.Disk != "" {
				a, _ = b.artefact(t, ".raw")
				entry = "Reset Talos installation and return to maintenance mode"
			}
			got := sandboxtest.Boot(t, m)
			compare(t, a, want, got)
			if !slices.ContainsFunc(got.Console, func(line string) bool { return strings.Contains(line, entry) }) {
				t.Errorf("the boot menu does not show %q", entry)
			}
			t.Logf("%s s after the kernel's start", got.First("UPTIME", "seconds"))
		})
	}
}
