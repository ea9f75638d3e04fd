package ext4

import (
	"encoding/binary"
	"hash/crc32"
	"io/fs"
	"slices"
	"time"
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// crc continues a CRC-32C as ext4 has it: without the complement at its start and its end.
func crc(sum uint32, b []byte) uint32 { return ^crc32.Update(^sum, castagnoli, b) }

// crcOf continues it with a number.
func crcOf(sum, n uint32) uint32 { return crc(sum, le.AppendUint32(nil, n)) }

// noSum is where a CRC starts.
const noSum = ^uint32(0)

// Where checksums are.
const (
	superCRC      = 1020
	descriptorCRC = 0x1e
	inodeCRC      = 0x7c
	inodeHighCRC  = 0x82
)

// superSum is the checksum of a superblock.
func superSum(b []byte) uint32 { return crc(noSum, b[:superCRC]) }

// descriptorSum is the checksum of a group's descriptor.
func descriptorSum(seed, group uint32, b []byte) uint16 {
	sum := crc(crcOf(seed, group), b[:descriptorCRC])
	return uint16(crc(crc(sum, []byte{0, 0}), b[descriptorCRC+2:]))
}

// inodeSeed is where the checksums of an inode and of all its blocks start.
func inodeSeed(seed, number, generation uint32) uint32 {
	return crcOf(crcOf(seed, number), generation)
}

// inodeSum is the checksum of an inode, whose place in it counts as zero. Its upper half may have no place.
func inodeSum(seed uint32, b []byte, high bool) uint32 {
	b = append([]byte(nil), b...)
	le.PutUint16(b[inodeCRC:], 0)
	if high {
		le.PutUint16(b[inodeHighCRC:], 0)
	}
	return crc(seed, b)
}

// fileTypes by the number that directories have for them, from 1 on.
var fileTypes = []fs.FileMode{
	0, fs.ModeDir, fs.ModeDevice | fs.ModeCharDevice, fs.ModeDevice, fs.ModeNamedPipe, fs.ModeSocket, fs.ModeSymlink,
}

// typeOf is the number of a type; 0 is none that ext4 knows.
func typeOf(m fs.FileMode) byte { return byte(slices.Index(fileTypes, m.Type()) + 1) }

// Times of inodes: 32 bits of seconds, and 32 more of 30 bits of nanoseconds and two bits that count what the seconds overflowed.
const (
	minTime = -1 << 31
	maxTime = 5<<31 - 1 // of later ones e2fsck says that they are meant to be before 1970, as an old kernel wrote those
)

func putTime(b []byte, at, more int, t time.Time) {
	seconds := t.Unix()
	epoch := (seconds - int64(int32(seconds))) >> 32
	le.PutUint32(b[at:], uint32(seconds))
	le.PutUint32(b[more:], uint32(t.Nanosecond())<<2|uint32(epoch))
}

func getTime(b []byte, at, more int) time.Time {
	seconds := int64(int32(le.Uint32(b[at:])))
	if more+4 > len(b) { // the inode has no room for it
		return time.Unix(seconds, 0)
	}
	extra := le.Uint32(b[more:])
	return time.Unix(seconds+int64(extra&3)<<32, int64(extra>>2))
}
