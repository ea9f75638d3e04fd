package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

// first is the path of a node's first name.
func first(n tree.Node) string {
	if n.IsHardLink() {
		return n.Link
	}
	return n.Path
}

// number gives the inodes of what is below a directory their numbers, in the order in which writeTree writes them: what is in
// one directory is together, after what is below it. An inode with many names counts where its first one in this order is.
func (w *imageWriter) number(dir string) {
	for n := range w.t.Children(dir) {
		if n.Mode.IsDir() {
			w.number(n.Path)
		}
	}
	for n := range w.t.Children(dir) {
		p := first(n)
		w.links[p]++
		if w.links[p] == 1 {
			w.numbers[p] = uint32(len(w.numbers) + 1)
		}
	}
	if dir == tree.Root {
		w.numbers[dir] = uint32(len(w.numbers) + 1)
	}
}

// writeTree makes the inode and directory tables.
func (w *imageWriter) writeTree() error {
	l, err := w.writeDir(tree.Root)
	if err != nil {
		return err
	}
	root, _ := w.t.Lookup(tree.Root)
	if err := w.writeInode(root, l); err != nil {
		return err
	}
	if len(w.ids) > math.MaxUint16 {
		return fmt.Errorf("owners: the tree has %d different user and group ids, squashfs takes %d", len(w.ids), math.MaxUint16)
	}
	return errors.Join(w.inodes.flush(), w.dirs.flush())
}

// writeDir writes the inodes of all that is in a directory, and its listing.
func (w *imageWriter) writeDir(dir string) (listing, error) {
	listings := map[string]listing{}
	for n := range w.t.Children(dir) {
		if n.Mode.IsDir() {
			l, err := w.writeDir(n.Path)
			if err != nil {
				return l, err
			}
			listings[n.Path] = l
		}
	}
	var entries []entry
	for n := range w.t.Children(dir) {
		p := first(n)
		if _, done := w.refs[p]; !done {
			if err := w.writeInode(n, listings[n.Path]); err != nil {
				return listing{}, err
			}
		}
		entries = append(entries, entry{n.Name(), w.refs[p], w.numbers[p], typeOf(n.Mode)})
	}
	l, err := writeListing(&w.dirs, entries)
	if err == nil {
		err = checkTables(dir, l.size, int64(len(w.dirs.out)), int64(len(w.inodes.out)))
	}
	return l, err
}

// checkTables refuses what does not fit into 32 bits.
func checkTables(dir string, listing, dirs, inodes int64) error {
	for _, c := range []struct {
		name        string
		size, limit int64
	}{
		{"listing", listing, math.MaxUint32 - 3}, // an inode has it plus 3
		{"directory table", dirs, math.MaxUint32},
		{"inode table", inodes, math.MaxUint32},
	} {
		if c.size > c.limit {
			return fmt.Errorf("directory %s: the %s has %d bytes, squashfs takes %d", dir, c.name, c.size, c.limit)
		}
	}
	return nil
}

func (w *imageWriter) id(id uint32) uint16 {
	i, ok := w.ids[id]
	if !ok {
		i = uint16(len(w.ids)) // writeTree checks that it was not too large
		w.ids[id] = i
		w.idTable = binary.LittleEndian.AppendUint32(w.idTable, id)
	}
	return i
}

// writeInode writes the inode of a node, which is a directory with listing l, or anything else.
func (w *imageWriter) writeInode(n tree.Node, l listing) error {
	xattr, err := w.xattrs.id(n.Xattrs)
	if err != nil {
		return fmt.Errorf("%s: %w", n.Path, err)
	}
	p := first(n)
	h := inodeHeader{Type: typeOf(n.Mode), Mode: encodePermissions(n.Mode), UID: w.id(n.UID), GID: w.id(n.GID), Number: w.numbers[p]}
	h.ModTime, _ = encodeTime(n.ModTime) // check has seen the error
	var rest []byte
	switch h.Type {
	case typeDir:
		rest = w.dirInode(&h, n, l, xattr)
	case typeFile:
		rest = fileInodeOf(&h, w.contents[p], n.Size(), w.links[p], xattr)
	case typeSymlink:
		rest = append(encode(nil, symlinkInode{Links: 1, Size: uint32(len(n.Link))}), n.Link...)
	case typeBlockDev, typeCharDev:
		rest = encode(nil, deviceInode{Links: 1, Device: encodeDevice(n.Major, n.Minor)})
	default:
		rest = encode(nil, ipcInode{Links: 1})
	}
	if h.Type > typeFile && h.Type <= typeSocket && xattr != none32 {
		h.Type += extended
		rest = binary.LittleEndian.AppendUint32(rest, xattr)
	}
	w.refs[p] = w.inodes.ref()
	w.export = binary.LittleEndian.AppendUint64(w.export, w.refs[p]) // number has numbered the inodes in this very order
	return w.inodes.write(append(encode(nil, h), rest...))
}

func (w *imageWriter) dirInode(h *inodeHeader, n tree.Node, l listing, xattr uint32) []byte {
	links := uint32(2)
	for kid := range w.t.Children(n.Path) {
		if kid.Mode.IsDir() {
			links++
		}
	}
	parent := uint32(len(w.numbers) + 1)
	if n.Path != tree.Root {
		parent = w.numbers[path.Dir(n.Path)]
	}
	block, offset, size := uint32(refBlock(l.start)), uint16(refOffset(l.start)), l.size+3
	if size <= math.MaxUint16 && l.indexes == 0 && xattr == none32 {
		return encode(nil, dirInode{Block: block, Links: links, Size: uint16(size), Offset: offset, Parent: parent})
	}
	h.Type += extended
	return append(encode(nil, extendedDirInode{
		Links: links, Size: uint32(size), Block: block, Parent: parent, Indexes: uint16(l.indexes), Offset: offset, Xattr: xattr,
	}), l.index...)
}

func fileInodeOf(h *inodeHeader, c *content, size int64, links, xattr uint32) []byte {
	var p []byte
	if links == 1 && xattr == none32 && c.sparse == 0 && c.start <= math.MaxUint32 && size <= math.MaxUint32 {
		p = encode(nil, fileInode{Start: uint32(c.start), Fragment: c.fragment, FragmentOffset: c.fragmentOffset, Size: uint32(size)})
	} else {
		h.Type += extended
		p = encode(nil, extendedFileInode{
			Start: c.start, Size: uint64(size), Sparse: c.sparse, Links: links,
			Fragment: c.fragment, FragmentOffset: c.fragmentOffset, Xattr: xattr,
		})
	}
	return encode(p, c.blocks)
}

// typeOf is the basic type of an inode; check has seen that there is one.
func typeOf(m fs.FileMode) uint16 {
	for t := uint16(typeDir); t <= typeSocket; t++ {
		if typeModes[t] == m.Type() {
			return t
		}
	}
	return 0
}

func encodeTime(t time.Time) (uint32, error) {
	if t.IsZero() {
		return 0, nil
	}
	s := t.Unix()
	if s < 0 || s > math.MaxUint32 {
		return 0, fmt.Errorf("time %s: squashfs has times from 1970-01-01 to 2106-02-07", t.UTC().Format(time.RFC3339))
	}
	if t.Nanosecond() != 0 {
		return 0, fmt.Errorf("time %s: squashfs has whole seconds only; truncate it", t.UTC().Format(time.RFC3339Nano))
	}
	return uint32(s), nil
}
