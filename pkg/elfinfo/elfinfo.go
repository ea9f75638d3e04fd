// Package elfinfo reads what an ELF file says to whoever starts it: the machine, the interpreter and the libraries that it needs.
//
// Only what the kernel and the dynamic loader look at is read, so that a file without section headers is as good as any:
//
//	0    ELF header: 52 bytes (32-bit) or 64: class, byte order, type, machine, where the program headers are
//	…    program headers: of 32 or 56 bytes; PT_INTERP names the interpreter, PT_DYNAMIC has the entries below, PT_LOAD tells
//	     where in the file an address is
//	…    dynamic entries: pairs of a tag and a value, of 4 or 8 bytes each; DT_STRTAB is the address of the strings, into which
//	     DT_NEEDED, DT_SONAME, DT_RPATH and DT_RUNPATH point
//
// Specification: https://gabi.xinuos.com, https://refspecs.linuxfoundation.org/elf. The package debug/elf gives the names and numbers;
// its File makes a string for each section's name, which a hostile file can turn into any amount of memory.
//
// # Not supported
//
// Sections, symbols, core files; more than 1024 program headers; audit libraries and filters (DT_AUDIT, DT_FILTER).
package elfinfo

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Version of what [Read] says; raise it when that changes.
const Version = "1"

// Limits of one file; what real ones have in comments.
const (
	maxSegments = 1 << 10 // program headers; 15
	maxInterp   = 4 << 10 // bytes of the interpreter's path, Linux's PATH_MAX
	maxDynamic  = 1 << 20 // bytes of dynamic entries; 600
	maxNeeded   = 1 << 10 // libraries; 60
	maxString   = 4 << 10 // bytes of a name or a search path
	maxText     = 64 << 10
)

// Info is what a file says.
type Info struct {
	// Machine is Go's name of the architecture: amd64, arm64, 386, arm, riscv64; else that of debug/elf in small letters, such as "bpf".
	Machine string `json:"machine"`
	// Type is "exec", "dyn" (a library, or a program that can lie anywhere), "rel" (an object, such as a kernel module) or "core".
	Type string `json:"type"`
	// Interp is the program that starts this one: the dynamic loader. Empty for a static program and for a library.
	Interp string `json:"interp,omitempty"`
	// Needed are the names of libraries.
	Needed []string `json:"needed,omitempty"`
	// Soname is what others need a library by.
	Soname string `json:"soname,omitempty"`
	// Rpath and Runpath are directories to search; "$ORIGIN" stands for the file's own. The first is used where there is no second.
	Rpath   []string `json:"rpath,omitempty"`
	Runpath []string `json:"runpath,omitempty"`
}

// Read reads a file of a size in bytes. It returns nil for what is no ELF file.
func Read(r io.ReaderAt, size int64) (*Info, error) {
	f := &file{r: r, size: uint64(max(size, 0))}
	ok, err := f.header()
	if err != nil {
		return nil, fmt.Errorf("read ELF header: %w", err)
	}
	if !ok {
		return nil, nil
	}
	if err := f.segments(); err != nil {
		return nil, fmt.Errorf("read ELF program headers: %w", err)
	}
	if err := f.dynamicEntries(); err != nil {
		return nil, fmt.Errorf("read ELF dynamic section: %w", err)
	}
	return &f.info, nil
}

// file is one being read.
type file struct {
	r     io.ReaderAt
	size  uint64
	order binary.ByteOrder
	wide  bool // 64-bit
	info  Info

	// of the header: place, length and number of program headers
	tableAt, entrySize, entries uint64

	loads   []segment
	dynamic segment
	text    int // bytes of strings so far
}

// segment is a part of the file and its address in memory.
type segment struct{ offset, address, size uint64 }

// at returns n bytes at a place.
func (f *file) at(offset, n uint64) ([]byte, error) {
	if offset > f.size || n > f.size-offset {
		return nil, fmt.Errorf("%d bytes at %d are beyond the file's end at %d", n, offset, f.size)
	}
	b := make([]byte, n) // callers bound n
	if read, err := f.r.ReadAt(b, int64(offset)); err != nil && (read < len(b) || !errors.Is(err, io.EOF)) {
		return nil, err
	}
	return b, nil
}

// word is an address, an offset or a size: 4 or 8 bytes.
func (f *file) word(b []byte, at int) uint64 {
	if f.wide {
		return f.order.Uint64(b[at:])
	}
	return uint64(f.order.Uint32(b[at:]))
}

func (f *file) header() (ok bool, err error) {
	const short, long = 52, 64 // bytes of a header
	if f.size < elf.EI_NIDENT {
		return false, nil
	}
	ident, err := f.at(0, elf.EI_NIDENT)
	if err != nil || !bytes.HasPrefix(ident, []byte(elf.ELFMAG)) {
		return false, err
	}
	switch class := elf.Class(ident[elf.EI_CLASS]); class {
	case elf.ELFCLASS32:
	case elf.ELFCLASS64:
		f.wide = true
	default:
		return false, fmt.Errorf("class %d is neither 32-bit nor 64-bit", int(class))
	}
	switch data := elf.Data(ident[elf.EI_DATA]); data {
	case elf.ELFDATA2LSB:
		f.order = binary.LittleEndian
	case elf.ELFDATA2MSB:
		f.order = binary.BigEndian
	default:
		return false, fmt.Errorf("byte order %d is unknown", int(data))
	}
	n := uint64(short)
	if f.wide {
		n = long
	}
	b, err := f.at(0, n)
	if err != nil {
		return false, err
	}
	f.info.Type = typeName(elf.Type(f.order.Uint16(b[16:])))
	f.info.Machine = f.machine(elf.Machine(f.order.Uint16(b[18:])))
	sizes := b[42:] // e_phentsize, e_phnum
	f.tableAt = f.word(b, 28)
	if f.wide {
		f.tableAt, sizes = f.word(b, 32), b[54:]
	}
	f.entrySize, f.entries = uint64(f.order.Uint16(sizes)), uint64(f.order.Uint16(sizes[2:]))
	return true, nil
}

func typeName(t elf.Type) string {
	return strings.ToLower(strings.TrimPrefix(t.String(), "ET_"))
}

func (f *file) machine(m elf.Machine) string {
	switch {
	case m == elf.EM_X86_64 && f.wide:
		return "amd64"
	case m == elf.EM_X86_64:
		return "x32"
	case m == elf.EM_AARCH64:
		return "arm64"
	case m == elf.EM_RISCV && f.wide:
		return "riscv64"
	}
	return strings.ToLower(strings.TrimPrefix(m.String(), "EM_"))
}

// segments reads the program headers.
func (f *file) segments() error {
	if f.entries == 0 {
		return nil // an object
	}
	least, most := uint64(32), uint64(maxSegments)
	if f.wide {
		least = 56
	}
	if f.entrySize != least || f.entries > most {
		return fmt.Errorf("%d of %d bytes: up to %d of %d bytes are supported", f.entries, f.entrySize, most, least)
	}
	table, err := f.at(f.tableAt, f.entries*f.entrySize)
	if err != nil {
		return err
	}
	for ; len(table) > 0; table = table[f.entrySize:] {
		s := segment{f.word(table, 4), f.word(table, 8), f.word(table, 16)} // p_offset, p_vaddr, p_filesz
		if f.wide {
			s = segment{f.word(table, 8), f.word(table, 16), f.word(table, 32)}
		}
		switch elf.ProgType(f.order.Uint32(table)) {
		case elf.PT_LOAD:
			f.loads = append(f.loads, s)
		case elf.PT_DYNAMIC:
			f.dynamic = s
		case elf.PT_INTERP:
			if f.info.Interp, err = f.interp(s); err != nil {
				return fmt.Errorf("interpreter: %w", err)
			}
		}
	}
	return nil
}

func (f *file) interp(s segment) (string, error) {
	if s.size < 2 || s.size > maxInterp {
		return "", fmt.Errorf("%d bytes: the kernel takes 2 to %d", s.size, maxInterp)
	}
	b, err := f.at(s.offset, s.size)
	if err != nil {
		return "", err
	}
	path, _, ok := bytes.Cut(b, []byte{0})
	if !ok {
		return "", errors.New("its path has no end")
	}
	return string(path), nil
}

// dynamicEntries reads what the dynamic loader reads.
func (f *file) dynamicEntries() error {
	if f.dynamic.size == 0 {
		return nil
	}
	if f.dynamic.size > maxDynamic {
		return fmt.Errorf("%d bytes, the limit is %d", f.dynamic.size, maxDynamic)
	}
	table, err := f.at(f.dynamic.offset, f.dynamic.size)
	if err != nil {
		return err
	}
	width := 4
	if f.wide {
		width = 8
	}
	type entry struct {
		tag   elf.DynTag
		value uint64
	}
	var wanted []entry
	var strtab uint64
	for ; len(table) >= 2*width; table = table[2*width:] {
		tag, value := elf.DynTag(f.word(table, 0)), f.word(table, width)
		if tag == elf.DT_NULL {
			break
		}
		switch tag {
		case elf.DT_STRTAB:
			strtab = value
		case elf.DT_NEEDED, elf.DT_SONAME, elf.DT_RPATH, elf.DT_RUNPATH:
			if wanted = append(wanted, entry{tag, value}); len(wanted) > maxNeeded {
				return fmt.Errorf("more than %d libraries, the limit", maxNeeded)
			}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	base, ok := f.place(strtab)
	if !ok {
		return fmt.Errorf("the strings' address %#x is in no loaded segment", strtab)
	}
	for _, e := range wanted {
		text, err := f.str(base, e.value)
		if err != nil {
			return fmt.Errorf("%v: %w", e.tag, err)
		}
		switch e.tag {
		case elf.DT_NEEDED:
			f.info.Needed = append(f.info.Needed, text)
		case elf.DT_SONAME:
			f.info.Soname = text
		case elf.DT_RPATH:
			f.info.Rpath = strings.Split(text, ":")
		case elf.DT_RUNPATH:
			f.info.Runpath = strings.Split(text, ":")
		}
	}
	return nil
}

// place returns where in the file an address is.
func (f *file) place(address uint64) (uint64, bool) {
	for _, s := range f.loads {
		if address >= s.address && address-s.address < s.size {
			return s.offset + address - s.address, true
		}
	}
	return 0, false
}

// str returns the string at an offset of the string table.
func (f *file) str(table, offset uint64) (string, error) {
	at := table + offset
	if at < table || at >= f.size {
		return "", fmt.Errorf("the string at %d is beyond the file's end at %d", offset, f.size)
	}
	b, err := f.at(at, min(maxString, f.size-at))
	if err != nil {
		return "", err
	}
	text, _, ok := bytes.Cut(b, []byte{0})
	if !ok {
		return "", fmt.Errorf("the string at %d has no end, or more than %d bytes", offset, maxString)
	}
	if f.text += len(text); f.text > maxText {
		return "", fmt.Errorf("its strings take over %d bytes, the limit", maxText)
	}
	return string(text), nil
}
