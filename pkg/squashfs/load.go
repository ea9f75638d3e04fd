package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/talosmith/talosmith/pkg/tree"
)

// loader reads the metadata of a whole image.
type loader struct {
	r      *Reader
	ids    []uint32
	nodes  []tree.Node
	count  int             // of nodes seen in listings
	text   int             // bytes of names, link targets, xattrs
	files  map[uint64]int  // regular files' inodes to their first node
	dirs   map[uint64]bool // inodes of directories seen
	xattrs map[uint32]map[string][]byte
}

func (r *Reader) load() (*tree.Tree, error) {
	l := &loader{r: r, files: map[uint64]int{}, dirs: map[uint64]bool{}, xattrs: map[uint32]map[string][]byte{}}
	t, err := l.load()
	if err != nil {
		return nil, fmt.Errorf("read squashfs: %w", err)
	}
	return t, nil
}

func (l *loader) load() (*tree.Tree, error) {
	if err := l.loadIDs(); err != nil {
		return nil, fmt.Errorf("id table: %w", err)
	}
	if err := l.node(tree.Root, l.r.sb.Root); err != nil {
		return nil, err
	}
	t, err := tree.New(l.nodes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return t, nil
}

func (l *loader) loadIDs() error {
	const idSize = 4
	for i := range int64(l.r.sb.IDs) {
		c, err := l.r.meta.entry(l.r.sb.IDTable, i, idSize)
		if err != nil {
			return err
		}
		var id uint32
		if err := c.decode(&id); err != nil {
			return err
		}
		l.ids = append(l.ids, id)
	}
	return nil
}

// node reads an inode and, if it is a directory, all below it.
func (l *loader) node(name string, ref uint64) error {
	if len(name) > MaxPath {
		return fmt.Errorf("%.100s…: %w: the path has %d bytes, at most %d are allowed", name, ErrInvalid, len(name), MaxPath)
	}
	if err := l.charge(len(name)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if i, ok := l.files[ref]; ok {
		n := l.nodes[i]
		n.Path, n.Link = name, n.Path
		l.nodes = append(l.nodes, n)
		return nil
	}
	n, dir, err := l.inode(name, ref)
	if err != nil {
		return fmt.Errorf("%s: inode: %w", name, err)
	}
	if n.Mode.IsRegular() {
		l.files[ref] = len(l.nodes)
	}
	l.nodes = append(l.nodes, n)
	if !n.Mode.IsDir() {
		if name == tree.Root {
			return fmt.Errorf("%w: the root is no directory", ErrInvalid)
		}
		return nil
	}
	if l.dirs[ref] {
		return fmt.Errorf("%s: %w: the directory has two names, or holds itself", name, ErrInvalid)
	}
	l.dirs[ref] = true
	entries, err := l.listing(dir)
	if err != nil {
		return fmt.Errorf("%s: directory: %w", name, err)
	}
	for _, e := range entries {
		if err := l.node(path.Join(name, e.name), e.inode); err != nil {
			return err
		}
	}
	return nil
}

// charge counts what takes memory, and checks the limits.
func (l *loader) charge(bytes int) error {
	l.text += bytes
	if l.text > MaxText {
		return fmt.Errorf("%w: its names, links and extended attributes have more than %d bytes", ErrInvalid, MaxText)
	}
	if l.r.meta.work.Load() > MaxMetadata {
		return fmt.Errorf("%w: more than %d bytes of metadata have to be uncompressed", ErrInvalid, MaxMetadata)
	}
	return nil
}

// dirPlace is where the entries of a directory are.
type dirPlace struct {
	start uint64 // reference
	size  int64  // in bytes
}

// inode reads an inode.
func (l *loader) inode(name string, ref uint64) (tree.Node, dirPlace, error) {
	c := l.r.meta.at(l.r.sb.InodeTable, ref)
	var h inodeHeader
	if err := c.decode(&h); err != nil {
		return tree.Node{}, dirPlace{}, err
	}
	basic := h.Type
	if basic > typeSocket {
		basic -= extended
	}
	mode, ok := typeModes[basic]
	if !ok {
		return tree.Node{}, dirPlace{}, fmt.Errorf("%w: its type is %d", ErrInvalid, h.Type)
	}
	if int(h.UID) >= len(l.ids) || int(h.GID) >= len(l.ids) {
		return tree.Node{}, dirPlace{}, fmt.Errorf("%w: its owner is %d:%d in a table of %d", ErrInvalid, h.UID, h.GID, len(l.ids))
	}
	n := tree.Node{
		Path: name, Mode: mode | decodePermissions(h.Mode), UID: l.ids[h.UID], GID: l.ids[h.GID],
		ModTime: time.Unix(int64(h.ModTime), 0).UTC(),
	}
	var dir dirPlace
	var err error
	xattr := uint32(none32)
	switch basic {
	case typeDir:
		dir, xattr, err = readDirInode(&c, h.Type != basic)
	case typeFile:
		xattr, err = l.fileInode(&c, h.Type != basic, &n)
	case typeSymlink:
		err = l.symlinkInode(&c, &n)
	case typeBlockDev, typeCharDev:
		var d deviceInode
		err = c.decode(&d)
		n.Major, n.Minor = decodeDevice(d.Device)
	default:
		err = c.decode(&ipcInode{})
	}
	if err == nil && h.Type != basic && basic > typeFile {
		err = c.decode(&xattr)
	}
	if err == nil {
		n.Xattrs, err = l.xattrSet(xattr)
	}
	return n, dir, err
}

func readDirInode(c *cursor, long bool) (dirPlace, uint32, error) {
	if !long {
		var d dirInode
		err := c.decode(&d)
		return dirPlace{ref(int64(d.Block), int(d.Offset)), int64(d.Size) - 3}, none32, err
	}
	var d extendedDirInode
	err := c.decode(&d)
	return dirPlace{ref(int64(d.Block), int(d.Offset)), int64(d.Size) - 3}, d.Xattr, err
}

func (l *loader) symlinkInode(c *cursor, n *tree.Node) error {
	var s symlinkInode
	if err := c.decode(&s); err != nil {
		return err
	}
	if s.Size == 0 || s.Size > MaxLink {
		return fmt.Errorf("%w: the link's target has %d bytes, it must have 1 to %d", ErrInvalid, s.Size, MaxLink)
	}
	if err := l.charge(int(s.Size)); err != nil {
		return err
	}
	target := make([]byte, s.Size)
	err := c.read(target)
	n.Link = string(target)
	return err
}

func (l *loader) fileInode(c *cursor, long bool, n *tree.Node) (uint32, error) {
	var e extendedFileInode
	if long {
		if err := c.decode(&e); err != nil {
			return 0, err
		}
	} else {
		var b fileInode
		if err := c.decode(&b); err != nil {
			return 0, err
		}
		e = extendedFileInode{
			Start: uint64(b.Start), Size: uint64(b.Size), Fragment: b.Fragment, FragmentOffset: b.FragmentOffset, Xattr: none32,
		}
	}
	bs := uint64(l.r.sb.BlockSize)
	switch {
	case e.Size > 1<<62:
		return 0, fmt.Errorf("%w: the file has %d bytes", ErrInvalid, e.Size)
	case e.Start > l.r.sb.BytesUsed:
		return 0, fmt.Errorf("%w: the file's data starts at %d of %d", ErrInvalid, e.Start, l.r.sb.BytesUsed)
	case e.Fragment != none32 && e.Size%bs == 0:
		return 0, fmt.Errorf("%w: the file has a fragment but its %d bytes fill its blocks", ErrInvalid, e.Size)
	}
	n.Content = &file{
		d: l.r.data, size: int64(e.Size), start: e.Start, fragment: e.Fragment, fragmentOffset: e.FragmentOffset, list: *c,
	}
	return e.Xattr, nil
}

// listing reads the entries of a directory and returns them in order of their names.
func (l *loader) listing(dir dirPlace) ([]entry, error) {
	c := l.r.meta.at(l.r.sb.DirTable, dir.start)
	var entries []entry
	for left := dir.size; left > 0; {
		var h dirHeader
		if err := c.decode(&h); err != nil {
			return nil, err
		}
		left -= dirHeaderSize
		if h.Count >= maxDirRun {
			return nil, fmt.Errorf("%w: a run of %d entries, at most %d are allowed", ErrInvalid, int64(h.Count)+1, maxDirRun)
		}
		for range h.Count + 1 {
			var e dirEntry
			if err := c.decode(&e); err != nil {
				return nil, err
			}
			name := make([]byte, int(e.NameSize)+1)
			if len(name) > maxName+1 {
				return nil, fmt.Errorf("%w: a name of %d bytes, at most %d are allowed", ErrInvalid, len(name), maxName+1)
			}
			if err := c.read(name); err != nil {
				return nil, err
			}
			left -= int64(dirEntrySize + len(name))
			if err := checkName(string(name)); err != nil {
				return nil, err
			}
			if l.count++; l.count > MaxNodes {
				return nil, fmt.Errorf("%w: it has more than %d files", ErrInvalid, MaxNodes)
			}
			entries = append(entries, entry{name: string(name), inode: ref(int64(h.Block), int(e.Offset))})
		}
		if left < 0 {
			return nil, fmt.Errorf("%w: the last entry is longer than the listing", ErrInvalid)
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return entries, nil
}

func checkName(name string) error {
	if name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%w: %q is no file name", ErrInvalid, name)
	}
	if !utf8.ValidString(name) {
		return fmt.Errorf("%w: the file name %q is not UTF-8", errors.ErrUnsupported, name)
	}
	return nil
}

// xattrSet reads the extended attributes with an id.
func (l *loader) xattrSet(id uint32) (map[string][]byte, error) {
	if id == none32 || l.r.sb.XattrTable == none64 {
		return nil, nil
	}
	if set, ok := l.xattrs[id]; ok {
		return set, nil
	}
	set, err := l.readXattrs(id)
	if err != nil {
		return nil, fmt.Errorf("extended attributes %d: %w", id, err)
	}
	l.xattrs[id] = set
	return set, nil
}

func (l *loader) readXattrs(id uint32) (map[string][]byte, error) {
	head := make([]byte, xattrTableSize)
	if err := readAt(l.r.r, head, int64(l.r.sb.XattrTable)); err != nil {
		return nil, err
	}
	var table xattrTable
	decode(head, &table)
	if id >= table.IDs || table.Pairs > l.r.sb.BytesUsed {
		return nil, fmt.Errorf("%w: there are %d, at %d", ErrInvalid, table.IDs, table.Pairs)
	}
	c, err := l.r.meta.entry(l.r.sb.XattrTable+xattrTableSize, int64(id), xattrIDSize)
	if err != nil {
		return nil, err
	}
	var x xattrID
	if err := c.decode(&x); err != nil {
		return nil, err
	}
	set := map[string][]byte{}
	c = l.r.meta.at(table.Pairs, x.Ref)
	for range x.Count {
		name, value, err := l.readXattr(&c, table.Pairs)
		if err != nil {
			return nil, err
		}
		if _, twice := set[name]; twice {
			return nil, fmt.Errorf("%w: %q is there twice", ErrInvalid, name)
		}
		set[name] = value
	}
	return set, nil
}

func (l *loader) readXattr(c *cursor, pairs uint64) (string, []byte, error) {
	var h struct{ Type, Size uint16 }
	if err := c.decode(&h); err != nil {
		return "", nil, err
	}
	prefix := int(h.Type & xattrPrefixMask)
	if prefix >= len(xattrPrefixes) {
		return "", nil, fmt.Errorf("%w: prefix %d", ErrInvalid, prefix)
	}
	if err := l.charge(int(h.Size)); err != nil {
		return "", nil, err
	}
	name := make([]byte, h.Size)
	if err := c.read(name); err != nil {
		return "", nil, err
	}
	value, err := l.readXattrValue(c)
	if err != nil {
		return "", nil, err
	}
	if h.Type&xattrElsewhere != 0 {
		if len(value) != 8 {
			return "", nil, fmt.Errorf("%w: a reference of %d bytes", ErrInvalid, len(value))
		}
		there := l.r.meta.at(pairs, binary.LittleEndian.Uint64(value))
		value, err = l.readXattrValue(&there)
	}
	return xattrPrefixes[prefix] + string(name), value, err
}

func (l *loader) readXattrValue(c *cursor) ([]byte, error) {
	var size uint32
	if err := c.decode(&size); err != nil {
		return nil, err
	}
	if size > maxXattrValue {
		return nil, fmt.Errorf("%w: a value of %d bytes, at most %d are allowed", ErrInvalid, size, maxXattrValue)
	}
	if err := l.charge(int(size)); err != nil {
		return nil, err
	}
	value := make([]byte, size)
	return value, c.read(value)
}
