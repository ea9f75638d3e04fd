package xfs

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// content is a file's bytes.
type content struct {
	v    *volume
	size int64
	// extents are read when they are needed first.
	extents func() ([]written, error)
}

func (v *volume) newContent(in *rawInode) (*content, error) {
	if in.form != formExtents && in.form != formTree {
		return nil, fmt.Errorf("content of form %d: only 2 and 3 are possible here", in.form)
	}
	if in.size > v.blocks*v.block {
		return nil, fmt.Errorf("not supported: a file with holes of %d bytes is bigger than the file system", in.size)
	}
	number := in.number
	extents := sync.OnceValues(func() ([]written, error) {
		in, err := v.readInode(number) // once more: the inodes of all files would be a lot of memory
		if err != nil {
			return nil, err
		}
		return v.readExtents(in)
	})
	return &content{v, in.size, extents}, nil
}

func (c *content) Size() int64 { return c.size }

func (c *content) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(c, 0, c.size)), nil
}

// ReadAt implements [io.ReaderAt]. Holes read as zeros.
func (c *content) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("read XFS: negative offset")
	}
	if off >= c.size {
		return 0, io.EOF
	}
	extents, err := c.extents()
	if err != nil {
		return 0, fmt.Errorf("read XFS: %w", err)
	}
	if int64(len(p)) > c.size-off {
		p, err = p[:c.size-off], io.EOF
	}
	clear(p)
	for _, e := range extents {
		from, to := max(off, e.at), min(off+int64(len(p)), e.at+e.size)
		if from >= to {
			continue
		}
		if err := c.v.readAt(p[from-off:to-off], e.off+from-e.at); err != nil {
			return int(from - off), fmt.Errorf("read XFS: %w", err)
		}
	}
	return len(p), err
}
