package formattest

import (
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Damaged is a copy of an image in which pages are changed.
type Damaged struct {
	Sparse
	Base    Sparse
	Changed map[int64]bool
	size    int64
}

// NewDamaged copies an image of a size.
func NewDamaged(base Sparse, size int64) Damaged {
	return Damaged{maps.Clone(base), base, map[int64]bool{}, size}
}

// ReadAt implements [io.ReaderAt].
func (d Damaged) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	if off+int64(len(b)) > d.size {
		return 0, io.EOF
	}
	return d.Sparse.ReadAt(b, off)
}

// Change changes bytes of a page that was written.
func (d Damaged) Change(page int64, at int, to ...byte) {
	if !d.Changed[page] {
		b := *d.Sparse[page]
		d.Sparse[page], d.Changed[page] = &b, true
	}
	copy(d.Sparse[page][at:], to)
}

// Fuzz changes bytes, five at a time for one: page, offset, value.
func (d Damaged) Fuzz(changes []byte, order binary.ByteOrder) {
	pages := slices.Sorted(maps.Keys(d.Base))
	for c := range slices.Chunk(changes, 5) {
		if len(c) == 5 {
			d.Change(pages[int(order.Uint16(c))%len(pages)], int(order.Uint16(c[2:])%PageSize), c[4])
		}
	}
}

// Tester tests a reader with images that are damaged.
type Tester struct {
	Base Sparse
	Size int64
	// Repair makes checksums right, or has none looked at.
	Repair func(d Damaged)
	// Read reads an image and some of its files, and returns how many there are.
	Read func(r io.ReaderAt) (nodes int, err error)
}

// TestWhole fails where what is not damaged cannot be read.
func (x Tester) TestWhole(t *testing.T, nodes int) {
	t.Helper()
	d := NewDamaged(x.Base, x.Size)
	for range 2 {
		if n, err := x.Read(d); err != nil || n != nodes {
			t.Fatalf("undamaged: %d nodes, want %d (%v)", n, nodes, err)
		}
		x.Repair(d)
	}
}

// Test changes bytes of a page, and fails where that is not noticed: first by a checksum, without those by the check that has to,
// whose error says what is wanted.
func (x Tester) Test(t *testing.T, name string, page int64, at int, to []byte, want string) {
	t.Helper()
	d := NewDamaged(x.Base, x.Size)
	d.Change(page, at, to...)
	if _, err := x.Read(d); err == nil {
		t.Errorf("%s: not noticed by the checksum", name)
	}
	x.Repair(d)
	if _, err := x.Read(d); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: error %v does not say %q", name, err, want)
	}
}

// TestCut fails where the reader does not notice that an image ends early.
func (x Tester) TestCut(t *testing.T, sizes ...int64) {
	t.Helper()
	for _, n := range sizes {
		if _, err := x.Read(NewDamaged(x.Base, n)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("image cut to %d bytes: %v", n, err)
		}
	}
}

// Fuzz reads an image that a fuzzer changed.
func (x Tester) Fuzz(changes []byte, order binary.ByteOrder) {
	if len(changes) > 500 {
		return
	}
	d := NewDamaged(x.Base, x.Size)
	d.Fuzz(changes, order)
	x.Repair(d)
	_, _ = x.Read(d)
}

// ReadSome reads the beginning of everything, for a [Tester].
func ReadSome(t *tree.Tree) (nodes int, err error) {
	for n := range t.All() {
		if !n.Mode.IsRegular() {
			continue
		}
		c, err := n.Content.Open()
		if err != nil {
			return 0, err
		}
		if _, err := io.CopyN(io.Discard, c, 2<<20); err != nil && err != io.EOF {
			return 0, err
		}
	}
	return t.Len(), nil
}
