package imager

import (
	"io"
	"os"

	"github.com/talosmith/talosmith/pkg/tree"
)

var _ tree.RangeCopier = (*outFile)(nil)

const (
	// shareUnit is what file systems share blocks by, in bytes.
	shareUnit = 4096
	// shareAtOnce is how many bytes of a file are shared at a time, each time as an extent of its own.
	shareAtOnce = 64 << 20
	copyAtOnce  = 256 << 10
)

// CopyRange implements [tree.RangeCopier]: the artefact shares blocks with the file where they lie alike in both and the file system
// can do that (XFS, Btrfs and others), and gets a copy elsewhere.
func (o *outFile) CopyRange(src *os.File, off, size, at int64) error {
	alike, buf := (at-off)%shareUnit == 0, make([]byte, min(size, copyAtOnce))
	for size > 0 {
		n := min(size, shareAtOnce-off%shareAtOnce)
		if err := o.reach(at); err != nil {
			return err
		}
		var err error
		if alike && shareRange(o.f, at, src, off, n) == nil {
			err = eachPiece(o.f, at, n, buf, func(p []byte, _ int64) error { // as it is here, should src change meanwhile
				o.pass(p)
				return o.ctx.Err()
			})
		} else {
			err = eachPiece(src, off, n, buf, func(p []byte, skip int64) error {
				_, err := o.WriteAt(p, at+skip)
				return err
			})
		}
		if err != nil {
			return err
		}
		off, at, size = off+n, at+n, size-n
	}
	return nil
}

// eachPiece reads a range of a file through a buffer.
func eachPiece(f *os.File, off, size int64, buf []byte, fn func(p []byte, skip int64) error) error {
	for skip := int64(0); skip < size; {
		p := buf[:min(size-skip, int64(len(buf)))]
		if _, err := f.ReadAt(p, off+skip); err != nil {
			if err == io.EOF {
				err = &os.PathError{Op: "read", Path: f.Name(), Err: io.ErrUnexpectedEOF}
			}
			return err
		}
		if err := fn(p, skip); err != nil {
			return err
		}
		skip += int64(len(p))
	}
	return nil
}
