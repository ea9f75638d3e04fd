package elftest

import (
	"crypto/x509/pkix"
	"debug/elf"
	"encoding/asn1"
	"encoding/binary"
	"strings"
)

// Module is a kernel module.
type Module struct {
	Machine  elf.Machine // 0: x86-64
	Vermagic string
	Depends  []string
	Imports  []Symbol
	Exports  []Symbol
	// Key is the identifier of the key that has signed it; empty for none. The signature itself is void.
	Key []byte
}

// Build returns the file.
func (m Module) Build() []byte {
	if m.Machine == 0 {
		m.Machine = elf.EM_X86_64
	}
	var symtab, versions []byte
	strtab := []byte{0}
	symbol := func(name string, section elf.SectionIndex, value uint64) {
		symtab = binary.LittleEndian.AppendUint32(symtab, uint32(len(strtab)))
		symtab = append(symtab, elf.ST_INFO(elf.STB_GLOBAL, elf.STT_NOTYPE), 0)
		symtab = binary.LittleEndian.AppendUint16(symtab, uint16(section))
		symtab = binary.LittleEndian.AppendUint64(symtab, value)
		symtab = binary.LittleEndian.AppendUint64(symtab, 0)
		strtab = append(append(strtab, name...), 0)
	}
	symbol("", elf.SHN_UNDEF, 0)
	for _, s := range m.Exports {
		symbol("__crc_"+s.Name, elf.SHN_ABS, uint64(s.CRC))
	}
	for _, s := range m.Imports {
		symbol(s.Name, elf.SHN_UNDEF, 0)
		if s.CRC != 0 {
			entry := make([]byte, 64)
			binary.LittleEndian.PutUint32(entry, s.CRC)
			copy(entry[8:], s.Name)
			versions = append(versions, entry...)
		}
	}
	info := "vermagic=" + m.Vermagic + "\x00depends=" + strings.Join(m.Depends, ",") + "\x00"
	b := assemble(elf.ET_REL, m.Machine, []section{
		{name: ".modinfo", kind: elf.SHT_PROGBITS, data: []byte(info)},
		{name: "__versions", kind: elf.SHT_PROGBITS, data: versions},
		{name: ".symtab", kind: elf.SHT_SYMTAB, data: symtab},
		{name: ".strtab", kind: elf.SHT_STRTAB, data: strtab},
	})
	if m.Key != nil {
		b = sign(b, m.Key)
	}
	return b
}

// sign appends a PKCS#7 message that names a key by its identifier, as far as it is read: algorithms and signature say nothing.
func sign(b, key []byte) []byte {
	type signer struct {
		Version int
		ID      asn1.RawValue
		Digest  pkix.AlgorithmIdentifier
	}
	type content struct {
		Version          int
		Digests, Content asn1.RawValue
		Signers          []signer `asn1:"set"`
	}
	void := asn1.RawValue{Tag: asn1.TagSet, IsCompound: true}
	message, err := asn1.Marshal(struct {
		Type    asn1.ObjectIdentifier
		Content content `asn1:"explicit,tag:0"`
	}{
		asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2},
		content{3, void, asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true}, []signer{{
			3, asn1.RawValue{Class: asn1.ClassContextSpecific, Bytes: key}, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}},
		}}},
	})
	if err != nil {
		panic(err) // a mistake in this package
	}
	b = append(b, message...)
	b = append(b, 0, 0, 2, 0, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(message)))
	return append(b, "~Module signature appended~\n"...)
}
