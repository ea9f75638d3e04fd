package tree_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/tree"
)

// failing is a blob whose reader breaks where its text ends.
type failing struct {
	text string
	size int64
	err  error
}

func (f failing) Size() int64 { return f.size }
func (f failing) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader(f.text), broken{f.err})), nil
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func TestFirstDifference(t *testing.T) {
	t.Parallel()
	errDisk := errors.New("the disk is broken")
	long := strings.Repeat("x", 64<<10)
	for _, c := range []struct {
		name string
		a, b tree.Blob
		at   int64
		same bool
		err  error
	}{
		{"nothing", tree.Zeros(0), tree.String(""), 0, true, nil},
		{"the same", tree.String(long + "y"), tree.Concat(tree.String(long), tree.String("y")), 64<<10 + 1, true, nil},
		{"the last byte", tree.String(long + "y"), tree.String(long + "z"), 64 << 10, false, nil},
		{"a longer one", tree.String(long), tree.String(long + "z"), 64 << 10, false, nil},
		{"one that is cut off", tree.String("abcd"), tree.Section(strings.NewReader("abcd"), 0, 5), 4, false, io.ErrUnexpectedEOF},
		{"both cut off alike", tree.Section(bytes.NewReader([]byte("ab")), 0, 3), tree.Section(strings.NewReader("ab"), 0, 3), 2, false, io.ErrUnexpectedEOF},
		{"one cut off where a piece ends", failing{long, 65 << 10, io.EOF}, failing{long, 65 << 10, io.EOF}, 64 << 10, false, io.ErrUnexpectedEOF},
		{"a reader that fails", tree.String("ab"), failing{"ab", 3, errDisk}, 2, false, errDisk},
	} {
		at, same, err := tree.FirstDifference(c.a, c.b)
		if at != c.at || same != c.same || !errors.Is(err, c.err) {
			t.Errorf("%s: %d, %v, %v; want %d, %v, %v", c.name, at, same, err, c.at, c.same, c.err)
		}
	}
}
