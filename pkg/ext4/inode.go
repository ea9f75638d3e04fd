package ext4

import (
	"io/fs"

	"github.com/talosmith/talosmith/pkg/tree"
)

const (
	flagExtents = 0x80000
	extraSize   = 32 // bytes in use after the first 128
	shortLink   = inodeBody - 1
)

// seedOf is where the checksums of an inode and its blocks start.
func (img *Image) seedOf(in *inode) uint32 { return inodeSeed(img.seed(), in.number, 0) }

// putInode fills in an inode.
func (img *Image) putInode(b []byte, in *inode) {
	body, size, flags := b[0x28:][:inodeBody], in.Size(), uint32(0)
	switch {
	case in.Mode.IsDir():
		size = in.blocks() * blockSize
	case in.Mode.Type() == fs.ModeSymlink:
		size = int64(len(in.Link))
	}
	switch typ := in.Mode.Type(); {
	case typ == fs.ModeSymlink && size <= shortLink:
		copy(body, in.Link)
	case typ == fs.ModeSymlink, typ == fs.ModeDir, typ == 0:
		flags = flagExtents
		root, _ := in.extentTree(0)
		copy(body, root)
	case typ&fs.ModeDevice != 0 && in.Major < 1<<8 && in.Minor < 1<<8:
		le.PutUint32(body, in.Major<<8|in.Minor)
	case typ&fs.ModeDevice != 0:
		le.PutUint32(body[4:], in.Minor&0xff|in.Major<<8|in.Minor>>8<<20)
	}
	sectors := int64(0)
	for _, extents := range [][]extent{in.extents, in.treeBlocks} {
		for _, e := range extents {
			sectors += e.count * (blockSize / sectorSize)
		}
	}
	le.PutUint16(b[0x00:], tree.UnixMode(in.Mode))
	le.PutUint16(b[0x02:], uint16(in.UID))
	le.PutUint32(b[0x04:], uint32(size))
	le.PutUint16(b[0x18:], uint16(in.GID))
	le.PutUint16(b[0x1a:], uint16(in.links))
	le.PutUint32(b[0x1c:], uint32(sectors))
	le.PutUint32(b[0x20:], flags)
	le.PutUint32(b[0x6c:], uint32(size>>32))
	le.PutUint16(b[0x74:], uint16(sectors>>32))
	le.PutUint16(b[0x78:], uint16(in.UID>>16))
	le.PutUint16(b[0x7a:], uint16(in.GID>>16))
	le.PutUint16(b[0x80:], extraSize)
	putTime(b, 0x08, 0x8c, in.ModTime) // read
	putTime(b, 0x0c, 0x84, in.ModTime) // changed
	putTime(b, 0x10, 0x88, in.ModTime) // written
	putTime(b, 0x90, 0x94, in.ModTime) // made
	sum := inodeSum(img.seedOf(in), b, true)
	le.PutUint16(b[inodeCRC:], uint16(sum))
	le.PutUint16(b[inodeHighCRC:], uint16(sum>>16))
}
