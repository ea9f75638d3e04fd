package tree

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// Extent is a piece of a file: its place in the file, that in the file system's image, and its size; all in bytes.
type Extent struct{ At, Off, Size int64 }

// end is the place in the file after it.
func (e Extent) end() int64 { return e.At + e.Size }

// Extents is the content of a file of a file system in the image r: zeros but for its extents, which ascend and are asked for
// once, when content is read first. The blob is an [io.ReaderAt].
func Extents(r io.ReaderAt, size int64, extents func() ([]Extent, error)) Blob {
	return &inExtents{r, size, sync.OnceValues(extents)}
}

type inExtents struct {
	r       io.ReaderAt
	size    int64
	extents func() ([]Extent, error)
}

func (x *inExtents) Size() int64 { return x.size }

func (x *inExtents) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(x, 0, x.size)), nil
}

// ReadAt implements [io.ReaderAt].
func (x *inExtents) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read content: negative offset")
	}
	if off >= x.size {
		return 0, io.EOF
	}
	extents, err := x.extents()
	if err != nil {
		return 0, fmt.Errorf("read content: %w", err)
	}
	var end error
	if int64(len(p)) > x.size-off {
		p, end = p[:x.size-off], io.EOF
	}
	clear(p)
	first, _ := slices.BinarySearchFunc(extents, off, func(e Extent, off int64) int { return cmp.Compare(e.end(), off+1) })
	for _, e := range extents[first:] {
		from, to := max(off, e.At), min(off+int64(len(p)), e.end())
		if from >= to {
			break
		}
		if err := ReadFull(x.r, p[from-off:to-off], e.Off+from-e.At); err != nil {
			return int(from - off), fmt.Errorf("read content: %w", err)
		}
	}
	return len(p), end
}
