package xfs

import (
	"io/fs"
	"slices"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

const (
	magicInode     = 0x494e // IN
	inodeCRC       = 100
	inodeHead      = 176
	literalSize    = inodeSize - inodeHead // of what an inode itself holds
	extentRecord   = 16
	extentsInInode = literalSize / extentRecord
	rootChildren   = (literalSize - 4) / 16 // of a tree of extents, in the inode
	bitmapFlag     = 0x4

	magicExtents  = 0x424d4133 // BMA3
	extentsHead   = 72
	extentsCRC    = 64
	extentsInLeaf = (blockSize - extentsHead) / extentRecord

	magicLink = 0x58534c4d // XSLM
	linkHead  = 56
	linkCRC   = 12
)

// How an inode has its content.
const (
	formDevice = iota
	formLocal
	formExtents
	formTree
)

// fileTypes by the number that directories have for them, from 1 on.
var fileTypes = []fs.FileMode{
	0, fs.ModeDir, fs.ModeDevice | fs.ModeCharDevice, fs.ModeDevice, fs.ModeNamedPipe, fs.ModeSocket, fs.ModeSymlink,
}

// typeOf is the number of a type; 0 is none that XFS knows.
func typeOf(m fs.FileMode) byte { return byte(slices.Index(fileTypes, m.Type()) + 1) }

// chunkBytes returns a chunk of inodes.
func (img *Image) chunkBytes(gr group, chunk int64) []byte {
	b := make([]byte, inodesPerChunk*inodeSize)
	for i := range inodesPerChunk {
		slot := b[i*inodeSize:][:inodeSize]
		be.PutUint16(slot, magicInode)
		slot[4] = 3                   // version
		be.PutUint32(slot[96:], null) // next in a list of unlinked ones
		be.PutUint64(slot[152:], img.g.inodeNumber(gr.chunks+chunk*chunkBlocks, i))
		copy(slot[160:], img.o.UUID[:])
		if j := int(chunk)*inodesPerChunk + i; j < len(gr.inodes) {
			img.putInode(slot, gr.inodes[j])
		}
		seal(slot, inodeCRC)
	}
	return b
}

// putInode fills in what an inode in use has.
func (img *Image) putInode(b []byte, in *inode) {
	form, size := byte(formExtents), in.Size()
	body := b[inodeHead:]
	switch {
	case in.Mode.IsDir() && in.dir.form == dirShort:
		form = formLocal
		size = int64(copy(body, in.shortDir()))
	case in.Mode.IsDir():
		size = in.dir.data * blockSize
	case in.Mode.Type() == fs.ModeSymlink:
		if size = int64(len(in.Link)); size <= literalSize {
			form = formLocal
			copy(body, in.Link)
		}
	case !in.Mode.IsRegular():
		form = formDevice
		be.PutUint32(body, in.Major<<18|in.Minor)
	}
	if form == formExtents {
		form = img.putExtents(body, in)
	}
	be.PutUint16(b[2:], tree.UnixMode(in.Mode))
	b[5] = form
	be.PutUint32(b[8:], in.UID)
	be.PutUint32(b[12:], in.GID)
	be.PutUint32(b[16:], in.links)
	for _, at := range []int{32, 40, 48, 144} { // read, written, changed, made
		putTime(b[at:], in.ModTime)
	}
	blocks := int64(len(in.treeBlocks))
	for _, e := range in.extents {
		blocks += e.count
	}
	be.PutUint64(b[56:], uint64(size))
	be.PutUint64(b[64:], uint64(blocks))
	be.PutUint32(b[76:], uint32(len(in.extents)))
	b[83] = formExtents // of attributes: none
	if in.isBitmap {
		be.PutUint16(b[90:], bitmapFlag)
	}
	be.PutUint64(b[104:], 1) // changes
}

func putTime(b []byte, t time.Time) {
	be.PutUint32(b, uint32(t.Unix()))
	be.PutUint32(b[4:], uint32(t.Nanosecond()))
}

// putExtents writes the extents, or the root of their tree, and returns which.
func (img *Image) putExtents(b []byte, in *inode) (form byte) {
	if in.treeBlocks == nil {
		copy(b, img.extentRecords(in.extents))
		return formExtents
	}
	n := int64(len(in.treeBlocks))
	be.PutUint16(b, 1) // level
	be.PutUint16(b[2:], uint16(n))
	for i, block := range in.treeBlocks {
		first := in.extents[share(int64(len(in.extents)), n, int64(i))]
		be.PutUint64(b[4+8*i:], uint64(first.at))
		be.PutUint64(b[4+8*(rootChildren+i):], img.g.fsBlock(block))
	}
	return formTree
}

// extentRecords packs extents: 1 bit (not written), 54 bits (place in the file), 52 bits (block), 21 bits (count).
func (img *Image) extentRecords(extents []extent) (b []byte) {
	for _, e := range extents {
		block := img.g.fsBlock(e.block)
		b = be.AppendUint64(b, uint64(e.at)<<9|block>>43)
		b = be.AppendUint64(b, block<<21|uint64(e.count))
	}
	return b
}

// extentLeaf returns a block of the tree of extents.
func (img *Image) extentLeaf(in *inode, i int) []byte {
	b, n := make([]byte, blockSize), int64(len(in.treeBlocks))
	from, to := share(int64(len(in.extents)), n, int64(i)), share(int64(len(in.extents)), n, int64(i)+1)
	sibling := func(j int) uint64 {
		if j < 0 || j >= len(in.treeBlocks) {
			return 1<<64 - 1
		}
		return img.g.fsBlock(in.treeBlocks[j])
	}
	be.PutUint32(b[0:], magicExtents)
	be.PutUint16(b[6:], uint16(to-from))
	be.PutUint64(b[8:], sibling(i-1))
	be.PutUint64(b[16:], sibling(i+1))
	be.PutUint64(b[24:], sector(in.treeBlocks[i]))
	copy(b[40:], img.o.UUID[:])
	be.PutUint64(b[56:], in.number)
	copy(b[extentsHead:], img.extentRecords(in.extents[from:to]))
	seal(b, extentsCRC)
	return b
}

// longLink returns the block of a symbolic link that does not fit its inode.
func (img *Image) longLink(in *inode) []byte {
	b := make([]byte, blockSize)
	be.PutUint32(b[0:], magicLink)
	be.PutUint32(b[8:], uint32(len(in.Link)))
	copy(b[16:], img.o.UUID[:])
	be.PutUint64(b[32:], in.number)
	be.PutUint64(b[40:], sector(in.extents[0].block))
	copy(b[linkHead:], in.Link)
	seal(b, linkCRC)
	return b
}
