package talos

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// DiskLabel is the label that a disk's own GUID is made of: see [GUID].
const DiskLabel = "talos-image-disk"

// Partition types (GPT), in big-endian UUID order.
var (
	TypeESP   = [16]byte{0xc1, 0x2a, 0x73, 0x28, 0xf8, 0x1f, 0x11, 0xd2, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}
	TypeBIOS  = [16]byte{0x21, 0x68, 0x61, 0x48, 0x64, 0x49, 0x6e, 0x6f, 0x74, 0x4e, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49}
	TypeLinux = [16]byte{0x0f, 0xc6, 0x3d, 0xaf, 0x84, 0x83, 0x47, 0x72, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4}
)

// Partition of a disk.
type Partition struct {
	// Label is the GPT name, the file system's label, and what [GUID] makes the partition's GUID of.
	Label string
	Type  [16]byte
	// Attributes of the GPT entry; bit 2 is "legacy BIOS bootable".
	Attributes uint64
	// Size in bytes, a multiple of MiB; 0 stands for all that is left.
	Size int64
}

// Partition labels.
const (
	LabelEFI        = "EFI"
	LabelBIOS       = "BIOS"
	LabelBOOT       = "BOOT"
	LabelMETA       = "META"
	LabelSTATE      = "STATE"
	LabelEPHEMERAL  = "EPHEMERAL"
	LabelIMAGECACHE = "IMAGECACHE"
)

// Sources: pkg/machinery/imager/quirks/partitions.go.
const (
	grubEFISize = 100 * MiB
	biosSize    = 1 * MiB
	metaSize    = 1 * MiB
	stateSize   = 100 * MiB
)

// Partitions returns the partitions of a disk, in order, each at the next multiple of MiB. An image cache (IMAGECACHE, type Linux)
// comes after them. Source: cmd/installer/pkg/install/install.go.
func (f Facts) Partitions(b Bootloader) []Partition {
	esp := Partition{Label: LabelEFI, Type: TypeESP, Size: grubEFISize + biosSize + f.BootSize} // kernels lie on the ESP
	meta := Partition{Label: LabelMETA, Type: TypeLinux, Size: metaSize}
	parts := []Partition{esp, meta}
	if b != SDBoot {
		if b == GRUB {
			esp.Size = grubEFISize
		}
		parts = []Partition{esp,
			{Label: LabelBIOS, Type: TypeBIOS, Attributes: 1 << 2, Size: biosSize},
			{Label: LabelBOOT, Type: TypeLinux, Size: f.BootSize},
			meta,
		}
	}
	if f.DataPartitions {
		parts = append(parts,
			Partition{Label: LabelSTATE, Type: TypeLinux, Size: stateSize},
			Partition{Label: LabelEPHEMERAL, Type: TypeLinux})
	}
	return parts
}

// SectorSizes returns the lengths in bytes that a disk's sectors can have; the first is that of a disk that asks for none.
// Upstream's imager takes any version of Talos for that since 1.14 (profile metal-4k, pkg/imager/profile/default.go).
func SectorSizes() []int64 { return []int64{512, 4096} }

// CheckSectorSize says why a disk with a boot loader can't have sectors of a length. Upstream has no such rule, but with GRUB an EFI
// partition of 25,600 clusters, which by FAT's own rules is none of FAT32; and no BIOS reads a disk with other sectors than 512 bytes.
func (f Facts) CheckSectorSize(b Bootloader, size int64) error {
	switch {
	case !slices.Contains(SectorSizes(), size):
		return fmt.Errorf("sectors of %d bytes: disks have those of 512 or 4096", size)
	case size == SectorSizes()[0] || b != GRUB:
		return nil
	case !f.SDBootUEFI:
		return fmt.Errorf("sectors of %d bytes: Talos %s boots through %s only, which needs those of 512; use %s or newer", size, f.Version, GRUB, sdBootUEFI.since)
	}
	return fmt.Errorf("sectors of %d bytes: boot loader %s needs those of 512; use %s", size, GRUB, SDBoot)
}

// LeastDiskSize returns the size in bytes of the smallest disk: its partitions, and a MiB before and behind them.
func (f Facts) LeastDiskSize(b Bootloader) int64 {
	least := int64(2 * MiB)
	for _, p := range f.Partitions(b) {
		least += max(p.Size, MiB)
	}
	return least
}

// DescribePartitions lists partitions with their least sizes in MiB.
func DescribePartitions(partitions []Partition) string {
	var all []string
	for _, p := range partitions {
		all = append(all, fmt.Sprintf("%s %d", p.Label, max(p.Size, MiB)/MiB))
	}
	return strings.Join(all, ", ")
}

// DiskSize returns the size in bytes of a disk that asks for none; an image cache comes on top. It is what upstream ends at, which
// adds to a platform's size what BOOT has grown by and, for dual boot, the partitions that it has more.
// Source: pkg/imager/profile/output.go.
func (f Facts) DiskSize(b Bootloader) int64 {
	size := f.Platform.Disk.Size + f.BootSize - 1000*MiB
	if b == DualBoot {
		size += biosSize + f.BootSize
	}
	return size
}

// GUID returns the GUID of a disk, a partition or a file system by its label, in big-endian UUID order: a UUID of version 8.
// Source: cmd/installer/pkg/install (deterministic GUIDs since 1.13's imager).
func GUID(label string) [16]byte {
	sum := sha256.Sum256(append(make([]byte, 16), label...))
	g := [16]byte(sum[:16])
	g[6] = g[6]&0x0f | 0x80 // version 8
	g[8] = g[8]&0x3f | 0x80 // variant of RFC 9562
	return g
}
