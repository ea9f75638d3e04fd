package formattest

import "encoding/binary"

// PEHeader is where the optional header of what [PE] makes starts.
const PEHeader = 0x40 + 4 + 20

// PESection is a section of a program for UEFI.
type PESection struct {
	Name, Content string // of at most 512 bytes
	Size          uint32 // in memory
	Flags         uint32
}

// PE is a PE32+ file of two sections that is as small as one can be.
func PE(sections [2]PESection) []byte {
	b := make([]byte, 0x600)
	put := binary.LittleEndian
	copy(b, "MZ")
	put.PutUint32(b[0x3c:], 0x40)
	copy(b[0x40:], "PE\x00\x00")
	coff, opt := b[0x44:], b[PEHeader:]
	put.PutUint16(coff, 0x8664)
	put.PutUint16(coff[2:], uint16(len(sections)))
	put.PutUint16(coff[16:], 240) // optional header
	put.PutUint16(coff[18:], 0x22e)
	put.PutUint16(opt, 0x20b)
	put.PutUint32(opt[32:], 0x1000) // section alignment
	put.PutUint32(opt[36:], 0x200)  // file alignment
	put.PutUint32(opt[108:], 16)
	for i, s := range sections {
		h, n := opt[240+40*i:], uint32(i+1)
		copy(h, s.Name)
		put.PutUint32(h[8:], s.Size)
		put.PutUint32(h[12:], 0x1000*n)
		put.PutUint32(h[16:], 0x200)
		put.PutUint32(h[20:], 0x200*n)
		put.PutUint32(h[36:], s.Flags)
		copy(b[0x200*n:], s.Content)
	}
	return b
}
