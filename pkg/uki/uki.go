// Package uki assembles and reads Unified Kernel Images: systemd-stub with a kernel, an initramfs, a command line and more as
// additional sections of one PE file, which UEFI firmware starts.
//
// Byte map (PE32+; numbers are little endian):
//
//	0x00   64    DOS header of the stub; u32 at 0x3c: where the PE signature lies, 0x80
//	0x40   64    zeros
//	0x80   4     "PE\0\0"
//	0x84   20    COFF header: machine, number of sections, timestamp, size of the optional header, characteristics
//	0x98   240   optional header with 16 data directories
//	0x188  40×n  section headers: name, virtual size and address, raw size and offset in the file, characteristics
//	then         each section's raw data, padded with zeros, no gaps
//
// The stub's sections come first, the additional ones follow in the order given, at ascending virtual addresses. Raw data starts
// at multiples of 2048 bytes, beyond what PE asks for, so that an ISO 9660 directory can point at a section's bytes within the
// image. What is measured and signed (a section's first "virtual size" bytes; the file without gaps) is not changed by that.
//
// See https://uapi-group.org/specifications/specs/unified_kernel_image/, https://learn.microsoft.com/windows/win32/debug/pe-format
// and siderolabs/talos internal/pkg/uki.
//
// # Not supported
//
// Stubs in PE32 (32-bit) format, with COFF symbols or with a signature; sections of 4 GiB and more in sum.
package uki

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Version is part of the store keys of what is made here: raise it when the bytes change.
const Version = "1"

// Section is one additional PE section. Name has at most 8 bytes; an empty content is left out by [Assemble].
type Section struct {
	Name    string
	Content tree.Blob
}

// Names of sections, as the specification gives them.
const (
	OSRel   = ".osrel"
	Cmdline = ".cmdline"
	Uname   = ".uname"
	Splash  = ".splash"
	Linux   = ".linux"
	Initrd  = ".initrd"
	Profile = ".profile"
	SBAT    = ".sbat"
	PCRSig  = ".pcrsig"
	PCRPKey = ".pcrpkey"
)

// rawAlign is where raw data starts: a multiple of PE's FileAlignment (512) and of ISO 9660's block.
const rawAlign = 2048

const (
	dosSize      = 0x80
	coffSize     = 20
	optionalSize = 240
	headerSize   = 40 // of a section
	maxStub      = 16 << 20
	maxSections  = 96 // the loader's limit in Windows; firmware takes more

	initializedData = 0x00000040
	readable        = 0x40000000
)

// Image is an assembled UKI. Nothing is read but the stub until it is written.
type Image struct {
	tree.Blob
	offsets []int64
}

// Offset returns where the raw data of the i-th additional section starts, in bytes: a multiple of 2048.
func (m *Image) Offset(i int) int64 { return m.offsets[i] }

// sectionHeader is a section header's fields, in the file's order.
type sectionHeader struct {
	Name            [8]byte
	VirtualSize     uint32 // bytes of content
	VirtualAddress  uint32 // where it is loaded, relative to the image's base
	RawSize         uint32 // bytes in the file
	RawOffset       uint32
	Relocations     uint32 // offset; none in an image
	LineNumbers     uint32
	RelocationCount uint16
	LineCount       uint16
	Characteristics uint32
}

// Assemble adds sections to a stub. The timestamp goes into the COFF header, in whole seconds of the Unix epoch.
func Assemble(stub tree.Blob, sections []Section, timestamp time.Time) (*Image, error) {
	if stub.Size() > maxStub {
		return nil, fmt.Errorf("assemble uki: the stub has %d bytes, more than %d: not a systemd-stub", stub.Size(), maxStub)
	}
	raw, err := tree.ReadAll(stub)
	if err != nil {
		return nil, fmt.Errorf("read stub: %w", err)
	}
	s, err := parseStub(raw)
	if err != nil {
		return nil, fmt.Errorf("assemble uki: stub: %w", err)
	}
	if sec := timestamp.Unix(); sec < 0 || sec > math.MaxUint32 {
		return nil, fmt.Errorf("assemble uki: time %v is outside of 1970 to 2106, which PE holds", timestamp.UTC())
	}
	return s.assemble(raw, sections, uint32(timestamp.Unix()))
}

type stub struct {
	coff     pe.FileHeader
	optional pe.OptionalHeader64
	sections []sectionHeader
}

func parseStub(raw []byte) (*stub, error) {
	if len(raw) < dosSize || raw[0] != 'M' || raw[1] != 'Z' {
		return nil, errors.New("no PE file: it does not start with MZ")
	}
	at := int64(binary.LittleEndian.Uint32(raw[0x3c:]))
	if at+4+coffSize+optionalSize > int64(len(raw)) || !bytes.Equal(raw[at:at+4], []byte("PE\x00\x00")) {
		return nil, fmt.Errorf("no PE file: no PE signature at byte %#x", at)
	}
	r := bytes.NewReader(raw[at+4:])
	s := new(stub)
	if err := binary.Read(r, binary.LittleEndian, &s.coff); err != nil {
		return nil, err
	}
	if s.coff.SizeOfOptionalHeader != optionalSize {
		return nil, fmt.Errorf("an optional header of %d bytes, want %d: not PE32+ with 16 data directories", s.coff.SizeOfOptionalHeader, optionalSize)
	}
	if err := binary.Read(r, binary.LittleEndian, &s.optional); err != nil {
		return nil, err
	}
	o := &s.optional
	switch {
	case o.Magic != 0x20b:
		return nil, fmt.Errorf("optional header magic %#x, want 0x20b (PE32+)", o.Magic)
	case o.NumberOfRvaAndSizes != 16:
		return nil, fmt.Errorf("%d data directories, want 16", o.NumberOfRvaAndSizes)
	case s.coff.PointerToSymbolTable != 0 || s.coff.NumberOfSymbols != 0:
		return nil, errors.New("it has COFF symbols: strip it")
	case o.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_SECURITY].Size != 0:
		return nil, errors.New("it is signed; a signature does not survive added sections: give the unsigned stub")
	case o.FileAlignment == 0 || rawAlign%o.FileAlignment != 0:
		return nil, fmt.Errorf("FileAlignment %d does not divide %d", o.FileAlignment, rawAlign)
	case o.SectionAlignment < 512 || o.SectionAlignment > 1<<20 || o.SectionAlignment&(o.SectionAlignment-1) != 0:
		return nil, fmt.Errorf("SectionAlignment %d, want a power of two from 512 to 1 MiB", o.SectionAlignment)
	case s.coff.NumberOfSections == 0 || s.coff.NumberOfSections > maxSections:
		return nil, fmt.Errorf("%d sections, want 1 to %d", s.coff.NumberOfSections, maxSections)
	}
	s.sections = make([]sectionHeader, s.coff.NumberOfSections)
	if err := binary.Read(r, binary.LittleEndian, s.sections); err != nil {
		return nil, fmt.Errorf("section headers: %w", err)
	}
	end := uint64(0)
	for _, h := range s.sections {
		name := sectionName(h)
		switch {
		case uint64(h.RawOffset)+uint64(h.RawSize) > uint64(len(raw)):
			return nil, fmt.Errorf("section %s ends behind the file", name)
		case uint64(h.VirtualAddress) < end:
			return nil, fmt.Errorf("section %s overlaps the one before it, or is not in ascending order", name)
		}
		end = uint64(h.VirtualAddress) + uint64(max(h.VirtualSize, h.RawSize))
	}
	return s, nil
}

func sectionName(h sectionHeader) string { return string(bytes.TrimRight(h.Name[:], "\x00")) }

func (s *stub) assemble(raw []byte, sections []Section, timestamp uint32) (*Image, error) {
	headers, contents, end, err := s.placeInMemory(raw, sections)
	if err != nil {
		return nil, err
	}
	headSize := alignUp(uint64(dosSize+4+coffSize+optionalSize+headerSize*len(headers)), rawAlign)
	if headSize > uint64(headers[0].VirtualAddress) {
		return nil, fmt.Errorf("assemble uki: %d section headers do not fit before the first section, at %#x in memory", len(headers), headers[0].VirtualAddress)
	}
	optional := s.optional
	optional.MajorLinkerVersion, optional.MinorLinkerVersion, optional.CheckSum = 0, 0, 0
	optional.SizeOfHeaders = uint32(headSize)
	optional.SizeOfImage = uint32(end)
	optional.SizeOfCode, optional.SizeOfInitializedData = 0, 0
	at := headSize
	image := new(Image)
	parts := []tree.Blob{nil} // the headers, once they are known
	for i := range headers {
		h := &headers[i]
		size := alignUp(uint64(contents[i].Size()), rawAlign)
		if at+size > math.MaxUint32 {
			return nil, fmt.Errorf("assemble uki: section %s: the file would have %d bytes, over PE's limit of 4 GiB", sectionName(*h), at+size)
		}
		h.RawOffset, h.RawSize = uint32(at), uint32(size)
		if h.Characteristics&initializedData != 0 {
			optional.SizeOfInitializedData += h.RawSize
		} else {
			optional.SizeOfCode += h.RawSize
		}
		if i >= len(s.sections) {
			image.offsets = append(image.offsets, int64(at))
		}
		parts = append(parts, contents[i], tree.Zeros(int64(size)-contents[i].Size()))
		at += size
	}
	coff := s.coff
	coff.TimeDateStamp = timestamp
	coff.NumberOfSections = uint16(len(headers))

	head := bytes.NewBuffer(make([]byte, 0, headSize))
	head.Write(raw[:0x3c])
	for _, part := range []any{uint32(dosSize), [64]byte{}, [4]byte{'P', 'E'}, coff, optional, headers} {
		if err := binary.Write(head, binary.LittleEndian, part); err != nil {
			return nil, err
		}
	}
	head.Write(make([]byte, int(headSize)-head.Len()))
	parts[0] = tree.Bytes(head.Bytes())
	image.Blob = tree.Concat(parts...)
	return image, nil
}

// placeInMemory adds sections to the stub's and says where all lie in memory, and where that ends; not yet where in the file.
func (s *stub) placeInMemory(raw []byte, sections []Section) (headers []sectionHeader, contents []tree.Blob, end uint64, err error) {
	headers = slices.Clone(s.sections)
	for _, h := range headers {
		contents = append(contents, tree.Bytes(raw[h.RawOffset:h.RawOffset+h.RawSize]))
	}
	last := headers[len(headers)-1]
	end = alignUp(uint64(last.VirtualAddress)+uint64(last.VirtualSize), uint64(s.optional.SectionAlignment))
	for _, sec := range sections {
		if len(sec.Name) == 0 || len(sec.Name) > 8 {
			return nil, nil, 0, fmt.Errorf("assemble uki: section name %q has %d bytes, want 1 to 8", sec.Name, len(sec.Name))
		}
		size := uint64(sec.Content.Size())
		if end+alignUp(size, rawAlign) > math.MaxUint32 {
			return nil, nil, 0, fmt.Errorf("assemble uki: section %s of %d bytes: the image would have %d bytes, over PE's limit of 4 GiB", sec.Name, size, end+size)
		}
		h := sectionHeader{VirtualSize: uint32(size), VirtualAddress: uint32(end), Characteristics: initializedData | readable}
		copy(h.Name[:], sec.Name)
		headers, contents = append(headers, h), append(contents, sec.Content)
		end = alignUp(end+size, uint64(s.optional.SectionAlignment))
	}
	if len(headers) > maxSections {
		return nil, nil, 0, fmt.Errorf("assemble uki: %d sections, more than %d", len(headers), maxSections)
	}
	return headers, contents, end, nil
}

func alignUp(n, to uint64) uint64 { return (n + to - 1) / to * to }
