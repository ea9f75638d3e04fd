// Package tree holds an immutable file tree, in memory or on disk: what container layers are unpacked into and what every
// format package writes and reads.
//
// A path is slash-separated, without a leading slash, and valid as [fs.ValidPath] says; the root is ".". Nodes come parents
// first, and the entries of a directory in byte order of their names (pre-order), so "a", "a/b", "a-b".
package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"time"
)

// Root is the path of the root directory.
const Root = "."

// Node is one file, directory, link or special file. Treat it as a value that nobody changes: trees share their nodes' maps.
type Node struct {
	Path string
	// Mode has the type bits, the nine permission bits and fs.ModeSetuid, fs.ModeSetgid and fs.ModeSticky.
	Mode     fs.FileMode
	UID, GID uint32
	ModTime  time.Time // the zero time stands for the Unix epoch, which New makes of it
	// Link is a symbolic link's target, as it is written. For a regular file it names the path of an earlier node whose hard
	// link this is; Content, Mode, owner, time and Xattrs are then the earlier node's, so that who has no hard links may ignore it.
	Link string
	// Major and Minor are a device's numbers.
	Major, Minor uint32
	// Xattrs are extended attributes by their full name ("security.selinux").
	Xattrs map[string][]byte
	// Content is a regular file's; never nil there, and nil elsewhere.
	Content Blob
}

// Name returns the last element of the path.
func (n Node) Name() string { return path.Base(n.Path) }

// IsHardLink tells whether the node is a further name of an earlier regular file.
func (n Node) IsHardLink() bool { return n.Mode.IsRegular() && n.Link != "" }

// Size returns a regular file's size in bytes, else 0.
func (n Node) Size() int64 {
	if n.Content == nil {
		return 0
	}
	return n.Content.Size()
}

// Tree is an immutable file tree with a root directory. It is an [fs.FS], [fs.ReadDirFS], [fs.StatFS] and [fs.ReadLinkFS];
// as an FS it follows no symbolic link.
type Tree struct {
	nodes []Node         // in pre-order
	index map[string]int // path to its place in nodes
	kids  map[string][]int
}

// ErrInvalid is wrapped by what [New] says of nodes that make no tree.
var ErrInvalid = errors.New("invalid tree")

// New makes a tree of nodes in any order. A missing root or parent directory is added with mode 0755, owner 0:0 and the Unix
// epoch as its time. A path given twice, a child of what is no directory, an invalid path, a regular file without content,
// [fs.ModeCharDevice] without [fs.ModeDevice] and a hard link that names no earlier regular file are errors.
func New(nodes []Node) (*Tree, error) {
	t := &Tree{nodes: slices.Clone(nodes)}
	for i := range t.nodes {
		if t.nodes[i].ModTime.IsZero() {
			t.nodes[i].ModTime = time.Unix(0, 0)
		}
	}
	have := make(map[string]fs.FileMode, len(nodes)+1)
	for _, n := range nodes {
		if !fs.ValidPath(n.Path) {
			return nil, fmt.Errorf("%w: path %q is absolute, unclean or has \"..\"", ErrInvalid, n.Path)
		}
		if _, twice := have[n.Path]; twice {
			return nil, fmt.Errorf("%w: path %q is there twice", ErrInvalid, n.Path)
		}
		if err := n.check(); err != nil {
			return nil, err
		}
		have[n.Path] = n.Mode
	}
	for _, n := range nodes {
		for p := n.Path; p != Root; {
			p = path.Dir(p)
			mode, ok := have[p]
			if ok && !mode.IsDir() {
				return nil, fmt.Errorf("%w: %q is below %q, which is no directory", ErrInvalid, n.Path, p)
			}
			if ok {
				break
			}
			have[p] = fs.ModeDir | 0o755
			t.nodes = append(t.nodes, Node{Path: p, Mode: fs.ModeDir | 0o755, ModTime: time.Unix(0, 0)})
		}
	}
	if _, ok := have[Root]; !ok {
		t.nodes = append(t.nodes, Node{Path: Root, Mode: fs.ModeDir | 0o755, ModTime: time.Unix(0, 0)})
	}
	slices.SortFunc(t.nodes, func(a, b Node) int { return Compare(a.Path, b.Path) })
	t.index = make(map[string]int, len(t.nodes))
	t.kids = make(map[string][]int)
	for i, n := range t.nodes {
		t.index[n.Path] = i
		if n.Path != Root {
			dir := path.Dir(n.Path)
			t.kids[dir] = append(t.kids[dir], i)
		}
		if !n.IsHardLink() {
			continue
		}
		j, ok := t.index[n.Link]
		if !ok || !t.nodes[j].Mode.IsRegular() || t.nodes[j].Link != "" {
			return nil, fmt.Errorf("%w: hard link %q names %q, which is no earlier regular file", ErrInvalid, n.Path, n.Link)
		}
	}
	return t, nil
}

func (n Node) check() error {
	switch typ := n.Mode.Type(); {
	case n.Path == Root && typ != fs.ModeDir:
		return fmt.Errorf("%w: the root is no directory", ErrInvalid)
	case typ&fs.ModeCharDevice != 0 && typ&fs.ModeDevice == 0:
		return fmt.Errorf("%w: %q is a character device, but no device", ErrInvalid, n.Path)
	case typ == 0 && n.Content == nil:
		return fmt.Errorf("%w: regular file %q has no content", ErrInvalid, n.Path)
	case typ != 0 && n.Content != nil:
		return fmt.Errorf("%w: %q has content but is no regular file", ErrInvalid, n.Path)
	case typ == fs.ModeSymlink && n.Link == "":
		return fmt.Errorf("%w: symbolic link %q has no target", ErrInvalid, n.Path)
	case typ != fs.ModeSymlink && typ != 0 && n.Link != "":
		return fmt.Errorf("%w: %q has a link target but is no link", ErrInvalid, n.Path)
	}
	return nil
}

// Compare orders paths as trees do: parents first, then the entries of a directory by byte value.
func Compare(a, b string) int {
	if a == b {
		return 0
	}
	if a == Root {
		return -1
	}
	if b == Root {
		return 1
	}
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] == b[i] {
			continue
		}
		if a[i] == '/' { // a's element ended first: "a/b" before "a-b"
			return -1
		}
		if b[i] == '/' {
			return 1
		}
		return int(a[i]) - int(b[i])
	}
	return len(a) - len(b)
}

// Len returns the number of nodes, the root included.
func (t *Tree) Len() int { return len(t.nodes) }

// All yields every node, the root first.
func (t *Tree) All() iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for _, n := range t.nodes {
			if !yield(n) {
				return
			}
		}
	}
}

// Lookup returns the node at a path. It follows no link.
func (t *Tree) Lookup(p string) (Node, bool) {
	i, ok := t.index[p]
	if !ok {
		return Node{}, false
	}
	return t.nodes[i], true
}

// Children yields the entries of a directory by name; nothing for what is no directory.
func (t *Tree) Children(dir string) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for _, i := range t.kids[dir] {
			if !yield(t.nodes[i]) {
				return
			}
		}
	}
}

// Sub returns the tree below a directory, which becomes the root. The error wraps [fs.ErrNotExist] where there is none.
// A hard link whose first name lies outside is an ordinary file there.
func (t *Tree) Sub(dir string) (*Tree, error) {
	top, ok := t.Lookup(dir)
	if !ok || !top.Mode.IsDir() {
		return nil, fmt.Errorf("sub tree %q: %w", dir, fs.ErrNotExist)
	}
	if dir == Root {
		return t, nil
	}
	prefix := dir + "/"
	var nodes []Node
	first := map[string]string{} // what was hard linked outside, to its first name inside
	for _, n := range t.nodes[t.index[dir]:] {
		switch {
		case n.Path == dir:
			n.Path = Root
		case strings.HasPrefix(n.Path, prefix):
			n.Path = n.Path[len(prefix):]
		default:
			return New(nodes)
		}
		if n.IsHardLink() {
			if inside, ok := strings.CutPrefix(n.Link, prefix); ok {
				n.Link = inside
			} else if name, ok := first[n.Link]; ok {
				n.Link = name
			} else {
				first[n.Link], n.Link = n.Path, ""
			}
		}
		nodes = append(nodes, n)
	}
	return New(nodes)
}

// Filter returns the tree of the nodes for which keep is true, and their parents. A kept hard link whose first name is not
// kept is an ordinary file.
func (t *Tree) Filter(keep func(Node) bool) (*Tree, error) {
	want := map[string]bool{Root: true}
	for _, n := range t.nodes {
		if keep(n) {
			for p := n.Path; !want[p]; p = path.Dir(p) {
				want[p] = true
			}
		}
	}
	var nodes []Node
	first := map[string]string{}
	for _, n := range t.nodes {
		if !want[n.Path] {
			continue
		}
		if n.IsHardLink() && !want[n.Link] {
			if name, ok := first[n.Link]; ok {
				n.Link = name
			} else {
				first[n.Link], n.Link = n.Path, ""
			}
		}
		nodes = append(nodes, n)
	}
	return New(nodes)
}
