package squashfs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/tree"
)

// repeated is a content that is the same bytes again and again.
type repeated struct {
	part []byte
	size int64
}

func (r repeated) Size() int64 { return r.size }
func (r repeated) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(&repeater{part: r.part}, r.size)), nil
}

type repeater struct {
	part []byte
	at   int
}

func (r *repeater) Read(p []byte) (int, error) {
	n := copy(p, r.part[r.at:])
	r.at = (r.at + n) % len(r.part)
	return n, nil
}

// Memory does not grow with the size of files, of those that are hashed neither.
func TestWriteMemory(t *testing.T) {
	big := repeated{noise(999_983), 64 << 20}
	limitMemory(t, 48<<20, func() {
		tr := mustTree(t, tree.Node{Path: "a", Content: big}, tree.Node{Path: "b", Content: repeated{text(999_983), 64 << 20}})
		if _, err := Write(formattest.Discard{}, tr, Options{Level: 1, Workers: 4}); err != nil {
			t.Error(err)
		}
	})
}

// Reading on needs no more than a few blocks of memory.
func TestReadMemory(t *testing.T) {
	const size = 64 << 20
	img := mustWrite(t, mustTree(t, tree.Node{Path: "a", Content: repeated{text(999_983), size}}), Options{Level: 1})
	n, _ := mustRead(t, img).Lookup("a")
	r, err := n.Content.Open()
	if err != nil {
		t.Fatal(err)
	}
	limitMemory(t, 200<<20, func() { // each block is allocated anew, with its compressed form
		if n, err := io.Copy(struct{ io.Writer }{io.Discard}, r); n != size || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

// Data beyond 4 GiB of an image, and more than 4 GiB of a file, need extended inodes.
func TestBeyond4GiB(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	end := text(5000)
	tr := mustTree(t, regular("block", text(3*testBlock)), regular("fragment", text(77)),
		tree.Node{Path: "huge", Mode: 0o644, Content: tree.Concat(tree.Zeros(4<<30), tree.Bytes(end))})
	o, err := Options{BlockSize: 1 << 20, Level: 1}.resolve()
	if err != nil {
		t.Fatal(err)
	}
	w := newImageWriter(f, tr, o, newCompressor)
	w.pos = 5 << 30 // the file system of the test has a hole there, too
	if _, err := w.write(); err != nil {
		t.Fatal(err)
	}

	r, err := NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Tree()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"block", "fragment"} {
		g, _ := got.Lookup(path)
		w, _ := tr.Lookup(path)
		sameContent(t, path, g.Content, w.Content)
	}
	huge, _ := got.Lookup("huge")
	tail := make([]byte, 6000)
	if n, err := huge.Content.(io.ReaderAt).ReadAt(tail, 4<<30-1000); n != 6000 || err != nil || !bytes.Equal(tail[1000:], end) {
		t.Errorf("end of the huge file: %d bytes, %v", n, err)
	}
	t.Run("unsquashfs", func(t *testing.T) {
		if out := tooltest.Run(t, "unsquashfs", "-llnumeric", "-UTC", name); !strings.Contains(out, fmt.Sprint(int64(4<<30)+int64(len(end)))) {
			t.Error(out)
		}
		if out := pipe(t, nil, "unsquashfs", "-cat", name, "block"); !bytes.Equal(out, text(3*testBlock)) {
			t.Errorf("block has %d bytes", len(out))
		}
	})
}
