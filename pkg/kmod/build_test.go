package kmod

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/talosmith/talosmith/pkg/tree"
)

// testModule is a kernel module to build: no more of it than depmod and this package read.
type testModule struct {
	modinfo  []string // key=value
	exports  []Symbol // with CRC: as __crc_ symbols, absolute; without: in __ksymtab_strings
	inTable  bool     // CRCs lie in a section, as newer kernels have it
	imports  []Symbol // undefined symbols; with CRC: in __versions, too
	versions []Symbol // in __versions alone
	machine  elf.Machine
	raw      map[string][]byte // sections as they are, replacing those made
}

type testSection struct {
	name    string
	kind    elf.SectionType
	data    []byte
	link    uint32
	address uint64
}

func (m testModule) build() []byte {
	var ksymtab, crcs, strtab, symtab, versions []byte
	strtab = append(strtab, 0)
	symbol := func(name string, bind elf.SymBind, section elf.SectionIndex, value uint64) {
		symtab = binary.LittleEndian.AppendUint32(symtab, uint32(len(strtab)))
		symtab = append(symtab, elf.ST_INFO(bind, elf.STT_NOTYPE), 0)
		symtab = binary.LittleEndian.AppendUint16(symtab, uint16(section))
		symtab = binary.LittleEndian.AppendUint64(symtab, value)
		symtab = binary.LittleEndian.AppendUint64(symtab, 0)
		strtab = append(append(strtab, name...), 0)
	}
	version := func(s Symbol) {
		entry := make([]byte, versionSize)
		binary.LittleEndian.PutUint64(entry, uint64(s.CRC))
		copy(entry[8:], s.Name)
		versions = append(versions, entry...)
	}
	symbol("", elf.STB_LOCAL, elf.SHN_UNDEF, 0)
	symbol("init_module", elf.STB_GLOBAL, 1, 0)
	for _, s := range m.exports {
		ksymtab = append(append(ksymtab, s.Name...), 0)
		switch {
		case s.HasCRC && m.inTable:
			symbol(crcPrefix+s.Name, elf.STB_LOCAL, 2, uint64(len(crcs)))
			crcs = binary.LittleEndian.AppendUint32(crcs, s.CRC)
		case s.HasCRC:
			symbol(crcPrefix+s.Name, elf.STB_GLOBAL, elf.SHN_ABS, uint64(s.CRC))
		}
	}
	for _, s := range m.imports {
		bind := elf.STB_GLOBAL
		if s.Weak {
			bind = elf.STB_WEAK
		}
		symbol(s.Name, bind, elf.SHN_UNDEF, 0)
		if s.HasCRC {
			version(s)
		}
	}
	for _, s := range m.versions {
		version(s)
	}
	sections := []testSection{
		{},
		{name: ".modinfo", kind: elf.SHT_PROGBITS, data: []byte(strings.Join(append(slices.Clone(m.modinfo), ""), "\x00"))},
		{name: "__kcrctab", kind: elf.SHT_PROGBITS, data: crcs},
		{name: "__ksymtab_strings", kind: elf.SHT_PROGBITS, data: ksymtab},
		{name: "__versions", kind: elf.SHT_PROGBITS, data: versions},
		{name: ".symtab", kind: elf.SHT_SYMTAB, data: symtab, link: 6},
		{name: ".strtab", kind: elf.SHT_STRTAB, data: strtab},
		{name: ".shstrtab", kind: elf.SHT_STRTAB},
	}
	for i, s := range sections {
		if raw, ok := m.raw[s.name]; ok {
			sections[i].data = raw
		}
	}
	if m.machine == 0 {
		m.machine = elf.EM_X86_64
	}
	return assemble(elf.ET_REL, m.machine, sections)
}

// assemble makes an ELF file of sections; the last is that of their names.
func assemble(kind elf.Type, machine elf.Machine, sections []testSection) []byte {
	var names []byte
	for _, s := range sections {
		names = append(append(names, s.name...), 0)
	}
	sections[len(sections)-1].data = names

	const header = 64
	var body, table bytes.Buffer
	at := uint32(0)
	for i, s := range sections {
		h := elf.Section64{
			Name: at, Type: uint32(s.kind), Addr: s.address, Off: uint64(header + body.Len()), Size: uint64(len(s.data)), Link: s.link, Addralign: 1,
		}
		if i == 0 {
			h = elf.Section64{}
		}
		if s.kind == elf.SHT_SYMTAB {
			h.Entsize = elf.Sym64Size
		}
		binary.Write(&table, binary.LittleEndian, h)
		body.Write(s.data)
		at += uint32(len(s.name)) + 1
	}
	h := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(kind), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Shoff: uint64(header + body.Len()), Ehsize: header, Shentsize: 64,
		Shnum: uint16(len(sections)), Shstrndx: uint16(len(sections) - 1),
	}
	var out bytes.Buffer
	binary.Write(&out, binary.LittleEndian, h)
	out.Write(body.Bytes())
	out.Write(table.Bytes())
	return out.Bytes()
}

// names makes symbols without CRC.
func names(list ...string) []Symbol {
	var all []Symbol
	for _, name := range list {
		all = append(all, Symbol{Name: name})
	}
	return all
}

func testTree(t testing.TB, files map[string][]byte) *tree.Tree {
	t.Helper()
	var nodes []tree.Node
	for name, content := range files {
		nodes = append(nodes, tree.Node{Path: name, Mode: 0o644, Content: tree.Bytes(content)})
	}
	tr, err := tree.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func compressXZ(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := xz.WriterConfig{CheckSum: xz.CRC32}.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func compressZstd(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

func compressGzip(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
