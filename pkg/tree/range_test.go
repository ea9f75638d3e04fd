package tree_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/tree"
)

// page is a writer into memory that tells what it was asked to do.
type page struct {
	b   [64]byte
	log []string
}

func (p *page) WriteAt(b []byte, off int64) (int, error) {
	p.log = append(p.log, fmt.Sprintf("write %d %d", off, len(b)))
	return copy(p.b[off:], b), nil
}

// sharing is a page that takes ranges of files.
type sharing struct{ page }

func (s *sharing) CopyRange(src *os.File, off, size, at int64) error {
	s.log = append(s.log, fmt.Sprintf("copy %d %d", at, size))
	_, err := src.ReadAt(s.b[at:][:size], off)
	return err
}

// TestElsewhere: ranges of files and other content arrive where a stack of writers puts them, whatever is below.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("abcdefghij"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := tree.File(name)
	if err != nil {
		t.Fatal(err)
	}
	extents := []tree.Extent{{At: 0, Off: 20, Size: 4}, {At: 4, Off: 30, Size: 3}, {At: 7, Off: 40, Size: 10}}
	for _, c := range []struct {
		name string
		blob tree.Blob
		verb string
	}{{"file", file, "copy"}, {"memory", tree.String("abcdefghij"), "write"}, {"parts", tree.Concat(tree.String("abc"), tree.String("defghij")), "write"}} {
		shared, plain := &sharing{}, &page{}
		for _, w := range []io.WriterAt{shared, plain} {
			var before []int64
			to := tree.InExtents(tree.Before(tree.Offset(w, 2), func(off, _ int64) error { before = append(before, off); return nil }), extents)
			if n, err := tree.CopyAt(to, 1, c.blob); n != 10 || err != nil {
				t.Errorf("%s: %d, %v", c.name, n, err)
			}
			if before[0] != 21 || before[len(before)-1] != 40 {
				t.Errorf("%s: told before %d", c.name, before)
			}
		}
		for _, p := range []*page{&shared.page, plain} {
			if got := strings.ReplaceAll(string(p.b[:]), "\x00", "."); got != strings.Repeat(".", 23)+"abc......def.......ghij"+strings.Repeat(".", 18) {
				t.Errorf("%s: %q", c.name, got)
			}
		}
		if len(shared.log) < 3 || !strings.HasPrefix(shared.log[0], c.verb+" 23 3") {
			t.Errorf("%s: %q", c.name, shared.log)
		}
	}
}

func TestElsewhereRefuses(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for want, w := range map[error]io.WriterAt{
		io.ErrShortWrite: tree.InExtents(&page{}, []tree.Extent{{At: 0, Off: 0, Size: 4}, {At: 5, Off: 5, Size: 50}}), // a gap
		broken:           tree.Before(&page{}, func(int64, int64) error { return broken }),
	} {
		if n, err := w.WriteAt(make([]byte, 10), 1); !errors.Is(err, want) || n > 3 {
			t.Errorf("%d, %v, want %v", n, err, want)
		}
	}
	if _, err := tree.InExtents(&page{}, nil).WriteAt([]byte{1}, 0); !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
}
