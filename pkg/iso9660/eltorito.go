package iso9660

import (
	"encoding/binary"
	"fmt"

	"github.com/talosmith/talosmith/pkg/tree"
)

// The boot catalog is a list of entries of 32 bytes.
const (
	catalogEntry = 32

	headerValidation  = 0x01
	headerSection     = 0x90 // more sections follow
	headerLastSection = 0x91
	entryBootable     = 0x88
	entryExtension    = 0x44
)

// bootImage is a boot entry whose place is known.
type bootImage struct {
	platform Platform
	file     bool // of the tree
	block    int64
	sectors  uint16
}

// bootCatalog makes the catalog: a validation entry and the default entry, then a section of one entry for each further image.
func bootCatalog(images []bootImage) []byte {
	validation := make([]byte, catalogEntry)
	validation[0], validation[1] = headerValidation, byte(images[0].platform)
	validation[30], validation[31] = 0x55, 0xAA
	binary.LittleEndian.PutUint16(validation[28:], -sum16(validation)) // all words add up to 0
	b := append(validation, images[0].entry()...)
	for i, image := range images[1:] {
		section := make([]byte, catalogEntry)
		section[0], section[1] = headerSection, byte(image.platform)
		if i == len(images)-2 {
			section[0] = headerLastSection
		}
		section[2] = 1 // entries
		b = append(append(b, section...), image.entry()...)
	}
	return fillBlock(b)
}

// entry is 0 bootable; 1 no emulation: 0; 2 load segment, 0 for the default; 4 system type: 0; 6 sectors to load; 8 first block.
func (i bootImage) entry() []byte {
	b := make([]byte, catalogEntry)
	b[0] = entryBootable
	binary.LittleEndian.PutUint16(b[6:], i.sectors)
	binary.LittleEndian.PutUint32(b[8:], uint32(i.block))
	return b
}

func sum16(b []byte) (sum uint16) {
	for ; len(b) > 1; b = b[2:] {
		sum += binary.LittleEndian.Uint16(b)
	}
	return sum
}

// loadSectors is the number of sectors that an entry asks for; 0 where they are too many for its 16 bits.
func (e BootEntry) loadSectors(size int64) uint16 {
	if e.LoadSectors != 0 {
		return e.LoadSectors
	}
	if n := (size + sectorSize - 1) / sectorSize; n < 1<<16 {
		return uint16(n)
	}
	return 0
}

// Places in a boot image that are written to.
const (
	infoTable     = 8  // block of the primary descriptor, own block, length, checksum; then zeros
	infoTableEnd  = 64 // from here on the checksum counts
	grub2Info     = 0x9f4
	grub2InfoSize = 8
	grub2Behind   = 5 // GRUB's core follows after 2048 bytes and its own first sector, in sectors
	maxBootImage  = 64 << 20
)

// patch returns a boot image with the information about its place that it asks for.
func (e BootEntry) patch(content tree.Blob, block int64) (tree.Blob, error) {
	size, least := content.Size(), int64(infoTableEnd)
	if e.GRUB2BootInfo {
		least = grub2Info + grub2InfoSize
	}
	if size < least || size > maxBootImage {
		return nil, fmt.Errorf("boot image %q: has %d bytes where boot information needs from %d to %d", e.Path, size, least, maxBootImage)
	}
	b, err := tree.ReadAll(content)
	if err != nil {
		return nil, fmt.Errorf("boot image %q: %w", e.Path, err)
	}
	if e.GRUB2BootInfo {
		binary.LittleEndian.PutUint64(b[grub2Info:], uint64(block)*(blockSize/sectorSize)+grub2Behind)
	}
	if e.BootInfoTable {
		clear(b[infoTable:infoTableEnd])
		for i, v := range []uint32{systemBlocks, uint32(block), uint32(size), sum32(b[infoTableEnd:])} {
			binary.LittleEndian.PutUint32(b[infoTable+4*i:], v)
		}
	}
	return tree.Bytes(b), nil
}

// sum32 adds up little-endian words, the last filled up with zeros.
func sum32(b []byte) (sum uint32) {
	for ; len(b) >= 4; b = b[4:] {
		sum += binary.LittleEndian.Uint32(b)
	}
	return sum + binary.LittleEndian.Uint32(append(append([]byte{}, b...), 0, 0, 0, 0))
}
