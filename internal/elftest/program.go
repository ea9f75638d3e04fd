// Package elftest builds small ELF files for tests: programs and libraries with what a loader reads of them, kernel modules with
// what modprobe reads. Nothing in them runs.
package elftest

import (
	"debug/elf"
	"encoding/binary"
)

// Program is a program or library, or whatever else has program headers.
type Program struct {
	Machine elf.Machine // 0: x86-64
	Class   elf.Class   // 0: 64-bit
	Data    elf.Data    // 0: little endian
	Type    elf.Type    // 0: ET_DYN
	Interp  string
	Soname  string
	Needed  []string
	Rpath   string
	Runpath string
}

// Build returns the file: header, program headers, interpreter, strings, dynamic entries, all in one segment at address 0x1000.
func (p Program) Build() []byte {
	if p.Machine == 0 {
		p.Machine = elf.EM_X86_64
	}
	if p.Class == 0 {
		p.Class = elf.ELFCLASS64
	}
	if p.Type == 0 {
		p.Type = elf.ET_DYN
	}
	var order binary.AppendByteOrder = binary.LittleEndian
	if p.Data == elf.ELFDATA2MSB {
		order = binary.BigEndian
	} else {
		p.Data = elf.ELFDATA2LSB
	}
	const base, headers = 0x1000, 256 // of a header and three program headers
	wide := p.Class == elf.ELFCLASS64
	word := func(b []byte, v uint64) []byte {
		if wide {
			return order.AppendUint64(b, v)
		}
		return order.AppendUint32(b, uint32(v))
	}

	body := append([]byte(p.Interp), 0)
	strtab := uint64(headers + len(body))
	var dynamic []byte
	text := []byte{0}
	entry := func(tag elf.DynTag, s string) {
		dynamic = word(word(dynamic, uint64(tag)), uint64(len(text)))
		text = append(append(text, s...), 0)
	}
	for _, n := range p.Needed {
		entry(elf.DT_NEEDED, n)
	}
	for _, e := range []struct {
		tag  elf.DynTag
		text string
	}{{elf.DT_SONAME, p.Soname}, {elf.DT_RPATH, p.Rpath}, {elf.DT_RUNPATH, p.Runpath}} {
		if e.text != "" {
			entry(e.tag, e.text)
		}
	}
	dynamic = word(word(dynamic, uint64(elf.DT_STRTAB)), base+strtab)
	dynamic = word(word(dynamic, uint64(elf.DT_STRSZ)), uint64(len(text)))
	dynamic = word(word(dynamic, uint64(elf.DT_NULL)), 0)
	body = append(body, text...)
	for len(body)%8 != 0 {
		body = append(body, 0)
	}
	dynamicAt := uint64(headers + len(body))
	body = append(body, dynamic...)

	var segments []byte
	count := 0
	segment := func(kind elf.ProgType, at, size uint64) {
		count++
		flags := uint32(elf.PF_R)
		segments = order.AppendUint32(segments, uint32(kind))
		if wide {
			segments = order.AppendUint32(segments, flags)
		}
		for _, v := range []uint64{at, base + at, base + at, size, size} {
			segments = word(segments, v)
		}
		if !wide {
			segments = order.AppendUint32(segments, flags)
		}
		segments = word(segments, 1)
	}
	segment(elf.PT_LOAD, 0, headers+uint64(len(body)))
	if p.Interp != "" {
		segment(elf.PT_INTERP, headers, uint64(len(p.Interp)+1))
	}
	if len(p.Needed) > 0 || p.Soname+p.Rpath+p.Runpath != "" {
		segment(elf.PT_DYNAMIC, dynamicAt, uint64(len(dynamic)))
	}

	size, entrySize := uint64(52), uint16(32)
	if wide {
		size, entrySize = 64, 56
	}
	h := append([]byte(elf.ELFMAG), byte(p.Class), byte(p.Data), byte(elf.EV_CURRENT))
	h = append(h, make([]byte, elf.EI_NIDENT-len(h))...)
	h = order.AppendUint16(h, uint16(p.Type))
	h = order.AppendUint16(h, uint16(p.Machine))
	h = order.AppendUint32(h, uint32(elf.EV_CURRENT))
	h = word(word(word(h, 0), size), 0)
	h = order.AppendUint32(h, 0)
	for _, v := range []uint16{uint16(size), entrySize, uint16(count), 0, 0, 0} {
		h = order.AppendUint16(h, v)
	}
	out := append(h, segments...)
	out = append(out, make([]byte, headers-len(out))...)
	return append(out, body...)
}
