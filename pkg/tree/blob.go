package tree

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// Blob is content that can be read again and again. A blob never changes. One that is also an [io.ReaderAt] can be read from
// anywhere without opening it; [Bytes], [File], [Section] and [Extents] are.
type Blob interface {
	// Size in bytes.
	Size() int64
	Open() (io.ReadCloser, error)
}

// Bytes is a blob in memory. The caller must not change it afterwards.
func Bytes(b []byte) Blob { return memory(b) }

// String is a blob of a string.
func String(s string) Blob { return memory(s) }

type memory []byte

func (m memory) Size() int64                  { return int64(len(m)) }
func (m memory) Open() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m)), nil }
func (m memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m).ReadAt(p, off)
}

// File is a blob of a regular file of the host. A file that has another size when it is read than it had here is an error.
func File(name string) (Blob, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: not a regular file", name)
	}
	return hostFile{name: name, size: st.Size()}, nil
}

type hostFile struct {
	name string
	size int64
}

func (f hostFile) Size() int64 { return f.size }

func (f hostFile) open() (*os.File, error) {
	h, err := os.Open(f.name)
	if err != nil {
		return nil, err
	}
	st, err := h.Stat()
	if err == nil && st.Size() != f.size {
		err = fmt.Errorf("read %s: its size changed from %d to %d bytes", f.name, f.size, st.Size())
	}
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func (f hostFile) Open() (io.ReadCloser, error) {
	h, err := f.open()
	if err != nil {
		return nil, err // no typed nil in the interface
	}
	return h, nil
}

func (f hostFile) ReadAt(p []byte, off int64) (int, error) {
	h, err := f.open()
	if err != nil {
		return 0, err
	}
	n, err := h.ReadAt(p, off)
	return n, errors.Join(err, h.Close())
}

// HostPath returns the name of the host's file that a blob is, if it is a whole one.
func HostPath(b Blob) (string, bool) {
	f, ok := b.(hostFile)
	return f.name, ok
}

// Section is the part of r from off on, size bytes long.
func Section(r io.ReaderAt, off, size int64) Blob { return section{r, off, size} }

type section struct {
	r         io.ReaderAt
	off, size int64
}

func (s section) Size() int64 { return s.size }
func (s section) Open() (io.ReadCloser, error) {
	return io.NopCloser(&exactReader{r: io.NewSectionReader(s.r, s.off, s.size), left: s.size}), nil
}

func (s section) ReadAt(p []byte, off int64) (int, error) {
	return io.NewSectionReader(s.r, s.off, s.size).ReadAt(p, off)
}

// exactReader turns an early end into an error, so that a truncated file is never taken for a short one.
type exactReader struct {
	r    io.Reader
	left int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.left -= int64(n)
	if err == io.EOF && e.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Zeros is a blob of n zero bytes that takes no memory. Writers leave a hole for it: see [CopyAt].
func Zeros(n int64) Blob { return zeros(n) }

type zeros int64

func (z zeros) Size() int64 { return int64(z) }
func (z zeros) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(zeroReader{}, int64(z))), nil
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Concat is the blobs one after another, opened one at a time.
func Concat(blobs ...Blob) Blob {
	var c concat
	for _, b := range blobs {
		if inner, ok := b.(concat); ok {
			c = append(c, inner...)
		} else if b.Size() > 0 {
			c = append(c, b)
		}
	}
	return c
}

type concat []Blob

func (c concat) Size() (n int64) {
	for _, b := range c {
		n += b.Size()
	}
	return n
}

func (c concat) Open() (io.ReadCloser, error) { return &concatReader{rest: c}, nil }

type concatReader struct {
	rest concat
	cur  io.ReadCloser
	left int64
}

func (r *concatReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if r.cur == nil {
			if len(r.rest) == 0 {
				return 0, io.EOF
			}
			cur, err := r.rest[0].Open()
			if err != nil {
				return 0, err
			}
			r.cur, r.left = cur, r.rest[0].Size()
			r.rest = r.rest[1:]
		}
		n, err := r.cur.Read(p)
		r.left -= int64(n)
		if err == io.EOF {
			if r.left != 0 {
				return n, fmt.Errorf("a part is %d bytes shorter than it said: %w", r.left, io.ErrUnexpectedEOF)
			}
			err = r.Close()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (r *concatReader) Close() error {
	if r.cur == nil {
		return nil
	}
	err := r.cur.Close()
	r.cur = nil
	return err
}

// ReadAll reads a whole blob. Use it for what is known to be small.
func ReadAll(b Blob) ([]byte, error) {
	if m, ok := b.(memory); ok {
		return slices.Clone([]byte(m)), nil
	}
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	buf := make([]byte, b.Size())
	_, err = io.ReadFull(r, buf)
	return buf, errors.Join(err, r.Close())
}

// ReadSmall reads a whole blob of limit bytes at most: of what somebody else made, the size can be any.
func ReadSmall(b Blob, limit int64) ([]byte, error) {
	if b.Size() > limit {
		return nil, fmt.Errorf("%d bytes, the limit is %d", b.Size(), limit)
	}
	return ReadAll(b)
}

// ReadFull reads all of p; the end of r before that is [io.ErrUnexpectedEOF].
func ReadFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// CopyAt writes a blob at an offset of w, in ascending order and without the blob's [Zeros] parts: w's holes read as zeros.
// It returns the blob's size, and an error where the blob gives fewer or more bytes than that.
func CopyAt(w io.WriterAt, off int64, b Blob) (int64, error) {
	switch b := b.(type) {
	case zeros:
		return b.Size(), nil
	case concat:
		at := off
		for _, part := range b {
			n, err := CopyAt(w, at, part)
			if err != nil {
				return at - off + n, err
			}
			at += n
		}
		return at - off, nil
	case section:
		if f, ok := b.r.(*os.File); ok {
			if c, ok := w.(RangeCopier); ok {
				return b.size, c.CopyRange(f, b.off, b.size, off)
			}
		}
	case memory:
		n, err := w.WriteAt(b, off)
		return int64(n), err
	}
	r, err := b.Open()
	if err != nil {
		return 0, err
	}
	if c, ok := w.(RangeCopier); ok {
		if f, ok := r.(*os.File); ok {
			return b.Size(), errors.Join(c.CopyRange(f, 0, b.Size(), off), r.Close())
		}
	}
	n, err := copyExactly(io.NewOffsetWriter(w, off), r, b.Size())
	return n, errors.Join(err, r.Close())
}

// Copy writes a blob. It returns an error where the blob gives fewer or more bytes than its size.
func Copy(w io.Writer, b Blob) error {
	r, err := b.Open()
	if err != nil {
		return err
	}
	_, err = copyExactly(w, r, b.Size())
	return errors.Join(err, r.Close())
}

// SHA256 returns a blob's digest, as hexadecimal digits.
func SHA256(b Blob) (string, error) {
	h := sha256.New()
	if err := Copy(h, b); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func copyExactly(w io.Writer, r io.Reader, size int64) (int64, error) {
	buf := make([]byte, min(size, 256<<10)+1) // one more, to see what comes too late
	n, err := io.CopyBuffer(onlyWriter{w}, onlyReader{io.LimitReader(r, size+1)}, buf)
	if err == nil && n != size {
		err = fmt.Errorf("content has %d bytes or more where %d were announced", n, size)
		if n < size {
			err = fmt.Errorf("content ended after %d of %d bytes: %w", n, size, io.ErrUnexpectedEOF)
		}
	}
	return n, err
}

// onlyReader and onlyWriter hide ReadFrom and WriteTo, so that io.CopyBuffer uses the buffer.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)
