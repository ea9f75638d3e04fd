package tree

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"
)

var (
	_ fs.ReadDirFS  = (*Tree)(nil)
	_ fs.StatFS     = (*Tree)(nil)
	_ fs.ReadLinkFS = (*Tree)(nil)
)

func (t *Tree) node(op, name string) (Node, error) {
	if !fs.ValidPath(name) {
		return Node{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	n, ok := t.Lookup(name)
	if !ok {
		return Node{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return n, nil
}

// Open implements [fs.FS].
func (t *Tree) Open(name string) (fs.File, error) {
	n, err := t.node("open", name)
	if err != nil {
		return nil, err
	}
	switch {
	case n.Mode.IsDir():
		entries, err := t.ReadDir(name)
		return &openDir{node: n, entries: entries}, err
	case n.Mode.IsRegular():
		r, err := n.Content.Open()
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return &openFile{node: n, ReadCloser: r}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
}

// Stat implements [fs.StatFS]; it is Lstat, since a tree follows no link.
func (t *Tree) Stat(name string) (fs.FileInfo, error) {
	n, err := t.node("stat", name)
	if err != nil {
		return nil, err
	}
	return info{n}, nil
}

// Lstat implements [fs.ReadLinkFS].
func (t *Tree) Lstat(name string) (fs.FileInfo, error) { return t.Stat(name) }

// ReadLink implements [fs.ReadLinkFS].
func (t *Tree) ReadLink(name string) (string, error) {
	n, err := t.node("readlink", name)
	if err != nil {
		return "", err
	}
	if n.Mode.Type() != fs.ModeSymlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return n.Link, nil
}

// ReadDir implements [fs.ReadDirFS].
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.node("readdir", name)
	if err != nil {
		return nil, err
	}
	if !n.Mode.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrInvalid}
	}
	entries := make([]fs.DirEntry, 0, len(t.kids[name]))
	for kid := range t.Children(name) {
		entries = append(entries, fs.FileInfoToDirEntry(info{kid}))
	}
	return entries, nil
}

// ReadFile implements [fs.ReadFileFS].
func (t *Tree) ReadFile(name string) ([]byte, error) {
	n, err := t.regular(name)
	if err != nil {
		return nil, err
	}
	return ReadAll(n.Content)
}

func (t *Tree) regular(name string) (Node, error) {
	n, err := t.node("read", name)
	if err == nil && !n.Mode.IsRegular() {
		err = &fs.PathError{Op: "read", Path: name, Err: fs.ErrInvalid}
	}
	return n, err
}

// ReadSmall is [Tree.ReadFile] for a file of limit bytes at most.
func (t *Tree) ReadSmall(name string, limit int64) ([]byte, error) {
	n, err := t.regular(name)
	if err != nil {
		return nil, err
	}
	b, err := ReadSmall(n.Content, limit)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

type info struct{ n Node }

func (i info) Name() string       { return path.Base(i.n.Path) }
func (i info) Size() int64        { return i.n.Size() }
func (i info) Mode() fs.FileMode  { return i.n.Mode }
func (i info) ModTime() time.Time { return i.n.ModTime }
func (i info) IsDir() bool        { return i.n.Mode.IsDir() }
func (i info) Sys() any           { return i.n } // the Node, for owner, xattrs, links

type openFile struct {
	node Node
	io.ReadCloser
}

func (f *openFile) Stat() (fs.FileInfo, error) { return info{f.node}, nil }

type openDir struct {
	node    Node
	entries []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return info{d.node}, nil }
func (d *openDir) Close() error               { return nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.node.Path, Err: fs.ErrInvalid}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		all := slices.Clone(d.entries)
		d.entries = nil
		return all, nil
	}
	if len(d.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.entries))
	part := slices.Clone(d.entries[:n])
	d.entries = d.entries[n:]
	return part, nil
}
