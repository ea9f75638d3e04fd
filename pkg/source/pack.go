package source

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

// A tree pack is a whole tree in one file, for the store. Equal trees make equal bytes.
//
//	contents   of the regular files in tree order, one right after another; a hard link has none
//	index      a record for each node in tree order
//	footer     64 bytes:
//	            0  8  offset of the index = bytes of all contents, little endian
//	            8  8  bytes of the index
//	           16  8  records in it
//	           24 32  SHA-256 of the index
//	           56  8  magic "treepack" with the version in the last byte's place: "treepak1"
//
// A record; n is an unsigned, i a signed varint as of encoding/binary, s is n bytes after their number n:
//
//	s path    n mode (16 bits as in Linux's st_mode)   n uid   n gid   i seconds   n nanoseconds
//	s link    n major   n minor   n attributes, each s name, s value, by name   n size
const (
	packMagic   = "treepak" + Version
	packFooter  = 64
	maxIndex    = 128 << 20 // bytes
	maxNodes    = 2_000_000
	maxPackText = 64 << 10 // bytes of a path, a link target, an attribute's name
)

// record appends a node's record to b.
func record(b []byte, n tree.Node) ([]byte, error) {
	mode := tree.UnixMode(n.Mode)
	if _, ok := tree.FileMode(mode); !ok {
		return nil, fmt.Errorf("%q: mode %v has no place in a tree pack", n.Path, n.Mode)
	}
	str := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	num := func(v uint64) { b = binary.AppendUvarint(b, v) }
	str(n.Path)
	num(uint64(mode))
	num(uint64(n.UID))
	num(uint64(n.GID))
	b = binary.AppendVarint(b, n.ModTime.Unix())
	num(uint64(n.ModTime.Nanosecond()))
	str(n.Link)
	num(uint64(n.Major))
	num(uint64(n.Minor))
	num(uint64(len(n.Xattrs)))
	for _, name := range slices.Sorted(maps.Keys(n.Xattrs)) {
		str(name)
		str(string(n.Xattrs[name]))
	}
	num(uint64(n.Size()))
	return b, nil
}

// Digest is the SHA-256 ("sha256:…") of a tree's metadata and contents: of each node in order its record as in a tree pack and then its
// content. Equal trees have equal digests, wherever they come from.
func Digest(t *tree.Tree) (string, error) {
	h := sha256.New()
	var b []byte
	for n := range t.All() {
		var err error
		if b, err = record(b[:0], n); err != nil {
			return "", fmt.Errorf("digest tree: %w", err)
		}
		h.Write(b)
		if n.Content == nil || n.IsHardLink() {
			continue
		}
		if err := tree.Copy(h, n.Content); err != nil {
			return "", fmt.Errorf("digest tree: %q: %w", n.Path, err)
		}
	}
	return sum(h), nil
}

// WritePack writes a tree as one file and returns its size.
func WritePack(w io.WriterAt, t *tree.Tree) (size int64, err error) {
	var index []byte
	contents := bufio.NewWriterSize(io.NewOffsetWriter(w, 0), 256<<10)
	if t.Len() > maxNodes {
		return 0, fmt.Errorf("write tree pack: %d nodes, limit %d", t.Len(), maxNodes)
	}
	for n := range t.All() {
		if len(n.Path) > maxPackText || len(n.Link) > maxPackText {
			return 0, fmt.Errorf("write tree pack: %q: path or link target of more than %d bytes", printable(n.Path), maxPackText)
		}
		if index, err = record(index, n); err != nil {
			return 0, fmt.Errorf("write tree pack: %w", err)
		}
		if n.Content == nil || n.IsHardLink() {
			continue
		}
		if err := tree.Copy(contents, n.Content); err != nil {
			return 0, fmt.Errorf("write tree pack: %q: %w", n.Path, err)
		}
		size += n.Size()
	}
	if err := contents.Flush(); err != nil {
		return 0, fmt.Errorf("write tree pack: %w", err)
	}
	if len(index) > maxIndex {
		return 0, fmt.Errorf("write tree pack: its index has %d bytes, limit %d", len(index), maxIndex)
	}
	hash := sha256.Sum256(index)
	end := slices.Clone(index)
	end = binary.LittleEndian.AppendUint64(end, uint64(size))
	end = binary.LittleEndian.AppendUint64(end, uint64(len(index)))
	end = binary.LittleEndian.AppendUint64(end, uint64(t.Len()))
	end = append(append(end, hash[:]...), packMagic...)
	if _, err := w.WriteAt(end, size); err != nil {
		return 0, fmt.Errorf("write tree pack: %w", err)
	}
	return size + int64(len(end)), nil
}

// OpenPack reads the tree of a file that WritePack wrote. Contents are read from r when they are opened.
func OpenPack(r io.ReaderAt, size int64) (*tree.Tree, error) {
	t, err := openPack(r, size)
	if err != nil {
		return nil, fmt.Errorf("open tree pack: %w", err)
	}
	return t, nil
}

func openPack(r io.ReaderAt, size int64) (*tree.Tree, error) {
	if size < packFooter {
		return nil, fmt.Errorf("%d bytes, want %d or more", size, packFooter)
	}
	footer := make([]byte, packFooter)
	if _, err := r.ReadAt(footer, size-packFooter); err != nil && err != io.EOF {
		return nil, err
	}
	if string(footer[56:]) != packMagic {
		return nil, fmt.Errorf("no magic %q at the end: truncated, of another version, or something else", packMagic)
	}
	off, length, count := binary.LittleEndian.Uint64(footer), binary.LittleEndian.Uint64(footer[8:]), binary.LittleEndian.Uint64(footer[16:])
	if length > maxIndex || count > maxNodes || off > math.MaxInt64 || int64(off) != size-packFooter-int64(length) {
		return nil, fmt.Errorf("index of %d bytes and %d records at %d does not fit a file of %d bytes", length, count, off, size)
	}
	index := make([]byte, length)
	if _, err := r.ReadAt(index, int64(off)); err != nil && err != io.EOF {
		return nil, err
	}
	if sha256.Sum256(index) != [32]byte(footer[24:56]) {
		return nil, fmt.Errorf("index: %w", ErrDigest)
	}
	return readIndex(index, int64(count), r, int64(off))
}

// readIndex makes the tree. Paths must ascend and the contents fill what is before the index: one tree has one pack.
func readIndex(index []byte, count int64, contents io.ReaderAt, end int64) (*tree.Tree, error) {
	d := &decoder{b: index}
	var nodes []tree.Node
	var at int64
	byPath := map[string]int{}
	for i := range int(count) {
		n, size := d.node()
		if d.err != nil {
			return nil, fmt.Errorf("record %d: %w", i+1, d.err)
		}
		if i == 0 && n.Path != tree.Root || i > 0 && tree.Compare(nodes[i-1].Path, n.Path) >= 0 {
			return nil, fmt.Errorf("record %d: path %q is out of order", i+1, n.Path)
		}
		if n.IsHardLink() {
			first, ok := byPath[n.Link]
			if !ok || nodes[first].Size() != size {
				return nil, fmt.Errorf("record %d: hard link %q names no earlier file of its size", i+1, n.Path)
			}
			n.Content = nodes[first].Content
		} else if n.Mode.IsRegular() {
			if size > end-at {
				return nil, fmt.Errorf("record %d: %q goes beyond the contents", i+1, n.Path)
			}
			n.Content = tree.Section(contents, at, size)
			at += size
			byPath[n.Path] = i
		} else if size != 0 {
			return nil, fmt.Errorf("record %d: %q has a size but is no file", i+1, n.Path)
		}
		nodes = append(nodes, n)
	}
	if len(d.b) > 0 || at != end || count == 0 {
		return nil, fmt.Errorf("%d bytes of the index and %d of the contents belong to no record", len(d.b), end-at)
	}
	t, err := tree.New(nodes)
	if err == nil && t.Len() != len(nodes) {
		err = errors.New("a directory has no record")
	}
	return t, err
}

// decoder reads records; its first error stays.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

// num reads a number in its shortest form, as there is one pack for a tree only.
func (d *decoder) num(limit uint64, what string) uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || n > 1 && d.b[n-1] == 0 || v > limit {
		d.fail("%s is broken, or above %d", what, limit)
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) str(limit uint64, what string) string {
	n := d.num(limit, what+" length")
	if n > uint64(len(d.b)) {
		d.fail("%s is cut off", what)
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) node() (n tree.Node, size int64) {
	n.Path = d.str(maxPackText, "path")
	mode, ok := uint16(d.num(math.MaxUint16, "mode")), false
	if n.Mode, ok = tree.FileMode(mode); !ok {
		d.fail("mode %#o is unknown", mode)
	}
	n.UID = uint32(d.num(math.MaxUint32, "uid"))
	n.GID = uint32(d.num(math.MaxUint32, "gid"))
	sec, k := binary.Varint(d.b)
	if k <= 0 || k > 1 && d.b[k-1] == 0 {
		d.fail("time is broken")
		return n, 0
	}
	d.b = d.b[k:]
	n.ModTime = time.Unix(sec, int64(d.num(999_999_999, "nanoseconds"))).UTC()
	n.Link = d.str(maxPackText, "link")
	n.Major = uint32(d.num(math.MaxUint32, "major"))
	n.Minor = uint32(d.num(math.MaxUint32, "minor"))
	last := ""
	for i := range d.num(uint64(len(d.b)), "number of attributes") {
		name := d.str(maxPackText, "attribute name")
		value := d.str(maxIndex, "attribute")
		if d.err != nil {
			return n, 0
		}
		if i > 0 && name <= last {
			d.fail("attributes are out of order")
			return n, 0
		}
		last = name
		if n.Xattrs == nil {
			n.Xattrs = map[string][]byte{}
		}
		n.Xattrs[name] = []byte(value)
	}
	return n, int64(d.num(math.MaxInt64, "size"))
}
