package xfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/tree"
)

// tiny is an image of many small groups, far below what XFS allows: the reader does not mind, and a file in as many extents needs a
// tree of them. It has a directory of each form, and a link in a block of its own.
var tiny = sync.OnceValues(func() (*Image, map[int64]*[blockSize]byte) {
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
		err = img.placeIn(geometry{blocks: 60 * 16, group: 16, groups: 60, groupLog: 4, logLength: 2})
	}
	s := &sparse{pages: map[int64]*[blockSize]byte{}}
	if err == nil {
		err = img.Write(s)
	}
	if err != nil {
		panic(err)
	}
	return img, s.pages
})

// patched is the tiny image with some blocks changed.
type patched struct {
	pages   map[int64]*[blockSize]byte
	changed map[int64]bool
}

func newPatched() patched {
	_, base := tiny()
	return patched{maps.Clone(base), map[int64]bool{}}
}

func (p patched) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	if off+int64(len(b)) > 60*16*blockSize {
		return 0, io.EOF
	}
	return (&sparse{pages: p.pages}).ReadAt(b, off)
}

// change changes bytes of a block that was written.
func (p patched) change(block int64, at int, to ...byte) {
	if !p.changed[block] {
		page := *p.pages[block]
		p.pages[block], p.changed[block] = &page, true
	}
	copy(p.pages[block][at:], to)
}

// reseal makes the checksums of the changed blocks right.
func (p patched) reseal() {
	_, base := tiny()
	for i := range p.changed {
		was, b := base[i][:], p.pages[i][:]
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

// readAll reads the beginning of everything.
func readAll(r io.ReaderAt) (nodes int, err error) {
	x, err := NewReader(r)
	if err != nil {
		return 0, err
	}
	for n := range x.All() {
		nodes++
		if !n.Mode.IsRegular() {
			continue
		}
		c, err := n.Content.Open()
		if err != nil {
			return nodes, err
		}
		if _, err := io.CopyN(io.Discard, c, 2*mib); err != nil && err != io.EOF {
			return nodes, err
		}
	}
	return nodes, nil
}

// Damage with right checksums, so that every other check has its turn.
func TestDamaged(t *testing.T) {
	t.Parallel()
	img, _ := tiny()
	if n, err := readAll(newPatched()); err != nil || n != 338 {
		t.Fatalf("undamaged: %d nodes, %v", n, err)
	}
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
		p := newPatched()
		p.change(d.block, d.at, d.to...)
		_, sealedErr := readAll(p)
		p.reseal()
		_, err := readAll(p)
		if err == nil || !strings.Contains(err.Error(), d.want) {
			t.Errorf("%s: error %v does not say %q", d.name, err, d.want)
		}
		if sealedErr == nil {
			t.Errorf("%s: not noticed by the checksum", d.name)
		}
	}
	for _, n := range []int64{0, 100, 511, 512, 5000, 30000, 40000} {
		var whole [64 * blockSize]byte
		if _, err := newPatched().ReadAt(whole[:], 0); err != nil {
			t.Fatal(err)
		}
		if _, err := NewReader(bytes.NewReader(whole[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("image cut to %d bytes: %v", n, err)
		}
	}
}

// FuzzReader changes bytes of an image, five at a time for one: block, offset, value. Checksums are made right again.
func FuzzReader(f *testing.F) {
	_, base := tiny()
	blocks := make([]int64, 0, len(base))
	for i := range base {
		blocks = append(blocks, i)
	}
	slices.Sort(blocks)
	f.Fuzz(func(t *testing.T, changes []byte) {
		if len(changes) > 500 {
			return
		}
		p := newPatched()
		for c := range slices.Chunk(changes, 5) {
			if len(c) == 5 {
				p.change(blocks[int(be.Uint16(c))%len(blocks)], int(be.Uint16(c[2:])%blockSize), c[4])
			}
		}
		p.reseal()
		_, _ = readAll(p)
	})
}

// FuzzTrees makes a random tree of a seed and asks xfs_repair.
func FuzzTrees(f *testing.F) {
	tooltest.Need(f, "xfs_repair")
	f.Fuzz(func(t *testing.T, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var nodes []tree.Node
		dirs := []string{""}
		for range 1 << rnd.IntN(13) {
			n := tree.Node{Path: dirs[rnd.IntN(len(dirs))] + strings.Repeat(string(rune('!'+rnd.IntN(14))), rnd.IntN(100)) + fmt.Sprint(len(nodes)),
				Mode: fs.FileMode(rnd.IntN(0o1000)), UID: rnd.Uint32(), GID: rnd.Uint32(), ModTime: when.AddDate(-rnd.IntN(90), 0, 0)}
			switch rnd.IntN(12) {
			case 0:
				n.Mode |= fs.ModeDir
				dirs = append(dirs, n.Path+"/")
			case 1:
				n.Mode |= fs.ModeSymlink
				n.Link = strings.Repeat("l", 1+rnd.IntN(maxLink))
			case 2:
				n.Mode |= []fs.FileMode{fs.ModeNamedPipe, fs.ModeSocket, fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice}[rnd.IntN(4)]
			case 3:
				n.Content = tree.Zeros(rnd.Int64N(1 << rnd.IntN(26)))
			default:
				n.Content = tree.String(strings.Repeat("content", rnd.IntN(1<<rnd.IntN(12))))
			}
			if last := len(nodes) - 1; rnd.IntN(20) == 0 && last >= 0 && nodes[last].Content != nil && nodes[last].Link == "" && n.Content != nil && tree.Compare(nodes[last].Path, n.Path) < 0 {
				hard := nodes[last]
				hard.Path, hard.Link = n.Path, hard.Path
				n = hard
			}
			nodes = append(nodes, n)
		}
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
		compare(t, got, tr)
	})
}
