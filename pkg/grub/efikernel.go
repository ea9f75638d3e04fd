package grub

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
)

// efiKernel is kernel.img of an EFI platform, linked.
type efiKernel struct {
	image  []byte // from headerSize on, whole pages
	code   int    // bytes of image that are executed: whole pages
	entry  uint64 // address
	fixups []byte // base relocations of PE, whole pages
	nx     bool   // it asks the firmware to let it execute what it loads
}

// setsAttributes is a function of kernels (GRUB 2.14) that care for the attributes of memory.
const setsAttributes = "grub_update_mem_attrs"

// linker lays an object file out and relocates it.
type linker struct {
	*elf.File
	symbols []elf.Symbol // without the first, which is empty
	at      []uint64     // address of each section that is kept, else 0
	image   []byte       // from headerSize on
	got     uint64       // where the next entry of the global offset table goes
	fixups  fixups
}

func loadEFIKernel(dir directory) (*efiKernel, error) {
	const name = "kernel.img"
	b, err := dir.read(name, 64, maxFile)
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, dir.damaged(name, "%v", err)
	}
	if f.Class != dir.class || f.Machine != dir.machine || f.Data != elf.ELFDATA2LSB || f.Type != elf.ET_REL {
		return nil, dir.damaged(name, "is no object file of 64 bits for %s", dir.machine)
	}
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_COMPRESSED != 0 {
			return nil, dir.damaged(name, "section %s is compressed", s.Name)
		}
	}
	l := linker{File: f, at: make([]uint64, len(f.Sections))}
	k, err := l.link()
	if err != nil {
		return nil, dir.damaged(name, "%v", err)
	}
	return k, nil
}

func (l *linker) link() (*efiKernel, error) {
	k := new(efiKernel)
	var err error
	if l.symbols, err = l.Symbols(); err != nil {
		return nil, err
	}
	if err := l.layOut(k); err != nil {
		return nil, err
	}
	for _, s := range l.symbols {
		if k.entry == 0 && (s.Name == "_start" || s.Name == "start") {
			if k.entry, err = l.address(s); err != nil {
				return nil, err
			}
		}
		k.nx = k.nx || s.Name == setsAttributes
	}
	if k.entry < headerSize || k.entry >= headerSize+uint64(k.code) {
		return nil, errors.New("has no symbol _start in its code")
	}
	table := l.got
	for _, s := range l.Sections {
		if s.Type != elf.SHT_RELA || int(s.Info) >= len(l.at) || l.at[s.Info] == 0 {
			continue
		}
		if err := l.relocate(s); err != nil {
			return nil, fmt.Errorf("section %s: %w", s.Name, err)
		}
	}
	for ; table < l.got; table += 8 {
		l.fixups.add(table)
	}
	k.image, k.fixups = l.image, l.fixups.finish()
	return k, nil
}

// What is kept of an object file, in this order.
func isText(s *elf.Section) bool {
	return s.Flags&elf.SHF_ALLOC != 0 && s.Flags&elf.SHF_EXECINSTR != 0 && s.Type != elf.SHT_NOBITS
}

func isData(s *elf.Section) bool {
	return s.Flags&elf.SHF_ALLOC != 0 && s.Flags&elf.SHF_EXECINSTR == 0 && s.Type != elf.SHT_NOBITS
}

func isZeros(s *elf.Section) bool { return s.Flags&elf.SHF_ALLOC != 0 && s.Type == elf.SHT_NOBITS }

// layOut places sections and copies their content.
func (l *linker) layOut(k *efiKernel) error {
	end := uint64(headerSize)
	place := func(kept func(*elf.Section) bool) error {
		for i, s := range l.Sections {
			if !kept(s) {
				continue
			}
			align := max(s.Addralign, 1)
			if align&(align-1) != 0 || align > page {
				return fmt.Errorf("section %s: alignment of %d bytes", s.Name, s.Addralign)
			}
			end = (end + align - 1) &^ (align - 1)
			if s.Size > maxFile || end+s.Size > headerSize+maxFile {
				return fmt.Errorf("section %s: %d bytes at %#x are too many, the kernel has at most %d", s.Name, s.Size, end, maxFile)
			}
			l.at[i] = end
			end += s.Size
		}
		return nil
	}
	pages := func() { end = (end + page - 1) &^ (page - 1) }
	if err := place(isText); err != nil {
		return err
	}
	pages()
	k.code = int(end - headerSize)
	for _, kept := range []func(*elf.Section) bool{isData, isZeros} {
		if err := place(kept); err != nil {
			return err
		}
	}
	pages()
	l.got = end
	entries, err := l.countGOT()
	if err != nil {
		return err
	}
	end += 8 * entries
	pages()

	l.image = make([]byte, end-headerSize)
	for i, s := range l.Sections {
		if l.at[i] == 0 || s.Type == elf.SHT_NOBITS {
			continue
		}
		content, err := s.Data()
		if err != nil {
			return fmt.Errorf("section %s: %w", s.Name, err)
		}
		copy(l.image[l.at[i]-headerSize:], content)
	}
	return nil
}

// address is where a symbol is once everything is placed.
func (l *linker) address(s elf.Symbol) (uint64, error) {
	i := int(s.Section)
	if i >= len(l.at) || l.at[i] == 0 {
		return 0, fmt.Errorf("symbol %q is not defined in what is kept", s.Name)
	}
	return l.at[i] + s.Value, nil
}

// relocation is an entry of a SHT_RELA section.
type relocation struct {
	offset uint64 // in the section
	kind   uint32
	symbol uint32 // number
	addend uint64 // signed
}

func relocations(s *elf.Section) ([]relocation, error) {
	const size = 24
	if s.Entsize != size || s.Size%size != 0 || s.Size > maxFile {
		return nil, fmt.Errorf("%d bytes of relocations with %d bytes each, not %d", s.Size, s.Entsize, size)
	}
	b, err := s.Data()
	if err != nil {
		return nil, err
	}
	all := make([]relocation, 0, len(b)/size)
	for ; len(b) >= size; b = b[size:] {
		all = append(all, relocation{
			binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:]), binary.LittleEndian.Uint64(b[16:]),
		})
	}
	return all, nil
}
