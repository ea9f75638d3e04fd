package tree_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/talosmith/talosmith/pkg/tree"
)

func TestExtents(t *testing.T) {
	image := strings.NewReader("0123456789")
	asked := 0
	b := tree.Extents(image, 9, func() ([]tree.Extent, error) {
		asked++
		return []tree.Extent{{At: 1, Off: 5, Size: 2}, {At: 3, Off: 0, Size: 2}, {At: 7, Off: 7, Size: 3}}, nil
	})
	if asked != 0 || b.Size() != 9 {
		t.Errorf("asked %d times before anything is read, size %d", asked, b.Size())
	}
	want := []byte("\x005601\x00\x0078")
	r, err := b.Open()
	if err == nil {
		err = iotest.TestReader(r, want)
	}
	if err != nil {
		t.Error(err)
	}
	at := b.(io.ReaderAt)
	for off := range int64(9) {
		for n := range 9 - off {
			p := []byte("xxxxxxxxx")[:n]
			if _, err := at.ReadAt(p, off); err != nil || string(p) != string(want[off:off+n]) {
				t.Errorf("%d bytes at %d: %q (%v)", n, off, p, err)
			}
		}
	}
	if n, err := at.ReadAt(make([]byte, 5), 7); n != 2 || err != io.EOF {
		t.Errorf("over the end: %d bytes (%v)", n, err)
	}
	if asked != 1 {
		t.Errorf("asked %d times for the extents", asked)
	}
}

func TestExtentsRefuse(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name    string
		off     int64
		extents []tree.Extent
		err     error // of the extents
		n       int
		want    error
	}{
		{"broken", 0, nil, broken, 0, broken},
		{"cut", 0, []tree.Extent{{At: 2, Off: 8, Size: 4}}, nil, 2, io.ErrUnexpectedEOF},
		{"end", 10, nil, nil, 0, io.EOF},
	} {
		b := tree.Extents(strings.NewReader("0123456789"), 10, func() ([]tree.Extent, error) { return c.extents, c.err })
		if n, err := b.(io.ReaderAt).ReadAt(make([]byte, 10), c.off); n != c.n || !errors.Is(err, c.want) {
			t.Errorf("%s: %d bytes, %v", c.name, n, err)
		}
	}
	b := tree.Extents(strings.NewReader(""), 10, nil)
	if _, err := b.(io.ReaderAt).ReadAt(nil, -1); err == nil {
		t.Error("a negative offset is no error")
	}
}
