package grub

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// relocate changes the section that a SHT_RELA section is for, one relocation after another.
func (l *linker) relocate(s *elf.Section) error {
	to, base := l.Sections[s.Info], l.at[s.Info]
	if to.Type == elf.SHT_NOBITS {
		return fmt.Errorf("relocates %s, which has no content", to.Name)
	}
	all, err := relocations(s)
	if err != nil {
		return err
	}
	content := l.image[base-headerSize:][:to.Size]
	for i, r := range all {
		if r.offset > to.Size {
			return fmt.Errorf("relocation %d: offset %#x is not within %d bytes", i, r.offset, to.Size)
		}
		value := r.addend
		if int64(r.symbol) > int64(len(l.symbols)) {
			return fmt.Errorf("relocation %d: symbol %d does not exist", i, r.symbol)
		}
		if r.symbol > 0 {
			address, err := l.address(l.symbols[r.symbol-1])
			if err != nil {
				return fmt.Errorf("relocation %d: %w", i, err)
			}
			value += address
		}
		field := field{base + r.offset, content[r.offset:]}
		switch {
		case l.Machine == elf.EM_X86_64:
			err = l.amd64(elf.R_X86_64(r.kind), field, value)
		case elf.R_AARCH64(r.kind) == elf.R_AARCH64_ADR_GOT_PAGE:
			err = l.viaGOT(field, value, all[i:], content)
		default:
			err = l.arm64(elf.R_AARCH64(r.kind), field, value)
		}
		if err != nil {
			return fmt.Errorf("relocation %d: %w", i, err)
		}
	}
	return nil
}

// field is what a relocation changes.
type field struct {
	address uint64
	bytes   []byte // to the section's end
}

var (
	errCut = errors.New("reaches over the section's end")
	errFar = errors.New("does not reach that far")
)

// add adds to a number of 4 or 8 bytes, which a signed number has to fit in.
func (f field) add(size int, value uint64) error {
	switch {
	case len(f.bytes) < size:
		return errCut
	case size == 8:
		binary.LittleEndian.PutUint64(f.bytes, binary.LittleEndian.Uint64(f.bytes)+value)
		return nil
	}
	sum := int64(int32(binary.LittleEndian.Uint32(f.bytes))) + int64(value)
	if sum < math.MinInt32 || sum > math.MaxInt32 {
		return errFar
	}
	binary.LittleEndian.PutUint32(f.bytes, uint32(sum))
	return nil
}

// insert writes the bits of a mask of an instruction.
func (f field) insert(mask, bits uint32) error {
	if len(f.bytes) < 4 {
		return errCut
	}
	binary.LittleEndian.PutUint32(f.bytes, binary.LittleEndian.Uint32(f.bytes)&^mask|bits&mask)
	return nil
}

func (l *linker) amd64(kind elf.R_X86_64, f field, value uint64) error {
	switch kind {
	case elf.R_X86_64_NONE:
		return nil
	case elf.R_X86_64_64:
		l.fixups.add(f.address)
		return f.add(8, value)
	case elf.R_X86_64_PC64:
		return f.add(8, value-f.address)
	case elf.R_X86_64_PC32, elf.R_X86_64_PLT32:
		return f.add(4, value-f.address)
	}
	return fmt.Errorf("%s is not possible in a program that is loaded anywhere", kind)
}

// Where instructions of arm64 have their immediate values.
const (
	maskBranch = 1<<26 - 1
	maskLow12  = 0xfff << 10
	maskLow9   = 0x1ff << 10
	maskADR    = 3<<29 | 0x7ffff<<5
)

func (l *linker) arm64(kind elf.R_AARCH64, f field, value uint64) error {
	switch kind {
	case elf.R_AARCH64_ABS64:
		l.fixups.add(f.address)
		return f.add(8, value)
	case elf.R_AARCH64_PREL32:
		return f.add(4, value-f.address)
	case elf.R_AARCH64_CALL26, elf.R_AARCH64_JUMP26:
		distance := int64(value - f.address)
		if distance < -1<<27 || distance >= 1<<27 {
			return errFar
		}
		return f.insert(maskBranch, uint32(distance>>2))
	case elf.R_AARCH64_ADR_PREL_PG_HI21:
		return f.insertPage(value)
	case elf.R_AARCH64_ADD_ABS_LO12_NC:
		return f.insert(maskLow12, uint32(value)<<10)
	case elf.R_AARCH64_LDST64_ABS_LO12_NC:
		return f.insertLow9(value)
	case elf.R_AARCH64_LD64_GOT_LO12_NC: // done with the page that it belongs to
		return nil
	}
	return fmt.Errorf("%s is not supported", kind)
}

// insertPage writes how many pages away a value is.
func (f field) insertPage(value uint64) error {
	pages := (int64(value&^(page-1)) - int64(f.address&^(page-1))) >> 12
	if pages < -1<<20 || pages >= 1<<20 {
		return errFar
	}
	return f.insert(maskADR, uint32(pages&3)<<29|uint32(pages>>2&0x7ffff)<<5)
}

// insertLow9 writes the lower 12 bits of the address of a word of 8 bytes.
func (f field) insertLow9(value uint64) error {
	if value%8 != 0 {
		return fmt.Errorf("%#x is no multiple of 8", value)
	}
	return f.insert(maskLow9, uint32(value&0xfff)>>3<<10)
}

// viaGOT makes an entry of the global offset table for the first of relocations, and lets its instruction find the page of it and
// the one behind it that belongs to it the place in the page.
func (l *linker) viaGOT(f field, value uint64, from []relocation, content []byte) error {
	entry := l.got
	l.got += 8
	binary.LittleEndian.PutUint64(l.image[entry-headerSize:], value)
	if err := f.insertPage(entry); err != nil {
		return err
	}
	for _, r := range from[1:] {
		if elf.R_AARCH64(r.kind) == elf.R_AARCH64_LD64_GOT_LO12_NC && r.symbol == from[0].symbol && r.addend == from[0].addend {
			if r.offset > uint64(len(content)) {
				return errCut
			}
			return field{bytes: content[r.offset:]}.insertLow9(entry)
		}
	}
	return fmt.Errorf("%s has no %s", elf.R_AARCH64_ADR_GOT_PAGE, elf.R_AARCH64_LD64_GOT_LO12_NC)
}

// countGOT counts the entries that the global offset table will have.
func (l *linker) countGOT() (n uint64, err error) {
	if l.Machine != elf.EM_AARCH64 {
		return 0, nil
	}
	for _, s := range l.Sections {
		if s.Type != elf.SHT_RELA || int(s.Info) >= len(l.at) || l.at[s.Info] == 0 {
			continue
		}
		all, err := relocations(s)
		if err != nil {
			return 0, fmt.Errorf("section %s: %w", s.Name, err)
		}
		for _, r := range all {
			if elf.R_AARCH64(r.kind) == elf.R_AARCH64_ADR_GOT_PAGE {
				n++
			}
		}
	}
	return n, nil
}

// fixups is the content of a .reloc section: blocks, each of one page: u32 its address, u32 bytes of the block, then for each place in
// it u16: type in the upper 4 bits (10: an address of 8 bytes; 0: none), offset in the others.
type fixups struct {
	b     []byte
	block int // where the last block begins
}

func (x *fixups) add(address uint64) {
	const dir64 = 10
	base := uint32(address &^ (page - 1))
	if len(x.b) == 0 || binary.LittleEndian.Uint32(x.b[x.block:]) != base {
		x.close(8)
		x.block = len(x.b)
		x.b = binary.LittleEndian.AppendUint32(x.b, base)
		x.b = binary.LittleEndian.AppendUint32(x.b, 0)
	}
	x.b = binary.LittleEndian.AppendUint16(x.b, dir64<<12|uint16(address&(page-1)))
}

// close fills the last block up to a multiple of align.
func (x *fixups) close(align int) {
	if len(x.b) == 0 {
		return
	}
	x.b = append(x.b, make([]byte, -len(x.b)&(align-1))...)
	binary.LittleEndian.PutUint32(x.b[x.block+4:], uint32(len(x.b)-x.block))
}

// finish returns all blocks, filled up to a page.
func (x *fixups) finish() []byte {
	x.close(page)
	return x.b
}
