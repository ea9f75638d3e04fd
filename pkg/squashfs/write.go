package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/bits"
	"path"
	"runtime"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/talosmith/talosmith/pkg/tree"
)

// Options of an image. The zero value is good.
type Options struct {
	Compression Compression // default ZSTD
	Level       int         // a zstd.EncoderLevel of klauspost/compress; 0 is the best; for ZSTD only
	BlockSize   int         // in bytes, a power of two from 4096 to 1 MiB; 0 is DefaultBlockSize
	ModTime     time.Time   // of the file system; the zero time is the Unix epoch
	Workers     int         // how many blocks are compressed at once; 0 is GOMAXPROCS, but at most 8: each takes up to 40 MiB
}

// DefaultBlockSize of images.
const DefaultBlockSize = 512 << 10

const defaultMaxWorkers = 8

func (o Options) resolve() (Options, error) {
	if o.Compression == "" {
		o.Compression = ZSTD
	}
	if o.BlockSize == 0 {
		o.BlockSize = DefaultBlockSize
	}
	if o.Level == 0 && o.Compression == ZSTD {
		o.Level = int(zstd.SpeedBestCompression)
	}
	if o.Workers == 0 {
		o.Workers = min(runtime.GOMAXPROCS(0), defaultMaxWorkers)
	}
	switch {
	case o.Compression != ZSTD && o.Compression != XZ:
		return o, fmt.Errorf("compression %q: can write %q and %q only", o.Compression, ZSTD, XZ)
	case o.BlockSize < minBlockSize || o.BlockSize > maxBlockSize || o.BlockSize&(o.BlockSize-1) != 0:
		return o, fmt.Errorf("block size %d: must be a power of two from %d to %d", o.BlockSize, minBlockSize, maxBlockSize)
	case o.Compression != ZSTD && o.Level != 0:
		return o, fmt.Errorf("level %d: %q has no levels; leave it 0", o.Level, o.Compression)
	case o.Compression == ZSTD && (o.Level < int(zstd.SpeedFastest) || o.Level > int(zstd.SpeedBestCompression)):
		return o, fmt.Errorf("level %d: must be from %d to %d", o.Level, zstd.SpeedFastest, zstd.SpeedBestCompression)
	case o.Workers < 0:
		return o, fmt.Errorf("workers %d: must not be negative", o.Workers)
	}
	_, err := encodeTime(o.ModTime)
	return o, err
}

// Write writes a tree as an image and returns its size, a multiple of 4096. Owners, modes and times are as the nodes say; a
// node without a time has the Unix epoch. The bytes depend on the tree and the options but Workers, on nothing else.
//
// w is written in ascending order, and the superblock last: an image without its end is no image.
func Write(w io.WriterAt, t *tree.Tree, o Options) (size int64, err error) {
	o, err = o.resolve()
	if err != nil {
		return 0, fmt.Errorf("write squashfs: options: %w", err)
	}
	if err := check(t); err != nil {
		return 0, fmt.Errorf("write squashfs: %w", err)
	}
	c := newCompressor(o)
	defer c.release()
	size, err = newImageWriter(w, t, o, c).write()
	if err != nil {
		return 0, fmt.Errorf("write squashfs: %w", err)
	}
	return size, nil
}

// imageWriter has the state of one Write.
type imageWriter struct {
	t   *tree.Tree
	o   Options
	w   io.WriterAt
	c   compressor
	pos int64 // where the next bytes go

	contents  map[string]*content // of the files, by the path of the first name
	fragments uint32
	fragTable []byte

	// Inodes by the path of their first name.
	numbers map[string]uint32
	links   map[string]uint32 // number of names of a file
	refs    map[string]uint64

	inodes, dirs metaWriter
	export       []byte // reference of each inode in order of their numbers
	xattrs       xattrWriter
	ids          map[uint32]uint16
	idTable      []byte
}

func newImageWriter(w io.WriterAt, t *tree.Tree, o Options, c compressor) *imageWriter {
	return &imageWriter{
		t: t, o: o, w: w, c: c, pos: superblockSize,
		contents: map[string]*content{}, numbers: map[string]uint32{}, links: map[string]uint32{}, refs: map[string]uint64{},
		ids:    map[uint32]uint16{},
		inodes: metaWriter{c: c}, dirs: metaWriter{c: c},
		xattrs: xattrWriter{pairs: &metaWriter{c: c}, known: map[string]uint32{}},
	}
}

func (w *imageWriter) write() (int64, error) {
	if err := w.writeData(); err != nil {
		return 0, err
	}
	w.number(tree.Root)
	if err := w.writeTree(); err != nil {
		return 0, err
	}
	sb := superblock{
		Magic: magic, Major: majorVersion, Minor: minorVersion, Flags: flagDuplicates | flagExport,
		BlockSize: uint32(w.o.BlockSize), BlockLog: uint16(bits.TrailingZeros(uint(w.o.BlockSize))), Compressor: idZstd,
		Inodes: uint32(len(w.numbers)), Fragments: w.fragments, IDs: uint16(len(w.ids)), Root: w.refs[tree.Root],
		XattrTable: none64,
	}
	sb.ModTime, _ = encodeTime(w.o.ModTime) // resolve checked it
	if w.o.Compression == XZ {
		sb.Compressor = idXZ
	}
	if w.fragments == 0 {
		sb.Flags |= flagNoFragments
	}
	// The order and the lack of gaps are what the kernel checks the sizes of the tables by.
	for _, step := range []func(*superblock) error{
		func(sb *superblock) (err error) { sb.InodeTable, err = w.append(&w.inodes); return err },
		func(sb *superblock) (err error) { sb.DirTable, err = w.append(&w.dirs); return err },
		func(sb *superblock) (err error) { sb.FragmentTable, err = w.appendTable(w.fragTable, nil); return err },
		func(sb *superblock) (err error) { sb.ExportTable, err = w.appendTable(w.export, nil); return err },
		func(sb *superblock) (err error) { sb.IDTable, err = w.appendTable(w.idTable, nil); return err },
		w.appendXattrs,
	} {
		if err := step(&sb); err != nil {
			return 0, err
		}
	}
	sb.BytesUsed = uint64(w.pos)
	if err := w.appendBytes(make([]byte, -w.pos&(padding-1))); err != nil {
		return 0, err
	}
	_, err := w.w.WriteAt(encode(nil, sb), 0)
	return w.pos, err
}

// writeData stores the contents of all files.
func (w *imageWriter) writeData() error {
	sizes := map[int64]int{}
	var blocks int64
	for n := range w.t.All() {
		if n.Mode.IsRegular() && !n.IsHardLink() {
			sizes[n.Size()]++
			blocks += n.Size()/int64(w.o.BlockSize) + 1
		}
	}
	d := newDataWriter(w.w, w.pos, w.o, sizes, blocks)
	failed := func() error {
		for n := range w.t.All() {
			if !n.Mode.IsRegular() || n.IsHardLink() {
				continue
			}
			c, err := d.add(n.Content)
			if err != nil {
				return fmt.Errorf("%s: %w", n.Path, err)
			}
			w.contents[n.Path] = c
		}
		d.flush()
		return nil
	}()
	if err := d.close(); err != nil {
		return err
	}
	w.pos, w.fragTable, w.fragments = d.pos, d.table, d.fragments
	return failed
}

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
	if err == nil && (l.size > maxListing || refBlock(l.start) > math.MaxUint32 || len(w.inodes.out) > math.MaxUint32) {
		err = fmt.Errorf("%s: the tables of names and inodes would be larger than 4 GiB", dir)
	}
	return l, err
}

// maxListing is the size of a directory's entries in bytes that an extended inode can say.
const maxListing = math.MaxUint32 - 3

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

func (w *imageWriter) appendBytes(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_, err := w.w.WriteAt(p, w.pos)
	w.pos += int64(len(p))
	return err
}

// append writes a table that is found by references, and returns where it starts.
func (w *imageWriter) append(m *metaWriter) (uint64, error) {
	at := w.pos
	if err := m.flush(); err != nil {
		return 0, err
	}
	return uint64(at), w.appendBytes(m.out)
}

// appendTable writes a table that is found by numbers: its metadata blocks, a header, and where each block starts. It returns
// the position of the header.
func (w *imageWriter) appendTable(entries, header []byte) (uint64, error) {
	m := metaWriter{c: w.c}
	if err := m.write(entries); err != nil {
		return 0, err
	}
	start, err := w.append(&m)
	if err != nil {
		return 0, err
	}
	at := w.pos
	for _, s := range m.starts {
		header = binary.LittleEndian.AppendUint64(header, start+s)
	}
	return uint64(at), w.appendBytes(header)
}

func (w *imageWriter) appendXattrs(sb *superblock) (err error) {
	if len(w.xattrs.known) == 0 {
		sb.Flags |= flagNoXattrs
		return nil
	}
	start, err := w.append(w.xattrs.pairs)
	if err != nil {
		return err
	}
	sb.XattrTable, err = w.appendTable(w.xattrs.ids, encode(nil, xattrTable{Pairs: start, IDs: uint32(len(w.xattrs.known))}))
	return err
}
