package imager

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// shareRange lets a range of a file share the blocks of another's, or copies it in the kernel: copy_file_range(2).
func shareRange(to *os.File, at int64, from *os.File, off, size int64) error {
	for size > 0 {
		n, err := unix.CopyFileRange(int(from.Fd()), &off, int(to.Fd()), &at, int(min(size, shareAtOnce)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err // other file systems, an old kernel
		case n == 0:
			return errors.ErrUnsupported // the file ended
		}
		size -= int64(n)
	}
	return nil
}
