package overlay

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// nextData is where the next data of a sparse file begins, at or behind a place; its end where there is none.
func nextData(f *os.File, at, size int64) (int64, error) {
	next, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, nil
	case errors.Is(err, unix.EINVAL): // a file system that does not tell
		return at, nil
	case err != nil:
		return 0, &os.PathError{Op: "seek", Path: f.Name(), Err: err}
	}
	return next, nil
}
