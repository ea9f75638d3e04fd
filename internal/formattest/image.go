// Package formattest is what the tests of the format packages share.
package formattest

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Image is a file system that is laid out.
type Image interface {
	Size() int64
	Write(w io.WriterAt) error
}

// Write writes an image to a file of its size, each byte once and in ascending order, and returns the file's name.
func Write(t testing.TB, name string, img Image) string {
	t.Helper()
	name = Empty(t, name, img.Size())
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &Ordered{T: t, W: f}
	if err := img.Write(w); err != nil {
		t.Fatal(err)
	}
	if w.End > img.Size() {
		t.Errorf("wrote up to %d, the image has %d bytes", w.End, img.Size())
	}
	return name
}

// Empty makes a file that is a hole.
func Empty(t testing.TB, name string, size int64) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	return name
}

// Open reads a file system that is in a file.
func Open[R any](t testing.TB, name string, read func(io.ReaderAt) (R, error)) R {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	r, err := read(f)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Ordered fails where a byte is written twice or out of order.
type Ordered struct {
	T   testing.TB
	W   io.WriterAt
	End int64 // of what was written
}

// WriteAt implements [io.WriterAt].
func (o *Ordered) WriteAt(p []byte, off int64) (int, error) {
	if off < o.End {
		o.T.Errorf("write at %d after %d was written", off, o.End)
	}
	o.End = off + int64(len(p))
	return o.W.WriteAt(p, off)
}

// Memory is an image in memory, which grows as it is written.
type Memory []byte

// WriteAt implements [io.WriterAt].
func (m *Memory) WriteAt(p []byte, off int64) (int, error) {
	m.Grow(int(off) + len(p))
	return copy((*m)[off:], p), nil
}

// ReadAt implements [io.ReaderAt].
func (m *Memory) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(*m).ReadAt(p, off) }

// Grow makes it a size at least.
func (m *Memory) Grow(size int) {
	if more := size - len(*m); more > 0 {
		*m = append(*m, make([]byte, more)...)
	}
}

// Discard keeps nothing that is written.
type Discard struct{}

// WriteAt implements [io.WriterAt].
func (Discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// Liar says another size than its content has.
type Liar struct {
	tree.Blob
	More int64
}

// Size implements [tree.Blob].
func (l Liar) Size() int64 { return l.Blob.Size() + l.More }
