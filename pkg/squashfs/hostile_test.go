package squashfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zlib"
	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/pkg/tree"
)

// stored compresses nothing, so that the tables of an image can be changed where they are.
type stored struct{}

func (stored) compress(dst, src []byte) ([]byte, error) { return append(append(dst, src...), 0), nil }
func (stored) release()                                 {}

// lab is an image with plain tables, and where everything is in it.
type lab struct {
	img []byte
	sb  superblock
	w   *imageWriter
}

func newLab(t testing.TB, tr *tree.Tree) *lab {
	t.Helper()
	o, err := Options{BlockSize: testBlock, Workers: 1, Level: 1}.resolve()
	if err != nil {
		t.Fatal(err)
	}
	var m formattest.Memory
	w := newImageWriter(&m, tr, o, func(Options) compressor { return stored{} })
	if _, err := w.write(); err != nil {
		t.Fatal(err)
	}
	l := &lab{img: m, w: w}
	decode(l.img[:superblockSize], &l.sb)
	return l
}

// super changes the superblock.
func (l *lab) super(f func(*superblock)) {
	f(&l.sb)
	copy(l.img, encode(nil, l.sb))
}

// at is the position of what a reference into a table means.
func (l *lab) at(table, ref uint64) int { return int(table) + int(refBlock(ref)) + 2 + refOffset(ref) }

// inode is the position of a node's inode; body that of what follows its header.
func (l *lab) inode(path string) int { return l.at(l.sb.InodeTable, l.w.refs[path]) }
func (l *lab) body(path string) int  { return l.inode(path) + 16 }

// listing is the position of the entries of a basic directory.
func (l *lab) listing(path string) int {
	var d dirInode
	decode(l.img[l.body(path):][:16], &d)
	return l.at(l.sb.DirTable, ref(int64(d.Block), int(d.Offset)))
}

func (l *lab) put16(at int, v uint16) { binary.LittleEndian.PutUint16(l.img[at:], v) }
func (l *lab) put32(at int, v uint32) { binary.LittleEndian.PutUint32(l.img[at:], v) }
func (l *lab) put64(at int, v uint64) { binary.LittleEndian.PutUint64(l.img[at:], v) }

func labTree(t testing.TB) *tree.Tree {
	set := map[string][]byte{"user.one": []byte("eight..."), "user.two": []byte("2")}
	return mustTree(t,
		tree.Node{Path: "dir/sub", Mode: fs.ModeDir | 0o755},
		regular("dir/big", noise(3*testBlock+10)), regular("dir/small", []byte("small")),
		tree.Node{Path: "link", Mode: fs.ModeSymlink | 0o777, Link: "target"},
		tree.Node{Path: "xattr", Mode: 0o644, Content: tree.Bytes(text(100)), Xattrs: set},
		tree.Node{Path: "xdir", Mode: fs.ModeDir | 0o755, Xattrs: set},
	)
}

// readAll reads all that an image has, but no more than limit bytes of a file.
func readAll(img []byte, limit int64) error {
	r, err := NewReader(bytes.NewReader(img))
	if err != nil {
		return err
	}
	tr, err := r.Tree()
	if err != nil {
		return err
	}
	var errs []error
	for n := range tr.All() {
		if !n.Mode.IsRegular() {
			continue
		}
		f, err := n.Content.Open()
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, io.LimitReader(f, limit)); err != nil {
			errs = append(errs, err)
		}
		if _, err := n.Content.(io.ReaderAt).ReadAt(make([]byte, 10), n.Size()/2); err != nil && err != io.EOF {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func TestHostile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*lab)
		says   string
	}{
		"none":              {func(l *lab) {}, ""},
		"magic":             {func(l *lab) { l.super(func(s *superblock) { s.Magic++ }) }, "magic"},
		"version":           {func(l *lab) { l.super(func(s *superblock) { s.Major = 3 }) }, "3.0"},
		"lz4":               {func(l *lab) { l.super(func(s *superblock) { s.Compressor = 5 }) }, "lz4"},
		"lzo":               {func(l *lab) { l.super(func(s *superblock) { s.Compressor = 3 }) }, "lzo"},
		"lzma":              {func(l *lab) { l.super(func(s *superblock) { s.Compressor = 2 }) }, "lzma"},
		"compressor":        {func(l *lab) { l.super(func(s *superblock) { s.Compressor = 77 }) }, "compression 77"},
		"block-size":        {func(l *lab) { l.super(func(s *superblock) { s.BlockSize, s.BlockLog = 2<<20, 21 }) }, "block size is 2097152"},
		"block-log":         {func(l *lab) { l.super(func(s *superblock) { s.BlockLog = 13 }) }, "logarithm 13"},
		"block-zero":        {func(l *lab) { l.super(func(s *superblock) { s.BlockSize, s.BlockLog = 0, 0 }) }, "block size is 0"},
		"bytes-used":        {func(l *lab) { l.super(func(s *superblock) { s.BytesUsed = 1 << 63 }) }, "its size is"},
		"bytes-used-small":  {func(l *lab) { l.super(func(s *superblock) { s.BytesUsed = 95 }) }, "its size is 95"},
		"inodes":            {func(l *lab) { l.super(func(s *superblock) { s.Inodes = MaxNodes + 1 }) }, "262145 inodes"},
		"inode-table":       {func(l *lab) { l.super(func(s *superblock) { s.InodeTable = s.BytesUsed }) }, "inode table"},
		"dir-table":         {func(l *lab) { l.super(func(s *superblock) { s.DirTable = none64 }) }, "directory table"},
		"id-table":          {func(l *lab) { l.super(func(s *superblock) { s.IDTable = 1 }) }, "id table"},
		"id-table-end":      {func(l *lab) { l.super(func(s *superblock) { s.IDTable = s.BytesUsed - 1 }) }, "beyond its end"},
		"id-block":          {func(l *lab) { l.put64(int(l.sb.IDTable), 1<<62) }, "beyond its end"},
		"id-block-negative": {func(l *lab) { l.put64(int(l.sb.IDTable), 1<<63) }, "a table starts at"},
		"no-ids":            {func(l *lab) { l.super(func(s *superblock) { s.IDs = 0 }) }, "its owner is 0:0 in a table of 0"},
		"root-ref":          {func(l *lab) { l.super(func(s *superblock) { s.Root = 0xffff }) }, "offset 65535"},
		"root-block":        {func(l *lab) { l.super(func(s *superblock) { s.Root = 1 << 63 }) }, "beyond its end"},
		"root-file":         {func(l *lab) { l.super(func(s *superblock) { s.Root = l.w.refs["dir/big"] }) }, "the root is no directory"},
		"meta-zero":         {func(l *lab) { l.put16(int(l.sb.InodeTable), storedMeta) }, "its size is 0"},
		"meta-long":         {func(l *lab) { l.put16(int(l.sb.InodeTable), storedMeta|8193) }, "its size is 8193"},
		"meta-short":        {func(l *lab) { l.put16(int(l.sb.InodeTable), storedMeta|3) }, "inode:"},
		"meta-compressed":   {func(l *lab) { l.put16(int(l.sb.InodeTable), 100) }, "uncompress"},

		"inode-type-0":   {func(l *lab) { l.put16(l.inode("link"), 0) }, "its type is 0"},
		"inode-type-15":  {func(l *lab) { l.put16(l.inode("link"), 15) }, "its type is 15"},
		"owner":          {func(l *lab) { l.put16(l.inode("link")+4, 1) }, "its owner is 1:0"},
		"link-empty":     {func(l *lab) { l.put32(l.body("link")+4, 0) }, "has 0 bytes"},
		"link-long":      {func(l *lab) { l.put32(l.body("link")+4, 1<<31) }, "2147483648 bytes"},
		"link-beyond":    {func(l *lab) { l.put32(l.body("link")+4, MaxLink) }, "link: inode"},
		"file-start":     {func(l *lab) { l.put32(l.body("dir/big"), 1<<31) }, "starts at 2147483648"},
		"file-size":      {func(l *lab) { l.put64(l.body("xattr")+8, 1<<63) }, "9223372036854775808 bytes"},
		"file-blocks":    {func(l *lab) { l.put64(l.body("xattr")+8, 1<<62-1) }, "list of blocks"},
		"block-too-long": {func(l *lab) { l.put32(l.body("dir/big")+16, storedBlock|4097) }, "4097 bytes on disk"},
		"block-bits":     {func(l *lab) { l.put32(l.body("dir/big")+16, 1<<31|100) }, "on disk"},
		"block-short":    {func(l *lab) { l.put32(l.body("dir/big")+16, storedBlock|4095) }, "has 4095 bytes, it must have 4096"},
		"block-noise":    {func(l *lab) { l.put32(l.body("dir/big")+16, 4096) }, "uncompress"},
		"fragment":       {func(l *lab) { l.put32(l.body("dir/small")+4, 7) }, "fragment block 7 of 1"},
		"fragment-full":  {func(l *lab) { l.put32(l.body("dir/small")+12, testBlock) }, "fill its blocks"},
		"fragment-end":   {func(l *lab) { l.put32(l.body("dir/small")+8, 1<<32-1) }, "bytes 4294967295 to 4294967300 of fragment block 0"},
		"fragment-table": {func(l *lab) { l.super(func(s *superblock) { s.FragmentTable = none64 }) }, "beyond its end"},
		"fragment-start": {func(l *lab) { l.put64(l.at(l.tableStart(l.sb.FragmentTable), 0), 1<<63) }, "beyond its end"},

		"dir-itself": {func(l *lab) { // its entry is the directory above
			l.put16(l.listing("dir")+dirHeaderSize+3*dirEntrySize+3+5-dirEntrySize, uint16(refOffset(l.w.refs["dir"])))
		}, "has two names, or holds itself"},
		"dir-root":      {func(l *lab) { l.put16(l.listing(".")+dirHeaderSize, uint16(refOffset(l.sb.Root))) }, "holds itself"},
		"dir-size":      {func(l *lab) { l.put16(l.body("dir")+8, 20) }, "longer than the listing"},
		"dir-size-2":    {func(l *lab) { l.put16(l.body("dir")+8, 65535) }, "dir: directory"},
		"dir-block":     {func(l *lab) { l.put32(l.body("dir"), 1<<31) }, "beyond its end"},
		"dir-offset":    {func(l *lab) { l.put16(l.body("dir")+10, 8191) }, "offset 8191"},
		"run-long":      {func(l *lab) { l.put32(l.listing("dir"), 256) }, "a run of 257 entries"},
		"run-longest":   {func(l *lab) { l.put32(l.listing("dir"), 1<<32-1) }, "a run of 4294967296 entries"},
		"entry-block":   {func(l *lab) { l.put32(l.listing("dir")+4, 1<<31) }, "beyond its end"},
		"name-long":     {func(l *lab) { l.put16(l.listing("dir")+dirHeaderSize+6, 256) }, "a name of 257 bytes"},
		"name-slash":    {func(l *lab) { l.img[l.listing("dir")+20] = '/' }, `"/ig" is no file name`},
		"name-zero":     {func(l *lab) { l.img[l.listing("dir")+20] = 0 }, "is no file name"},
		"name-encoding": {func(l *lab) { l.img[l.listing("dir")+20] = 0xff }, "not UTF-8"},
		"name-dots": {func(l *lab) {
			l.put16(l.listing("dir")+dirHeaderSize+6, 1)
			copy(l.img[l.listing("dir")+20:], "..")
		}, "is no file name"},
		"name-twice": {func(l *lab) {
			copy(l.img[l.listing("dir")+20+3+8:], "small")
			copy(l.img[l.listing("dir")+20+3+8+5+8:], "big")
		}, "twice"},
		"xattr-id":     {func(l *lab) { l.put32(l.body("xattr")+36, 1) }, "there are 1"},
		"xattr-table":  {func(l *lab) { l.super(func(s *superblock) { s.XattrTable = s.BytesUsed }) }, "beyond its end"},
		"xattr-pairs":  {func(l *lab) { l.put64(int(l.sb.XattrTable), none64) }, "extended attributes 0"},
		"xattr-prefix": {func(l *lab) { l.put16(l.pairs(), 3) }, "prefix 3"},
		"xattr-name":   {func(l *lab) { l.put16(l.pairs()+2, 65535) }, "extended attributes 0"},
		"xattr-value":  {func(l *lab) { l.put32(l.pairs()+4+3, 1<<31) }, "a value of 2147483648 bytes"},
		"xattr-twice":  {func(l *lab) { copy(l.img[l.pairs()+4+3+4+8+4:], "one") }, `"user.one" is there twice`},
		"xattr-there": {func(l *lab) {
			l.put16(l.pairs(), xattrElsewhere)
			copy(l.img[l.pairs()+11:], "\xff\xff\xff\xff\xff\xff\xff\x7f")
		}, "extended attributes 0"},
		"xattr-here": {func(l *lab) { l.put16(l.pairs()+4+3+4+8, xattrElsewhere) }, "a reference of 1 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, labTree(t))
			c.change(l)
			err := readAll(l.img, 1<<20)
			switch {
			case c.says == "" && err != nil:
				t.Error(err)
			case c.says != "" && err == nil:
				t.Error("no error")
			case c.says != "" && !strings.Contains(err.Error(), c.says):
				t.Errorf("%q does not say %q", err, c.says)
			case err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, errors.ErrUnsupported):
				t.Errorf("%q is neither ErrInvalid nor ErrUnsupported", err)
			}
		})
	}
}

// pairs is the position of the first extended attribute.
func (l *lab) pairs() int { return int(binary.LittleEndian.Uint64(l.img[l.sb.XattrTable:])) + 2 }

// tableStart is where the first metadata block of a table is that is found by numbers.
func (l *lab) tableStart(index uint64) uint64 {
	return binary.LittleEndian.Uint64(l.img[index:])
}

// A value of an attribute may be elsewhere, as mksquashfs stores what many have.
func TestXattrElsewhere(t *testing.T) {
	t.Parallel()
	l := newLab(t, labTree(t))
	at := l.pairs()
	l.put16(at, xattrElsewhere)
	l.put64(at+4+3+4, uint64(4+3+4+8+4+3)) // the value of the second pair
	n, _ := mustRead(t, l.img).Lookup("xattr")
	if got := string(n.Xattrs["user.one"]); got != "2" {
		t.Errorf("user.one is %q", got)
	}
}

// However an image is cut, there is an error.
func TestTruncated(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{BlockSize: testBlock}, {BlockSize: testBlock, Compression: XZ}} {
		img := mustWrite(t, labTree(t), o)
		var sb superblock
		decode(img[:superblockSize], &sb)
		for n := range int(sb.BytesUsed) {
			if n > 300 && n < int(sb.InodeTable) && n%97 != 0 {
				continue
			}
			if readAll(img[:n], 1<<20) == nil {
				t.Errorf("%s: no error with %d of %d bytes", o.Compression, n, sb.BytesUsed)
			}
		}
	}
}

// A changed bit gives an error or another tree; never a panic, a hang or much memory.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	images := map[string][]byte{
		"plain": newLab(t, labTree(t)).img,
		"zstd":  mustWrite(t, labTree(t), Options{BlockSize: testBlock}),
		"xz":    mustWrite(t, labTree(t), Options{BlockSize: testBlock, Compression: XZ}),
	}
	for name, img := range images {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sb superblock
			decode(img[:superblockSize], &sb)
			for at := range int(sb.BytesUsed) {
				if at > superblockSize+50 && at < int(sb.InodeTable) && at%61 != 0 {
					continue // much the same everywhere in the data
				}
				for bit := range 8 {
					if name != "plain" && at > superblockSize && bit != at%8 {
						continue // much the same, too, within a compressed block
					}
					img := bytes.Clone(img)
					img[at] ^= 1 << bit
					_ = readAll(img, 64<<10) // there is no right result; what matters is that it ends
				}
			}
		})
	}
}

// A block that becomes huge when it is uncompressed takes no memory.
func TestBombs(t *testing.T) {
	zeros := make([]byte, 1<<20)
	for id, c := range map[uint16]struct {
		pack func() ([]byte, error)
		says string
	}{
		idZstd: {func() ([]byte, error) {
			return newCompressor(Options{Compression: ZSTD, Level: 1, BlockSize: testBlock}).compress(nil, zeros)
		}, "size"},
		idXZ: {func() ([]byte, error) { return xzCompressor{testBlock}.compress(nil, zeros) }, errTooLong.Error()},
		idGzip: {func() ([]byte, error) {
			var b bytes.Buffer
			w := zlib.NewWriter(&b)
			_, err := w.Write(zeros)
			return b.Bytes(), errors.Join(err, w.Close())
		}, errTooLong.Error()},
	} {
		packed, err := c.pack()
		if err != nil || len(packed) > metaBlockSize {
			t.Fatalf("%d bytes, %v", len(packed), err)
		}
		l := newLab(t, labTree(t))
		at := len(l.img)
		l.img = append(l.img, binary.LittleEndian.AppendUint16(nil, uint16(len(packed)))...)
		l.img = append(l.img, packed...)
		l.super(func(s *superblock) { s.Compressor, s.InodeTable, s.BytesUsed = id, uint64(at), uint64(len(l.img)) })
		t.Run(string(compressions[id]), func(t *testing.T) {
			limitMemory(t, 2<<20, func() {
				if err := readAll(l.img, 1<<20); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

// limitMemory fails the test if f allocates more than limit bytes, freed or not. It must not run in parallel with anything.
func limitMemory(t *testing.T, limit uint64, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > limit {
		t.Errorf("%d bytes were allocated, at most %d are allowed", got, limit)
	}
}

// inodeByte is the position of a byte of an inode, which may go on in another metadata block.
func (l *lab) inodeByte(path string, i uint64) int {
	r := l.w.refs[path]
	const block = metaBlockSize + 2
	at := uint64(refBlock(r))/block*metaBlockSize + uint64(refOffset(r)) + i
	return int(l.sb.InodeTable + at/metaBlockSize*block + 2 + at%metaBlockSize)
}

// Directories may share one listing, which makes a small image one of many files.
func TestTooManyNodes(t *testing.T) {
	nodes := []tree.Node{}
	set := map[string][]byte{"user.x": nil} // makes the inodes extended ones
	for d := range 80 {
		nodes = append(nodes, tree.Node{Path: fmt.Sprintf("%03d", d), Mode: fs.ModeDir, Xattrs: set})
	}
	for f := range 4000 {
		nodes = append(nodes, tree.Node{Path: fmt.Sprintf("000/%d", f), Mode: fs.ModeNamedPipe})
	}
	l := newLab(t, mustTree(t, nodes...))
	for d := 1; d < 80; d++ {
		for i := range uint64(24) {
			l.img[l.inodeByte(fmt.Sprintf("%03d", d), 16+i)] = l.img[l.inodeByte("000", 16+i)]
		}
	}
	limitMemory(t, 400<<20, func() {
		if err := readAll(l.img, 1); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "more than 262144 files") {
			t.Errorf("error %v", err)
		}
	})
}

// A file system without a tree says so whatever is asked of it.
func TestBrokenFS(t *testing.T) {
	t.Parallel()
	l := newLab(t, labTree(t))
	l.super(func(s *superblock) { s.Root = 0xffff })
	r, err := NewReader(bytes.NewReader(l.img))
	if err != nil {
		t.Fatal(err)
	}
	_, open := r.Open(".")
	_, stat := r.Stat("link")
	_, link := r.ReadLink("link")
	_, dir := r.ReadDir("dir")
	_, content := r.ReadFile("dir/small")
	for _, err := range []error{open, stat, link, dir, content} {
		if p := (*fs.PathError)(nil); !errors.Is(err, ErrInvalid) || !errors.As(err, &p) {
			t.Errorf("error %v", err)
		}
	}
}

// The other limits of a Reader: one more than is allowed.
func TestReaderLimits(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("d/", MaxPath/2-1)
	for _, c := range []struct {
		path string
		ok   bool
	}{{deep + "dd", true}, {deep + "ddd", false}} {
		tr := mustTree(t, tree.Node{Path: c.path, Mode: fs.ModeDir})
		err := readAll(newLab(t, tr).img, 1)
		if c.ok != (err == nil) || err != nil && !strings.Contains(err.Error(), "the path has 4097 bytes, at most 4096") {
			t.Errorf("path of %d bytes: %v", len(c.path), err)
		}
	}

	r, err := NewReader(bytes.NewReader(newLab(t, labTree(t)).img))
	if err != nil {
		t.Fatal(err)
	}
	r.meta.work.Store(MaxMetadata) // as if so much had been uncompressed
	if _, err := r.Tree(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "bytes of metadata") {
		t.Errorf("error %v", err)
	}
}

// One long value of an attribute may be what many attributes refer to.
func TestTooMuchText(t *testing.T) {
	const count, pair = MaxText / maxXattrValue, 4 + 5 + 4 + 8 // number and bytes of the attributes that refer to it
	const block = metaBlockSize + 2                            // on disk, where nothing is compressed
	there := count*pair + 4 + 5                                // in the table; the long value's inode is written last
	value := binary.LittleEndian.AppendUint64(nil, ref(int64(there/metaBlockSize*block), there%metaBlockSize))
	nodes := []tree.Node{{Path: "0", Mode: fs.ModeNamedPipe, Xattrs: map[string][]byte{"user.long0": noise(maxXattrValue)}}}
	for i := range count {
		set := map[string][]byte{fmt.Sprintf("user.%05d", i): value}
		nodes = append(nodes, tree.Node{Path: fmt.Sprintf("1/%05d", i), Mode: fs.ModeNamedPipe, Xattrs: set})
	}
	l := newLab(t, mustTree(t, nodes...))
	for at := 0; at < count*pair; at += pair {
		l.img[l.pairs()+at/metaBlockSize*block+at%metaBlockSize+1] = xattrElsewhere >> 8
	}
	limitMemory(t, 200<<20, func() {
		if err := readAll(l.img, 1); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "more than 67108864 bytes") {
			t.Errorf("error %v", err)
		}
	})
}
