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
	EFIAMD64 Format = "x86_64-efi"       // a program of UEFI
	EFIARM64 Format = "arm64-efi"
)

// makers are what makes each format, of the files of which platform.
var makers = map[Format]struct {
	platform
	make func(directory, Options) ([]byte, error)
}{
	Disk:     {bios, biosCore},
	ElTorito: {bios, biosCore},
	EFIAMD64: {efiAMD64, efiCore},
	EFIARM64: {efiARM64, efiCore},
}

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

// Core makes a core image of the files in GRUB's directory for the format's platform.
func Core(files *tree.Tree, o Options) ([]byte, error) {
	maker, ok := makers[o.Format]
	if !ok {
		return nil, fmt.Errorf("make GRUB's core image: format %q: must be %s, %s, %s or %s", o.Format, Disk, ElTorito, EFIAMD64, EFIARM64)
	}
	b, err := maker.make(directory{files, maker.platform}, o)
	if err != nil {
		return nil, fmt.Errorf("make GRUB's %s image: %w", o.Format, err)
	}
	return b, nil
}

// Types of what follows the kernel.
const (
	typeModule = 0
	typeConfig = 2
	typePrefix = 3
)

// appendModules adds to a kernel what it finds behind itself in memory.
func appendModules(b []byte, dir directory, o Options) ([]byte, error) {
	names, err := closure(dir, o.Modules)
	if err != nil {
		return nil, err
	}
	start, word := len(b), dir.wordSize()
	header := 12
	b = append(b, "mimg"...)
	if word == 8 {
		header = 24
		b = append(b, 0, 0, 0, 0)
	}
	b = appendWord(b, word, header)
	sizeAt := len(b)
	b = appendWord(b, word, 0)
	for _, name := range names {
		m, err := dir.module(name)
		if err != nil {
			return nil, err
		}
		b = object(b, typeModule, m, word)
	}
	if len(o.Config) > 0 {
		b = object(b, typeConfig, append(o.Config[:len(o.Config):len(o.Config)], 0), word)
	}
	b = object(b, typePrefix, append([]byte(o.Prefix), 0), word)
	binary.LittleEndian.PutUint32(b[sizeAt:], uint32(len(b)-start))
	return b, nil
}

// appendWord appends a number of 4 or 8 bytes.
func appendWord(b []byte, size, value int) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(value))
	return append(b, make([]byte, size-4)...)
}

// object appends something with its header, filled up to whole words.
func object(b []byte, typ uint32, content []byte, word int) []byte {
	const header = 8
	fill := -len(content) & (word - 1)
	b = binary.LittleEndian.AppendUint32(b, typ)
	b = binary.LittleEndian.AppendUint32(b, uint32(header+len(content)+fill))
	return append(append(b, content...), make([]byte, fill)...)
}
