package grub

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/tree"
)

// maxFile is more than any of GRUB's files has.
const maxFile = 4 << 20

// directory is GRUB's directory for a platform.
type directory struct{ files *tree.Tree }

// read returns a file that has a number of bytes within limits.
func (d directory) read(name string, least, most int64) ([]byte, error) {
	n, ok := d.files.Lookup(name)
	if !ok || !n.Mode.IsRegular() {
		return nil, fmt.Errorf("%s: %w (%s)", name, fs.ErrNotExist, origin)
	}
	if n.Size() < least || n.Size() > most {
		return nil, damaged(name, "has %d bytes, not %d to %d", n.Size(), least, most)
	}
	b, err := tree.ReadAll(n.Content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

// sector returns a file of one sector.
func (d directory) sector(name string) ([]byte, error) { return d.read(name, sectorSize, sectorSize) }

// module returns a module's file, which is a relocatable ELF object.
func (d directory) module(name string) ([]byte, error) {
	file := name + ".mod"
	b, err := d.read(file, 52, maxFile)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(b, []byte(elf.ELFMAG)) || elf.Class(b[elf.EI_CLASS]) != elf.ELFCLASS32 {
		return nil, damaged(file, "is no ELF object of 32 bits; compressed modules cannot be part of an image")
	}
	return b, nil
}

// ErrDamaged is wrapped by errors about files that are not as GRUB made them.
var ErrDamaged = errors.New("file is damaged or not GRUB's")

func damaged(name, format string, args ...any) error {
	return fmt.Errorf("%s: %w: %s (%s)", name, ErrDamaged, fmt.Sprintf(format, args...), origin)
}

// kernel is kernel.img as it lies in memory.
func kernel(dir directory) ([]byte, error) {
	const name = "kernel.img"
	b, err := dir.read(name, 52, maxFile)
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, damaged(name, "%v", err)
	}
	if f.Class != elf.ELFCLASS32 || f.Machine != elf.EM_386 || f.Type != elf.ET_EXEC || f.Entry != linkAddress {
		return nil, damaged(name, "is no program of 32 bits for i386 that starts at %#x", linkAddress)
	}
	var image []byte
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		if s.Addr < linkAddress || s.Addr+s.Size > memoryTop {
			return nil, damaged(name, "section %s at %#x with %d bytes is not between %#x and %#x", s.Name, s.Addr, s.Size, linkAddress, memoryTop)
		}
		if s.Type == elf.SHT_NOBITS { // zeros that GRUB makes itself
			continue
		}
		at := int(s.Addr - linkAddress)
		if at < len(image) {
			return nil, damaged(name, "section %s at %#x lies over others", s.Name, s.Addr)
		}
		content, err := s.Data()
		if err != nil {
			return nil, damaged(name, "section %s: %v", s.Name, err)
		}
		image = append(append(image, make([]byte, at-len(image))...), content...)
	}
	if len(image) == 0 {
		return nil, damaged(name, "has no sections with content")
	}
	return image, nil
}

// closure returns modules and all that they need, what is needed first, in the order of grub-mkimage.
func closure(dir directory, modules []string) ([]string, error) {
	const name = "moddep.lst"
	b, err := dir.read(name, 0, maxFile)
	if err != nil {
		return nil, err
	}
	needs := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		module, rest, ok := strings.Cut(line, ":")
		if !ok {
			return nil, damaged(name, "line %q has no colon", strings.TrimSpace(line))
		}
		list := strings.Fields(rest)
		slices.Reverse(list)
		needs[module] = list
	}
	var order []string
	const begun, done = 1, 2
	state := map[string]int{}
	var add func(module, neededBy string) error
	add = func(module, neededBy string) error {
		switch list, known := needs[module]; {
		case state[module] == done:
			return nil
		case state[module] == begun:
			return damaged(name, "module %q needs itself", module)
		case !known && neededBy != "":
			return fmt.Errorf("module %q: %w (%q needs it)", module, fs.ErrNotExist, neededBy)
		case !known:
			return fmt.Errorf("module %q: %w (GRUB's %s does not name it; %s)", module, fs.ErrNotExist, name, origin)
		default:
			state[module] = begun
			for _, n := range list {
				if err := add(n, module); err != nil {
					return err
				}
			}
		}
		state[module] = done
		order = append(order, module)
		return nil
	}
	for _, m := range modules {
		if err := add(m, ""); err != nil {
			return nil, err
		}
	}
	return order, nil
}
