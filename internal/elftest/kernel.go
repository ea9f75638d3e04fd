package elftest

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
)

// Kernel is an x86 kernel.
type Kernel struct {
	Release string
	// Exports and GPL are its symbols for modules; of each list all have a CRC, or none.
	Exports, GPL []Symbol
	// Raw replaces sections.
	Raw map[string][]byte
}

// BuildELF returns the kernel as the boot loader's part of it unpacks it.
func (k Kernel) BuildELF() []byte {
	const tableAt, namesAt, gplAt = 0x100000, 0x180000, 0x200000 // one table before the names, one behind
	text := []byte{0}                                            // as where strings are merged
	table := func(exports []Symbol, at uint64) (entries, crcs []byte) {
		for _, s := range exports {
			place := at + uint64(len(entries)) + 4
			entries = binary.LittleEndian.AppendUint32(entries, 0xbadc0de)
			entries = binary.LittleEndian.AppendUint32(entries, uint32(namesAt+uint64(len(text))-place))
			entries = binary.LittleEndian.AppendUint32(entries, 0)
			text = append(append(text, s.Name...), 0)
			if s.CRC != 0 {
				crcs = binary.LittleEndian.AppendUint32(crcs, s.CRC)
			}
		}
		return entries, crcs
	}
	var sections []section
	add := func(name string, data []byte, at uint64) {
		if raw, ok := k.Raw[name]; ok {
			data = raw
		}
		if data != nil {
			sections = append(sections, section{name: name, kind: elf.SHT_PROGBITS, data: data, address: at})
		}
	}
	entries, crcs := table(k.Exports, tableAt)
	gpl, gplCRCs := table(k.GPL, gplAt)
	add("__ksymtab", entries, tableAt)
	add("__ksymtab_gpl", gpl, gplAt)
	add("__kcrctab", crcs, 0x300000)
	add("__kcrctab_gpl", gplCRCs, 0x400000)
	if len(text) > 1 {
		add("__ksymtab_strings", text, namesAt)
	}
	return assemble(elf.ET_EXEC, elf.EM_X86_64, sections)
}

// Build returns the kernel as a bzImage, packed with gzip.
func (k Kernel) Build() []byte {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(k.BuildELF()); err != nil {
		panic(err) // memory takes all
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return BzImage(packed.Bytes(), k.Release)
}

// BzImage wraps a packed kernel: https://docs.kernel.org/arch/x86/boot.html.
func BzImage(packed []byte, release string) []byte {
	const setup, before = 5, 0x100 // sectors without the first; bytes before the payload
	b := make([]byte, (setup+1)*512+before)
	b[0x1f1] = setup
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x206:], 0x20f)
	binary.LittleEndian.PutUint16(b[0x20e:], 0x400-0x200)
	copy(b[0x400:], release+" (builder)\x00")
	binary.LittleEndian.PutUint32(b[0x248:], before)
	binary.LittleEndian.PutUint32(b[0x24c:], uint32(len(packed)))
	return append(append(b, packed...), "what follows"...)
}
