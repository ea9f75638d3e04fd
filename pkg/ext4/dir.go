package ext4

import "iter"

const (
	entryHead = 8  // bytes of an entry before its name
	dirTail   = 12 // bytes at the end of a block: an entry for nothing, with the checksum
	dirRoom   = blockSize - dirTail
	tailType  = 0xde
)

// size of an entry in bytes.
func (e entry) size() int { return (entryHead + len(e.name) + 3) / 4 * 4 }

// dirBlocks yields the entries of each block of a directory.
func (in *inode) dirBlocks() iter.Seq[[]entry] {
	return func(yield func([]entry) bool) {
		from, room, blocks := 0, dirRoom, 1
		for i, e := range in.entries {
			if e.size() > room {
				if !yield(in.entries[from:i]) {
					return
				}
				from, room = i, dirRoom
				blocks++
			}
			room -= e.size()
		}
		if !yield(in.entries[from:]) {
			return
		}
		for ; in.number == lostInode && blocks < lostDir/blockSize; blocks++ {
			if !yield(nil) {
				return
			}
		}
	}
}

// dirBlock returns a block of a directory.
func dirBlock(entries []entry, seed uint32) []byte {
	b := make([]byte, blockSize)
	at := 0
	for i, e := range entries {
		size := e.size()
		if i == len(entries)-1 {
			size = dirRoom - at
		}
		le.PutUint32(b[at:], e.number)
		le.PutUint16(b[at+4:], uint16(size))
		b[at+6], b[at+7] = byte(len(e.name)), typeOf(e.Mode)
		copy(b[at+entryHead:], e.name)
		at += size
	}
	if len(entries) == 0 {
		le.PutUint16(b[4:], dirRoom)
	}
	tail := b[dirRoom:]
	le.PutUint16(tail[4:], dirTail)
	tail[7] = tailType
	le.PutUint32(tail[8:], crc(seed, b[:dirRoom]))
	return b
}
