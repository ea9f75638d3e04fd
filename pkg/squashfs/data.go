package squashfs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/talosmith/talosmith/pkg/tree"
)

// content says where the data of a file is.
type content struct {
	start          uint64   // of the first block
	blocks         []uint32 // size on disk of each block, 0 for a hole
	sparse         uint64   // bytes in holes
	fragment       uint32   // block that has the whole file, or none32
	fragmentOffset uint32
}

// block is one unit of work: it has all the memory that it needs, and is used again and again.
type block struct {
	raw   []byte // what is to be stored; empty for a hole
	out   []byte // raw, compressed
	err   error
	file  *content // nil for a fragment block
	ready chan struct{}
}

// dataWriter stores the contents of files. One goroutine (the caller's) reads and cuts, some compress, one writes in the order
// of reading; so the image does not depend on which compression ends first, and memory is bounded by the number of blocks.
type dataWriter struct {
	o     Options
	free  chan *block
	work  chan *block
	order chan *block
	done  sync.WaitGroup

	sizes map[int64]int // how many files have a size
	known map[identity]*content

	open      *block // the fragment block that is being filled
	fragments uint32 // number of fragment blocks handed on

	// What the writing goroutine has.
	w       io.WriterAt
	pos     int64
	table   []byte // fragment table
	failure error
	failed  atomic.Bool // there is a failure: reading on is vain
}

// identity tells contents apart.
type identity struct {
	size int64
	sum  [sha256.Size]byte
}

// newDataWriter starts the goroutines for a number of blocks; close ends them.
func newDataWriter(w io.WriterAt, pos int64, o Options, sizes map[int64]int, blocks int64) *dataWriter {
	workers := int(min(int64(o.Workers), max(blocks, 1)))
	n := 2*workers + 1 // and the open fragment block
	d := &dataWriter{
		o: o, w: w, pos: pos, sizes: sizes, known: map[identity]*content{},
		free: make(chan *block, n), work: make(chan *block, n), order: make(chan *block, n),
	}
	for range n {
		d.free <- &block{ready: make(chan struct{}, 1)}
	}
	for range workers {
		d.done.Go(d.compress)
	}
	d.done.Go(d.store)
	return d
}

// close ends the goroutines and returns the first failure.
func (d *dataWriter) close() error {
	close(d.work)
	close(d.order)
	d.done.Wait()
	return d.failure
}

func (d *dataWriter) compress() {
	c := newCompressor(d.o)
	defer c.release()
	for b := range d.work {
		if !d.failed.Load() { // else nobody stores it, and whoever cancelled waits
			b.out, b.err = c.compress(b.out[:0], b.raw)
		}
		b.ready <- struct{}{}
	}
}

// store writes blocks in their order.
func (d *dataWriter) store() {
	for b := range d.order {
		if len(b.raw) > 0 {
			<-b.ready
		}
		if d.failure == nil {
			if d.failure = d.storeBlock(b); d.failure != nil {
				d.failed.Store(true)
			}
		}
		d.free <- b
	}
}

func (d *dataWriter) storeBlock(b *block) error {
	if b.err != nil {
		return fmt.Errorf("compress: %w", b.err)
	}
	p, size := b.out, uint32(len(b.out))
	switch {
	case len(b.raw) == 0: // a hole
		p, size = nil, 0
	case len(b.out) >= len(b.raw):
		p, size = b.raw, uint32(len(b.raw))|storedBlock
	}
	at := uint64(d.pos)
	if b.file == nil {
		d.table = encode(d.table, fragmentEntry{Start: at, Size: size})
	} else {
		if len(b.file.blocks) == 0 {
			b.file.start = at
		}
		b.file.blocks = append(b.file.blocks, size)
	}
	if len(p) == 0 {
		return nil
	}
	_, err := d.w.WriteAt(p, d.pos)
	d.pos += int64(len(p))
	return err
}

// submit hands a block to the compressing goroutines and to the writing one.
func (d *dataWriter) submit(b *block) {
	if len(b.raw) > 0 {
		d.work <- b
	}
	d.order <- b
}

// add stores a file's content, unless another file has the same. What it returns is complete after close.
func (d *dataWriter) add(blob tree.Blob) (*content, error) {
	if d.sizes[blob.Size()] < 2 || blob.Size() == 0 {
		return d.read(blob)
	}
	id, err := d.identify(blob)
	if err != nil || d.known[id] != nil {
		return d.known[id], err
	}
	d.known[id], err = d.read(blob)
	return d.known[id], err
}

// identify hashes a content. Only files that have the same size as another are hashed, which costs less than to compress first
// and take back what turns out to be there already.
func (d *dataWriter) identify(blob tree.Blob) (identity, error) {
	r, err := openContent(blob)
	if err != nil {
		return identity{}, err
	}
	b := d.take(nil)
	h := sha256.New()
	for err == nil {
		var n int
		n, err = r.next(b.raw[:d.o.BlockSize])
		h.Write(b.raw[:n])
	}
	d.free <- b
	return identity{blob.Size(), [sha256.Size]byte(h.Sum(nil))}, r.end(err)
}

// read cuts a content into blocks.
func (d *dataWriter) read(blob tree.Blob) (*content, error) {
	c := &content{fragment: none32}
	r, err := openContent(blob)
	if err != nil {
		return c, err
	}
	for err == nil {
		b := d.take(c)
		var n int
		n, err = r.next(b.raw[:d.o.BlockSize])
		b.raw = b.raw[:n]
		switch {
		case err != nil:
			d.free <- b
		case d.failed.Load():
			d.free <- b
			err = errStopped
		case n < d.o.BlockSize && blob.Size() == int64(n): // the end of a larger file gains nothing (0.2 %) in company
			d.addFragment(c, b)
		case isZero(b.raw):
			c.sparse += uint64(n)
			b.raw = b.raw[:0]
			d.submit(b)
		default:
			d.submit(b)
		}
	}
	return c, r.end(err)
}

// errStopped ends the reading after a failure of the writing goroutine, which close returns.
var errStopped = errors.New("stopped")

// take waits for a block that is not in use.
func (d *dataWriter) take(c *content) *block {
	b := <-d.free
	b.file, b.err = c, nil
	if b.raw == nil {
		b.raw = make([]byte, d.o.BlockSize)
		b.out = make([]byte, d.o.BlockSize+1<<10) // compressed noise is a little longer
	}
	return b
}

// addFragment adds a file smaller than a block, which b holds, to the open fragment block, or makes b the open one.
func (d *dataWriter) addFragment(c *content, b *block) {
	if d.open != nil && len(d.open.raw)+len(b.raw) > d.o.BlockSize {
		d.flush()
	}
	c.fragment = d.fragments
	if d.open == nil {
		b.file = nil
		d.open = b
		return
	}
	c.fragmentOffset = uint32(len(d.open.raw))
	d.open.raw = append(d.open.raw, b.raw...)
	d.free <- b
}

// flush ends the open fragment block.
func (d *dataWriter) flush() {
	if d.open != nil {
		d.submit(d.open)
		d.open = nil
		d.fragments++
	}
}

func isZero(p []byte) bool { return p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1]) }

// contentReader reads a blob and makes sure that it has as many bytes as it says.
type contentReader struct {
	r          io.ReadCloser
	size, left int64
}

func openContent(blob tree.Blob) (*contentReader, error) {
	r, err := blob.Open()
	if err != nil {
		return nil, err
	}
	return &contentReader{r, blob.Size(), blob.Size()}, nil
}

// next fills p as far as the content goes. At the end it returns io.EOF.
func (c *contentReader) next(p []byte) (int, error) {
	if c.left == 0 {
		switch _, err := io.ReadFull(c.r, p[:1]); err {
		case nil:
			return 0, fmt.Errorf("content has more than the %d bytes that it announced", c.size)
		default:
			return 0, err // io.EOF
		}
	}
	n, err := io.ReadFull(c.r, p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = fmt.Errorf("content ended after %d of %d bytes: %w", c.size-c.left, c.size, io.ErrUnexpectedEOF)
	}
	return n, err
}

// end closes the content after next returned err.
func (c *contentReader) end(err error) error {
	if err == io.EOF {
		err = nil
	}
	return errors.Join(err, c.r.Close())
}
