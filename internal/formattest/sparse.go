package formattest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"testing"
)

// PageSize of sparse images: a block of the file systems that are made here.
const PageSize = 4096

// Sparse is an image of which only what was written takes memory.
type Sparse map[int64]*[PageSize]byte

var ones = [PageSize]byte(bytes.Repeat([]byte{0xff}, PageSize))

// InMemory writes an image, each byte once and in ascending order.
func InMemory(t testing.TB, img Image) Sparse {
	t.Helper()
	s := Sparse{}
	if err := img.Write(&Ordered{T: t, W: s}); err != nil {
		t.Fatal(err)
	}
	return s
}

// WriteAt implements [io.WriterAt].
func (s Sparse) WriteAt(b []byte, off int64) (int, error) {
	for n := 0; n < len(b); {
		at := off + int64(n)
		page := s[at/PageSize]
		if page == nil {
			page = new([PageSize]byte)
			s[at/PageSize] = page
		}
		n += copy(page[at%PageSize:], b[n:])
		if *page == ones { // the bitmap of what is full
			s[at/PageSize] = &ones
		}
	}
	return len(b), nil
}

// ReadAt implements [io.ReaderAt], without an end.
func (s Sparse) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	for n := 0; n < len(b); {
		at := off + int64(n)
		length := min(len(b)-n, int(PageSize-at%PageSize))
		if page := s[at/PageSize]; page != nil {
			copy(b[n:][:length], page[at%PageSize:])
		}
		n += length
	}
	return len(b), nil
}

// Sum is a checksum of what was written, and where.
func (s Sparse) Sum() string {
	h := sha256.New()
	for _, i := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintln(h, i)
		h.Write(s[i][:])
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
