package preflight

import (
	"fmt"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/talos"
)

// Sizes are what an image is made of, in bytes.
type Sizes struct {
	// Kernel, Stub, SDBoot and Initramfs are the files of the base.
	Kernel, Stub, SDBoot, Initramfs int64
	// Unpacked is what the base's initramfs takes once it is unpacked.
	Unpacked int64
	// ModulesDep is the layer of indexes, 0 where there is none.
	ModulesDep int64
	Extensions []Cost
}

// Cost is what an extension adds, in bytes.
type Cost struct {
	Layer     int64 // the squashfs image
	Firmware  int64 // compressed, for the kernel to find before layers are mounted
	Unpacked  int64 // that firmware, in memory
	Microcode int64
}

// Packed is what an extension adds to the initramfs.
func (c Cost) Packed() int64 { return c.Layer + c.Firmware + c.Microcode }

// Memory is what an extension takes once the initramfs is unpacked: layers stay as they are, firmware does not.
func (c Cost) Memory() int64 { return c.Layer + c.Unpacked + c.Microcode }

// FullInitramfs is the size of the initramfs with all extensions.
func (s *Sizes) FullInitramfs() int64 {
	n := s.Initramfs + s.ModulesDep
	for _, e := range s.Extensions {
		n += e.Packed()
	}
	return n
}

// ukiRest is what a UKI has besides: command lines, names, the boot splash of 640 KB, gaps between sections.
const ukiRest = 1 << 20

// UKI is the size of the unified kernel image.
func (s *Sizes) UKI() int64 { return s.Stub + s.Kernel + s.FullInitramfs() + ukiRest }

// Memory is how much a machine needs to have: Linux unpacks the initramfs into a tmpfs, which takes half of the memory at most
// (init/do_mounts.c, mm/shmem.c).
func (s *Sizes) Memory() int64 {
	n := s.Unpacked + s.ModulesDep
	for _, e := range s.Extensions {
		n += e.Memory()
	}
	return 2 * n
}

// workerMemory is the least that Talos wants of a worker's machine. Source: pkg/minimal/limits.go of siderolabs/talos.
const workerMemory = 1 << 30

// Fit is how full a partition is with two installations: an upgrade is written beside what runs.
type Fit struct {
	Label string
	What  string // what is there
	Need  int64  // bytes, of both
	Room  int64
}

// Percent is how much of the room is needed.
func (f Fit) Percent() int64 { return (f.Need*100 + f.Room - 1) / f.Room }

// From what percentage on a partition is told of, and above which nothing is built.
const (
	NearlyFull = 80
	Full       = 100
)

// Fits lists the partitions that the outputs are put on, now or by an installation.
func (s *Sizes) Fits(f talos.Facts, outputs []Output) []Fit {
	var fits []Fit
	seen := map[string]bool{}
	for _, b := range bootloaders(f, outputs) {
		for _, p := range f.Partitions(b) {
			fit := Fit{Label: p.Label}
			switch {
			case p.Label == talos.LabelEFI && b != talos.GRUB:
				fit.What, fit.Need, fit.Room = "two UKIs", 2*s.UKI()+s.SDBoot, fatRoom(p.Size)
			case p.Label == talos.LabelBOOT:
				fit.What, fit.Need, fit.Room = "two kernels and initramfs images", 2*(s.Kernel+s.FullInitramfs()), xfsRoom(p.Size)
			}
			if fit.Need > 0 && !seen[fit.Label] {
				seen[fit.Label] = true
				fits = append(fits, fit)
			}
		}
	}
	return fits
}

// bootloaders are those that machines have on their disks with what is made. What is installed depends on the machine's firmware.
func bootloaders(f talos.Facts, outputs []Output) []talos.Bootloader {
	var all []talos.Bootloader
	for _, o := range outputs {
		switch {
		case o.Kind == talos.KindDisk:
			all = append(all, o.Bootloader)
		case o.Kind != talos.KindInstaller && o.Kind != talos.KindUKI:
		case !f.SDBootUEFI:
			all = append(all, talos.GRUB)
		case f.Arch == talos.AMD64 && o.Kind == talos.KindInstaller:
			all = append(all, talos.SDBoot, talos.GRUB)
		default:
			all = append(all, talos.SDBoot)
		}
	}
	return all
}

// fatRoom is what files can take of an ESP: 8 bytes in 4096 are the tables of FAT32, some sectors its start.
func fatRoom(size int64) int64 { return size - size/500 - 128<<10 }

// xfsRoom is what files can take of BOOT: mkfs.xfs makes a log of 64 MiB at least; the rest is for headers, trees and inodes.
func xfsRoom(size int64) int64 { return size - 66<<20 }

func (c *checker) sizes() {
	if c.Sizes == nil {
		return
	}
	const table = "`go tool mage check` shows what each extension takes"
	for _, fit := range c.Sizes.Fits(c.Facts, c.Outputs) {
		p := fit.Percent()
		if p < NearlyFull {
			continue
		}
		severity := extension.Warning
		if p > Full {
			severity = extension.Error
		}
		c.image(severity, CodeSize, "an upgrade needs room for both; "+table, "%s of %s: %s take %s, %d %%", fit.Label, human(fit.Room), fit.What, human(fit.Need), p)
	}
	if need := c.Sizes.Memory(); need*100 >= workerMemory*NearlyFull && len(c.Extensions) > 0 {
		c.image(extension.Warning, CodeMemory, fmt.Sprintf("Talos itself is content with %s; %s", human(workerMemory), table),
			"a machine needs %s of memory to unpack the initramfs, of which half at most is for it", human(need))
	}
}

// human is a number of bytes for people.
func human(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", (n+1<<19)>>20)
	}
	return fmt.Sprintf("%d KiB", (n+1<<9)>>10)
}
