package xfs

import (
	"encoding/binary"
	"hash/crc32"
)

// XFS is big-endian; only checksums are not.
var (
	be         = binary.BigEndian
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// null is a block, an inode or a sibling that there is not.
const null = 0xffffffff

// checksum of a block or an inode whose own checksum is at an offset.
func checksum(b []byte, at int) uint32 {
	sum := crc32.Update(0, castagnoli, b[:at])
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, b[at+4:])
}

// seal writes the checksum.
func seal(b []byte, at int) { le.PutUint32(b[at:], checksum(b, at)) }

// sealed tells whether the checksum is right.
func sealed(b []byte, at int) bool { return le.Uint32(b[at:]) == checksum(b, at) }
