package imager

import (
	"fmt"
	"os"

	"github.com/talosmith/talosmith/internal/atomicfile"
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
// can do that (XFS, Btrfs and others), and gets a copy elsewhere. The hash is that of the file's bytes, not of what became of them.
func (o *outFile) CopyRange(src *os.File, off, size, at int64) error {
	alike, buf := (at-off)%shareUnit == 0, make([]byte, min(size, copyAtOnce))
	for size > 0 {
		n := min(size, shareAtOnce-off%shareAtOnce)
		if err := o.reach(at); err != nil {
			return err
		}
		shared := alike && shareRange(o.f, at, src, off, n) == nil
		for done := int64(0); done < n; {
			p := buf[:min(n-done, int64(len(buf)))]
			if err := tree.ReadFull(src, p, off+done); err != nil {
				return fmt.Errorf("read %s: %w", src.Name(), atomicfile.Cause(err))
			}
			if shared {
				o.pass(p)
			} else if _, err := o.WriteAt(p, at+done); err != nil {
				return err
			}
			if err := o.ctx.Err(); err != nil {
				return err
			}
			done += int64(len(p))
		}
		off, at, size = off+n, at+n, size-n
	}
	return nil
}
