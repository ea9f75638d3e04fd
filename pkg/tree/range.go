package tree

import (
	"cmp"
	"io"
	"os"
	"slices"
)

// RangeCopier is a writer that takes a range of a file of the host as it is: where it is a file itself, a file system may let both
// share the blocks. [CopyAt] makes use of it.
type RangeCopier interface {
	io.WriterAt
	// CopyRange writes the size bytes of src from off on, at an offset of its own.
	CopyRange(src *os.File, off, size, at int64) error
}

// copyRange is CopyRange for any writer.
func copyRange(w io.WriterAt, src *os.File, off, size, at int64) error {
	if c, ok := w.(RangeCopier); ok {
		return c.CopyRange(src, off, size, at)
	}
	_, err := CopyAt(w, at, Section(src, off, size))
	return err
}

// Offset is w from an offset on, like [io.OffsetWriter]. It is a [RangeCopier], as are the other writers here.
func Offset(w io.WriterAt, off int64) io.WriterAt {
	return elsewhere{w, func(at, size int64, fn func(to, n int64) error) error { return fn(off+at, size) }}
}

// Before is w with a call ahead of each write of size bytes, which may write what lies before its offset, or refuse it.
func Before(w io.WriterAt, call func(off, size int64) error) io.WriterAt {
	return elsewhere{w, func(at, size int64, fn func(to, n int64) error) error {
		if err := call(at, size); err != nil {
			return err
		}
		return fn(at, size)
	}}
}

// InExtents writes the content of a file of a file system in the image w, as [Extents] reads it. What is in no extent is
// [io.ErrShortWrite].
func InExtents(w io.WriterAt, extents []Extent) io.WriterAt {
	return elsewhere{w, func(at, size int64, fn func(to, n int64) error) error {
		first, _ := slices.BinarySearchFunc(extents, at, func(e Extent, at int64) int { return cmp.Compare(e.end(), at+1) })
		for _, e := range extents[first:] {
			if size == 0 || at < e.At {
				break
			}
			n := min(size, e.end()-at)
			if err := fn(e.Off+at-e.At, n); err != nil {
				return err
			}
			at, size = at+n, size-n
		}
		if size > 0 {
			return io.ErrShortWrite
		}
		return nil
	}}
}

// elsewhere is a writer whose ranges lie elsewhere in another one: each tells where.
type elsewhere struct {
	w    io.WriterAt
	each func(at, size int64, fn func(to, n int64) error) error
}

// WriteAt implements [io.WriterAt].
func (e elsewhere) WriteAt(p []byte, at int64) (done int, err error) {
	err = e.each(at, int64(len(p)), func(to, n int64) error {
		m, err := e.w.WriteAt(p[done:][:n], to)
		done += m
		return err
	})
	return done, err
}

// CopyRange implements [RangeCopier].
func (e elsewhere) CopyRange(src *os.File, off, size, at int64) error {
	return e.each(at, size, func(to, n int64) error {
		err := copyRange(e.w, src, off, n, to)
		off += n
		return err
	})
}
