package vmdisk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// cutter cuts ascending writes into blocks, and hands on, in order, those that are not all zeros. The last one may be shorter.
type cutter struct {
	emit  func(index int64, b []byte) error // b is valid during the call
	buf   []byte                            // the block that is not complete; zeros where nothing was written
	index int64                             // of buf
	used  bool                              // something is in buf
}

func newCutter(block int, emit func(index int64, b []byte) error) *cutter {
	return &cutter{emit: emit, buf: make([]byte, block)}
}

func (c *cutter) WriteAt(p []byte, off int64) (int, error) {
	n, block := len(p), int64(len(c.buf))
	for len(p) > 0 {
		index, within := off/block, off%block
		if c.used && index != c.index {
			if err := c.flush(block); err != nil {
				return 0, err
			}
		}
		m := min(block-within, int64(len(p)))
		if m == block {
			if err := c.hand(index, p[:m]); err != nil {
				return 0, err
			}
		} else {
			copy(c.buf[within:], p[:m])
			c.index, c.used = index, true
			if within+m == block {
				if err := c.flush(block); err != nil {
					return 0, err
				}
			}
		}
		p, off = p[m:], off+m
	}
	return n, nil
}

// flush hands on the first n bytes of the block at work.
func (c *cutter) flush(n int64) error {
	err := c.hand(c.index, c.buf[:n])
	clear(c.buf)
	c.used = false
	return err
}

func (c *cutter) hand(index int64, b []byte) error {
	if allZero(b) {
		return nil
	}
	return c.emit(index, b)
}

// finish hands on the last block of size bytes in all.
func (c *cutter) finish(size int64) error {
	if !c.used {
		return nil
	}
	return c.flush(min(int64(len(c.buf)), size-c.index*int64(len(c.buf))))
}

// allZero compares bytes with their neighbours, which takes no time for a block whose first bytes are not zero.
func allZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[:len(b)-1], b[1:])
}

// extent is a run of blocks that are not all zeros.
type extent struct{ first, count int64 }

// scan returns where an image has data, and its size.
func scan(img image, block int) (extents []extent, size int64, err error) {
	c := newCutter(block, func(index int64, _ []byte) error {
		if n := len(extents); n > 0 && extents[n-1].first+extents[n-1].count == index {
			extents[n-1].count++
		} else {
			extents = append(extents, extent{index, 1})
		}
		return nil
	})
	if size, err = img(c); err == nil {
		err = c.finish(size)
	}
	return extents, size, err
}

var errChanged = errors.New("the disk was not the same when it was written the second time")

// replay hands on the blocks that scan saw, and fails where the image has changed.
func replay(img image, block int, extents []extent, emit func(b []byte) error) error {
	var done int64 // blocks of extents[0]
	c := newCutter(block, func(index int64, b []byte) error {
		if len(extents) == 0 || extents[0].first+done != index {
			return fmt.Errorf("block %d of %d bytes: %w", index, block, errChanged)
		}
		if done++; done == extents[0].count {
			extents, done = extents[1:], 0
		}
		return emit(b)
	})
	size, err := img(c)
	if err == nil {
		err = c.finish(size)
	}
	if err == nil && len(extents) > 0 {
		err = fmt.Errorf("block %d of %d bytes: %w", extents[0].first+done, block, errChanged)
	}
	return err
}

// appender writes one piece after another.
type appender struct {
	w  io.WriterAt
	at int64
}

func (a *appender) Write(p []byte) (int, error) {
	n, err := a.w.WriteAt(p, a.at)
	a.at += int64(n)
	return n, err
}

// appendTo calls f with a buffered writer to the start of w, and returns how much it wrote.
func appendTo(w io.WriterAt, f func(w io.Writer) error) (int64, error) {
	a := &appender{w: w}
	b := bufio.NewWriterSize(a, 256<<10)
	if err := f(b); err != nil {
		return 0, err
	}
	err := b.Flush()
	return a.at, err
}

// roundUp returns the smallest multiple of unit that is not less than n.
func roundUp[T int | int64](n, unit T) T { return (n + unit - 1) / unit * unit }
