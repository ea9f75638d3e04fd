package grub_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"

	"github.com/talosmith/talosmith/pkg/grub"
)

// object is an object file of 64 bits in the making, as kernel.img of EFI platforms are.
type object struct {
	machine  elf.Machine
	sections []objectSection
	symbols  []objectSymbol
}

type objectSection struct {
	name    string
	typ     elf.SectionType
	flags   elf.SectionFlag
	align   uint64
	content string
	size    uint64 // of one without content
	info    uint32
	entsize uint64
}

type objectSymbol struct {
	name    string
	section uint16
	value   uint64
}

type rela struct {
	offset uint64
	symbol uint32
	kind   uint32
	addend int64
}

const (
	text, data = 1, 3 // sections of kernelObject
	bss        = 4
)

// kernelObject has code and data with relocations, and zeros. Its symbols are 1: _start, 2: in .data, 3: in .bss.
func kernelObject(machine elf.Machine, inText, inData []rela) *object {
	zeros := strings.Repeat("\x00", 0x20)
	return &object{
		machine: machine,
		sections: []objectSection{
			{},
			{name: ".text", typ: elf.SHT_PROGBITS, flags: elf.SHF_ALLOC | elf.SHF_EXECINSTR, align: 4, content: strings.Repeat("\x11\x22\x33\x94", 0x900)},
			relocations(".rela.text", text, inText),
			{name: ".data", typ: elf.SHT_PROGBITS, flags: elf.SHF_ALLOC | elf.SHF_WRITE, align: 32, content: zeros + strings.Repeat("data\x00\x00\x00\x00", 0x500) + zeros},
			{name: ".bss", typ: elf.SHT_NOBITS, flags: elf.SHF_ALLOC | elf.SHF_WRITE, align: 16, size: 0x1234},
			relocations(".rela.data", data, inData),
			{name: ".comment", typ: elf.SHT_PROGBITS, align: 1, content: "not kept"},
			relocations(".rela.comment", 6, []rela{{0, 1, 99, 0}}),
		},
		symbols: []objectSymbol{{}, {"_start", text, 0x20}, {"variable", data, 0x108}, {"zeros", bss, 0x10}, {"start", text, 0x40}},
	}
}

func relocations(name string, of uint32, all []rela) objectSection {
	var b []byte
	for _, r := range all {
		b = binary.LittleEndian.AppendUint64(b, r.offset)
		b = binary.LittleEndian.AppendUint32(b, r.kind)
		b = binary.LittleEndian.AppendUint32(b, r.symbol)
		b = binary.LittleEndian.AppendUint64(b, uint64(r.addend))
	}
	return objectSection{name: name, typ: elf.SHT_RELA, flags: elf.SHF_INFO_LINK, align: 8, content: string(b), info: of, entsize: 24}
}

// String is the file.
func (o *object) String() string {
	var symbols []byte
	names := "\x00"
	for _, s := range o.symbols {
		name := uint32(len(names))
		if s.name == "" {
			name = 0
		} else {
			names += s.name + "\x00"
		}
		symbols, _ = binary.Append(symbols, binary.LittleEndian, elf.Sym64{Name: name, Info: byte(elf.STB_GLOBAL) << 4, Shndx: s.section, Value: s.value})
	}
	n := uint32(len(o.sections))
	all := append(o.sections[:n:n],
		objectSection{name: ".symtab", typ: elf.SHT_SYMTAB, align: 8, content: string(symbols), info: 1, entsize: 24},
		objectSection{name: ".strtab", typ: elf.SHT_STRTAB, align: 1, content: names})
	sectionNames := "\x00"
	headers := make([]elf.Section64, 0, len(all)+1)
	content := make([]byte, 64)
	for i := 0; i <= len(all); i++ {
		s := objectSection{name: ".shstrtab", typ: elf.SHT_STRTAB, align: 1}
		if i < len(all) {
			s = all[i]
		}
		h := elf.Section64{Name: uint32(len(sectionNames)), Type: uint32(s.typ), Flags: uint64(s.flags), Addralign: s.align, Info: s.info, Entsize: s.entsize}
		sectionNames += s.name + "\x00"
		if i == len(all) {
			s.content = sectionNames
		}
		switch s.typ {
		case elf.SHT_RELA:
			h.Link = n
		case elf.SHT_SYMTAB:
			h.Link = n + 1
		}
		content = append(content, make([]byte, -len(content)&31)...)
		h.Off, h.Size = uint64(len(content)), uint64(len(s.content))+s.size
		content = append(content, s.content...)
		headers = append(headers, h)
	}
	var b bytes.Buffer
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}
	head, _ := binary.Append(nil, binary.LittleEndian, elf.Header64{Ident: ident, Type: uint16(elf.ET_REL), Machine: uint16(o.machine), Version: 1,
		Shoff: uint64(len(content)), Ehsize: 64, Shentsize: 64, Shnum: uint16(len(headers)), Shstrndx: uint16(n) + 2})
	copy(content, head)
	b.Write(content)
	for _, h := range headers {
		tail, _ := binary.Append(nil, binary.LittleEndian, h)
		b.Write(tail)
	}
	return b.String()
}

// efiStandIn are files that have the form of GRUB's for UEFI.
func efiStandIn(kernel *object) map[string]string {
	module := func(name string) string { return elf.ELFMAG + "\x02\x01\x01" + strings.Repeat("\x00", 60) + name }
	return map[string]string{"kernel.img": kernel.String(), "moddep.lst": "a: b\nb:\n", "a.mod": module("a"), "b.mod": module("module b")}
}

// simpleEFI are options for these files.
func simpleEFI(f grub.Format) grub.Options {
	return grub.Options{Format: f, Prefix: "/boot/grub", Modules: []string{"a"}, Config: []byte("echo\n")}
}

// everyRelocation are all that GRUB knows for a platform.
func everyRelocation(f grub.Format) *object {
	if f == grub.EFIAMD64 {
		return kernelObject(elf.EM_X86_64,
			[]rela{
				{0, 1, uint32(elf.R_X86_64_NONE), 0}, {0x40, 2, uint32(elf.R_X86_64_64), 8}, {0x48, 3, uint32(elf.R_X86_64_PC32), -4},
				{0x4c, 1, uint32(elf.R_X86_64_PLT32), -4}, {0x50, 2, uint32(elf.R_X86_64_PC64), 0}, {0x23f8, 3, uint32(elf.R_X86_64_64), 0},
				{0x1000, 3, uint32(elf.R_X86_64_64), 0}, {0x1008, 3, uint32(elf.R_X86_64_64), 0},
			},
			[]rela{{0, 1, uint32(elf.R_X86_64_64), 0}, {8, 0, uint32(elf.R_X86_64_64), 0x1000}, {0x2000, 3, uint32(elf.R_X86_64_64), -8}})
	}
	return kernelObject(elf.EM_AARCH64,
		[]rela{
			{0x40, 2, uint32(elf.R_AARCH64_ABS64), 8}, {0x48, 3, uint32(elf.R_AARCH64_PREL32), -4}, {0x4c, 1, uint32(elf.R_AARCH64_CALL26), 16},
			{0x50, 1, uint32(elf.R_AARCH64_JUMP26), -16}, {0x54, 2, uint32(elf.R_AARCH64_ADR_PREL_PG_HI21), 0},
			{0x58, 2, uint32(elf.R_AARCH64_ADD_ABS_LO12_NC), 3}, {0x5c, 2, uint32(elf.R_AARCH64_LDST64_ABS_LO12_NC), 0},
			{0x60, 2, uint32(elf.R_AARCH64_ADR_GOT_PAGE), 0}, {0x64, 3, uint32(elf.R_AARCH64_ADR_GOT_PAGE), 0},
			{0x6c, 3, uint32(elf.R_AARCH64_LD64_GOT_LO12_NC), 0}, {0x68, 2, uint32(elf.R_AARCH64_LD64_GOT_LO12_NC), 0},
		},
		[]rela{{0, 1, uint32(elf.R_AARCH64_ABS64), 0}, {8, 1, uint32(elf.R_AARCH64_ABS64), 0}, {0x1008, 3, uint32(elf.R_AARCH64_ABS64), 0}})
}
