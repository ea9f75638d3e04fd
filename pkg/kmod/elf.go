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

// Limits of what one module says; those of the largest modules in comments.
const (
	maxModinfo = 4 << 20 // bytes of .modinfo; 100 KiB
	maxSymbols = 1 << 16 // exports, and imports; 3000
	maxName    = 512     // bytes of a symbol's name, the kernel's KSYM_NAME_LEN
)

// machines are those that Talos runs on, by the names of Go.
var machines = map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}

// object is a module file, unpacked.
type object struct {
	image  []byte
	file   *elf.File
	intern func([]byte) string
}

// parse reads an unpacked module. Strings of its result come from intern and share no memory with the image.
func parse(image []byte, intern func([]byte) string) (Module, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return Module{}, fmt.Errorf("parse elf: %w", err)
	}
	arch, known := machines[f.Machine]
	switch {
	case f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB:
		return Module{}, fmt.Errorf("parse elf header: class %v, data %v: only 64-bit little endian modules are supported", f.Class, f.Data)
	case !known:
		return Module{}, fmt.Errorf("parse elf header: machine %v: only x86-64 and AArch64 are supported", f.Machine)
	case f.Type != elf.ET_REL:
		return Module{}, fmt.Errorf("parse elf header: type %v: a kernel module is relocatable (ET_REL)", f.Type)
	}
	o := object{image, f, intern}
	m := Module{Arch: arch}
	if err := o.modinfo(&m); err != nil {
		return Module{}, fmt.Errorf("parse .modinfo: %w", err)
	}
	symbols, err := o.symbols()
	if err != nil {
		return Module{}, fmt.Errorf("parse .symtab: %w", err)
	}
	if m.Exports, err = o.exports(symbols); err != nil {
		return Module{}, fmt.Errorf("parse exports: %w", err)
	}
	if m.Imports, err = o.imports(symbols); err != nil {
		return Module{}, fmt.Errorf("parse imports: %w", err)
	}
	if m.Signature, err = signature(image); err != nil {
		return Module{}, fmt.Errorf("parse signature: %w", err)
	}
	return m, nil
}

// section returns the bytes of the first section with a name; nil where there is none.
func (o object) section(name string) ([]byte, error) {
	s := o.file.Section(name)
	if s == nil {
		return nil, nil
	}
	return o.bytes(s)
}

func (o object) bytes(s *elf.Section) ([]byte, error) {
	size := uint64(len(o.image))
	switch {
	case s.Type == elf.SHT_NOBITS:
		return nil, fmt.Errorf("section %s has no bytes", s.Name)
	case s.Flags&elf.SHF_COMPRESSED != 0:
		return nil, fmt.Errorf("section %s is compressed, which the kernel does not read", s.Name)
	case s.Offset > size || s.FileSize > size-s.Offset:
		return nil, fmt.Errorf("section %s: %d bytes at %d are beyond the file's end at %d", s.Name, s.FileSize, s.Offset, size)
	}
	return o.image[s.Offset:][:s.FileSize], nil
}

func (o object) modinfo(m *Module) error {
	data, err := o.section(".modinfo")
	if err != nil {
		return err
	}
	if len(data) > maxModinfo {
		return fmt.Errorf("it has %d bytes, and the limit is %d", len(data), maxModinfo)
	}
	for line := range bytes.SplitSeq(data, []byte{0}) {
		key, value, _ := strings.Cut(string(line), "=")
		var list *[]string
		switch key {
		case "alias":
			list = &m.Aliases
		case "softdep":
			list = &m.Softdeps
		case "weakdep":
			list = &m.Weakdeps
		case "firmware":
			list = &m.Firmware
		case "vermagic":
			m.Vermagic = value
			continue
		case "depends":
			if value != "" {
				m.Depends = strings.Split(value, ",")
			}
			continue
		default:
			continue
		}
		for _, c := range []byte(value) { // a line of an index has to hold it
			if c < ' ' || c >= 0x7f {
				return fmt.Errorf("%s %q: only printable ASCII can be indexed", key, value)
			}
		}
		*list = append(*list, value)
	}
	return nil
}

// symbol is an entry of the symbol table: 24 bytes.
type symbol struct {
	name    []byte // offset in .strtab, 4 bytes
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
	for i := elf.Sym64Size; i < len(table); i += elf.Sym64Size { // the first is void
		entry := table[i:][:elf.Sym64Size]
		at := binary.LittleEndian.Uint32(entry)
		if uint64(at) >= uint64(len(strtab)) {
			return nil, fmt.Errorf("symbol %d: its name at %d is beyond .strtab's %d bytes", i/elf.Sym64Size, at, len(strtab))
		}
		s := symbol{
			bind:    elf.ST_BIND(entry[4]),
			section: elf.SectionIndex(binary.LittleEndian.Uint16(entry[6:])),
			value:   binary.LittleEndian.Uint64(entry[8:]),
		}
		name := strtab[at:]
		if s.section != elf.SHN_UNDEF && !bytes.HasPrefix(name, crcPrefix) || name[0] == 0 {
			continue
		}
		if s.name, err = cstring(name, maxName+len(crcPrefix)); err != nil {
			return nil, fmt.Errorf("symbol %d: %w", i/elf.Sym64Size, err)
		}
		if found = append(found, s); len(found) > 2*maxSymbols {
			return nil, fmt.Errorf("it has more than %d exports and imports, the limit", 2*maxSymbols)
		}
	}
	return found, nil
}

// cstring returns the bytes before the first NUL.
func cstring(b []byte, limit int) ([]byte, error) {
	end := bytes.IndexByte(b[:min(len(b), limit+1)], 0)
	if end < 0 {
		return nil, fmt.Errorf("a name has more than %d bytes or no end", limit)
	}
	return b[:end], nil
}

var crcPrefix = []byte("__crc_")

// exports are the symbols that have a CRC; without any (a kernel without modversions), all strings of __ksymtab_strings.
func (o object) exports(symbols []symbol) ([]Symbol, error) {
	var found []Symbol
	for _, s := range symbols {
		name, ok := bytes.CutPrefix(s.name, crcPrefix)
		if !ok {
			continue
		}
		crc, err := o.crc(s)
		if err != nil {
			return nil, fmt.Errorf("symbol %q: %w", s.name, err)
		}
		if err := checkExport(name); err != nil {
			return nil, err
		}
		found = append(found, Symbol{Name: o.intern(name), CRC: crc, HasCRC: true})
	}
	if found != nil {
		return found, nil
	}
	names, err := o.section("__ksymtab_strings")
	if err != nil {
		return nil, err
	}
	for name := range bytes.SplitSeq(names, []byte{0}) {
		if len(name) == 0 {
			continue
		}
		if err := checkExport(name); err != nil {
			return nil, err
		}
		if found = append(found, Symbol{Name: o.intern(name)}); len(found) > maxSymbols {
			return nil, fmt.Errorf("there are more than %d, the limit", maxSymbols)
		}
	}
	return found, nil
}

func checkExport(name []byte) error {
	if len(name) == 0 || len(name) > maxName {
		return fmt.Errorf("a name has %d bytes, and 1 to %d are possible", len(name), maxName)
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return fmt.Errorf("name %q has byte %#02x, and only printable ASCII can be indexed", name, c)
		}
	}
	return nil
}

// crc returns the CRC of an export. The symbol's value is the CRC itself, or its place in a section (newer kernels).
func (o object) crc(s symbol) (uint32, error) {
	if s.section == elf.SHN_ABS || s.section == elf.SHN_UNDEF {
		if s.value > math.MaxUint32 {
			return 0, fmt.Errorf("the CRC %#x has more than 32 bits", s.value)
		}
		return uint32(s.value), nil
	}
	if int(s.section) >= len(o.file.Sections) {
		return 0, fmt.Errorf("section %d of %d does not exist", s.section, len(o.file.Sections))
	}
	data, err := o.bytes(o.file.Sections[s.section])
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
	place := make(map[string]int, len(versions)) // the first of a name counts
	for i, v := range versions {
		if _, twice := place[v.Name]; !twice {
			place[v.Name] = i
		}
	}
	var found []Symbol
	used := make([]bool, len(versions))
	for _, s := range symbols {
		if s.section != elf.SHN_UNDEF {
			continue
		}
		if len(s.name) > maxName {
			return nil, fmt.Errorf("name %q has %d bytes, and the limit is %d", s.name, len(s.name), maxName)
		}
		i := Symbol{Name: o.intern(s.name), Weak: s.bind == elf.STB_WEAK}
		if at, ok := place[i.Name]; ok {
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
		return nil, fmt.Errorf("__versions has %d bytes: at most %d entries of %d bytes are possible", len(data), maxSymbols, versionSize)
	}
	versions := make([]Symbol, 0, len(data)/versionSize)
	for ; len(data) > 0; data = data[versionSize:] {
		crc := binary.LittleEndian.Uint64(data)
		name, err := cstring(data[8:versionSize], versionSize-8-1)
		if err != nil {
			return nil, fmt.Errorf("__versions entry %d: %w", len(versions), err)
		}
		if crc > math.MaxUint32 {
			return nil, fmt.Errorf("__versions entry %d (%s): the CRC %#x has more than 32 bits", len(versions), name, crc)
		}
		versions = append(versions, Symbol{Name: o.intern(name), CRC: uint32(crc), HasCRC: true})
	}
	return versions, nil
}
