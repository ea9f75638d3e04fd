package ext4

import (
	"fmt"
	"io"
	"io/fs"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Write writes the image: in ascending order, no byte twice, and nothing for what is zero and nobody's. It writes at most
// [Image.Size] bytes; the container's end stays free.
func (img *Image) Write(w io.WriterAt) error {
	o := &ordered{w: w, img: img, descriptors: img.descriptors()}
	out := tree.Before(w, func(off, _ int64) error { return o.before(off) })
	for in := range img.inPlace() {
		if err := img.writeContent(out, in); err != nil {
			return fmt.Errorf("write ext4 %s: %w", in.Path, err)
		}
	}
	if err := o.before(img.Size()); err != nil {
		return fmt.Errorf("write ext4: %w", err)
	}
	return nil
}

// ordered writes the heads of groups between all else, so that offsets ascend.
type ordered struct {
	w           io.WriterAt
	img         *Image
	descriptors []byte
	next        int64 // group whose head is not yet written
}

// before writes the heads that start before an offset.
func (o *ordered) before(off int64) error {
	for ; o.next < o.img.g.groups && o.next*groupBlocks*blockSize < off; o.next++ {
		if b := o.img.headBytes(o.next, o.descriptors); len(b) > 0 {
			if _, err := o.w.WriteAt(b, o.next*groupBlocks*blockSize); err != nil {
				return err
			}
		}
	}
	return nil
}

// headBytes returns the blocks of a group before those of files, as far as they are written.
func (img *Image) headBytes(group int64, descriptors []byte) (b []byte) {
	if hasSuper(group) {
		at := 0
		if group == 0 {
			at = 1024 // after the boot sector
		}
		b = make([]byte, blockSize, blockSize+len(descriptors))
		copy(b[at:], img.super(group))
		b = append(b, descriptors...)
	}
	unwritten := img.unwritten(group)
	if unwritten&groupNoBlocks == 0 {
		b = append(b, img.blockBitmap(group)...)
	}
	if unwritten&groupNoInodes == 0 {
		b = append(b, img.inodeBitmap(group)...)
		b = append(b, img.tableBytes(group)...)
	}
	return b
}

// tableBytes returns the inodes of a group, in whole blocks up to the last one in use.
func (img *Image) tableBytes(group int64) []byte {
	used := img.inodesIn(group)
	b := make([]byte, parts(used, inodesInBlock)*blockSize)
	first := group*img.g.inodes + 1
	for i := range used {
		slot := b[i*inodeSize:][:inodeSize]
		switch number := first + i; {
		case number == rootInode:
			img.putInode(slot, img.inodes[0])
		case number < lostInode: // reserved, and empty
			le.PutUint16(slot[inodeCRC:], uint16(inodeSum(inodeSeed(img.seed(), uint32(number), 0), slot, false)))
		default:
			img.putInode(slot, img.inodes[number-lostInode+1])
		}
	}
	return b
}

func (img *Image) writeContent(out io.WriterAt, in *inode) error {
	w := tree.InExtents(out, inBytes(in.extents))
	seed := img.seedOf(in)
	switch {
	case in.Mode.IsDir():
		at := int64(0)
		for entries := range in.dirBlocks() {
			if _, err := w.WriteAt(dirBlock(entries, seed), at); err != nil {
				return err
			}
			at += blockSize
		}
	case in.Mode.Type() == fs.ModeSymlink && in.extents != nil:
		if _, err := w.WriteAt([]byte(in.Link), 0); err != nil {
			return err
		}
	case in.Mode.IsRegular():
		if _, err := tree.CopyAt(w, 0, in.Content); err != nil {
			return err
		}
	}
	if in.treeBlocks == nil {
		return nil
	}
	w = tree.InExtents(out, inBytes(in.treeBlocks))
	_, blocks := in.extentTree(seed)
	for i, b := range blocks {
		if _, err := w.WriteAt(b, int64(i)*blockSize); err != nil {
			return err
		}
	}
	return nil
}
