package xfs

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/tree"
)

// tiny is an image of many small groups, far below what XFS allows: the reader does not mind, and a file in as many extents needs a
// tree of them. It has a directory of each form, and a link in a block of its own.
var tiny = sync.OnceValues(func() (*Image, formattest.Sparse) {
	nodes := []tree.Node{
		{Path: "big", Content: tree.Zeros(250 * blockSize)},
		{Path: "link", Mode: fs.ModeSymlink, Link: strings.Repeat("l", 500)},
		{Path: "short/a", Content: tree.String("a")}, {Path: "short/b", Content: tree.String("a"), Link: "short/a"},
	}
	for i := range 30 {
		nodes = append(nodes, tree.Node{Path: fmt.Sprintf("block/name-%d", i), Mode: fs.ModeNamedPipe})
	}
	for i := range 300 {
		nodes = append(nodes, tree.Node{Path: fmt.Sprintf("data/name-%d", i), Mode: fs.ModeSocket})
	}
	t, err := tree.New(nodes)
	if err != nil {
		panic(err)
	}
	img, err := newImage(t, options)
	if err == nil {
		err = img.placeIn(geometry{sector: sectorSize, blocks: 60 * 16, group: 16, groups: 60, groupLog: 4, logLength: 2})
	}
	s := formattest.Sparse{}
	if err == nil {
		err = img.Write(s)
	}
	if err != nil {
		panic(err)
	}
	return img, s
})

// tester reads what was made of the tiny image.
func tester() formattest.Tester {
	_, base := tiny()
	return formattest.Tester{Base: base, Size: 60 * 16 * blockSize, Read: readSome, Repair: reseal}
}

// reseal makes the checksums of changed blocks right.
func reseal(d formattest.Damaged) {
	for i := range d.Changed {
		was, b := d.Base[i][:], d.Sparse[i][:]
		switch {
		case be.Uint32(was) == magicSuper:
			seal(b[:sectorSize], superCRC)
		case be.Uint16(was) == magicInode:
			for chunk := range slices.Chunk(b, inodeSize) {
				seal(chunk, inodeCRC)
			}
		case be.Uint32(was) == magicDirBlock, be.Uint32(was) == magicDirData:
			seal(b, dirDataCRC)
		case be.Uint32(was) == magicExtents:
			seal(b, extentsCRC)
		case be.Uint32(was) == magicLink:
			seal(b, linkCRC)
		}
	}
}

func readSome(r io.ReaderAt) (int, error) {
	x, err := NewReader(r)
	if err != nil {
		return 0, err
	}
	return formattest.ReadSome(x.files)
}

// Damage with right checksums, so that every other check has its turn.
func TestDamaged(t *testing.T) {
	t.Parallel()
	img, _ := tiny()
	tester().TestWhole(t, 338)
	byPath := map[string]*inode{}
	for _, in := range img.inodes {
		byPath[in.Path] = in
	}
	inodeAt := func(path string, at int) (int64, int) { // where a byte of an inode lies
		n := byPath[path].number
		return int64(n / inodesPerBlock), int(n%inodesPerBlock)*inodeSize + at
	}
	type damage struct {
		name  string
		block int64
		at    int
		to    []byte
		want  string
	}
	inodeDamage := func(path string, at int, want string, to ...byte) damage {
		block, at2 := inodeAt(path, at)
		return damage{fmt.Sprintf("inode of %s byte %d", path, at), block, at2, to, want}
	}
	inDir := func(path string, at int, want string, to ...byte) damage {
		return damage{fmt.Sprintf("block of %s byte %d", path, at), byPath[path].extents[0].block, at, to, want}
	}
	link, leaf := byPath["link"].extents[0].block, byPath["big"].treeBlocks[0]
	if len(byPath["big"].treeBlocks) != 1 || byPath["block"].dir.form != dirBlock || byPath["data"].dir.form < dirHashed {
		t.Fatal("the tiny image is not what the test takes it for")
	}
	for _, d := range []damage{
		{"magic", 0, 0, []byte("XFSC"), "does not start with XFSB"},
		{"version", 0, 101, []byte{0xa4}, "version 4; only 5 is"},
		{"block size", 0, 4, []byte{0, 0, 12, 0}, "blocks of 3072 bytes"},
		{"inode size", 0, 104, []byte{4, 0}, "inodes of 1024 bytes, 3 bits"},
		{"directory blocks", 0, 192, []byte{200}, "directory blocks of 1048576 bytes"},
		{"groups", 0, 88, []byte{255, 255, 255, 255}, "4294967295 groups of 16 blocks (4 bits) for 960 blocks"},
		{"no groups", 0, 88, []byte{0, 0, 0, 0}, "0 groups"},
		{"group bits", 0, 124, []byte{5}, "(5 bits)"},
		{"blocks", 0, 8, []byte{128}, "blocks"},
		{"feature", 0, 216, []byte{8, 0, 0, 1}, "not supported: features 0x8000001"},
		{"no file types", 0, 219, []byte{0}, "not supported: features 0x0"},
		{"needs repair", 0, 219, []byte{0x11}, "needs xfs_repair"},
		{"root elsewhere", 0, 62, []byte{1, 0}, "root directory: inode"},
		{"root outside", 0, 56, []byte{255}, "there are 60 groups of 16 blocks"},
		inodeDamage(".", 2, "root directory: is none", 0x11),
		inodeDamage(".", 4, "there is no such inode", 2),
		inodeDamage(".", 152, "there is no such inode", 1),
		inodeDamage(".", 2, "mode 0", 0, 0),
		inodeDamage(".", inodeHead, "an entry does not fit", 255),
		inodeDamage(".", inodeHead+1, "an entry does not fit", 1),
		inodeDamage(".", 56, "in an inode's 336", 1),
		inodeDamage(".", inodeHead+6+3, `name "/`, '/'),
		inodeDamage(".", 82, "fork at 2040", 255),
		inodeDamage("big", 5, "content of form 1", formLocal),
		inodeDamage("big", 90, "realtime", 0, 1),
		inodeDamage("big", 56, "bigger than the file system", 1),
		inodeDamage("big", 76, "extents are supported", 255),
		inodeDamage("big", 79, "extents where there should be", 40),
		inodeDamage("big", 79, "extent 31 of 30", 30),
		inodeDamage("big", inodeHead+1, "tree of extents: level 0", 0),
		inodeDamage("big", inodeHead+1, "tree of extents: level 10", 10),
		inodeDamage("big", inodeHead+1, "is none of it", 2),
		inodeDamage("big", inodeHead+3, "21 of 20 children", 21),
		inodeDamage("big", inodeHead+4+8*rootChildren, "there are 60 groups", 255),
		inodeDamage("short/a", 79, "22 extents in 336 bytes", 22),
		inodeDamage("short/a", inodeHead+10, "extent 1", 255),
		inodeDamage("block", 5, "content of form 0", formDevice),
		inodeDamage("link", 56, "link target of", 1),
		inodeDamage("link", 5, "link target of 500 bytes in 336", formLocal),
		{"link's magic", link, 0, []byte{0}, "none of it"},
		{"link's length", link, 8, []byte{0, 0, 1, 0}, "256 of 500 bytes are there"},
		{"link's length", link, 8, []byte{255}, "none of it"},
		{"link's owner", link, 39, []byte{0}, "none of it"},
		{"leaf's owner", leaf, 63, []byte{0}, "none of it"},
		{"leaf's count", leaf, 6, []byte{255}, "none of it"},
		{"leaf's order", leaf, extentsHead + 16, bytes.Repeat([]byte{0}, 8), "extent 2 of"},
		{"extent outside", leaf, extentsHead + 7, []byte{255}, "extent 1: blocks"},
		{"no blocks", leaf, extentsHead + 13, []byte{0, 0, 0}, "extent 1 of"},
		inDir("block", 0, "is none of this directory", 0),
		inDir("block", 47, "is none of this directory", 0),
		inDir("block", blockSize-blockTail, "hashes in 4096 bytes", 255),
		inDir("block", dirHead+32+8, "does not fit", 0),
		inDir("block", dirHead+32+9, "not possible", 0),
		inDir("block", dirHead+32, "there are 60 groups", 255, 254),
		inDir("block", dirHead+32, "a gap of 4 bytes", 255, 255, 0, 4),
		inDir("data", dirHead+32, "a gap of 65528 bytes in", 255, 255, 255, 248),
		inDir("data", dirHead+32+9, "unclean", 255),
		inDir("data", dirHead+32, "also elsewhere", be.AppendUint64(nil, byPath["block"].number)...),
		inDir("data", dirHead+32, "also elsewhere", be.AppendUint64(nil, byPath["."].number)...),
		inDir("data", dirHead+32, "there is no such inode", be.AppendUint64(nil, 1)...),
	} {
		tester().Test(t, d.name, d.block, d.at, d.to, d.want)
	}
	tester().TestCut(t, 0, 100, 511, 512, 5000, 30000, 40000)
}

// FuzzReader changes bytes of an image, five at a time for one: block, offset, value. Checksums are made right again.
func FuzzReader(f *testing.F) {
	x := tester()
	f.Fuzz(func(t *testing.T, changes []byte) { x.Fuzz(changes, be) })
}

// FuzzTrees makes a random tree of a seed and asks xfs_repair.
func FuzzTrees(f *testing.F) {
	tooltest.Need(f, "xfs_repair")
	f.Fuzz(func(t *testing.T, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		nodes := formattest.RandomNodes(rnd, when, 90, func() int { return 1 + rnd.IntN(maxLink) })
		tr := newTree(t, nodes...)
		o := options
		least, err := MinSize(tr, o)
		if err != nil {
			t.Fatal(err)
		}
		o.Size = least + rnd.Int64N(3)*mib
		name, _ := write(t, tr, o)
		repair(t, name)
		got, err := open(t, name).Tree()
		if err != nil {
			t.Fatal(err)
		}
		formattest.Compare(t, got, tr)
	})
}
