package xfs

import (
	"cmp"
	"slices"
)

// Magic numbers, and where the checksum of each structure is.
const (
	magicSuper      = 0x58465342 // XFSB
	magicFree       = 0x58414746 // XAGF
	magicInodes     = 0x58414749 // XAGI
	magicSpare      = 0x5841464c // XAFL
	magicByPlace    = 0x41423342 // AB3B
	magicByLength   = 0x41423343 // AB3C
	magicInodeTree  = 0x49414233 // IAB3
	superCRC        = 224
	freeCRC         = 216
	inodesCRC       = 312
	spareCRC        = 32
	treeCRC         = 52
	treeHead        = 56 // bytes of a short tree block's header
	inodesInLeaf    = (blockSize - treeHead) / 16
	childrenInNode  = (blockSize - treeHead) / 8
	longSectors     = 0x800  // in the version: sectors have more than 512 bytes
	versionV5       = 0xb4a5 // 5, and what every version 5 has: links of 32 bits, aligned inodes, log and directories version 2, more features
	features        = 0x18a  // counts kept lazily, attributes version 2, project numbers of 32 bits, checksums
	featureFileType = 0x1    // file types in directories
	unlinkedBuckets = 64
)

// super returns the superblock. Every group has a copy.
func (img *Image) super() []byte {
	b, g := make([]byte, img.g.sector), img.g
	var inodes, spareInodes, free int64
	for _, gr := range img.groups {
		inodes += gr.chunkCount() * inodesPerChunk
		spareInodes += gr.chunkCount()*inodesPerChunk - int64(len(gr.inodes))
		free += gr.freeBlocks() + spareBlocks
	}
	root := img.inodes[0].number
	be.PutUint32(b[0:], magicSuper)
	be.PutUint32(b[4:], blockSize)
	be.PutUint64(b[8:], uint64(g.blocks))
	copy(b[32:], img.o.UUID[:])
	be.PutUint64(b[48:], g.fsBlock(img.logStart()))
	be.PutUint64(b[56:], root)
	be.PutUint64(b[64:], root+1) // realtime bitmap
	be.PutUint64(b[72:], root+2) // realtime summary
	be.PutUint32(b[80:], 1)      // blocks of a realtime extent
	be.PutUint32(b[84:], uint32(g.group))
	be.PutUint32(b[88:], uint32(g.groups))
	be.PutUint32(b[96:], uint32(g.logLength))
	be.PutUint16(b[100:], versionV5)
	be.PutUint16(b[102:], uint16(g.sector))
	be.PutUint16(b[104:], inodeSize)
	be.PutUint16(b[106:], inodesPerBlock)
	copy(b[108:120], img.o.Label)
	b[120], b[121], b[122], b[123] = 12, 9, 9, 3 // logarithms of the sizes of block, sector, inode, and of inodes in a block
	b[124] = byte(g.groupLog)
	b[127] = g.inodePercent()
	be.PutUint64(b[128:], uint64(inodes))
	be.PutUint64(b[136:], uint64(spareInodes))
	be.PutUint64(b[144:], uint64(free))
	be.PutUint32(b[180:], chunkAlign)
	be.PutUint32(b[196:], 1) // log stripe: none
	if g.sector == longSector {
		be.PutUint16(b[100:], versionV5|longSectors)
		b[121], b[193] = 12, 12           // logarithms of the sizes of sector, and of one of the log
		be.PutUint16(b[194:], longSector) // size of one of the log
		be.PutUint32(b[196:], longSector) // log stripe
	}
	be.PutUint32(b[200:], features)
	be.PutUint32(b[204:], features) // once more, where an old kernel put them by mistake
	be.PutUint32(b[216:], featureFileType)
	seal(b, superCRC)
	return b
}

// inodePercent is the share of the space that may become inodes.
func (g geometry) inodePercent() byte {
	if g.blocks < (1<<40)/blockSize {
		return 25
	}
	return 5
}

func (gr group) freeBlocks() (n int64) {
	for _, e := range gr.free {
		n += e.count
	}
	return n
}

// head returns the first blocks of a group.
func (img *Image) head(gr group) []byte {
	sector, roots := img.g.sector, img.g.roots()
	b := make([]byte, img.g.groupHead()*blockSize)
	copy(b, img.super())
	copy(b[sector:], img.freeSpace(gr))
	copy(b[2*sector:], img.inodeSpace(gr))
	copy(b[3*sector:], img.spareList(gr))
	records := func(sorted []extent) (out []byte) {
		for _, e := range sorted {
			out = be.AppendUint32(out, uint32(e.block-gr.start))
			out = be.AppendUint32(out, uint32(e.count))
		}
		return out
	}
	byLength := slices.SortedFunc(slices.Values(gr.free), func(a, b extent) int {
		return cmp.Or(cmp.Compare(a.count, b.count), cmp.Compare(a.block, b.block))
	})
	n := len(gr.free)
	copy(b[roots*blockSize:], img.treeBlock(gr, magicByPlace, gr.start+roots, 0, n, null, null, records(gr.free)))
	copy(b[(roots+1)*blockSize:], img.treeBlock(gr, magicByLength, gr.start+roots+1, 0, n, null, null, records(byLength)))
	root, _ := img.inodeTree(gr)
	copy(b[(roots+2)*blockSize:], root)
	return b
}

// freeSpace returns the AGF.
func (img *Image) freeSpace(gr group) []byte {
	b := make([]byte, img.g.sector)
	be.PutUint32(b[0:], magicFree)
	be.PutUint32(b[4:], 1)
	be.PutUint32(b[8:], uint32(gr.index))
	be.PutUint32(b[12:], uint32(gr.length))
	be.PutUint32(b[16:], uint32(img.g.roots()))   // root of the tree by place
	be.PutUint32(b[20:], uint32(img.g.roots()+1)) // and by length
	be.PutUint32(b[28:], 1)                       // levels of both
	be.PutUint32(b[32:], 1)
	be.PutUint32(b[40:], 1)           // first and last of the spare blocks in the AGFL
	be.PutUint32(b[44:], spareBlocks) //
	be.PutUint32(b[48:], spareBlocks) // their number
	longest := int64(0)
	for _, e := range gr.free {
		longest = max(longest, e.count)
	}
	be.PutUint32(b[52:], uint32(gr.freeBlocks()))
	be.PutUint32(b[56:], uint32(longest))
	copy(b[64:], img.o.UUID[:])
	seal(b, freeCRC)
	return b
}

// inodeSpace returns the AGI.
func (img *Image) inodeSpace(gr group) []byte {
	b := make([]byte, img.g.sector)
	count, newest := gr.chunkCount(), uint32(null)
	if count > 0 {
		newest = uint32(gr.chunks-gr.start+(count-1)*chunkBlocks) * inodesPerBlock
	}
	_, levels := img.inodeTree(gr)
	be.PutUint32(b[0:], magicInodes)
	be.PutUint32(b[4:], 1)
	be.PutUint32(b[8:], uint32(gr.index))
	be.PutUint32(b[12:], uint32(gr.length))
	be.PutUint32(b[16:], uint32(count)*inodesPerChunk)
	be.PutUint32(b[20:], uint32(img.g.roots()+2)) // root of the inode tree
	be.PutUint32(b[24:], uint32(levels))
	be.PutUint32(b[28:], uint32(count*inodesPerChunk-int64(len(gr.inodes))))
	be.PutUint32(b[32:], newest)
	be.PutUint32(b[36:], null)
	for i := range unlinkedBuckets {
		be.PutUint32(b[40+4*i:], null)
	}
	copy(b[296:], img.o.UUID[:])
	seal(b, inodesCRC)
	return b
}

// spareList returns the AGFL.
func (img *Image) spareList(gr group) []byte {
	b := make([]byte, img.g.sector)
	be.PutUint32(b[0:], magicSpare)
	be.PutUint32(b[4:], uint32(gr.index))
	copy(b[8:], img.o.UUID[:])
	for at := 36; at < len(b); at += 4 {
		be.PutUint32(b[at:], null)
	}
	for i := range uint32(spareBlocks) {
		be.PutUint32(b[36+4*(i+1):], uint32(img.g.spare(gr.index))+i)
	}
	seal(b, spareCRC)
	return b
}

// treeBlock returns a block of one of a group's trees.
func (img *Image) treeBlock(gr group, magic uint32, block int64, level, records int, left, right uint32, body []byte) []byte {
	b := make([]byte, blockSize)
	be.PutUint32(b[0:], magic)
	be.PutUint16(b[4:], uint16(level))
	be.PutUint16(b[6:], uint16(records))
	be.PutUint32(b[8:], left)
	be.PutUint32(b[12:], right)
	be.PutUint64(b[16:], sector(block))
	copy(b[32:], img.o.UUID[:])
	be.PutUint32(b[48:], uint32(gr.index))
	copy(b[treeHead:], body)
	seal(b, treeCRC)
	return b
}
