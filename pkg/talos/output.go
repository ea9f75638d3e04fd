package talos

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is what a build puts out.
type Kind string

const (
	KindISO       Kind = "iso"
	KindDisk      Kind = "disk" // upstream says "image"
	KindInstaller Kind = "installer"
	KindUKI       Kind = "uki"
	KindInitramfs Kind = "initramfs"
	KindKernel    Kind = "kernel"
	KindCmdline   Kind = "cmdline"
	KindPXE       Kind = "pxe" // kernel, initramfs and a script with the command line
)

// Kinds returns every kind of output.
func Kinds() []Kind {
	return []Kind{KindISO, KindDisk, KindInstaller, KindUKI, KindInitramfs, KindKernel, KindCmdline, KindPXE}
}

// Bootloader is what starts Talos from a disk or an ISO.
type Bootloader string

const (
	SDBoot   Bootloader = "sd-boot"   // systemd-boot and a UKI: UEFI only
	DualBoot Bootloader = "dual-boot" // that for UEFI, GRUB for BIOS
	GRUB     Bootloader = "grub"      // GRUB for both
)

// Bootloaders returns every boot loader.
func Bootloaders() []Bootloader { return []Bootloader{SDBoot, DualBoot, GRUB} }

// Bootloader returns the boot loader of an ISO or a disk that asks for none; empty for other kinds of output.
// Source: pkg/imager/profile/output.go, pkg/imager/out.go. Upstream's ISOs of 1.10 and 1.11 for arm64 carry a BIOS loader of i386-pc
// beside systemd-boot, which no arm64 machine can use: here they are sd-boot, as from 1.12 on.
func (f Facts) Bootloader(k Kind) Bootloader {
	switch {
	case k != KindISO && k != KindDisk:
		return ""
	case !f.SDBootUEFI:
		return GRUB
	case f.Arch == ARM64:
		return SDBoot
	}
	return DualBoot
}

// CarriesCmdline tells whether an output has a kernel command line; why says what it has instead, or which machines do not get it from
// there. Source: cmd/installer/pkg/install/install.go.
func (f Facts) CarriesCmdline(k Kind) (carries bool, why string) {
	switch {
	case k == KindKernel || k == KindInitramfs:
		return false, "no kernel command line"
	case k != KindInstaller:
	case !f.SDBootUEFI:
		return false, fmt.Sprintf("the installer of Talos %s composes the kernel command line on the machine: machine.install.extraKernelArgs adds to it", f.Version)
	case f.GRUBCmdline && f.Arch == AMD64:
		return true, fmt.Sprintf("the installer of Talos %s composes that of machines that boot through GRUB (BIOS) there: machine.install.extraKernelArgs adds to it", f.Version)
	}
	return true, ""
}

// CheckBootloader says why an ISO or a disk can't have a boot loader.
func (f Facts) CheckBootloader(b Bootloader) error {
	switch {
	case !slices.Contains(Bootloaders(), b):
		return unknown("boot loader", string(b), []string{string(SDBoot), string(DualBoot), string(GRUB)})
	case b == DualBoot && f.Arch != AMD64:
		return fmt.Errorf("boot loader %s: %s has no BIOS; use %s", b, f.Arch, f.Bootloader(KindDisk))
	case b != GRUB && !f.SDBootUEFI:
		return fmt.Errorf("boot loader %s: Talos %s boots through %s only; %s came with %s", b, f.Version, GRUB, SDBoot, sdBootUEFI.since)
	}
	return nil
}

// Reset is the boot entry that wipes an installation.
type Reset struct {
	// ID and Title are those of the UKI's profile.
	ID, Title string
	// GRUBTitle is that of GRUB's menu entry; empty where GRUB's menu has none.
	GRUBTitle string
	// Args follow the kernel command line after a space.
	Args string
}

// Reset returns the reset entry of an output; false where it has none. A UKI has it only with [Facts.UKIProfiles].
// Source: pkg/imager/imager.go (buildUKI), pkg/imager/iso/grub.cfg, internal/.../bootloader/grub.
func (f Facts) Reset(k Kind) (Reset, bool) {
	switch k {
	case KindISO:
		return Reset{"reset", "Reset system disk", "Reset Talos installation", "talos.experimental.wipe=system"}, true
	case KindDisk, KindInstaller:
		return Reset{"reset-maintenance", "Reset to maintenance mode", "Reset Talos installation and return to maintenance mode",
			"talos.experimental.wipe=system:EPHEMERAL,STATE"}, true
	}
	return Reset{}, false
}

// ISOVolume returns the volume identifier and the volume set identifier of an ISO; the second is empty before 1.8.
// Talos finds the image cache by a volume identifier that starts with "TALOS_". Source: pkg/imager/iso/iso.go.
func (f Facts) ISOVolume() (id, set string) {
	if !isoLabel.holds(f.Version) {
		return "ISOIMAGE", "" // xorriso's own
	}
	set = Name + "-" + f.Tag
	id = strings.Map(func(r rune) rune {
		switch {
		case r == '-' || r == '.':
			return '_'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_':
			return r
		}
		return -1
	}, strings.ToUpper(set))
	return id[:min(len(id), 32)], set // 32: ISO 9660, 8.4.8
}
