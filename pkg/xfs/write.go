package xfs

import (
	"fmt"
	"io"
	"io/fs"

	"github.com/talosmith/talosmith/pkg/tree"
)

// logStart is the first block of the log.
func (img *Image) logStart() int64 { return img.g.logGroup()*img.g.group + img.g.groupHead() }

// logHead returns the log of a file system that was cleanly unmounted: one record that says so, and zeros.
func (img *Image) logHead() []byte {
	const (
		magicRecord  = 0xfeedbabe
		cycle        = 1
		transaction  = 0xb0c0d0d0
		clientLog    = 0xaa
		flagUnmount  = 0x20
		magicUnmount = 0x556e
		linux        = 1
		maxRecord    = 32 << 10
	)
	b := make([]byte, max(img.g.sector, 2*sectorSize)) // header of 512 bytes, and body
	body := b[sectorSize:]
	be.PutUint32(b[0:], magicRecord)
	be.PutUint32(b[4:], cycle)
	be.PutUint32(b[8:], 2) // version
	be.PutUint32(b[12:], uint32(len(body)))
	be.PutUint32(b[16:], cycle)       // place of this record: cycle and sector of the log
	be.PutUint32(b[24:], cycle)       // and of the oldest that matters
	be.PutUint32(b[36:], null)        // previous record
	be.PutUint32(b[40:], 1)           // operations
	be.PutUint32(b[44:], transaction) // what the body starts with; there the cycle stands instead, as in all 512 bytes
	be.PutUint32(b[300:], linux)      // format
	copy(b[304:], img.o.UUID[:])
	be.PutUint32(b[320:], maxRecord)
	for at := 0; at < len(body); at += sectorSize {
		be.PutUint32(body[at:], cycle)
	}
	be.PutUint32(body[4:], 8) // length of what follows the operation's header
	body[8], body[9] = clientLog, flagUnmount
	le.PutUint16(body[12:], magicUnmount)
	return b
}

// Write writes the image: in ascending order, no byte twice, and nothing where nothing is. A hole of w must read as zeros.
func (img *Image) Write(w io.WriterAt) error {
	o := &ordered{w: w, fixed: img.fixed()}
	out := tree.Before(w, func(off, _ int64) error { return o.before(off) })
	for _, files := range []bool{false, true} {
		for _, in := range img.inodes {
			if in.Mode.IsRegular() != files || in.extents == nil {
				continue
			}
			if err := img.writeContent(out, in); err != nil {
				return fmt.Errorf("write XFS %s: %w", in.Path, err)
			}
		}
	}
	if err := o.before(img.Size()); err != nil {
		return fmt.Errorf("write XFS: %w", err)
	}
	return nil
}

func (img *Image) writeContent(out io.WriterAt, in *inode) error {
	w := tree.InExtents(out, inBytes(in.extents))
	switch {
	case in.Mode.IsDir():
		put := func(at int64, b []byte) error {
			_, err := w.WriteAt(b, at*blockSize)
			return err
		}
		if err := (dirWriter{img, in, put}).write(); err != nil {
			return err
		}
	case in.Mode.Type() == fs.ModeSymlink:
		if _, err := w.WriteAt(img.longLink(in), 0); err != nil {
			return err
		}
	default:
		if _, err := tree.CopyAt(w, 0, in.Content); err != nil {
			return err
		}
	}
	for i, block := range in.treeBlocks {
		if _, err := out.WriteAt(img.extentLeaf(in, i), block*blockSize); err != nil {
			return err
		}
	}
	return nil
}

// fixed are the parts of the image that are no file's: heads of groups, log, inodes and their trees.
func (img *Image) fixed() (parts []part) {
	for _, gr := range img.groups {
		parts = append(parts, part{gr.start, func() []byte { return img.head(gr) }})
		if gr.index == img.g.logGroup() {
			parts = append(parts, part{img.logStart(), img.logHead})
		}
		for i := range gr.chunkCount() {
			parts = append(parts, part{gr.chunks + i*chunkBlocks, func() []byte { return img.chunkBytes(gr, i) }})
		}
		if gr.inodeTree.count > 0 {
			parts = append(parts, part{gr.inodeTree.block, func() []byte { return img.inodeTreeBody(gr) }})
		}
	}
	return parts
}

// part of an image that is made when its turn comes.
type part struct {
	block int64
	bytes func() []byte
}

// ordered writes the fixed parts between the others, so that offsets ascend.
type ordered struct {
	w     io.WriterAt
	fixed []part
}

// before writes the fixed parts that start before an offset.
func (o *ordered) before(off int64) error {
	for len(o.fixed) > 0 && o.fixed[0].block*blockSize < off {
		p := o.fixed[0]
		o.fixed = o.fixed[1:]
		if _, err := o.w.WriteAt(p.bytes(), p.block*blockSize); err != nil {
			return err
		}
	}
	return nil
}
