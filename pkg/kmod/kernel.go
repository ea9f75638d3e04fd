package kmod

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Limits of a kernel image in bytes; those of Debian's in comments.
const (
	maxKernel   = 256 << 20 // packed, and again unpacked; 12 and 55 MiB
	maxExported = 1 << 18   // symbols; 11000

	kernelWindow = 128 << 20 // what `zstd --ultra -22` and xz for kernels ask for at most
)

// ErrKernel is wrapped by what [KernelExports] says of images that are not as it knows them.
var ErrKernel = errors.New("kernel image is not understood")

// KernelExports returns the symbols that an x86 kernel image (bzImage) exports to modules, by name. It returns nil where it cannot
// tell: the images of other architectures have no table of sections to find the symbols by.
//
// A bzImage (https://docs.kernel.org/arch/x86/boot.html) has at 0x1f1 the number of its setup sectors, less one; at 0x202 "HdrS"; at 0x206
// the version of the header; and at 0x248, from version 2.08 on, place and length of the packed kernel, counted from the end of the
// setup. That is an ELF file without symbols, packed as a module is; behind xz and zstd come four bytes more, the unpacked size.
// In it:
//
//	__ksymtab, __ksymtab_gpl    of 12 bytes each: distances to the value, to the name, to its namespace; each from its own place
//	__ksymtab_strings           names
//	__kcrctab, __kcrctab_gpl    CRC of each, 4 bytes
func KernelExports(kernel tree.Blob) ([]Symbol, error) {
	if kernel.Size() > maxKernel {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrKernel, kernel.Size(), maxKernel)
	}
	file, err := tree.ReadAll(kernel)
	if err != nil {
		return nil, fmt.Errorf("read kernel: %w", err)
	}
	all, err := exportsOf(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKernel, err)
	}
	return all, nil
}

func exportsOf(file []byte) ([]Symbol, error) {
	packed, err := payload(file)
	if err != nil || packed == nil {
		return nil, err
	}
	r := newReader()
	defer r.close()
	r.limit, r.window = maxKernel, kernelWindow
	if !bytes.HasPrefix(packed, []byte("\x1f\x8b")) && len(packed) > 4 {
		r.image.Grow(int(min(binary.LittleEndian.Uint32(packed[len(packed)-4:]), maxKernel)))
		packed = packed[:len(packed)-4]
	}
	if err := r.unpack(bytes.NewReader(packed)); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(r.image.Bytes(), []byte(elf.ELFMAG)) {
		return nil, nil // packed in a way that is not known here
	}
	o, err := openObject(r.image.Bytes(), func(b []byte) string { return string(b) })
	if err != nil {
		return nil, err
	}
	return o.kernelExports()
}

// payload returns the packed kernel in a bzImage; nil for another file.
func payload(file []byte) ([]byte, error) {
	const least = 0x250
	if len(file) < least || string(file[0x202:0x206]) != "HdrS" || binary.LittleEndian.Uint16(file[0x206:]) < 0x208 {
		return nil, nil
	}
	setup := (uint64(file[0x1f1]) + 1) * 512
	at, n := setup+uint64(binary.LittleEndian.Uint32(file[0x248:])), uint64(binary.LittleEndian.Uint32(file[0x24c:]))
	if at+n > uint64(len(file)) {
		return nil, fmt.Errorf("%d packed bytes at %d are beyond the file's end at %d", n, at, len(file))
	}
	return file[at:][:n], nil
}

// kernelExports reads the tables of exports; nil where there are none.
func (o object) kernelExports() ([]Symbol, error) {
	names := o.find("__ksymtab_strings")
	if names == 0 {
		return nil, nil
	}
	text, err := o.bytes(names)
	if err != nil {
		return nil, err
	}
	var all []Symbol
	for _, suffix := range []string{"", "_gpl"} {
		table := o.find("__ksymtab" + suffix)
		if table == 0 {
			continue
		}
		entries, err := o.bytes(table)
		if err != nil {
			return nil, err
		}
		crcs, err := o.section("__kcrctab" + suffix)
		if err != nil {
			return nil, err
		}
		const size = 12
		if n := len(entries) / size; len(entries)%size != 0 || len(all)+n > maxExported || crcs != nil && len(crcs) != 4*n {
			return nil, fmt.Errorf("__ksymtab%s has %d bytes, its CRCs %d: up to %d entries of %d and 4 bytes are supported", suffix, len(entries), len(crcs), maxExported, size)
		}
		// where a place in the table is in the names
		distance := o.address(table) - o.address(names)
		for i := range len(entries) / size {
			place := uint64(i*size + 4)
			at := distance + place + uint64(int64(int32(binary.LittleEndian.Uint32(entries[place:]))))
			if at >= uint64(len(text)) {
				return nil, fmt.Errorf("__ksymtab%s entry %d: its name is not in __ksymtab_strings", suffix, i)
			}
			s := Symbol{}
			if s.Name, err = o.name(text[at:], maxName); err != nil {
				return nil, fmt.Errorf("__ksymtab%s entry %d: %w", suffix, i, err)
			}
			if crcs != nil {
				s.CRC, s.HasCRC = binary.LittleEndian.Uint32(crcs[4*i:]), true
			}
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("its table of exports is empty")
	}
	slices.SortStableFunc(all, func(a, b Symbol) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// address returns where a section lies in memory.
func (o object) address(i int) uint64 {
	return binary.LittleEndian.Uint64(o.table[i*sectionHeader+16:]) // sh_addr
}
