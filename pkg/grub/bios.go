package grub

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

const (
	linkAddress   = 0x9000  // of the kernel
	memoryTop     = 0x68000 // where the kernel's memory has to end
	coreTop       = 0x78000 // where the compressed image has to end, if it were at linkAddress
	decompressMax = linkAddress - 0x8200
	cdbootSize    = 2048
	blockListAt   = sectorSize - 12 // in diskboot.img
	segment       = 0x0820          // where diskboot.img loads the rest

	compressedAt   = 8 // in lzma_decompress.img
	uncompressedAt = 12
	redundancyAt   = 16
)

// biosCore makes an image for BIOS.
func biosCore(dir directory, o Options) ([]byte, error) {
	diskboot, err := dir.sector("diskboot.img")
	if err != nil {
		return nil, err
	}
	if got := binary.LittleEndian.Uint16(diskboot[blockListAt+10:]); got != segment {
		return nil, dir.damaged("diskboot.img", "loads to segment %#x, not %#x", got, segment)
	}
	decompressor, err := dir.read("lzma_decompress.img", redundancyAt+4, decompressMax)
	if err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(decompressor[redundancyAt:]) != 0 {
		return nil, dir.damaged("lzma_decompress.img", "says that there is Reed–Solomon redundancy")
	}
	body, err := biosKernel(dir)
	if err != nil {
		return nil, err
	}
	if body, err = appendModules(body, dir, o); err != nil {
		return nil, err
	}
	compressed, err := compress(body)
	if err != nil {
		return nil, err
	}
	binary.LittleEndian.PutUint32(decompressor[compressedAt:], uint32(len(compressed)))
	binary.LittleEndian.PutUint32(decompressor[uncompressedAt:], uint32(len(body)))

	size := len(decompressor) + len(compressed)
	if linkAddress+size > coreTop {
		return nil, fmt.Errorf("%d bytes compressed, %d are the most: take fewer modules (they are %d with what they need)",
			size, coreTop-linkAddress, len(o.Modules))
	}
	binary.LittleEndian.PutUint16(diskboot[blockListAt+8:], uint16((size+sectorSize-1)/sectorSize))

	var b []byte
	if o.Format == ElTorito {
		if b, err = dir.read("cdboot.img", cdbootSize, cdbootSize); err != nil {
			return nil, err
		}
	}
	b = append(b, diskboot...)
	b = append(b, decompressor...)
	return append(b, compressed...), nil
}

// biosKernel is kernel.img as it lies in memory.
func biosKernel(dir directory) ([]byte, error) {
	const name = "kernel.img"
	b, err := dir.read(name, 52, maxFile)
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, dir.damaged(name, "%v", err)
	}
	if f.Class != dir.class || f.Machine != dir.machine || f.Type != elf.ET_EXEC || f.Entry != linkAddress {
		return nil, dir.damaged(name, "is no program of 32 bits for i386 that starts at %#x", linkAddress)
	}
	var image []byte
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		if s.Addr < linkAddress || s.Addr+s.Size > memoryTop {
			return nil, dir.damaged(name, "section %s at %#x with %d bytes is not between %#x and %#x", s.Name, s.Addr, s.Size, linkAddress, memoryTop)
		}
		if s.Type == elf.SHT_NOBITS { // zeros that GRUB makes itself
			continue
		}
		at := int(s.Addr - linkAddress)
		if at < len(image) {
			return nil, dir.damaged(name, "section %s at %#x lies over others", s.Name, s.Addr)
		}
		content, err := s.Data()
		if err != nil {
			return nil, dir.damaged(name, "section %s: %v", s.Name, err)
		}
		image = append(append(image, make([]byte, at-len(image))...), content...)
	}
	if len(image) == 0 {
		return nil, dir.damaged(name, "has no sections with content")
	}
	return image, nil
}
