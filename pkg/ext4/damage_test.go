package ext4

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/tree"
)

// small is an image with a directory of some blocks, a link in a block of its own and a file with a tree of extents.
var small = sync.OnceValues(func() (*Image, formattest.Sparse) {
	nodes := []tree.Node{
		{Path: "big", Content: tree.Zeros(700 * mib)},
		{Path: "disk", Mode: fs.ModeDevice, Major: 8, Minor: 1},
		{Path: "link", Mode: fs.ModeSymlink, Link: strings.Repeat("l", 500)}, {Path: "short", Mode: fs.ModeSymlink, Link: "big"},
		{Path: "few/a", Content: tree.String("a")}, {Path: "few/b", Content: tree.String("a"), Link: "few/a"},
	}
	for i := range 500 {
		nodes = append(nodes, tree.Node{Path: fmt.Sprintf("many/name-%d", i), Mode: fs.ModeSocket})
	}
	t, err := tree.New(nodes)
	if err != nil {
		panic(err)
	}
	o := options
	o.Size = 800 * mib
	img, err := Plan(t, o)
	s := formattest.Sparse{}
	if err == nil {
		err = img.Write(s)
	}
	if err != nil {
		panic(err)
	}
	return img, s
})

// tester reads what was made of the small image.
func tester() formattest.Tester {
	_, base := small()
	return formattest.Tester{Base: base, Size: 800 * mib, Read: readSome, Repair: uncheck}
}

// uncheck makes it a file system without checksums.
func uncheck(d formattest.Damaged) {
	d.Change(0, 1024+0x65, d.Sparse[0][1024+0x65]&^(featChecksums>>8))
}

func readSome(r io.ReaderAt) (int, error) {
	x, err := NewReader(r)
	if err != nil {
		return 0, err
	}
	return formattest.ReadSome(x.files)
}

// Damage is noticed by a checksum; without checksums every other check has its turn.
func TestDamaged(t *testing.T) {
	t.Parallel()
	img, _ := small()
	tester().TestWhole(t, 510)
	byPath := map[string]*inode{}
	for _, in := range img.inodes {
		byPath[in.Path] = in
	}
	type damage struct {
		name  string
		block int64
		at    int
		to    []byte
		want  string
	}
	super := func(at int, want string, to ...byte) damage {
		return damage{fmt.Sprintf("superblock byte %#x", at), 0, 1024 + at, to, want}
	}
	inInode := func(path string, at int, want string, to ...byte) damage {
		index := int64(byPath[path].number) - 1
		return damage{fmt.Sprintf("inode of %s byte %#x", path, at), img.g.bitmaps(0) + 2 + index/inodesInBlock, int(index%inodesInBlock)*inodeSize + at, to, want}
	}
	inDir := func(path string, at int, want string, to ...byte) damage {
		return damage{fmt.Sprintf("block of %s byte %#x", path, at), byPath[path].extents[0].block, at, to, want}
	}
	number := func(path string) []byte { return le.AppendUint32(nil, byPath[path].number) }
	const body = 0x28
	leaf := byPath["big"].treeBlocks[0].block
	first := 24 // where a directory's first entry is that is not "." or ".."
	for _, d := range []damage{
		super(0x38, "has the magic number 0xef00", 0),
		super(0x18, "blocks of 1024 << 7 bytes", 7),
		super(0x60, "not supported: features 0xd2", 0xd2),
		super(0x62, "not supported: features 0x8000c2", 0x80),
		super(0x60, "its journal has to be replayed", 0xc2|4),
		super(0x58, "inodes of 257 bytes in blocks of 4096", 1),
		super(0x58, "inodes of 64 bytes", 64, 0),
		super(0x58, "inodes of 8192 bytes", 0, 32),
		super(0xfe, "descriptors of 65 bytes", 65),
		super(0xfe, "descriptors of 16 bytes", 16),
		super(0xff, "descriptors of 8256 bytes", 32),
		super(0x04, "0 blocks of 4096 bytes", 0, 0, 0, 0),
		super(0x14, "from 204800 on", 0, 0x20, 3),
		super(0x153, "blocks of 4096 bytes", 255),
		super(0x20, "in groups of 0", 0, 0, 0, 0),
		super(0x28, "inodes in groups of 0", 0, 0, 0, 0),
		super(0x2b, "inodes in groups of", 255),
		super(0x03, "inodes in groups of 8192", 255),
		super(0x00, "root directory: inode 2: there are 1", 1, 0, 0, 0),
		{"table outside", 1, 0x2a, []byte{1}, "descriptor of group 0: blocks 281474976710660"},
		inInode(".", 1, "root directory: is none", 0x81),
		inInode(".", 0, "mode 0: no such type", 0, 0),
		inInode(".", 0x20, "content without extents", 0, 0, 0, 0),
		inInode(".", 0x82-1, "65184 bytes in use of 256", 254),
		inInode(".", body, "tree of extents: magic number 0xf300", 0),
		inInode(".", body+2, "5 of 4 entries", 5),
		inInode(".", body+6, "tree of extents: 6 levels", 6),
		inInode(".", body+12+6, "extent 1: blocks 4294967812 to 4294967812: there are 204800", 1),
		inInode(".", body+12+4, "extent 1: 0 blocks", 0, 0),
		inInode("big", 0x6f, "size of 9223372037588779008 bytes", 0x80),
		inInode("big", 0x6e, "bigger than the file system", 1),
		inInode("big", 0x22, "content without extents", 0),
		inInode("big", 0x23, "inline_data", 0x10),
		inInode("big", 0x20, "is compressed", 4),
		inInode("big", 0x21, "is encrypted", 8),
		inInode("big", body+6, "tree of extents: magic number 0xf30a, 6 of 340 entries, level 0", 2),
		inInode("big", body+12+8, "tree of extents: blocks 4295", 1),
		inInode("link", 0x04, "link target of 0 bytes", 0, 0),
		inInode("link", 0x05, "link target of 65524 bytes", 255),
		inInode("link", 0x22, "link target of 500 bytes in 60", 0),
		inInode("short", 0x22, "link target: read content: tree of extents", 8),
		{"leaf's magic", leaf, 0, []byte{0}, "magic number 0xf300"},
		{"leaf's count", leaf, 2, []byte{255, 1}, "511 of 340 entries"},
		{"leaf without entries", leaf, 2, []byte{0, 0}, "has no entries"},
		{"leaf's level", leaf, 6, []byte{1}, "level 1"},
		{"leaf's order", leaf, extentHead + extentRecord, []byte{0, 0, 0, 0}, "extent 2: 32252 blocks at 0, after"},
		{"extent outside", leaf, extentHead + 6, []byte{255}, "extent 1: blocks"},
		{"extent without blocks", leaf, extentHead + 4, []byte{0, 0}, "extent 1: 0 blocks"},
		inDir("few", first+4, "an entry of 5 bytes", 5, 0),
		inDir("few", first+4, "an entry of 4 bytes", 4, 0),
		inDir("few", first+4, "an entry of 4080 bytes in 4072", 0xf0, 0x0f),
		inDir("few", first+4, "4 bytes are no entry", 0xe4, 0x0f),
		inDir("few", first+6, "a name of 5 bytes in an entry of 12", 5),
		inDir("few", first+6, "a name of 0 bytes", 0),
		inDir("few", first+8, `name "/": not possible`, '/'),
		inDir("few", first+8, `name "\x00": not possible`, 0),
		inDir("few", first+12+8, "is there twice", 'a'),
		inDir("few", first, "inode 4294967295: there are", 255, 255, 255, 255),
		inDir("few", first, "mode 0: no such type", 8, 0, 0, 0),
		inDir("few", first, "also elsewhere", number("many")...),
		inDir("few", first, "also elsewhere", number(".")...),
	} {
		tester().Test(t, d.name, d.block, d.at, d.to, d.want)
	}
	tester().TestCut(t, 0, 1024, 2047, 2048, 5000, 20000, 30000)
}

// FuzzReader changes bytes of an image without checksums, five at a time for one: block, offset, value.
func FuzzReader(f *testing.F) {
	x := tester()
	f.Fuzz(func(t *testing.T, changes []byte) { x.Fuzz(changes, le) })
}

// FuzzTrees makes a random tree of a seed and asks e2fsck.
func FuzzTrees(f *testing.F) {
	tooltest.Need(f, "e2fsck")
	f.Fuzz(func(t *testing.T, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		nodes := formattest.RandomNodes(rnd, when, 120, func() int { return 1 + rnd.IntN(1<<(1+rnd.IntN(12))-1) })
		if rnd.IntN(4) == 0 { // in more than one group
			nodes = append(nodes, tree.Node{Path: "zz", Content: tree.Zeros(rnd.Int64N(1 << 30))})
		}
		tr := newTree(t, nodes...)
		o := options
		least, err := MinSize(tr, o)
		if err != nil {
			t.Fatal(err)
		}
		o.Size = least + rnd.Int64N(3)*mib
		name, _ := write(t, tr, o)
		fsck(t, name)
		formattest.Compare(t, open(t, name).files, withLost(t, tr))
	})
}
