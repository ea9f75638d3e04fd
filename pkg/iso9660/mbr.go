package iso9660

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Places in a master boot record.
const (
	mbrSize       = 512
	mbrCode       = 440   // boot code before this
	mbrPartitions = 0x1be // four entries of 16 bytes
	mbrSignature  = 0x1fe
	mbrGRUBCore   = 0x1b0 // where boot_hybrid.img is told the sector of GRUB's core image
	grub2CoreSkip = 4     // sectors of eltorito.img before the core

	typeLinux = 0x83
	typeESP   = 0xEF
)

// MBR is the partition table, without boot code, of an image that is put onto a USB stick for UEFI: the tree from
// Options.PartitionOffset on as a Linux partition, then each appended partition as an EFI system partition.
func (im *Image) MBR() ([mbrSize]byte, error) {
	var b [mbrSize]byte
	if im.offset == 0 || len(im.appended) > 3 {
		return b, fmt.Errorf("master boot record: needs a partition offset and at most 3 appended partitions; has %d and %d", im.offset, len(im.appended))
	}
	entries := []partition{{block: im.offset, blocks: im.behind - im.offset}}
	for i, p := range append(entries, im.appended...) {
		typ := byte(typeESP)
		if i == 0 {
			typ = typeLinux
		}
		first, count := p.block*blockSize/sectorSize, p.blocks*blockSize/sectorSize
		if first+count > math.MaxUint32 {
			return b, fmt.Errorf("master boot record: partition %d ends at sector %d, %d is the last", i+1, first+count-1, int64(math.MaxUint32)-1)
		}
		entry := b[mbrPartitions+16*i:]
		copy(entry[1:], chs(first))
		entry[4] = typ
		copy(entry[5:], chs(first+count-1))
		binary.LittleEndian.PutUint32(entry[8:], uint32(first))
		binary.LittleEndian.PutUint32(entry[12:], uint32(count))
	}
	b[mbrSignature], b[mbrSignature+1] = 0x55, 0xAA
	return b, nil
}

// chs is a sector's address in the geometry of 64 heads and 32 sectors; what lies behind cylinder 1023 is told as its last sector.
func chs(sector int64) []byte {
	const heads, sectors, cylinders = 64, 32, 1024
	sector = min(sector, cylinders*heads*sectors-1)
	cylinder := sector / (heads * sectors)
	return []byte{byte(sector / sectors % heads), byte(sector%sectors+1) | byte(cylinder>>8<<6), byte(cylinder)}
}

// HybridBootCode is GRUB's boot_hybrid.img made to start the image's BIOS boot image from a USB stick: what goes before the
// partition table.
func (im *Image) HybridBootCode(bootHybrid []byte) ([]byte, error) {
	if len(bootHybrid) != mbrSize || bootHybrid[mbrSignature] != 0x55 || bootHybrid[mbrSignature+1] != 0xAA {
		return nil, fmt.Errorf("boot_hybrid.img: is no boot sector of %d bytes (has %d): take GRUB's i386-pc/boot_hybrid.img", mbrSize, len(bootHybrid))
	}
	for _, image := range im.boot {
		if image.platform == BIOS && image.file {
			code := append([]byte{}, bootHybrid[:mbrCode]...)
			binary.LittleEndian.PutUint64(code[mbrGRUBCore:], uint64(image.block)*(blockSize/sectorSize)+grub2CoreSkip)
			return code, nil
		}
	}
	return nil, errors.New("boot_hybrid.img: the image has no BIOS boot entry that is a file")
}
