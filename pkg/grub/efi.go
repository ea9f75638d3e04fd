package grub

import (
	"debug/elf"
	"debug/pe"
	"encoding/binary"
	"slices"
)

const (
	page       = 0x1000 // everything begins and ends at one, in the file as in memory
	headerSize = page   // where the kernel begins
	peAt       = 0x80
	stamp      = 1420070400 // 2015-01-01, as in all of GRUB's images
	heapSize   = 0x10000    // of the program's first stack and heap; GRUB makes its own
)

// dosStub is a program for DOS that says that it is none.
var dosStub = slices.Concat(
	[]byte{'M', 'Z', 0x90, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0xff, 0xff, 0, 0, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x40},
	make([]byte, 35), []byte{peAt, 0, 0, 0},
	[]byte{0x0e, 0x1f, 0xba, 0x0e, 0, 0xb4, 9, 0xcd, 0x21, 0xb8, 1, 0x4c, 0xcd, 0x21}, // print what follows, exit
	[]byte("This program cannot be run in DOS mode.\r\r\n$"), make([]byte, 7),
)

// efiCore makes a program for UEFI: the kernel, relocated to where it is if the program is loaded to 0; the modules; and a list of
// what the firmware has to relocate.
func efiCore(dir directory, o Options) ([]byte, error) {
	k, err := loadEFIKernel(dir)
	if err != nil {
		return nil, err
	}
	kernel := len(k.image)
	image, err := appendModules(k.image, dir, o)
	if err != nil {
		return nil, err
	}
	image = append(image, make([]byte, -len(image)&(page-1))...)

	const data = pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ
	sections := []section{
		{".text", k.code, pe.IMAGE_SCN_CNT_CODE | pe.IMAGE_SCN_MEM_EXECUTE | pe.IMAGE_SCN_MEM_READ},
		{".data", kernel - k.code, data | pe.IMAGE_SCN_MEM_WRITE},
		{"mods", len(image) - kernel, data | pe.IMAGE_SCN_MEM_WRITE},
		{".reloc", len(k.fixups), data | pe.IMAGE_SCN_MEM_DISCARDABLE},
	}
	return slices.Concat(peHeader(dir.machine, k, sections), image, k.fixups), nil
}

// section of a PE file: each follows the one before, in the file as in memory.
type section struct {
	name  string
	size  int // a multiple of a page
	flags uint32
}

// peHeader makes the header of a PE32+ file: https://learn.microsoft.com/windows/win32/debug/pe-format.
func peHeader(machine elf.Machine, k *efiKernel, sections []section) []byte {
	const (
		optionalSize = 240
		directories  = 16
	)
	end := headerSize
	for _, s := range sections {
		end += s.size
	}
	file := pe.FileHeader{
		Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: uint16(len(sections)), TimeDateStamp: stamp, SizeOfOptionalHeader: optionalSize,
		Characteristics: pe.IMAGE_FILE_EXECUTABLE_IMAGE | pe.IMAGE_FILE_LINE_NUMS_STRIPPED | pe.IMAGE_FILE_LOCAL_SYMS_STRIPPED | pe.IMAGE_FILE_DEBUG_STRIPPED,
	}
	if machine == elf.EM_AARCH64 {
		file.Machine = pe.IMAGE_FILE_MACHINE_ARM64
	}
	optional := pe.OptionalHeader64{
		Magic: 0x20b, SizeOfCode: uint32(k.code), SizeOfInitializedData: uint32(sections[1].size + sections[2].size),
		AddressOfEntryPoint: uint32(k.entry), BaseOfCode: headerSize, SectionAlignment: page, FileAlignment: page,
		SizeOfImage: uint32(end), SizeOfHeaders: headerSize, Subsystem: pe.IMAGE_SUBSYSTEM_EFI_APPLICATION,
		SizeOfStackReserve: heapSize, SizeOfStackCommit: heapSize, SizeOfHeapReserve: heapSize, SizeOfHeapCommit: heapSize,
		NumberOfRvaAndSizes: directories,
	}
	if k.nx {
		optional.DllCharacteristics = pe.IMAGE_DLLCHARACTERISTICS_NX_COMPAT
	}
	fixups := sections[len(sections)-1].size
	optional.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_BASERELOC] = pe.DataDirectory{VirtualAddress: uint32(end - fixups), Size: uint32(fixups)}

	b := append(slices.Clone(dosStub), 'P', 'E', 0, 0)
	for _, part := range []any{file, optional} {
		b, _ = binary.Append(b, binary.LittleEndian, part) // of fixed size
	}
	at := uint32(headerSize)
	for _, s := range sections {
		size := uint32(s.size)
		h := pe.SectionHeader32{VirtualSize: size, VirtualAddress: at, SizeOfRawData: size, PointerToRawData: at, Characteristics: s.flags}
		copy(h.Name[:], s.name)
		b, _ = binary.Append(b, binary.LittleEndian, h)
		at += size
	}
	return append(b, make([]byte, headerSize-len(b))...)
}
