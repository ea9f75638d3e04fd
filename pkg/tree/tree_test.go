package tree_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/talosmith/talosmith/pkg/tree"
)

func file(path, content string) tree.Node {
	return tree.Node{Path: path, Mode: 0o644, Content: tree.String(content)}
}

func dir(path string) tree.Node { return tree.Node{Path: path, Mode: fs.ModeDir | 0o700} }

func paths(t *tree.Tree) (all []string) {
	for n := range t.All() {
		all = append(all, n.Path)
	}
	return all
}

func mustNew(t *testing.T, nodes ...tree.Node) *tree.Tree {
	t.Helper()
	got, err := tree.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestNewOrdersAndAddsParents(t *testing.T) {
	got := mustNew(t, file("a-b", "1"), file("a/c/d", "2"), dir("a"), file("a.x", "3"))
	want := []string{".", "a", "a/c", "a/c/d", "a-b", "a.x"}
	if !slices.Equal(paths(got), want) {
		t.Errorf("paths %q, want %q", paths(got), want)
	}
	if n, _ := got.Lookup("a"); n.Mode.Perm() != 0o700 {
		t.Errorf("a given directory keeps its mode; it has %v", n.Mode)
	}
	if n, _ := got.Lookup("a/c"); n.Mode != fs.ModeDir|0o755 || n.ModTime.Unix() != 0 {
		t.Errorf("an added directory has mode %v and time %v", n.Mode, n.ModTime)
	}
	if !slices.IsSortedFunc(paths(got), tree.Compare) {
		t.Error("Compare does not agree with the order")
	}
}

func TestNewRefuses(t *testing.T) {
	link := func(p, to string) tree.Node {
		return tree.Node{Path: p, Mode: 0o644, Link: to, Content: tree.String("")}
	}
	for name, c := range map[string]struct {
		nodes []tree.Node
		want  string
	}{
		"absolute":         {[]tree.Node{file("/a", "")}, "absolute"},
		"dot dot":          {[]tree.Node{file("../a", "")}, `".."`},
		"twice":            {[]tree.Node{file("a", ""), file("a", "")}, "twice"},
		"below a file":     {[]tree.Node{file("a", ""), file("a/b/c", "")}, `below "a"`},
		"no content":       {[]tree.Node{{Path: "a", Mode: 0o644}}, "no content"},
		"content in a dir": {[]tree.Node{{Path: "a", Mode: fs.ModeDir, Content: tree.String("")}}, "no regular file"},
		"empty link":       {[]tree.Node{{Path: "a", Mode: fs.ModeSymlink}}, "no target"},
		"half a device":    {[]tree.Node{{Path: "a", Mode: fs.ModeCharDevice}}, "no device"},
		"root is a file":   {[]tree.Node{file(".", "")}, "root"},
		"link to nothing":  {[]tree.Node{link("b", "a")}, "no earlier"},
		"link to later":    {[]tree.Node{link("b", "c"), file("c", "")}, "no earlier"},
		"link to link":     {[]tree.Node{file("a", ""), link("b", "a"), link("c", "b")}, "no earlier"},
	} {
		_, err := tree.New(c.nodes)
		if !errors.Is(err, tree.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

func TestIsAFileSystem(t *testing.T) {
	tr := mustNew(t, file("etc/motd", "hello"), dir("empty"), tree.Node{Path: "etc/link", Mode: fs.ModeSymlink | 0o777, Link: "motd"})
	without, err := tr.Filter(func(n tree.Node) bool { return n.Mode.Type() != fs.ModeSymlink }) // fstest opens links
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(without, "etc/motd", "empty"); err != nil {
		t.Error(err)
	}
	if to, err := tr.ReadLink("etc/link"); err != nil || to != "motd" {
		t.Errorf("link %q, %v", to, err)
	}
	if _, err := tr.Open("etc/link"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a link was opened: %v", err)
	}
}

func TestSubAndFilterKeepHardLinks(t *testing.T) {
	link := func(p, to string) tree.Node {
		return tree.Node{Path: p, Mode: 0o644, Link: to, Content: tree.String("x")}
	}
	tr := mustNew(t, file("a/one", "x"), link("b/two", "a/one"), link("b/three", "a/one"), file("b/own", "y"), link("b/zown", "b/own"))
	sub, err := tr.Sub("b")
	if err != nil {
		t.Fatal(err)
	}
	filtered, err := tr.Filter(func(n tree.Node) bool { return strings.HasPrefix(n.Path, "b/") })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tr     *tree.Tree
		prefix string
	}{{sub, ""}, {filtered, "b/"}} {
		for path, want := range map[string]string{"three": "", "two": "three", "zown": "own"} {
			if want != "" {
				want = c.prefix + want
			}
			if n, ok := c.tr.Lookup(c.prefix + path); !ok || n.Link != want {
				t.Errorf("%s%s links to %q, want %q", c.prefix, path, n.Link, want)
			}
		}
	}
	if _, err := tr.Sub("a/one"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was taken for a directory: %v", err)
	}
}

func TestBlobs(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	host, err := tree.File(name)
	if err != nil {
		t.Fatal(err)
	}
	all := tree.Concat(tree.String("ab"), tree.Zeros(3), tree.Concat(host, tree.Zeros(0)), tree.Section(strings.NewReader("hello"), 1, 3))
	want := "ab\x00\x00\x000123456789ell"
	got, err := tree.ReadAll(all)
	if err != nil || string(got) != want || all.Size() != int64(len(want)) {
		t.Errorf("read %q, %v; want %q", got, err, want)
	}
	w := new(ascending)
	if n, err := tree.CopyAt(w, 7, all); err != nil || n != int64(len(want)) {
		t.Errorf("copied %d bytes, %v", n, err)
	}
	if string(w.b) != strings.Repeat("\x00", 7)+want {
		t.Errorf("wrote %q", w.b)
	}
	if w.zeros {
		t.Error("zero bytes were written where a hole does")
	}
	if err := os.WriteFile(name, []byte("012345678"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.ReadAll(host); err == nil || !strings.Contains(err.Error(), "size changed from 10 to 9") {
		t.Errorf("a file that shrank gave %v", err)
	}
	if _, err := tree.ReadAll(tree.Section(strings.NewReader("short"), 0, 9)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a truncated section gave %v", err)
	}
}

func TestCopyAtRefusesLyingBlobs(t *testing.T) {
	for said, is := range map[int64]string{5: "1234", 3: "1234"} {
		if _, err := tree.CopyAt(new(ascending), 0, liar{said, is}); err == nil {
			t.Errorf("a blob of %d bytes that said %d was copied", len(is), said)
		}
		if err := tree.Copy(io.Discard, liar{said, is}); err == nil {
			t.Errorf("a blob of %d bytes that said %d was copied", len(is), said)
		}
		if _, err := tree.SHA256(liar{said, is}); err == nil {
			t.Errorf("a blob of %d bytes that said %d was hashed", len(is), said)
		}
		if _, err := tree.ReadAll(tree.Concat(liar{said, is})); said > int64(len(is)) && err == nil {
			t.Errorf("a blob of %d bytes that said %d was read", len(is), said)
		}
	}
}

type liar struct {
	size    int64
	content string
}

func (l liar) Size() int64                  { return l.size }
func (l liar) Open() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(l.content)), nil }

// ascending is a growing file that refuses to go back.
type ascending struct {
	b     []byte
	zeros bool
}

func (a *ascending) WriteAt(p []byte, off int64) (int, error) {
	if off < int64(len(a.b)) {
		return 0, errors.New("went back")
	}
	a.b = append(a.b, make([]byte, off-int64(len(a.b)))...)
	a.b = append(a.b, p...)
	a.zeros = a.zeros || len(bytes.Trim(p, "\x00")) == 0
	return len(p), nil
}
