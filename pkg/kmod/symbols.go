package kmod

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// crcPrefix begins the name of a symbol that tells the CRC of an export.
const crcPrefix = "__crc_"

// symbol is an entry of the symbol table: 24 bytes.
type symbol struct {
	name    string // 4 bytes: its place in .strtab
	bind    elf.SymBind
	section elf.SectionIndex // 2 bytes at 6
	value   uint64           // 8 bytes at 8
}

// symbols returns the symbols that matter: undefined ones and CRCs of exports.
func (o object) symbols() ([]symbol, error) {
	table, err := o.section(".symtab")
	if err != nil {
		return nil, err
	}
	strtab, err := o.section(".strtab")
	if err != nil {
		return nil, err
	}
	if table == nil || strtab == nil {
		return nil, errors.New("the module is stripped of its symbols, so that the kernel cannot link it")
	}
	if len(table)%elf.Sym64Size != 0 {
		return nil, fmt.Errorf("it has %d bytes, which is no multiple of %d", len(table), elf.Sym64Size)
	}
	var found []symbol
	for i := 1; i < len(table)/elf.Sym64Size; i++ { // the first is void
		entry := table[i*elf.Sym64Size:]
		at := binary.LittleEndian.Uint32(entry)
		if uint64(at) >= uint64(len(strtab)) {
			return nil, fmt.Errorf("symbol %d: its name at %d is beyond .strtab's %d bytes", i, at, len(strtab))
		}
		s := symbol{
			bind:    elf.ST_BIND(entry[4]),
			section: elf.SectionIndex(binary.LittleEndian.Uint16(entry[6:])),
			value:   binary.LittleEndian.Uint64(entry[8:]),
		}
		name := strtab[at:]
		if name[0] == 0 || s.section != elf.SHN_UNDEF && !bytes.HasPrefix(name, []byte(crcPrefix)) {
			continue
		}
		if s.name, err = o.name(name, maxName); err != nil {
			return nil, fmt.Errorf("symbol %d: %w", i, err)
		}
		if found = append(found, s); len(found) > maxSymbols {
			return nil, fmt.Errorf("it has more than %d imports and exports, the limit", maxSymbols)
		}
	}
	return found, nil
}

// name returns the characters before the first NUL, 1 to limit of them.
func (o object) name(b []byte, limit int) (string, error) {
	end := bytes.IndexByte(b[:min(len(b), limit+1)], 0)
	if end <= 0 {
		return "", fmt.Errorf("a name is empty, has no end or more than %d bytes", limit)
	}
	for _, c := range b[:end] {
		if c <= ' ' || c >= 0x7f {
			return "", fmt.Errorf("name %q has byte %#02x, and only printable ASCII can be indexed", b[:end], c)
		}
	}
	return o.intern(b[:end]), nil
}

// exports are the symbols that have a CRC; without any (a kernel without modversions), all strings of __ksymtab_strings.
func (o object) exports(symbols []symbol) ([]Symbol, error) {
	var found []Symbol
	for _, s := range symbols {
		name, ok := strings.CutPrefix(s.name, crcPrefix)
		if !ok {
			continue
		}
		crc, err := o.crc(s)
		if err != nil {
			return nil, fmt.Errorf("symbol %q: %w", s.name, err)
		}
		found = append(found, Symbol{Name: name, CRC: crc, HasCRC: true})
	}
	if found != nil {
		return found, nil
	}
	names, err := o.section("__ksymtab_strings")
	if err != nil {
		return nil, err
	}
	for len(names) > 0 {
		if names[0] == 0 {
			names = names[1:]
			continue
		}
		name, err := o.name(names, maxName)
		if err != nil {
			return nil, fmt.Errorf("__ksymtab_strings: %w", err)
		}
		names = names[len(name)+1:]
		if found = append(found, Symbol{Name: name}); len(found) > maxSymbols {
			return nil, fmt.Errorf("__ksymtab_strings has more than %d names, the limit", maxSymbols)
		}
	}
	return found, nil
}

// crc returns the CRC of an export: the symbol's value is the CRC itself, or its place in a section (newer kernels).
func (o object) crc(s symbol) (uint32, error) {
	if s.name == crcPrefix {
		return 0, errors.New("it names no export")
	}
	if s.section == elf.SHN_ABS || s.section == elf.SHN_UNDEF {
		if s.value > math.MaxUint32 {
			return 0, fmt.Errorf("the CRC %#x has more than 32 bits", s.value)
		}
		return uint32(s.value), nil
	}
	data, err := o.bytes(int(s.section))
	if err != nil {
		return 0, err
	}
	if n := uint64(len(data)); n < 4 || s.value > n-4 {
		return 0, fmt.Errorf("the CRC at %d is beyond the section's %d bytes", s.value, n)
	}
	return binary.LittleEndian.Uint32(data[s.value:]), nil
}

// imports are the undefined symbols with their CRCs, then what only the version table has.
func (o object) imports(symbols []symbol) ([]Symbol, error) {
	versions, err := o.versions()
	if err != nil {
		return nil, err
	}
	place := make(map[string]int, len(versions))
	for i, v := range versions {
		if _, twice := place[v.Name]; !twice { // the first of a name counts
			place[v.Name] = i
		}
	}
	var found []Symbol
	used := make([]bool, len(versions))
	for _, s := range symbols {
		if s.section != elf.SHN_UNDEF {
			continue
		}
		i := Symbol{Name: s.name, Weak: s.bind == elf.STB_WEAK}
		if at, ok := place[s.name]; ok {
			i.CRC, i.HasCRC, used[at] = versions[at].CRC, true, true
		}
		found = append(found, i)
	}
	for i, v := range versions {
		if !used[i] {
			found = append(found, v)
		}
	}
	return found, nil
}

// versionSize is the size of an entry of __versions: 8 bytes of CRC, the name, at least one NUL.
const versionSize = 64

func (o object) versions() ([]Symbol, error) {
	data, err := o.section("__versions")
	if err != nil {
		return nil, err
	}
	if len(data)%versionSize != 0 || len(data)/versionSize > maxSymbols {
		return nil, fmt.Errorf("__versions has %d bytes: up to %d entries of %d bytes are possible", len(data), maxSymbols, versionSize)
	}
	versions := make([]Symbol, len(data)/versionSize)
	for i := range versions {
		entry := data[i*versionSize:][:versionSize]
		crc := binary.LittleEndian.Uint64(entry)
		name, err := o.name(entry[8:], versionSize-8-1)
		if err != nil {
			return nil, fmt.Errorf("__versions entry %d: %w", i, err)
		}
		if crc > math.MaxUint32 {
			return nil, fmt.Errorf("__versions entry %d (%s): the CRC %#x has more than 32 bits", i, name, crc)
		}
		versions[i] = Symbol{Name: name, CRC: uint32(crc), HasCRC: true}
	}
	return versions, nil
}
