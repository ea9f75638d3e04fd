package iso9660_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/pkg/iso9660"
	"github.com/talosmith/talosmith/pkg/tree"
)

var epoch = time.Date(2023, 11, 14, 22, 13, 20, 0, time.UTC)

func dir(path string) tree.Node {
	return tree.Node{Path: path, Mode: fs.ModeDir | 0o755, ModTime: epoch}
}

func file(path, content string) tree.Node {
	return tree.Node{Path: path, Mode: 0o644, ModTime: epoch, Content: tree.String(content)}
}

func link(path, target string) tree.Node {
	return tree.Node{Path: path, Mode: fs.ModeSymlink | 0o777, ModTime: epoch, Link: target}
}

func newTree(t testing.TB, nodes ...tree.Node) *tree.Tree {
	t.Helper()
	for i, n := range nodes {
		for p := filepath.Dir(n.Path); p != "."; p = filepath.Dir(p) { // tree.New gives missing parents the Unix epoch
			if !contains(nodes, p) {
				nodes = append(nodes, dir(p))
			}
		}
		nodes[i] = n
	}
	if !contains(nodes, ".") {
		nodes = append(nodes, dir("."))
	}
	tr, err := tree.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func contains(nodes []tree.Node, path string) bool {
	for _, n := range nodes {
		if n.Path == path {
			return true
		}
	}
	return false
}

// write makes an image in a file.
func write(t testing.TB, tr *tree.Tree, o iso9660.Options) (*iso9660.Image, *os.File) {
	t.Helper()
	im, err := iso9660.Plan(tr, o)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "image.iso"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(im.Size()); err != nil {
		t.Fatal(err)
	}
	if err := im.Write(f); err != nil {
		t.Fatal(err)
	}
	return im, f
}

// odd is a tree of everything that is hard to hold.
func odd(t testing.TB) *tree.Tree {
	long := strings.Repeat("n", 255)
	nodes := []tree.Node{
		file("README", "a"), file("Readme", "b"), file("readme.", "c"), file("read/me", "d"),
		file(".hidden", "e"), file("empty", ""), file("two.dots.tar.gz", "f"), file("über ~ name", "g"),
		file(long, "h"), file(long[:200]+"."+long[:54], "i"), dir("long." + long[:250]), dir("Long." + long[:250]),
		file("1/2/3/4/5/6/7/8/9/10/11/12/deep", strings.Repeat("x", 5000)),
		link("relative", ".././a/.../b"), link("absolute", "/etc/../x"), link("slash", "/"), link("dot", "."),
		link("long-target", strings.Repeat(long+"/", 3)+"x"), link("wide", "/"+strings.Repeat("../x/", 190)+"y"),
		{Path: "hard", Mode: 0o644, ModTime: epoch, Content: tree.String("a"), Link: "README"},
		{Path: "setuid", Mode: fs.ModeSetuid | fs.ModeSetgid | 0o4711&0o777, UID: 1 << 31, GID: 7, ModTime: time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), Content: tree.String("s")},
		{Path: "sticky", Mode: fs.ModeDir | fs.ModeSticky | 0o777, ModTime: time.Date(2155, 12, 31, 23, 59, 59, 0, time.UTC)},
	}
	for i := range 300 { // several blocks of records, and the same identifier again and again
		nodes = append(nodes, file(fmt.Sprintf("many/%s-%03d.blob", strings.Repeat("same", 9), i), fmt.Sprint(i)))
	}
	return newTree(t, nodes...)
}

// same fails where two trees differ in anything that an image holds.
func same(t *testing.T, got, want *tree.Tree) {
	t.Helper()
	for w := range want.All() {
		g, ok := got.Lookup(w.Path)
		switch {
		case !ok:
			t.Errorf("%q is not in the image", w.Path)
			continue
		case g.Mode != w.Mode || g.UID != w.UID || g.GID != w.GID || g.Size() != w.Size() || !g.ModTime.Equal(w.ModTime):
			t.Errorf("%q: got %v %d:%d %d bytes %v, want %v %d:%d %d bytes %v", w.Path,
				g.Mode, g.UID, g.GID, g.Size(), g.ModTime, w.Mode, w.UID, w.GID, w.Size(), w.ModTime)
		case w.Mode.Type() == fs.ModeSymlink && g.Link != w.Link:
			t.Errorf("%q: leads to %q, want %q", w.Path, g.Link, w.Link)
		}
		if w.Mode.IsRegular() && g.Mode.IsRegular() {
			gb, err := tree.ReadAll(g.Content)
			if err != nil {
				t.Fatal(err)
			}
			wb, err := tree.ReadAll(w.Content)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(gb, wb) {
				t.Errorf("%q: other content", w.Path)
			}
		}
	}
	for g := range got.All() {
		if _, ok := want.Lookup(g.Path); !ok && g.Path != "boot.catalog" {
			t.Errorf("%q is in the image but not in the tree", g.Path)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	want := odd(t)
	_, f := write(t, want, iso9660.Options{VolumeID: "TALOS_V1_13_9", VolumeSetID: "Talos-v1.13.9", ModTime: epoch, PartitionOffset: 16})
	r, err := iso9660.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	same(t, r.Tree, want)
}
