package grub

import (
	"encoding/binary"
	"fmt"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Format is a kind of core image.
type Format string

// The formats, by GRUB's names.
const (
	Disk     Format = "i386-pc"          // for a BIOS boot partition
	ElTorito Format = "i386-pc-eltorito" // for a CD-ROM
)

// Options say what a core image holds besides the kernel.
type Options struct {
	Format Format
	// Prefix is the directory, with its device, where GRUB finds grub.cfg: "(hd0,gpt3)/grub". One without a device is on the
	// device from which GRUB was started.
	Prefix string
	// Modules are the names of modules. Those that they need come with them.
	Modules []string
	// Config is run before grub.cfg is looked for, without the commands of modules that are not part of the image. May be empty.
	Config []byte
}

// Where GRUB's files come from, for who reads an error.
const origin = "in the imager image: usr/lib/grub/i386-pc; in Debian: the package grub-pc-bin"

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

// Core makes a core image of the files in GRUB's directory for i386-pc.
func Core(files *tree.Tree, o Options) ([]byte, error) {
	b, err := core(directory{files}, o)
	if err != nil {
		return nil, fmt.Errorf("make GRUB's %s image: %w", o.Format, err)
	}
	return b, nil
}

func core(dir directory, o Options) ([]byte, error) {
	if o.Format != Disk && o.Format != ElTorito {
		return nil, fmt.Errorf("format: must be %s or %s", Disk, ElTorito)
	}
	diskboot, err := dir.sector("diskboot.img")
	if err != nil {
		return nil, err
	}
	if got := binary.LittleEndian.Uint16(diskboot[blockListAt+10:]); got != segment {
		return nil, damaged("diskboot.img", "loads to segment %#x, not %#x", got, segment)
	}
	decompressor, err := dir.read("lzma_decompress.img", redundancyAt+4, decompressMax)
	if err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(decompressor[redundancyAt:]) != 0 {
		return nil, damaged("lzma_decompress.img", "says that there is Reed–Solomon redundancy")
	}
	body, err := kernelAndModules(dir, o)
	if err != nil {
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

// Types of what follows the kernel.
const (
	typeModule = 0
	typeConfig = 2
	typePrefix = 3
)

// kernelAndModules is what the decompressor leaves in memory.
func kernelAndModules(dir directory, o Options) ([]byte, error) {
	b, err := kernel(dir)
	if err != nil {
		return nil, err
	}
	names, err := closure(dir, o.Modules)
	if err != nil {
		return nil, err
	}
	const header = 12
	start := len(b)
	b = append(b, "mimg"...)
	b = binary.LittleEndian.AppendUint32(b, header)
	b = binary.LittleEndian.AppendUint32(b, 0)
	for _, name := range names {
		m, err := dir.module(name)
		if err != nil {
			return nil, err
		}
		b = object(b, typeModule, m)
	}
	if len(o.Config) > 0 {
		b = object(b, typeConfig, append(o.Config[:len(o.Config):len(o.Config)], 0))
	}
	b = object(b, typePrefix, append([]byte(o.Prefix), 0))
	binary.LittleEndian.PutUint32(b[start+8:], uint32(len(b)-start))
	return b, nil
}

// object appends something with its header.
func object(b []byte, typ uint32, content []byte) []byte {
	const header, align = 8, 4
	fill := -len(content) & (align - 1)
	b = binary.LittleEndian.AppendUint32(b, typ)
	b = binary.LittleEndian.AppendUint32(b, uint32(header+len(content)+fill))
	return append(append(b, content...), make([]byte, fill)...)
}
