package kmod

import (
	"bytes"
	"debug/elf"
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
