package elftest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// Symbol is a symbol and the CRC of its type, 0 for none.
type Symbol struct {
	Name string
	CRC  uint32
}

// section of an object.
type section struct {
	name    string
	kind    elf.SectionType
	data    []byte
	address uint64
}

// assemble makes an ELF file of sections, 64-bit and little endian.
func assemble(kind elf.Type, machine elf.Machine, sections []section) []byte {
	const header = 64
	sections = append([]section{{}}, append(sections, section{name: ".shstrtab", kind: elf.SHT_STRTAB})...)
	var names []byte
	for _, s := range sections {
		names = append(append(names, s.name...), 0)
	}
	sections[len(sections)-1].data = names
	var body, table bytes.Buffer
	at := uint32(0)
	for i, s := range sections {
		h := elf.Section64{Name: at, Type: uint32(s.kind), Addr: s.address, Off: uint64(header + body.Len()), Size: uint64(len(s.data)), Addralign: 1}
		if i == 0 {
			h = elf.Section64{}
		}
		put(&table, h)
		body.Write(s.data)
		at += uint32(len(s.name)) + 1
	}
	var out bytes.Buffer
	put(&out, elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(kind), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Shoff: uint64(header + body.Len()), Ehsize: header, Shentsize: 64, Shnum: uint16(len(sections)), Shstrndx: uint16(len(sections) - 1),
	})
	out.Write(body.Bytes())
	out.Write(table.Bytes())
	return out.Bytes()
}

// put encodes a struct of fixed size.
func put(w *bytes.Buffer, v any) {
	if err := binary.Write(w, binary.LittleEndian, v); err != nil {
		panic(err) // a mistake in this package
	}
}
