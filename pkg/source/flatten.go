package source

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"strings"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Version of the trees that [Flatten] makes and of the bytes that [WritePack] writes: part of store keys; raise it when they change.
const Version = "1"

// Content is one layer with its bytes, compressed or not.
type Content struct {
	Layer // Digest, for errors, and DiffID, which the uncompressed bytes must have, may be empty
	Blob  tree.Blob
}

// Spool is where Flatten puts the contents of files: a temporary file, or one in memory.
type Spool interface {
	io.ReaderAt
	io.WriterAt
}

// Flatten applies layers, the lowest first, as a container runtime does: later entries replace earlier ones, whiteouts (.wh.NAME, and
// .wh..wh..opq for all of a directory) hide what lower layers have, hard links share their file, and an entry below a symbolic
// link lands where the link leads inside the tree. The contents of the kept files go to the spool, one after another from offset 0, and the
// tree's blobs are sections of it. Memory holds metadata only.
//
// What keep is false for is left out, but for the parents of what is kept; nil keeps everything. Devices, fifos and symbolic links that
// climb above the root are kept as well: see [Plain].
func Flatten(ctx context.Context, layers []Content, keep func(path string) bool, spool Spool, lim Limits) (*tree.Tree, error) {
	lim = lim.withDefaults()
	if len(layers) > lim.Layers {
		return nil, fmt.Errorf("flatten image: %d layers, limit %d", len(layers), lim.Layers)
	}
	if keep == nil {
		keep = func(string) bool { return true }
	}
	wanted := map[origin]bool{}
	for {
		f := &flattener{ctx: ctx, lim: lim, keep: keep, wanted: wanted, root: &entry{inode: impliedDir(-1), kids: map[string]*entry{}, layer: -1}}
		f.spool = bufio.NewWriterSize(io.NewOffsetWriter(spool, 0), 256<<10)
		for i, l := range layers {
			if err := f.apply(i, l); err != nil {
				return nil, fmt.Errorf("flatten layer %s: %w", layerName(i, l.Layer), err)
			}
		}
		if err := f.spool.Flush(); err != nil {
			return nil, fmt.Errorf("flatten image: write spool: %w", err)
		}
		c := collector{f: f, spool: spool, layers: layers, first: map[*inode]string{}}
		c.dir(f.root, tree.Root)
		if c.err != nil {
			return nil, c.err
		}
		if len(c.missing) == 0 {
			return tree.New(c.nodes)
		}
		// A kept hard link's first name was not kept, so its bytes went by: once more, wanting them. (Rare.)
		for _, o := range c.missing {
			wanted[o] = true
		}
	}
}

func layerName(i int, l Layer) string {
	if l.Digest == "" {
		return fmt.Sprint(i + 1)
	}
	return fmt.Sprintf("%d (%s)", i+1, l.Digest)
}

// origin names an entry of a layer.
type origin struct{ layer, entry int }

// inode is what hard links share.
type inode struct {
	node   tree.Node // but for Path, Content and a hard link's Link
	size   int64
	off    int64 // in the spool, where stored
	stored bool
	from   origin
}

// entry is a name in a directory.
type entry struct {
	parent *entry
	name   string
	*inode
	kids  map[string]*entry // of a directory
	layer int               // that wrote it last; -1 is below all
	clear int               // 1 + the layer that last hid what lower ones have here
	depth int               // elements of its path
	bytes int               // of its path
}

func (e *entry) path() string {
	if e.parent == nil {
		return tree.Root
	}
	var names []string
	for ; e.parent != nil; e = e.parent {
		names = append(names, e.name)
	}
	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		b.WriteString(names[i])
		if i > 0 {
			b.WriteByte('/')
		}
	}
	return b.String()
}

// impliedDir is a directory that no entry describes.
func impliedDir(layer int) *inode {
	return &inode{from: origin{layer, -1}, node: tree.Node{Mode: fs.ModeDir | 0o755, ModTime: time.Unix(0, 0).UTC()}}
}

// flattener has the tree as it is after the entries read so far.
type flattener struct {
	ctx    context.Context
	lim    Limits
	keep   func(string) bool
	wanted map[origin]bool
	root   *entry

	spool    *bufio.Writer
	spoolEnd int64

	entries  int   // against Limits.Entries, implied directories included
	metadata int64 // against Limits.Metadata
	bytes    int64 // read, uncompressed, against Limits.Bytes
	logical  int64 // sizes in headers, which say more than bytes where a file is sparse
	steps    int   // elements of symbolic links followed, so that links do not cost more than entries
}

func (f *flattener) apply(i int, l Content) (err error) {
	raw, err := l.Blob.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	compressed := &counter{r: raw}
	plain, stop, err := decompress(compressed)
	if err != nil {
		return err
	}
	defer stop()
	in := &layerReader{f: f, r: plain, hash: sha256.New(), compressed: compressed}
	tr := tar.NewReader(in)
	for n := 0; ; n++ {
		end := (in.n + 511) &^ 511 // where the last entry's padding ends
		h, err := tr.Next()
		if err == io.EOF {
			return f.finish(in, end, l.Layer)
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", n+1, tarError(err))
		}
		content := contentReader{tr, in}
		err = f.entry(i, n, h, content)
		if err == nil {
			_, err = io.Copy(io.Discard, content) // what was not kept, so that in.n is known
		}
		if err != nil {
			return fmt.Errorf("entry %q: %w", printable(h.Name), tarError(err))
		}
	}
}

// tarError turns the end of the data in the midst of an entry into words.
func tarError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the layer is truncated: %w", err)
	}
	return err
}

func printable(name string) string {
	if len(name) > 200 {
		return name[:200] + "…"
	}
	return name
}

// finish reads what follows the archive, which may be zeros only, and compares the digest.
func (f *flattener) finish(in *layerReader, end int64, l Layer) error {
	marker := in.n > end // a block of zeros, or the archive just stops
	buf := make([]byte, 32<<10)
	for {
		n, err := in.Read(buf)
		for _, b := range buf[:n] {
			if b != 0 {
				return errors.New("bytes follow the end of the archive")
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return tarError(err)
		}
	}
	if got := "sha256:" + hex.EncodeToString(in.hash.Sum(nil)); l.DiffID != "" && got != l.DiffID {
		return fmt.Errorf("uncompressed content has digest %s, the image's config says %s: %w", got, l.DiffID, ErrDigest)
	}
	if l.DiffID == "" && !marker {
		return fmt.Errorf("the archive has no end marker, so it is truncated: %w", io.ErrUnexpectedEOF)
	}
	return nil
}

// entry applies one entry of a layer.
func (f *flattener) entry(layer, n int, h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if h.Size > f.lim.Bytes-f.logical {
		return fmt.Errorf("its %d bytes take the image over the limit of %d uncompressed bytes", h.Size, f.lim.Bytes)
	}
	f.logical += h.Size
	dir, base, err := f.split(h.Name)
	if err != nil {
		return err
	}
	if strings.HasPrefix(dir, ".wh.") || strings.Contains(dir, "/.wh.") || strings.HasPrefix(base, ".wh..wh.") && base != opaque {
		if strings.HasPrefix(h.Name, ".wh..wh.") || strings.Contains(h.Name, "/.wh..wh.") {
			return nil // aufs kept its own notes so; runtimes skip them
		}
		return errors.New("a whiteout has entries below it")
	}
	if strings.HasPrefix(base, ".wh.") {
		return f.whiteout(layer, dir, base)
	}
	ino, err := f.inode(h)
	if err != nil {
		return err
	}
	ino.from = origin{layer, n}
	if base == "" {
		if !ino.node.Mode.IsDir() {
			return errors.New("the root is no directory")
		}
		f.root.inode, f.root.layer = ino, layer
		return nil
	}
	parent, err := f.dir(dir, layer)
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeLink {
		if ino, err = f.target(h.Linkname); err != nil {
			return err
		}
	}
	e, err := f.put(parent, base, ino, layer)
	if err != nil || h.Typeflag == tar.TypeLink || !ino.node.Mode.IsRegular() {
		return err
	}
	if f.keep(e.path()) || f.wanted[ino.from] {
		return f.store(ino, content)
	}
	return nil
}

const opaque = ".wh..wh..opq"

// split cleans an entry's name and divides it into its directory and its last element, "" for the root.
func (f *flattener) split(name string) (dir, base string, err error) {
	if len(name) > f.lim.Path {
		return "", "", fmt.Errorf("its path has %d bytes, limit %d", len(name), f.lim.Path)
	}
	var clean []string
	for el := range strings.SplitSeq(name, "/") {
		switch {
		case el == "" || el == ".":
			continue
		case el == "..":
			return "", "", errors.New(`its path has "..", which would leave the tree`)
		case len(el) > maxName:
			return "", "", fmt.Errorf("an element of its path has %d bytes, limit %d", len(el), maxName)
		case strings.ContainsRune(el, 0):
			return "", "", errors.New("its path has a NUL byte")
		}
		clean = append(clean, el)
	}
	if len(clean) == 0 {
		return "", "", nil
	}
	last := len(clean) - 1
	return strings.Join(clean[:last], "/"), clean[last], nil
}

// inode reads a header's metadata.
func (f *flattener) inode(h *tar.Header) (*inode, error) {
	if h.Uid < 0 || int64(h.Uid) > math.MaxUint32 || h.Gid < 0 || int64(h.Gid) > math.MaxUint32 {
		return nil, fmt.Errorf("its owner %d:%d is out of range", h.Uid, h.Gid)
	}
	ino := &inode{size: h.Size, node: tree.Node{
		Mode:    h.FileInfo().Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky),
		UID:     uint32(h.Uid),
		GID:     uint32(h.Gid),
		ModTime: h.ModTime.UTC(),
	}}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont, tar.TypeLink:
	case tar.TypeDir:
		ino.node.Mode |= fs.ModeDir
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > f.lim.Path || strings.ContainsRune(h.Linkname, 0) {
			return nil, fmt.Errorf("its link target has %d bytes, limit 1 to %d without NUL", len(h.Linkname), f.lim.Path)
		}
		ino.node.Mode |= fs.ModeSymlink
		ino.node.Link = h.Linkname
	case tar.TypeChar, tar.TypeBlock:
		if h.Devmajor < 0 || h.Devmajor > math.MaxUint32 || h.Devminor < 0 || h.Devminor > math.MaxUint32 {
			return nil, fmt.Errorf("its device %d:%d is out of range", h.Devmajor, h.Devminor)
		}
		ino.node.Major, ino.node.Minor = uint32(h.Devmajor), uint32(h.Devminor)
		ino.node.Mode |= fs.ModeDevice
		if h.Typeflag == tar.TypeChar {
			ino.node.Mode |= fs.ModeCharDevice
		}
	case tar.TypeFifo:
		ino.node.Mode |= fs.ModeNamedPipe
	default:
		return nil, fmt.Errorf("entry type %q is unknown", h.Typeflag)
	}
	f.metadata += int64(len(h.Linkname))
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok {
			continue
		}
		if name == "" || len(name) > maxName || len(value) > maxXattr {
			return nil, fmt.Errorf("its attribute %q has a name of %d and a value of %d bytes, limits %d and %d",
				printable(name), len(name), len(value), maxName, maxXattr)
		}
		f.metadata += int64(len(name) + len(value))
		if ino.node.Xattrs == nil {
			ino.node.Xattrs = map[string][]byte{}
		}
		ino.node.Xattrs[name] = []byte(value)
	}
	return ino, nil
}

// dir returns the directory that a clean path leads to. Symbolic links are followed inside the tree. A missing directory is
// made, or nil is returned where layer is below 0.
func (f *flattener) dir(p string, layer int) (*entry, error) {
	at, hops := f.root, 0
	rest := strings.Split(p, "/")
	for len(rest) > 0 {
		el := rest[0]
		rest = rest[1:]
		switch el {
		case "", ".":
			continue
		case "..":
			if at.parent != nil {
				at = at.parent
			}
			continue
		}
		kid := at.kids[el]
		switch {
		case kid == nil && layer < 0:
			return nil, nil
		case kid == nil:
			if len(el) > maxName {
				return nil, fmt.Errorf("an element of its path has %d bytes, limit %d", len(el), maxName)
			}
			var err error
			if at, err = f.put(at, el, impliedDir(layer), layer); err != nil {
				return nil, err
			}
		case kid.node.Mode.IsDir():
			at = kid
		case kid.node.Mode.Type() == fs.ModeSymlink:
			target := strings.Split(kid.node.Link, "/")
			f.steps += len(target)
			if hops++; hops > maxLinkHops || f.steps > 16*f.lim.Entries {
				return nil, fmt.Errorf("%q leads through too many symbolic links", printable(p))
			}
			if strings.HasPrefix(kid.node.Link, "/") {
				at = f.root
			}
			rest = append(target, rest...)
		case layer < 0:
			return nil, nil
		default:
			return nil, fmt.Errorf("its parent %q is no directory", printable(kid.path()))
		}
	}
	return at, nil
}

// target finds the file that a hard link names.
func (f *flattener) target(name string) (*inode, error) {
	dir, base, err := f.split(name)
	if err != nil {
		return nil, fmt.Errorf("hard link to %q: %w", printable(name), err)
	}
	parent, err := f.dir(dir, -1)
	if err != nil {
		return nil, err
	}
	if parent == nil || parent.kids[base] == nil {
		return nil, fmt.Errorf("hard link to %q, which is not there", printable(name))
	}
	if e := parent.kids[base]; !e.node.Mode.IsDir() {
		return e.inode, nil
	}
	return nil, fmt.Errorf("hard link to %q, which is a directory", printable(name))
}

// put gives a directory an entry. A directory over a directory keeps its children; anything else replaces what is there.
func (f *flattener) put(parent *entry, name string, ino *inode, layer int) (*entry, error) {
	f.entries++
	e := &entry{parent: parent, name: name, inode: ino, layer: layer, depth: parent.depth + 1, bytes: parent.bytes + len("/") + len(name)}
	f.metadata += int64(e.bytes)
	if f.entries > f.lim.Entries {
		return nil, fmt.Errorf("the image has more than %d entries", f.lim.Entries)
	}
	if f.metadata > f.lim.Metadata {
		return nil, fmt.Errorf("the image has more than %d bytes of paths, link targets and attributes", f.lim.Metadata)
	}
	if e.depth > f.lim.Depth {
		return nil, fmt.Errorf("its path has %d elements, limit %d", e.depth, f.lim.Depth)
	}
	if e.bytes > f.lim.Path {
		return nil, fmt.Errorf("its path has %d bytes, limit %d", e.bytes, f.lim.Path)
	}
	if old := parent.kids[name]; old != nil && old.kids != nil && ino.node.Mode.IsDir() {
		old.inode, old.layer = ino, layer
		return old, nil
	}
	if ino.node.Mode.IsDir() {
		e.kids = map[string]*entry{}
	}
	parent.kids[name] = e
	return e, nil
}

// store copies a file's content to the spool.
func (f *flattener) store(ino *inode, content io.Reader) error {
	n, err := io.Copy(f.spool, content)
	if err == nil && n != ino.size {
		err = io.ErrUnexpectedEOF
	}
	ino.off, ino.stored = f.spoolEnd, true
	f.spoolEnd += n
	return err
}

// whiteout hides what lower layers have, whatever the order of this layer's entries.
func (f *flattener) whiteout(layer int, dir, base string) error {
	parent, err := f.dir(dir, -1)
	if err != nil || parent == nil {
		return err
	}
	if base == opaque {
		prune(parent, layer)
		return nil
	}
	name := strings.TrimPrefix(base, ".wh.")
	if name == "" || name == "." || name == ".." {
		return fmt.Errorf("whiteout of %q", name)
	}
	if kid := parent.kids[name]; kid != nil && prune(kid, layer) {
		delete(parent.kids, name)
	}
	return nil
}

// prune removes everything below e that is of a lower layer, and tells whether e itself should go too.
func prune(e *entry, layer int) bool {
	if e.clear != layer+1 { // else nothing lower is left: repeated whiteouts cost nothing
		e.clear = layer + 1
		for name, kid := range e.kids {
			if prune(kid, layer) {
				delete(e.kids, name)
			}
		}
	}
	return e.layer < layer && len(e.kids) == 0
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// layerReader hashes a layer's uncompressed bytes and holds them to the limits.
type layerReader struct {
	f          *flattener
	r          io.Reader
	hash       hash.Hash
	n          int64 // uncompressed bytes
	logical    int64 // of contents, with the holes of sparse files
	compressed *counter
}

func (l *layerReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.hash.Write(p[:n])
	l.n += int64(n)
	l.f.bytes += int64(n)
	if limit := l.check(); limit != nil {
		return n, limit
	}
	return n, err
}

func (l *layerReader) check() error {
	if l.f.bytes > l.f.lim.Bytes {
		return fmt.Errorf("the image has more than %d uncompressed bytes", l.f.lim.Bytes)
	}
	if n := max(l.n, l.logical); n > ratioFreeSize && n/l.f.lim.Ratio > l.compressed.n {
		return fmt.Errorf("the layer grows to more than %d times its compressed size: a decompression bomb?", l.f.lim.Ratio)
	}
	return l.f.ctx.Err()
}

// contentReader reads an entry's content, holes included.
type contentReader struct {
	tr *tar.Reader
	l  *layerReader
}

func (c contentReader) Read(p []byte) (int, error) {
	n, err := c.tr.Read(p)
	c.l.logical += int64(n)
	if limit := c.l.check(); limit != nil { // a hole never comes through layerReader
		return n, limit
	}
	return n, err
}
