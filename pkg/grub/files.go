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

// platform is one of GRUB's.
type platform struct {
	dir     string // below usr/lib/grub
	debian  string // the package that has it
	class   elf.Class
	machine elf.Machine
}

var (
	bios     = platform{"i386-pc", "grub-pc-bin", elf.ELFCLASS32, elf.EM_386}
	efiAMD64 = platform{"x86_64-efi", "grub-efi-amd64-bin", elf.ELFCLASS64, elf.EM_X86_64}
	efiARM64 = platform{"arm64-efi", "grub-efi-arm64-bin", elf.ELFCLASS64, elf.EM_AARCH64}
)

// directory is GRUB's directory for a platform.
type directory struct {
	files *tree.Tree
	platform
}

// origin is where the files come from, for who reads an error.
func (p platform) origin() string {
	return fmt.Sprintf("in the imager image: usr/lib/grub/%s; in Debian: the package %s", p.dir, p.debian)
}

// wordSize is the number of bytes of an address.
func (p platform) wordSize() int {
	if p.class == elf.ELFCLASS64 {
		return 8
	}
	return 4
}

// read returns a file that has a number of bytes within limits.
func (d directory) read(name string, least, most int64) ([]byte, error) {
	n, ok := d.files.Lookup(name)
	if !ok || !n.Mode.IsRegular() {
		return nil, fmt.Errorf("%s: %w (%s)", name, fs.ErrNotExist, d.origin())
	}
	if n.Size() < least || n.Size() > most {
		return nil, d.damaged(name, "has %d bytes, not %d to %d", n.Size(), least, most)
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
	if !bytes.HasPrefix(b, []byte(elf.ELFMAG)) || elf.Class(b[elf.EI_CLASS]) != d.class {
		return nil, d.damaged(file, "is no ELF object of %d bits; compressed modules cannot be part of an image", 8*d.wordSize())
	}
	return b, nil
}

// ErrDamaged is wrapped by errors about files that are not as GRUB made them.
var ErrDamaged = errors.New("file is damaged or not GRUB's")

func (d directory) damaged(name, format string, args ...any) error {
	return fmt.Errorf("%s: %w: %s (%s)", name, ErrDamaged, fmt.Sprintf(format, args...), d.origin())
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
			return nil, dir.damaged(name, "line %q has no colon", strings.TrimSpace(line))
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
			return dir.damaged(name, "module %q needs itself", module)
		case !known && neededBy != "":
			return fmt.Errorf("module %q: %w (%q needs it)", module, fs.ErrNotExist, neededBy)
		case !known:
			return fmt.Errorf("module %q: %w (GRUB's %s does not name it; %s)", module, fs.ErrNotExist, name, dir.origin())
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
