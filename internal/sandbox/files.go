package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

// epoch is the time of every file of a release: 2026-01-01.
var epoch = time.Unix(1767225600, 0)

// files collects the nodes of a tree. The first error stays, for tree.
type files struct {
	nodes []tree.Node
	err   error
}

func (f *files) add(n tree.Node) {
	n.UID, n.GID, n.ModTime = 0, 0, epoch
	f.nodes = append(f.nodes, n)
}

func (f *files) dirs(paths ...string) {
	for _, p := range paths {
		f.add(tree.Node{Path: p, Mode: fs.ModeDir | 0o755})
	}
}

func (f *files) text(path, content string) { f.blob(path, 0o644, tree.String(content)) }

func (f *files) blob(path string, mode fs.FileMode, content tree.Blob) {
	f.add(tree.Node{Path: path, Mode: mode, Content: content})
}

func (f *files) link(path, target string) {
	f.add(tree.Node{Path: path, Mode: fs.ModeSymlink | 0o777, Link: target})
}

// hardLink is a further name of a file that was added before.
func (f *files) hardLink(path, first string) {
	for _, n := range f.nodes {
		if n.Path == first {
			n.Path, n.Link = path, first
			f.add(n)
			return
		}
	}
	f.err = errors.Join(f.err, fmt.Errorf("hard link %s: no %s", path, first))
}

// label gives a SELinux label to a file that was added before.
func (f *files) label(path, value string) {
	for i := range f.nodes {
		if f.nodes[i].Path == path {
			f.nodes[i].Xattrs = map[string][]byte{"security.selinux": []byte(value)}
			return
		}
	}
	f.err = errors.Join(f.err, fmt.Errorf("label %s: there is no such file", path))
}

// copy adds the file, or all below the directory, from of a package's tree as to. That there is none is an error.
func (f *files) copy(t *tree.Tree, from, to string) {
	n, ok := t.Lookup(from)
	if !ok {
		f.err = errors.Join(f.err, fmt.Errorf("copy %s: a Debian package no longer has it", from))
		return
	}
	f.addCopy(n, to)
	for kid := range t.Children(from) {
		f.copy(t, kid.Path, path.Join(to, kid.Name()))
	}
}

// copyMatching adds the files of a directory whose names begin with prefix.
func (f *files) copyMatching(t *tree.Tree, dir, prefix, to string) {
	found := false
	for n := range t.Children(dir) {
		if strings.HasPrefix(n.Name(), prefix) {
			found = true
			f.copy(t, n.Path, path.Join(to, n.Name()))
		}
	}
	if !found {
		f.err = errors.Join(f.err, fmt.Errorf("copy %s/%s*: a Debian package no longer has it", dir, prefix))
	}
}

func (f *files) addCopy(n tree.Node, to string) {
	n.Path, n.Xattrs = to, nil
	f.add(n)
}

func (f *files) tree() (*tree.Tree, error) {
	if f.err != nil {
		return nil, f.err
	}
	t, err := tree.New(f.nodes)
	if err != nil {
		return nil, err
	}
	var nodes []tree.Node
	for n := range t.All() { // parents that were not named, too
		n.ModTime = epoch
		nodes = append(nodes, n)
	}
	return tree.New(nodes)
}
