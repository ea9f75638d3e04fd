package extension

import (
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

func newTree(t testing.TB, nodes ...tree.Node) *tree.Tree {
	t.Helper()
	tr, err := tree.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

var built = time.Unix(1_700_000_000, 0)

func file(path, content string) tree.Node {
	return tree.Node{Path: path, Mode: 0o644, Content: tree.String(content), ModTime: built, UID: 1000, GID: 1000}
}

func dir(path string, mode fs.FileMode) tree.Node {
	return tree.Node{Path: path, Mode: fs.ModeDir | mode, ModTime: built}
}

func link(path, target string) tree.Node {
	return tree.Node{Path: path, Mode: fs.ModeSymlink | 0o777, Link: target, ModTime: built}
}

func hard(path, first, content string) tree.Node {
	n := file(path, content)
	n.Link = first
	return n
}

func facts(t testing.TB, version string) talos.Facts {
	t.Helper()
	v, err := talos.ParseVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	f, err := talos.For(v, "metal", talos.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// with makes an extension of files, with a manifest that fits.
func with(t testing.TB, nodes ...tree.Node) *Extension {
	t.Helper()
	return &Extension{
		Manifest: Manifest{ManifestVersion, Metadata{Name: "tool", Version: "1.0"}},
		Root:     newTree(t, slices.Clone(nodes)...),
	}
}

func read(t testing.TB, b tree.Blob) string {
	t.Helper()
	content, err := tree.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
