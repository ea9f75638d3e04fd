package ext4

import (
	"errors"
	"fmt"
	"slices"

	"github.com/talosmith/talosmith/pkg/tree"
)

// readExtents returns the extents in the order of the file, without those that were never written.
func (v *volume) readExtents(in *rawInode) ([]tree.Extent, error) {
	if in.flags&flagExtents == 0 {
		return nil, errors.New("not supported: content without extents, as ext2 and ext3 have it")
	}
	t := extentReader{v: v, seed: in.seed}
	depth := le.Uint16(in.body[6:])
	if depth > maxDepth {
		return nil, fmt.Errorf("tree of extents: %d levels: at most %d", depth, maxDepth)
	}
	err := t.node(in.body, depth)
	return t.out, err
}

// extentReader walks a tree of extents. A node that is there twice is noticed: the extents have to ascend.
type extentReader struct {
	v     *volume
	seed  uint32
	out   []tree.Extent
	last  int64 // block in the file where the next extent may begin
	count int
}

func (t *extentReader) node(b []byte, depth uint16) error {
	entries, room := int(le.Uint16(b[2:])), (len(b)-extentHead)/extentRecord
	if le.Uint16(b) != magicExtents || entries > room || le.Uint16(b[6:]) != depth {
		return fmt.Errorf("tree of extents: magic number %#x, %d of %d entries, level %d", le.Uint16(b), entries, room, le.Uint16(b[6:]))
	}
	for r := range slices.Chunk(b[extentHead:][:entries*extentRecord], extentRecord) {
		var err error
		if depth == 0 {
			err = t.extent(r)
		} else {
			err = t.child(int64(le.Uint32(r[4:]))|int64(le.Uint16(r[8:]))<<32, depth-1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *extentReader) child(block int64, depth uint16) error {
	b := make([]byte, t.v.block)
	off, err := t.v.place(block, 1)
	if err == nil {
		err = tree.ReadFull(t.v.r, b, off)
	}
	if err != nil {
		return fmt.Errorf("tree of extents: %w", err)
	}
	end := extentHead + (len(b)-extentHead)/extentRecord*extentRecord
	if t.v.checksums && le.Uint32(b[end:]) != crc(t.seed, b[:end]) {
		return fmt.Errorf("tree of extents: the checksum of block %d is wrong", block)
	}
	if le.Uint16(b[2:]) == 0 {
		return fmt.Errorf("tree of extents: block %d has no entries", block)
	}
	return t.node(b, depth)
}

func (t *extentReader) extent(r []byte) error {
	at, count := int64(le.Uint32(r)), int64(le.Uint16(r[4:]))
	unwritten := count > maxExtent
	if unwritten {
		count -= maxExtent
	}
	if t.count++; t.count > maxExtents {
		return fmt.Errorf("not supported: more than %d extents", maxExtents)
	}
	if at < t.last || count == 0 {
		return fmt.Errorf("extent %d: %d blocks at %d, after %d", t.count, count, at, t.last)
	}
	off, err := t.v.place(int64(le.Uint32(r[8:]))|int64(le.Uint16(r[6:]))<<32, count)
	if err != nil {
		return fmt.Errorf("extent %d: %w", t.count, err)
	}
	if t.last = at + count; !unwritten {
		t.out = append(t.out, tree.Extent{At: at * t.v.block, Off: off, Size: count * t.v.block})
	}
	return nil
}

func (v *volume) newContent(in *rawInode) (tree.Blob, error) {
	if in.size > v.blocks*v.block {
		return nil, fmt.Errorf("not supported: a file with holes of %d bytes is bigger than the file system", in.size)
	}
	number := in.number
	return tree.Extents(v.r, in.size, func() ([]tree.Extent, error) {
		in, err := v.readInode(number) // once more: the inodes of all files would be a lot of memory
		if err != nil {
			return nil, err
		}
		return v.readExtents(in)
	}), nil
}
