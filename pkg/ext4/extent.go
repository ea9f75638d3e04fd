package ext4

import (
	"errors"
	"slices"

	"github.com/talosmith/talosmith/pkg/tree"
)

const (
	magicExtents   = 0xf30a
	extentHead     = 12
	extentRecord   = 12
	inodeBody      = 60 // bytes of an inode for the root of the tree
	extentsInInode = (inodeBody - extentHead) / extentRecord
	extentsInBlock = (blockSize - extentHead) / extentRecord // 4 bytes are left, for the checksum
	maxExtent      = 1 << 15                                 // blocks: more than a group has for files. A greater count stands for blocks that were never written
)

// extent is a run of blocks.
type extent struct {
	at    int64 // in the file
	block int64 // from the start of the file system
	count int64
}

// inBytes are extents as writers know them.
func inBytes(extents []extent) []tree.Extent {
	all := make([]tree.Extent, len(extents))
	for i, e := range extents {
		all[i] = tree.Extent{At: e.at * blockSize, Off: e.block * blockSize, Size: e.count * blockSize}
	}
	return all
}

var errNoSpace = errors.New("no room")

// take gives out the next free blocks.
func (img *Image) take(n int64) (extents []extent, err error) {
	for at := int64(0); at < n; {
		if img.next == img.g.groups {
			return nil, errNoSpace
		}
		used := &img.used[img.next]
		count := min(n-at, img.g.length(img.next)-*used)
		if count == 0 {
			img.next++
			continue
		}
		extents = append(extents, extent{at, img.next*groupBlocks + *used, count})
		at += count
		*used += count
	}
	return extents, nil
}

// treeSize is the number of blocks of the tree of so many extents.
func treeSize(n int64) (blocks int64) {
	for n > extentsInInode {
		n = parts(n, extentsInBlock)
		blocks += n
	}
	return blocks
}

// extentTree returns the tree's root, which is in the inode, and its blocks.
func (in *inode) extentTree(seed uint32) (root []byte, blocks [][]byte) {
	records := make([][]byte, len(in.extents))
	for i, e := range in.extents {
		r := le.AppendUint32(nil, uint32(e.at))
		r = le.AppendUint16(r, uint16(e.count))
		r = le.AppendUint16(r, uint16(e.block>>32))
		records[i] = le.AppendUint32(r, uint32(e.block))
	}
	free := in.treeBlocks
	at := int64(0) // in the first of free
	for depth := 0; ; depth++ {
		if len(records) <= extentsInInode {
			return extentNode(inodeBody, depth, records), blocks
		}
		var up [][]byte
		for part := range slices.Chunk(records, extentsInBlock) {
			b := extentNode(blockSize, depth, part)
			le.PutUint32(b[blockSize-4:], crc(seed, b[:blockSize-4]))
			blocks = append(blocks, b)
			if at == free[0].count {
				free, at = free[1:], 0
			}
			block := free[0].block + at
			at++
			r := slices.Clone(part[0][:4])
			r = le.AppendUint32(r, uint32(block))
			r = le.AppendUint16(r, uint16(block>>32))
			up = append(up, le.AppendUint16(r, 0))
		}
		records = up
	}
}

// extentNode returns a node of the tree.
func extentNode(size, depth int, records [][]byte) []byte {
	b := make([]byte, 0, size)
	b = le.AppendUint16(b, magicExtents)
	b = le.AppendUint16(b, uint16(len(records)))
	b = le.AppendUint16(b, uint16((size-extentHead)/extentRecord))
	b = le.AppendUint16(b, uint16(depth))
	b = le.AppendUint32(b, 0) // generation
	for _, r := range records {
		b = append(b, r...)
	}
	return b[:size]
}
