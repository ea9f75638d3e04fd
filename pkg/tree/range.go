package tree

import (
	"io"
	"os"
)

// RangeCopier is a writer that takes a range of a file of the host as it is: where it is a file itself, a file system may let both
// share the blocks. [CopyAt] makes use of it.
type RangeCopier interface {
	io.WriterAt
	// CopyRange writes the size bytes of src from off on, at an offset of its own.
	CopyRange(src *os.File, off, size, at int64) error
}

// Offset is w from an offset on, like [io.OffsetWriter]; of a [RangeCopier] it makes another.
func Offset(w io.WriterAt, off int64) io.WriterAt {
	if c, ok := w.(RangeCopier); ok {
		return rangeOffset{c, off}
	}
	return io.NewOffsetWriter(w, off)
}

type rangeOffset struct {
	w   RangeCopier
	off int64
}

func (o rangeOffset) WriteAt(p []byte, off int64) (int, error) { return o.w.WriteAt(p, o.off+off) }

func (o rangeOffset) CopyRange(src *os.File, off, size, at int64) error {
	return o.w.CopyRange(src, off, size, o.off+at)
}
