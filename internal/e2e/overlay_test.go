package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/imager"
)

const boardProfile = `
talos {
  version = "v1.13.9"
}
image "rpi" {
  architectures = [%q]
  overlay {
    name = "rpi_generic"
    %s
    options = {
      configTxt = "own=1\n"
    }
  }
  output "disk" {
    compression = "none"
    %s
  }
  output "installer" {}
}
`

// TestOverlay builds for a single-board computer: an arm64 disk whose boot loader the overlay chooses, an amd64 one with both. GRUB is on each,
// behind a partition table that makes room for what the board starts from.
func TestOverlay(t *testing.T) {
	t.Parallel()
	for arch, loader := range map[string]string{"arm64": "", "amd64": `bootloader = "dual-boot"`} {
		t.Run(arch, func(t *testing.T) {
			t.Parallel()
			release := sandboxtest.OpenOther(t, sandboxtest.Version, arch)
			dir := t.TempDir()
			profile := filepath.Join(dir, "extensions.hcl")
			b := &built{out: filepath.Join(dir, "out"), cache: filepath.Join(dir, "cache")}
			call := func(target ...string) run {
				return run{args: append(target, "-profile="+profile, "-out="+b.out), env: b.env(release)}
			}
			write(t, profile, fmt.Sprintf(boardProfile, arch, "", loader))
			refused := call("disk").do(t)
			for _, want := range []string{"Error: Overlay not allowed to run", "installers/rpi_generic of ghcr.io/siderolabs/sbc-raspberrypi@sha256:", "errors.md#overlay-run"} {
				if !strings.Contains(refused.stderr, want) || refused.code != 1 {
					t.Errorf("without leave: %s\nno %q", refused, want)
				}
			}
			write(t, profile, fmt.Sprintf(boardProfile, arch, "run = true", loader))
			plan := run{args: []string{"plan", "-profile=" + profile}, env: b.env(release)}.must(t).stdout
			if want := "A build runs installers/rpi_generic of this image on the machine that builds: a program made by others."; !strings.Contains(plan, want) {
				t.Errorf("plan: %s\nno %q", plan, want)
			}
			t.Log(call("all").must(t))
			var err error
			if b.manifest, err = imager.ReadManifest(b.out); err != nil {
				t.Fatal(err)
			}
			checkBoard(t, b, arch)
		})
	}
}

// checkBoard looks at a disk by the programs that others have.
func checkBoard(t *testing.T, b *built, arch string) {
	a, disk := b.artefact(t, ".raw")
	if a.Overlay == nil || a.Overlay.Name != "rpi_generic" || !strings.HasPrefix(a.Cmdline, "talos.platform=metal console=tty0 console=ttyBOARD0,115200 ") {
		t.Errorf("artefact %+v", a)
	}
	tooltest.Run(t, "sgdisk", "-v", disk)
	out := tooltest.Run(t, "sgdisk", "-p", disk)
	for _, want := range []string{
		"Main partition table begins at sector 20482 and ends at sector 20513", "First usable sector is 22528,", "   1           22528 ", "  EFI\n", "  BIOS\n", "  BOOT\n", "  META\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("sgdisk -p has no %q: %s", want, out)
		}
	}
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, 11<<20)
	if _, err := f.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	if uboot := strings.Repeat("u-boot!!", 4000) + strings.Repeat("\x00", 2048) + "its end\n"; string(head[32<<10:][:len(uboot)]) != uboot {
		t.Errorf("at 32 KiB lies %.30q", head[32<<10:])
	}
	if isGRUB := bytes.Contains(head[:440], []byte("GRUB")); isGRUB != (arch == "amd64") {
		t.Errorf("GRUB in the first sector: %v", isGRUB)
	}
	image := fmt.Sprintf("%s@@%d", disk, 22528*512)
	if got := tooltest.Run(t, "mtype", "-i", image, "::config.txt"); got != "own=1\n" {
		t.Errorf("config.txt: %q", got)
	}
	loader := map[string]string{"amd64": "BOOTX64.EFI", "arm64": "BOOTAA64.EFI"}[arch]
	list := tooltest.Run(t, "mdir", "-/", "-b", "-i", image, "::")
	for _, want := range []string{"::/EFI/BOOT/" + loader, "::/start4.elf", "::/overlays/disable-bt.dtbo"} {
		if !strings.Contains(list, want+"\n") {
			t.Errorf("the EFI system partition has no %s: %s", want, list)
		}
	}
	if hasUKI := strings.Contains(list, "::/EFI/Linux/"); hasUKI != (arch == "amd64") {
		t.Errorf("a UKI in the EFI system partition: %v", hasUKI)
	}
	_, installer := b.artefact(t, "-installer.tar")
	said := run{args: []string{"inspect", installer}, env: map[string]string{"TALOSMITH_CACHE": b.cache}}.must(t).stdout
	if want := "with an installer for a single-board computer"; !strings.Contains(said, want) {
		t.Errorf("inspect: %s\nno %q", said, want)
	}
}
