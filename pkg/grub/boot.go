package grub

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Places in boot.img.
const (
	coreSectorAt = 0x5c  // u64: where the core image is
	driveCheckAt = 0x66  // a jump over the code that mistrusts the drive's number; without it the code runs
	bootCodeEnd  = 0x1be // where the partition table begins
	signatureAt  = 0x1fe
)

// BootCode is boot.img made to start a core image that lies at a sector: the bytes before the partition table of a disk's master
// boot record.
func BootCode(files *tree.Tree, coreSector uint64) ([]byte, error) {
	const name = "boot.img"
	b, err := bootSector(files, name)
	if err != nil {
		return nil, fmt.Errorf("make the master boot record: %w", err)
	}
	if b[driveCheckAt] != 0xEB || b[driveCheckAt+1] >= 0x80 {
		return nil, fmt.Errorf("make the master boot record: %w", directory{files, bios}.damaged(name, "has no short jump at %#x", driveCheckAt))
	}
	binary.LittleEndian.PutUint64(b[coreSectorAt:], coreSector)
	b[driveCheckAt], b[driveCheckAt+1] = 0x90, 0x90
	return b[:bootCodeEnd], nil
}

// BootHybrid is boot_hybrid.img: what starts an ISO from a USB stick, once it is told where the core image is.
func BootHybrid(files *tree.Tree) ([]byte, error) {
	b, err := bootSector(files, "boot_hybrid.img")
	if err != nil {
		return nil, fmt.Errorf("make the hybrid boot record: %w", err)
	}
	return b, nil
}

func bootSector(files *tree.Tree, name string) ([]byte, error) {
	dir := directory{files, bios}
	b, err := dir.sector(name)
	if err == nil && (b[signatureAt] != 0x55 || b[signatureAt+1] != 0xAA) {
		err = dir.damaged(name, "does not end with 55 aa")
	}
	return b, err
}

// PlaceCore is a core image for disks that is told at which sector it lies.
func PlaceCore(core []byte, sector uint64) ([]byte, error) {
	if len(core) < 2*sectorSize || binary.LittleEndian.Uint16(core[blockListAt+10:]) != segment {
		return nil, fmt.Errorf("place GRUB's core image at sector %d: it is no %s image", sector, Disk)
	}
	b := slices.Clone(core)
	binary.LittleEndian.PutUint64(b[blockListAt:], sector+1)
	return b, nil
}
