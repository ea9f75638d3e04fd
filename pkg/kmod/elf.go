package kmod

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Limits of what one module says; those of the largest modules in comments.
const (
	maxModinfo = 4 << 20 // bytes of .modinfo; 100 KiB
	maxSymbols = 1 << 16 // imports and exports together, or entries of a version table; 3000
	maxName    = 512     // bytes of a symbol's name, the kernel's KSYM_NAME_LEN
)

// machines are those that Talos runs on, by the names of Go.
var machines = map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}

// object is a module file or a kernel, unpacked. debug/elf gives the names and numbers; its File makes a string for each section's name, which a
// hostile file can turn into any amount of memory.
type object struct {
	image  []byte
	arch   string
	kind   elf.Type
	table  []byte // section headers
	names  []byte // of sections
	intern func([]byte) string
}

const sectionHeader = 64 // bytes

// parse reads an unpacked module. Strings of its result come from intern and share no memory with the image.
func parse(image []byte, intern func([]byte) string) (Module, error) {
	o, err := openObject(image, intern)
	if err == nil && o.kind != elf.ET_REL {
		err = fmt.Errorf("type %v: a kernel module is relocatable (ET_REL)", o.kind)
	}
	if err != nil {
		return Module{}, fmt.Errorf("parse elf header: %w", err)
	}
	m := Module{Arch: o.arch}
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

func openObject(image []byte, intern func([]byte) string) (object, error) {
	var h elf.Header64
	if !bytes.HasPrefix(image, []byte(elf.ELFMAG)) {
		return object{}, errors.New("the file is no ELF object")
	}
	if _, err := binary.Decode(image, binary.LittleEndian, &h); err != nil {
		return object{}, fmt.Errorf("the file ends after %d bytes", len(image))
	}
	class, data := elf.Class(h.Ident[elf.EI_CLASS]), elf.Data(h.Ident[elf.EI_DATA])
	arch, known := machines[elf.Machine(h.Machine)]
	switch {
	case class != elf.ELFCLASS64 || data != elf.ELFDATA2LSB:
		return object{}, fmt.Errorf("class %v, data %v: only 64-bit little endian modules are supported", class, data)
	case !known:
		return object{}, fmt.Errorf("machine %v: only x86-64 and AArch64 are supported", elf.Machine(h.Machine))
	case h.Shentsize != sectionHeader || h.Shnum == 0: // where 0 stands for more than 65279 sections
		return object{}, fmt.Errorf("%d section headers of %d bytes: 1 to 65279 of %d bytes are supported", h.Shnum, h.Shentsize, sectionHeader)
	}
	o := object{image: image, arch: arch, kind: elf.Type(h.Type), intern: intern}
	var err error
	if o.table, err = o.at(h.Shoff, uint64(h.Shnum)*sectionHeader); err != nil {
		return object{}, fmt.Errorf("section headers: %w", err)
	}
	if o.names, err = o.bytes(int(h.Shstrndx)); err != nil {
		return object{}, fmt.Errorf("section names: %w", err)
	}
	return o, nil
}

// at returns a part of the file.
func (o object) at(off, n uint64) ([]byte, error) {
	if size := uint64(len(o.image)); off > size || n > size-off {
		return nil, fmt.Errorf("%d bytes at %d are beyond the file's end at %d", n, off, size)
	}
	return o.image[off:][:n], nil
}

// section returns the bytes of the first section with a name; nil where there is none.
func (o object) section(name string) ([]byte, error) {
	if i := o.find(name); i > 0 {
		return o.bytes(i)
	}
	return nil, nil
}

// find returns the number of the first section with a name; 0 where there is none.
func (o object) find(name string) int {
	for i := 1; i < len(o.table)/sectionHeader; i++ {
		at := uint64(binary.LittleEndian.Uint32(o.table[i*sectionHeader:])) // sh_name
		if at >= uint64(len(o.names)) {
			continue
		}
		if rest, ok := bytes.CutPrefix(o.names[at:], []byte(name)); ok && len(rest) > 0 && rest[0] == 0 {
			return i
		}
	}
	return 0
}

// bytes returns the content of the section with a number.
func (o object) bytes(i int) ([]byte, error) {
	if i >= len(o.table)/sectionHeader {
		return nil, fmt.Errorf("section %d is not among the %d", i, len(o.table)/sectionHeader)
	}
	var s elf.Section64
	if _, err := binary.Decode(o.table[i*sectionHeader:], binary.LittleEndian, &s); err != nil {
		return nil, err
	}
	if typ := elf.SectionType(s.Type); typ == elf.SHT_NULL || typ == elf.SHT_NOBITS || elf.SectionFlag(s.Flags)&elf.SHF_COMPRESSED != 0 {
		return nil, fmt.Errorf("section %d: type %v, flags %v: it has no content that the kernel reads", i, typ, elf.SectionFlag(s.Flags))
	}
	content, err := o.at(s.Off, s.Size)
	if err != nil {
		return nil, fmt.Errorf("section %d: %w", i, err)
	}
	return content, nil
}

func (o object) modinfo(m *Module) error {
	data, err := o.section(".modinfo")
	if err != nil {
		return err
	}
	if len(data) > maxModinfo {
		return fmt.Errorf("it has %d bytes, and the limit is %d", len(data), maxModinfo)
	}
	keep := map[string]func(value string){
		"alias":    func(v string) { m.Aliases = append(m.Aliases, v) },
		"softdep":  func(v string) { m.Softdeps = append(m.Softdeps, v) },
		"weakdep":  func(v string) { m.Weakdeps = append(m.Weakdeps, v) },
		"firmware": func(v string) { m.Firmware = append(m.Firmware, v) },
		"vermagic": func(v string) { m.Vermagic = v },
		"depends": func(v string) {
			if v != "" {
				m.Depends = strings.Split(v, ",")
			}
		},
	}
	for line := range bytes.SplitSeq(data, []byte{0}) {
		key, value, _ := strings.Cut(string(line), "=")
		if keep[key] == nil {
			continue
		}
		if i := strings.IndexFunc(value, func(r rune) bool { return r < ' ' || r >= 0x7f }); i >= 0 || len(value) > maxKey {
			return fmt.Errorf("%s %.100q (%d bytes): at most %d bytes of printable ASCII can be indexed", key, value, len(value), maxKey)
		}
		keep[key](value)
	}
	return nil
}
