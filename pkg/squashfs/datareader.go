package squashfs

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/talosmith/talosmith/pkg/tree"
)

// dataReader reads data blocks and fragment blocks.
type dataReader struct {
	r     io.ReaderAt
	d     *decompressor
	meta  *metaReader
	sb    superblock
	cache *cache[dataKey, []byte]
	zeros func() []byte // a hole
}

// dataKey is a block as an inode or the fragment table gives it.
type dataKey struct {
	start uint64
	size  uint32 // with bit storedBlock
}

const cachedDataBlocks = 4 // of up to 1 MiB

func newDataReader(r io.ReaderAt, d *decompressor, meta *metaReader, sb superblock) *dataReader {
	return &dataReader{
		r: r, d: d, meta: meta, sb: sb, cache: newCache[dataKey, []byte](cachedDataBlocks),
		zeros: sync.OnceValue(func() []byte { return make([]byte, sb.BlockSize) }),
	}
}

// block returns an uncompressed block. Nobody may change it.
func (d *dataReader) block(k dataKey) ([]byte, error) {
	p, err := d.cache.get(k, func() ([]byte, error) { return d.load(k) })
	if err != nil {
		return nil, fmt.Errorf("data block at %d: %w", k.start, err)
	}
	return p, nil
}

func (d *dataReader) load(k dataKey) ([]byte, error) {
	size, err := blockSize(k.size, d.sb.BlockSize)
	if err != nil {
		return nil, err
	}
	p := make([]byte, size)
	if err := readAt(d.r, p, int64(k.start)); err != nil {
		return nil, err
	}
	if k.size&storedBlock != 0 {
		return p, nil
	}
	p, err = d.d.uncompress(make([]byte, 0, d.sb.BlockSize), p)
	if err != nil {
		return nil, fmt.Errorf("%w: uncompress: %w", ErrInvalid, err)
	}
	return p, nil
}

// blockSize is a block's size on disk.
func blockSize(word, limit uint32) (uint32, error) {
	size := word &^ storedBlock
	if size > limit {
		return 0, fmt.Errorf("%w: the size of a block is %d bytes on disk, more than the block size of %d", ErrInvalid, size, limit)
	}
	return size, nil
}

// fragment returns an uncompressed fragment block.
func (d *dataReader) fragment(number uint32) ([]byte, error) {
	if number >= d.sb.Fragments {
		return nil, fmt.Errorf("%w: fragment block %d of %d", ErrInvalid, number, d.sb.Fragments)
	}
	c, err := d.meta.entry(d.sb.FragmentTable, int64(number), fragmentEntrySize)
	if err != nil {
		return nil, err
	}
	var e fragmentEntry
	if err := c.decode(&e); err != nil {
		return nil, err
	}
	return d.block(dataKey{e.Start, e.Size})
}

var _ interface {
	tree.Blob
	io.ReaderAt
} = (*file)(nil)

// file is the content of a regular file.
type file struct {
	d              *dataReader
	size           int64
	start          uint64 // of the first block
	fragment       uint32
	fragmentOffset uint32
	list           cursor // of the sizes of the blocks

	mu    sync.Mutex
	place place
}

// place is how far the list of block sizes was read. It makes reading on fast, and is all that is kept of the list: a crafted
// image can have a huge one.
type place struct {
	index int64  // of the block
	start uint64 // where it starts
	list  cursor // where its size is
}

func (f *file) Size() int64 { return f.size }

// listed is the number of blocks, without a fragment.
func (f *file) listed() int64 {
	bs := int64(f.d.sb.BlockSize)
	if f.fragment == none32 {
		return (f.size + bs - 1) / bs
	}
	return f.size / bs
}

// block returns the uncompressed block with an index.
func (f *file) block(i int64) ([]byte, error) {
	bs := int64(f.d.sb.BlockSize)
	want := int(min(bs, f.size-i*bs))
	if i == f.listed() {
		p, err := f.d.fragment(f.fragment)
		if err != nil {
			return nil, err
		}
		if int64(f.fragmentOffset)+int64(want) > int64(len(p)) {
			return nil, fmt.Errorf("%w: bytes %d to %d of fragment block %d, which has %d", ErrInvalid,
				f.fragmentOffset, int64(f.fragmentOffset)+int64(want), f.fragment, len(p))
		}
		return p[f.fragmentOffset:][:want], nil
	}
	k, err := f.find(i)
	if err != nil {
		return nil, err
	}
	if k.size == 0 {
		return f.d.zeros()[:want], nil
	}
	p, err := f.d.block(k)
	if err == nil && len(p) != want {
		err = fmt.Errorf("%w: the data block at %d has %d bytes, it must have %d", ErrInvalid, k.start, len(p), want)
	}
	return p, err
}

// find returns the block with an index, by adding up the sizes of those before it.
func (f *file) find(i int64) (dataKey, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.place.index > i || f.place.list.m == nil {
		f.place = place{start: f.start, list: f.list}
	}
	at := f.place
	for buf := [2048]byte{}; at.index < i; {
		words := buf[:4*min(i-at.index, int64(len(buf)/4))]
		if err := at.list.read(words); err != nil {
			return dataKey{}, fmt.Errorf("list of blocks: %w", err)
		}
		for ; len(words) > 0; words = words[4:] {
			size, err := blockSize(binary.LittleEndian.Uint32(words), f.d.sb.BlockSize)
			if err != nil {
				return dataKey{}, err
			}
			at.index++
			at.start += uint64(size)
		}
	}
	f.place = at
	var word [4]byte
	if err := at.list.read(word[:]); err != nil {
		return dataKey{}, fmt.Errorf("list of blocks: %w", err)
	}
	return dataKey{at.start, binary.LittleEndian.Uint32(word[:])}, nil
}

// Open implements [tree.Blob].
func (f *file) Open() (io.ReadCloser, error) { return &fileReader{f: f}, nil }

// ReadAt implements [io.ReaderAt].
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d: negative offset", off)
	}
	done := 0
	for done < len(p) && off < f.size {
		bs := int64(f.d.sb.BlockSize)
		b, err := f.block(off / bs)
		if err != nil {
			return done, err
		}
		n := copy(p[done:], b[off%bs:])
		done += n
		off += int64(n)
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// fileReader reads a file from its start.
type fileReader struct {
	f     *file
	next  int64 // index of a block
	block []byte
}

func (r *fileReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.block) == 0 {
		if r.next*int64(r.f.d.sb.BlockSize) >= r.f.size {
			return 0, io.EOF
		}
		b, err := r.f.block(r.next)
		if err != nil {
			return 0, err
		}
		r.block = b
		r.next++
	}
	n := copy(p, r.block)
	r.block = r.block[n:]
	return n, nil
}

func (r *fileReader) Close() error {
	r.block = nil
	r.next = 1 << 42 // 4096 bytes each: beyond every file
	return nil
}
