package ext4

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// written is an extent that is read: its place in bytes.
type written struct{ at, off, size int64 }

// readExtents returns the extents in the order of the file, without those that were never written.
func (v *volume) readExtents(in *rawInode) ([]written, error) {
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
	out   []written
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
		err = t.v.readAt(b, off)
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
		t.out = append(t.out, written{at * t.v.block, off, count * t.v.block})
	}
	return nil
}

// content is a file's bytes.
type content struct {
	v    *volume
	size int64
	// extents are read when they are needed first.
	extents func() ([]written, error)
}

func (v *volume) newContent(in *rawInode) (*content, error) {
	if in.size > v.blocks*v.block {
		return nil, fmt.Errorf("not supported: a file with holes of %d bytes is bigger than the file system", in.size)
	}
	number := in.number
	extents := sync.OnceValues(func() ([]written, error) {
		in, err := v.readInode(number) // once more: the inodes of all files would be a lot of memory
		if err != nil {
			return nil, err
		}
		return v.readExtents(in)
	})
	return &content{v, in.size, extents}, nil
}

func (c *content) Size() int64 { return c.size }

func (c *content) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(c, 0, c.size)), nil
}

// ReadAt implements [io.ReaderAt].
func (c *content) ReadAt(p []byte, off int64) (n int, err error) {
	if n, err = c.read(p, off); err != nil && err != io.EOF {
		err = fmt.Errorf("read ext4: %w", err)
	}
	return n, err
}

// read reads like ReadAt. Holes read as zeros.
func (c *content) read(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	if off >= c.size {
		return 0, io.EOF
	}
	extents, err := c.extents()
	if err != nil {
		return 0, err
	}
	if int64(len(p)) > c.size-off {
		p, err = p[:c.size-off], io.EOF
	}
	clear(p)
	end := off + int64(len(p))
	first, _ := slices.BinarySearchFunc(extents, off, func(e written, off int64) int { return cmp.Compare(e.at+e.size, off+1) })
	for _, e := range extents[first:] {
		from, to := max(off, e.at), min(end, e.at+e.size)
		if from >= to {
			break
		}
		if err := c.v.readAt(p[from-off:to-off], e.off+from-e.at); err != nil {
			return int(from - off), err
		}
	}
	return len(p), err
}
