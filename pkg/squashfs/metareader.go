package squashfs

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"
)

// metaReader reads metadata blocks.
type metaReader struct {
	r     io.ReaderAt
	d     *decompressor
	cache *cache[int64, metaBlock]
	work  atomic.Int64 // bytes uncompressed so far
}

type metaBlock struct {
	data []byte
	next int64 // where the block after it starts
}

const cachedMetaBlocks = 128 // 1 MiB

func newMetaReader(r io.ReaderAt, d *decompressor) *metaReader {
	return &metaReader{r: r, d: d, cache: newCache[int64, metaBlock](cachedMetaBlocks)}
}

func (m *metaReader) block(at int64) (metaBlock, error) {
	b, err := m.cache.get(at, func() (metaBlock, error) { return m.load(at) })
	if err != nil {
		return b, fmt.Errorf("metadata block at %d: %w", at, err)
	}
	return b, nil
}

func (m *metaReader) load(at int64) (metaBlock, error) {
	var h [2]byte
	if err := readAt(m.r, h[:], at); err != nil {
		return metaBlock{}, err
	}
	header := binary.LittleEndian.Uint16(h[:])
	size := int(header &^ storedMeta)
	if size == 0 || size > metaBlockSize {
		return metaBlock{}, fmt.Errorf("%w: its size is %d bytes, it must be from 1 to %d", ErrInvalid, size, metaBlockSize)
	}
	p := make([]byte, size)
	if err := readAt(m.r, p, at+2); err != nil {
		return metaBlock{}, err
	}
	if header&storedMeta == 0 {
		var err error
		if p, err = m.d.uncompress(make([]byte, 0, metaBlockSize), p); err != nil {
			return metaBlock{}, fmt.Errorf("%w: uncompress: %w", ErrInvalid, err)
		}
	}
	if len(p) == 0 {
		return metaBlock{}, fmt.Errorf("%w: it is empty", ErrInvalid)
	}
	m.work.Add(int64(len(p)))
	return metaBlock{p, at + 2 + int64(size)}, nil
}

// cursor is a place in a table of metadata blocks.
type cursor struct {
	m      *metaReader
	block  int64 // where the block starts in the image
	offset int   // in the uncompressed block
}

// at is the cursor of a reference into a table.
func (m *metaReader) at(table, ref uint64) cursor {
	return cursor{m, int64(table) + refBlock(ref), refOffset(ref)}
}

// read fills p.
func (c *cursor) read(p []byte) error {
	for {
		b, err := c.m.block(c.block)
		if err != nil {
			return err
		}
		if c.offset > len(b.data) {
			return fmt.Errorf("%w: offset %d of the metadata block at %d, which has %d bytes", ErrInvalid, c.offset, c.block, len(b.data))
		}
		n := copy(p, b.data[c.offset:])
		p = p[n:]
		c.offset += n
		if len(p) == 0 {
			return nil
		}
		c.block, c.offset = b.next, 0
	}
}

// decode reads an on-disk struct.
func (c *cursor) decode(v any) error {
	p := make([]byte, binary.Size(v))
	if err := c.read(p); err != nil {
		return err
	}
	decode(p, v)
	return nil
}

// entry is the cursor of an entry of a table that is found by numbers: index points to where each block starts.
func (m *metaReader) entry(index uint64, number, size int64) (cursor, error) {
	var p [8]byte
	perBlock := metaBlockSize / size
	if err := readAt(m.r, p[:], int64(index)+8*(number/perBlock)); err != nil {
		return cursor{}, err
	}
	at := binary.LittleEndian.Uint64(p[:])
	if at > 1<<62 {
		return cursor{}, fmt.Errorf("%w: a table starts at %d", ErrInvalid, at)
	}
	return cursor{m, int64(at), int(number % perBlock * size)}, nil
}

// readAt fills p from the image.
func readAt(r io.ReaderAt, p []byte, at int64) error {
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		err = fmt.Errorf("%w: %d bytes at %d are beyond its end", ErrInvalid, len(p), at)
	}
	return err
}
