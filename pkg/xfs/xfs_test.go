package xfs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/tree"
)

var (
	when = time.Date(2026, 11, 22, 18, 46, 7, 122773000, time.UTC)
	// bootUUID is the one of a Talos BOOT partition.
	bootUUID = [16]byte{0x24, 0xc7, 0x30, 0x76, 0x40, 0x92, 0x85, 0xdd, 0x9d, 0x98, 0x68, 0x6a, 0x2d, 0xbf, 0x6d, 0x81}
	options  = Options{Size: Least, Label: "BOOT", UUID: bootUUID}
	// longOptions are for disks with longer sectors.
	longOptions = Options{Size: Least, Label: "BOOT", UUID: bootUUID, SectorSize: longSector}
)

func newTree(t testing.TB, nodes ...tree.Node) *tree.Tree {
	t.Helper()
	return formattest.Tree(t, when, nodes...)
}

func file(path, text string) tree.Node {
	return tree.Node{Path: path, Mode: 0o644, Content: tree.String(text)}
}

// write writes an image to a file of its size.
func write(t testing.TB, tr *tree.Tree, o Options) (string, *Image) {
	t.Helper()
	img, err := Plan(tr, o)
	if err != nil {
		t.Fatal(err)
	}
	return formattest.Write(t, "xfs.img", img), img
}

// repairPhases is how the lines of xfs_repair -n start when it finds nothing.
var repairPhases = []string{
	"Cannot get host filesystem geometry.", "Repair may fail if there is a sector size mismatch between", "the image and the host filesystem.",
	"Phase ", "zero log", "scan filesystem freespace", "scan (but don't clear)", "found root inode", "process known inodes", "process newly discovered",
	"agno = ", "setting up duplicate", "check for inodes claiming", "traversing filesystem", "traversal finished", "moving disconnected", "No modify flag set",
}

// repair fails where xfs_repair has more to say than the names of its phases.
func repair(t testing.TB, name string) {
	t.Helper()
	out := tooltest.Run(t, "xfs_repair", "-n", "-f", name)
	for line := range strings.SplitSeq(out, "\n") {
		known := func(phase string) bool { return strings.HasPrefix(strings.TrimLeft(line, " -"), phase) }
		if line != "" && !slices.ContainsFunc(repairPhases, known) {
			t.Errorf("xfs_repair: %.3000s", out)
			return
		}
	}
}

func open(t testing.TB, name string) *Reader {
	t.Helper()
	return formattest.Open(t, name, NewReader)
}

// bootTree is what a BOOT partition has.
func bootTree(t testing.TB) *tree.Tree {
	return newTree(t, file("A/vmlinuz", strings.Repeat("kernel ", 30000)), file("A/initramfs.xz", strings.Repeat("initramfs ", 90000)),
		tree.Node{Path: "grub", Mode: fs.ModeDir | 0o700}, tree.Node{Path: "grub/grub.cfg", Mode: 0o600, Content: tree.String("set timeout=3\n")})
}

// oddTree has all types, modes, names and times that there are.
func oddTree(t testing.TB) *tree.Tree {
	device := fs.ModeDevice
	return newTree(t,
		tree.Node{Path: tree.Root, Mode: fs.ModeDir | 0o750, UID: 5, GID: 6},
		tree.Node{Path: "block", Mode: device | 0o600, Major: maxMajor, Minor: maxMinor},
		tree.Node{Path: "char", Mode: device | fs.ModeCharDevice | 0o666, Major: 1, Minor: 3},
		tree.Node{Path: "fifo", Mode: fs.ModeNamedPipe | 0o600},
		tree.Node{Path: "socket", Mode: fs.ModeSocket | 0o600},
		tree.Node{Path: "set", Mode: 0o755 | fs.ModeSetuid | fs.ModeSetgid, UID: 1<<32 - 2, GID: 70000, Content: tree.String("")},
		tree.Node{Path: "tmp", Mode: fs.ModeDir | 0o777 | fs.ModeSticky, ModTime: time.Unix(math.MinInt32, 1)},
		tree.Node{Path: "late", Content: tree.String("x"), ModTime: time.Unix(math.MaxInt32, 999999999)},
		tree.Node{Path: "link", Mode: fs.ModeSymlink | 0o777, Link: "grub/grub.cfg"},
		tree.Node{Path: "link336", Mode: fs.ModeSymlink | 0o777, Link: strings.Repeat("a", literalSize)},
		tree.Node{Path: "link337", Mode: fs.ModeSymlink | 0o777, Link: strings.Repeat("b", literalSize+1)},
		tree.Node{Path: "link1023", Mode: fs.ModeSymlink | 0o777, Link: strings.Repeat("c", maxLink)},
		file("hard", "linked"),
		tree.Node{Path: "hard2/link", Mode: 0o644, Content: tree.String("linked"), Link: "hard"},
	)
}

// dirsTree has directories of many sizes: all forms, and the sizes at which one becomes the next.
func dirsTree(t testing.TB, sizes ...int) *tree.Tree {
	var nodes []tree.Node
	for _, n := range sizes {
		for i := range n {
			nodes = append(nodes, file(fmt.Sprintf("%06d/%c-%d", n, 'a'+i%26, i), ""))
		}
	}
	for n := range 30 { // names of all lengths, so that data blocks have gaps of all lengths
		for i := range n * 8 {
			nodes = append(nodes, file(fmt.Sprintf("lengths%d/%s", n, strings.Repeat(string(rune('a'+i%26)), 1+i)), ""))
		}
	}
	return newTree(t, nodes...)
}

// Everything comes back, and xfs_repair has nothing to say.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for name, tr := range map[string]*tree.Tree{
		"empty": newTree(t), "boot": bootTree(t), "odd": oddTree(t),
		"dirs": dirsTree(t, 8, 9, 24, 25, 26, 27, 90, 100, 110, 120, 130, 140, 150, 160, 170, 180, 190, 480, 490, 495, 500, 501, 502, 503, 505, 1005, 1006, 1100, 20000),
	} {
		for _, o := range []Options{options, longOptions} {
			img, _ := write(t, tr, o)
			repair(t, img)
			r := open(t, img)
			if r.Label != options.Label || r.UUID != options.UUID || r.Size != options.Size {
				t.Errorf("%s: read %q %x %d", name, r.Label, r.UUID, r.Size)
			}
			got, err := r.Tree()
			if err != nil {
				t.Fatal(err)
			}
			formattest.Compare(t, got, tr)
		}
	}
}

// xfs_repair, which these tests trust, does find damage.
func TestRepairFinds(t *testing.T) {
	t.Parallel()
	name, img := write(t, dirsTree(t, 200), options)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, in := range img.inodes {
		if in.Mode.IsDir() && in.dir.form == dirHashed {
			if _, err := f.WriteAt([]byte("damage"), in.extents[0].block*blockSize+1000); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if out, err := exec.Command(tooltest.Need(t, "xfs_repair"), "-n", "-f", name).CombinedOutput(); err == nil {
		t.Errorf("xfs_repair found nothing: %s", out)
	}
}

// Inodes in more than one group, and more chunks of them than one block of the tree holds: with room for half a million files.
func TestManyInodes(t *testing.T) {
	t.Parallel()
	var nodes []tree.Node
	for i := range 170_000 { // a group of 75 MiB has room for 153,000
		nodes = append(nodes, tree.Node{Path: fmt.Sprintf("%d/%d", i/1000, i), Mode: 0o600, Content: tree.Bytes(nil)})
	}
	tr := newTree(t, nodes...)
	name, img := write(t, tr, options)
	if img.groups[1].chunkCount() == 0 || img.groups[0].inodeTree.count < 2 {
		t.Fatalf("%d chunks in the second group, %d blocks of the tree in the first", img.groups[1].chunkCount(), img.groups[0].inodeTree.count)
	}
	repair(t, name)
	if r := open(t, name); r.Len() != tr.Len() {
		t.Errorf("read %d nodes of %d", r.Len(), tr.Len())
	}
}

// The tree of inodes with a level between, which no small image has.
func TestInodeTreeLevels(t *testing.T) {
	t.Parallel()
	const chunks = 300_000
	img := &Image{o: options, g: geometry{sector: sectorSize, group: maxGroup, groups: 1, groupLog: 28}}
	gr := group{length: maxGroup, chunks: 8, inodes: make([]*inode, chunks*inodesPerChunk-5)}
	gr.inodeTree = extent{block: gr.chunks + chunks*chunkBlocks, count: inodeTreeBlocks(chunks)}
	root, levels := img.inodeTree(gr)
	body := img.inodeTreeBody(gr)
	if levels != 3 || int64(len(body)) != gr.inodeTree.count*blockSize {
		t.Fatalf("%d levels, %d bytes for %d blocks", levels, len(body), gr.inodeTree.count)
	}
	var records []uint32
	var walk func(b []byte, level int, first uint32)
	walk = func(b []byte, level int, first uint32) {
		n := int(be.Uint16(b[6:]))
		if !sealed(b, treeCRC) || int(be.Uint16(b[4:])) != level || n < 1 {
			t.Fatalf("level %d, %d records", be.Uint16(b[4:]), n)
		}
		if key := be.Uint32(b[treeHead:]); key != first {
			t.Fatalf("first inode %d where the level above says %d", key, first)
		}
		for i := range n {
			if level == 0 {
				records = append(records, be.Uint32(b[treeHead+16*i:]))
				continue
			}
			at := int64(be.Uint32(b[treeHead+4*(childrenInNode+i):])) - gr.inodeTree.block
			walk(body[at*blockSize:][:blockSize], level-1, be.Uint32(b[treeHead+4*i:]))
		}
	}
	walk(root, 2, gr.chunkInode(0))
	for i, first := range records {
		if first != gr.chunkInode(int64(i)) {
			t.Fatalf("chunk %d starts with inode %d", i, first)
		}
	}
	if len(records) != chunks {
		t.Errorf("%d chunks in the tree", len(records))
	}
}

// dump is what xfs_db says of the parts of an image that do not depend on its files' times.
func dump(t testing.TB, name string, img *Image) string {
	var args []string
	for i := range img.g.groups {
		for _, c := range []string{"agf %d", "agi %d", "agfl %d"} {
			args = append(args, "-c", fmt.Sprintf(c, i), "-c", "print")
		}
		for _, root := range []string{"agf %d|addr bnoroot", "agf %d|addr cntroot", "agi %d|addr root"} {
			of, addr, _ := strings.Cut(fmt.Sprintf(root, i), "|")
			args = append(args, "-c", of, "-c", addr, "-c", "print")
		}
	}
	args = append(args, "-c", "sb 0", "-c", "print", "-c", fmt.Sprint("inode ", img.inodes[0].number+6), "-c", "print", name)
	return tooltest.Run(t, "xfs_db", append([]string{"-r", "-f"}, args...)...)
}

// mkfsOptions make mkfs.xfs use no more features than this package.
var mkfsOptions = []string{"-f", "-q", "-m", "crc=1,finobt=0,rmapbt=0,reflink=0,inobtcount=0,bigtime=0,uuid=24c73076-4092-85dd-9d98-686a2dbf6d81",
	"-i", "sparse=0,nrext64=0", "-n", "ftype=1", "-L", "BOOT"}

// An empty image is mkfs.xfs's: superblock, the groups' headers and trees, free inodes, and the log, byte for byte. What differs:
// the times of three inodes, which mkfs.xfs takes from the clock, and the superblock's copies, which it leaves half done (they say
// "in progress", without root directory and counts; ours are whole).
func TestSameAsMkfs(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{333*mib + 4096, 2000 * mib} {
		for _, sector := range []int64{512, 4096} {
			ours, img := write(t, newTree(t), Options{Size: size, Label: "BOOT", UUID: bootUUID, SectorSize: sector})
			theirs := mkfs(t, size, append([]string{"-s", fmt.Sprint("size=", sector)}, mkfsOptions...)...)
			if a, b := dump(t, ours, img), dump(t, theirs, img); a != b {
				t.Errorf("%d bytes, sectors of %d: ours\n%s\ntheirs\n%s", size, sector, a, b)
			}
			at, n := img.logStart()*blockSize, img.g.logLength*blockSize
			if !bytes.Equal(slice(t, ours, at, n), slice(t, theirs, at, n)) {
				t.Errorf("%d bytes, sectors of %d: the logs differ", size, sector)
			}
		}
	}
}

func mkfs(t testing.TB, size int64, args ...string) string {
	t.Helper()
	name := formattest.Empty(t, "mkfs.img", size)
	tooltest.Run(t, "mkfs.xfs", append(args, name)...)
	return name
}

func slice(t testing.TB, name string, off, n int64) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	return b
}

// bootFiles lets GRUB's own driver read what a BOOT partition has.
func bootFiles(t *testing.T, name string, tr *tree.Tree) {
	t.Helper()
	for path, same := range map[string]string{"A/vmlinuz": "A/vmlinuz", "link": "A/initramfs.xz", "grub/grub.cfg": "grub/grub.cfg"} {
		n, _ := tr.Lookup(same)
		want, err := tree.ReadAll(n.Content)
		if got := tooltest.Run(t, "grub-fstest", name, "cat", "(loop0)/"+path); err != nil || got != string(want) {
			t.Errorf("%s: GRUB reads %d bytes, there are %d (%v)", path, len(got), len(want), err)
		}
	}
}

// GRUB's own driver finds files in directories of all forms, follows a link, and reads contents.
func TestGRUB(t *testing.T) {
	t.Parallel()
	nodes := []tree.Node{{Path: "link", Mode: fs.ModeSymlink, Link: "A/initramfs.xz"}}
	for _, trees := range []*tree.Tree{bootTree(t), dirsTree(t, 9, 100, 300, 1100, 20000)} {
		for n := range trees.All() {
			if n.Path != tree.Root {
				nodes = append(nodes, n)
			}
		}
	}
	tr := newTree(t, nodes...)
	long, _ := write(t, tr, longOptions)
	bootFiles(t, long, tr)
	name, img := write(t, tr, options)
	bootFiles(t, name, tr)
	for _, in := range img.inodes {
		if !in.Mode.IsDir() || in.Path == tree.Root {
			continue
		}
		got := strings.Fields(tooltest.Run(t, "grub-fstest", name, "ls", "(loop0)/"+in.Path+"/"))
		slices.Sort(got)
		var want []string
		for _, e := range in.entries {
			want = append(want, e.name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: GRUB lists %d names, there are %d", in.Path, len(got), len(want))
		}
	}
}

// mkfs.xfs -N says what it would do: groups and log are as ours for any size.
func TestGeometryOfMkfs(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	name := filepath.Join(t.TempDir(), "sparse")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{Least, Least + 4096, 301 * mib, 1000 * mib, 2000 * mib, 128 * gib, 128*gib + 8192, 129 * gib, 500 * gib, 1023 * gib, 1024 * gib, 2000 * gib,
		4095 * gib, 4096*gib - 4096, 4096 * gib, 4096*gib + 20*mib, 5000 * gib, 10000 * gib, 15*1024*gib + 4096} {
		if err := os.Truncate(name, size); err != nil {
			t.Fatal(err)
		}
		out := tooltest.Run(t, "mkfs.xfs", append(append([]string{"-N"}, mkfsOptions[2:]...), name)...)
		var theirs []string
		for _, field := range []string{"agcount", "agsize", "blocks", "imaxpct"} {
			for _, m := range regexp.MustCompile(field+`=(\d+)`).FindAllStringSubmatch(out, -1) {
				theirs = append(theirs, m[1])
			}
		}
		g, err := newGeometry(size, sectorSize)
		if err != nil {
			t.Fatal(err)
		}
		// The last two "blocks" are those of log and realtime device.
		ours := fmt.Sprintf("[%d %d %d %d 0 %d]", g.groups, g.group, g.blocks, g.logLength, g.inodePercent())
		if fmt.Sprint(theirs) != ours {
			t.Errorf("%d bytes: ours %s, theirs %s", size, ours, theirs)
		}
	}
}

// What mkfs.xfs makes with the features of the official imager's configurations (as far as Debian 12's knows them), of other sizes of blocks
// and directories, we read.
func TestReadMkfs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var proto strings.Builder
	want := []tree.Node{{Path: tree.Root, Mode: fs.ModeDir | 0o755, UID: 3, GID: 1}}
	put := func(path string, mode fs.FileMode, text string) {
		name := filepath.Join(dir, fmt.Sprintf("%x", sha256.Sum256([]byte(text))))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&proto, "%s -%s%03o 7 8 %s\n", filepath.Base(path), map[bool]string{true: "u-", false: "--"}[mode&fs.ModeSetuid != 0], mode.Perm(), name)
		want = append(want, tree.Node{Path: path, Mode: mode, UID: 7, GID: 8, Content: tree.String(text)})
	}
	proto.WriteString("none\n0 0\nd--755 3 1\n")
	put("suid", 0o711|fs.ModeSetuid, "")
	put("big", 0o644, strings.Repeat("0123456789abcdef", 100_000))
	link := strings.Repeat("target/", 30) // not longer: mkfs.xfs 6.1 writes targets outside of the inode without their header
	for _, l := range []string{"short", link} {
		fmt.Fprintf(&proto, "link%d l--777 1 2 %s\n", len(l), l)
		want = append(want, tree.Node{Path: fmt.Sprintf("link%d", len(l)), Mode: fs.ModeSymlink | 0o777, UID: 1, GID: 2, Link: l})
	}
	proto.WriteString("pipe p--600 1 1\ndisk b--660 0 6 8 17\ntty c--620 0 5 4 64\n")
	want = append(want, tree.Node{Path: "pipe", Mode: fs.ModeNamedPipe | 0o600, UID: 1, GID: 1},
		tree.Node{Path: "disk", Mode: fs.ModeDevice | 0o660, GID: 6, Major: 8, Minor: 17},
		tree.Node{Path: "tty", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o620, GID: 5, Major: 4, Minor: 64})
	for _, n := range []int{3, 60, 300, 3000} {
		fmt.Fprintf(&proto, "d%d d--700 0 0\n", n)
		want = append(want, tree.Node{Path: fmt.Sprintf("d%d", n), Mode: fs.ModeDir | 0o700})
		for i := range n {
			put(fmt.Sprintf("d%d/file-number-%d", n, i), 0o600, fmt.Sprint(i%10))
		}
		proto.WriteString("$\n")
	}
	proto.WriteString("$\n")
	protofile := filepath.Join(dir, "proto")
	if err := os.WriteFile(protofile, []byte(proto.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"lts_6.1":      {"-m", "crc=1,bigtime=1,finobt=1,inobtcount=1,reflink=1,rmapbt=0", "-i", "sparse=1,nrext64=0"},
		"lts_6.12":     {"-m", "crc=1,bigtime=1,finobt=1,inobtcount=1,reflink=1,rmapbt=1", "-i", "sparse=1,nrext64=1"},
		"small blocks": append(mkfsOptions[2:8:8], "-b", "size=1024", "-n", "size=16384"),
		"great blocks": {"-b", "size=65536", "-i", "size=2048", "-s", "size=4096"},
	} {
		img := mkfs(t, 600*mib, append([]string{"-f", "-q", "-p", protofile}, args...)...)
		r := open(t, img)
		got := map[string]string{}
		for n := range r.All() {
			got[n.Path] = describe(n)
			if age := time.Since(n.ModTime); age < -time.Hour || age > time.Hour {
				t.Errorf("%s: %s has the time %s", name, n.Path, n.ModTime)
			}
		}
		for _, n := range want {
			if got[n.Path] != describe(n) {
				t.Errorf("%s: %s: got %.200s, want %.200s", name, n.Path, got[n.Path], describe(n))
			}
			delete(got, n.Path)
		}
		if len(got) > 0 {
			t.Errorf("%s: also %v", name, got)
		}
		sub, err := fs.Sub(r, "d60")
		if err == nil {
			err = fstest.TestFS(sub, "file-number-59")
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func describe(n tree.Node) string {
	s := fmt.Sprintf("%v %d:%d %d:%d %q", n.Mode, n.UID, n.GID, n.Major, n.Minor, n.Link)
	if n.Mode.IsRegular() {
		b, err := tree.ReadAll(n.Content)
		s += fmt.Sprintf(" %d %x %v", len(b), sha256.Sum256(b), err)
	}
	return s
}

// The greatest image, with files of more extents than an inode holds: in memory, since it is nearly empty.
func TestGreatest(t *testing.T) {
	t.Parallel()
	tail := tree.Concat(tree.Zeros(13<<40), tree.String("the end"))
	tr := newTree(t, file("a", "first"), tree.Node{Path: "big", Content: tail}, tree.Node{Path: "big2", Content: tree.Zeros(200 << 30)}, file("z", "last"))
	img, err := Plan(tr, Options{Size: Most, UUID: bootUUID})
	if err != nil {
		t.Fatal(err)
	}
	s := formattest.InMemory(t, img)
	if len(s) > 1000 {
		t.Errorf("%d blocks written", len(s))
	}
	r, err := NewReader(s)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"a": "first", "z": "last", "big": "the end"} {
		n, _ := r.Lookup(path)
		b := make([]byte, len(want))
		if _, err := n.Content.(io.ReaderAt).ReadAt(b, n.Size()-int64(len(want))); err != nil || string(b) != want {
			t.Errorf("%s ends with %q (%v)", path, b, err)
		}
	}
	if n := len(img.largest.extents); n < 1600 {
		t.Errorf("%d extents", n)
	}
}

// xfs_repair checks a big image with all that, too.
func TestRepairBig(t *testing.T) {
	t.Parallel()
	tr := newTree(t, file("a", "first"), tree.Node{Path: "big", Content: tree.Zeros(3 << 40)}, tree.Node{Path: "big2", Content: tree.Zeros(200 << 30)}, file("z", "last"))
	name, _ := write(t, tr, Options{Size: 5 << 40, UUID: bootUUID})
	repair(t, name)
}

// One over each limit is refused with a reason.
func TestRefused(t *testing.T) {
	t.Parallel()
	node := func(change func(*tree.Node)) *tree.Tree {
		n := file("x", "x")
		change(&n)
		return newTree(t, n)
	}
	for _, c := range []struct {
		name string
		tree *tree.Tree
		o    func(*Options)
		want string // "" where it is just within the limit
	}{
		{"least size", nil, func(o *Options) { o.Size = 300 * mib }, ""},
		{"a block less", nil, func(o *Options) { o.Size = 300*mib - 4096 }, "from 314572800 (300 MiB) to 17592186044416 (16 TiB); the least size is 314572800 bytes (300 MiB)"},
		{"half a block", nil, func(o *Options) { o.Size = 300*mib + 2048 }, "not a multiple of 4096"},
		{"greatest size", nil, func(o *Options) { o.Size = 16 << 40 }, ""},
		{"a block more", nil, func(o *Options) { o.Size = 16<<40 + 4096 }, "(16 TiB)"},
		{"label of 12", nil, func(o *Options) { o.Label = "twelve-chars" }, ""},
		{"label of 13", nil, func(o *Options) { o.Label = "thirteen-char" }, "13 bytes, XFS holds 12"},
		{"label with a blank", nil, func(o *Options) { o.Label = "a b" }, "only visible ASCII"},
		{"sectors of 1024", nil, func(o *Options) { o.SectorSize = 1024 }, "sectors of 1024 bytes: only 512 and 4096 are possible"},
		{"sectors of -1", nil, func(o *Options) { o.SectorSize = -1 }, "sectors of -1 bytes"},
		{"sectors of 4096", nil, func(o *Options) { o.SectorSize = 4096 }, ""},
		{"no UUID", nil, func(o *Options) { o.UUID = [16]byte{} }, "UUID: is zero"},
		{"name of 255", node(func(n *tree.Node) { n.Path = strings.Repeat("n", 255) }), nil, ""},
		{"name of 256", node(func(n *tree.Node) { n.Path = strings.Repeat("n", 256) }), nil, "name of 256 bytes, XFS holds 255"},
		{"target of 1024", newTree(t, tree.Node{Path: "l", Mode: fs.ModeSymlink, Link: strings.Repeat("l", 1024)}), nil, "link target of 1024 bytes, XFS holds 1023"},
		{"time after 2038", node(func(n *tree.Node) { n.ModTime = time.Unix(1<<31, 0) }), nil, "x: time 2038-01-19: this XFS holds"},
		{"time before 1901", node(func(n *tree.Node) { n.ModTime = time.Unix(-1<<31-1, 0) }), nil, "time 1901-12-13"},
		{"xattr", node(func(n *tree.Node) { n.Xattrs = map[string][]byte{"user.x": nil} }), nil, "x: extended attributes are not supported"},
		{"major", newTree(t, tree.Node{Path: "d", Mode: fs.ModeDevice, Major: maxMajor + 1}), nil, "d: device 16384:0: XFS holds up to 16383:262143"},
		{"minor", newTree(t, tree.Node{Path: "d", Mode: fs.ModeDevice, Minor: maxMinor + 1}), nil, "device 0:262144"},
		{"irregular", newTree(t, tree.Node{Path: "d", Mode: fs.ModeIrregular}), nil, "d: XFS has no files of type ?---------"},
		{"much", node(func(n *tree.Node) { n.Content = tree.Zeros(1 << 30) }), nil,
			"lay out XFS in 314572800 bytes: no room for x: the files have 1073741824 bytes, the largest (x) 1073741824; the least size is 1141899264 bytes (1089 MiB)"},
		{"more than most", node(func(n *tree.Node) { n.Content = tree.Zeros(16 << 40) }), func(o *Options) { o.Size = Most }, "no room for x"},
	} {
		o := options
		if c.o != nil {
			c.o(&o)
		}
		if c.tree == nil {
			c.tree = newTree(t)
		}
		_, err := Plan(c.tree, o)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

// The least size is enough, and a MiB less is not.
func TestMinSize(t *testing.T) {
	t.Parallel()
	for _, content := range []int64{0, 230 * mib, 240 * mib, 5 << 30, 300 << 30, 6 << 40} {
		tr := newTree(t, tree.Node{Path: "x", Content: tree.Zeros(content)}, file("a/b/c", "d"))
		o := options
		var err error
		if o.Size, err = MinSize(tr, o); err != nil {
			t.Fatal(err)
		}
		if _, err := Plan(tr, o); err != nil {
			t.Errorf("least size: %v", err)
		}
		least := fmt.Sprintf("the least size is %d bytes", o.Size)
		o.Size -= mib
		if _, err := Plan(tr, o); err == nil || !strings.Contains(err.Error(), least) {
			t.Errorf("%d bytes of content: %s, a MiB less: %v", content, least, err)
		}
	}
}

// A content that is not as long as it said is an error.
func TestLyingBlob(t *testing.T) {
	t.Parallel()
	for _, lie := range []int64{-1, 1, 5000} {
		img, err := Plan(newTree(t, tree.Node{Path: "x", Content: formattest.Liar{Blob: tree.Zeros(8192), More: lie}}), options)
		if err != nil {
			t.Fatal(err)
		}
		if err := img.Write(formattest.Discard{}); err == nil || !strings.Contains(err.Error(), "write XFS x: ") {
			t.Errorf("lie %d: %v", lie, err)
		}
	}
}

// The bytes of a known tree. Where they change on purpose, raise Version.
func TestVersion(t *testing.T) {
	t.Parallel()
	img, err := Plan(bootTree(t), options)
	if err != nil {
		t.Fatal(err)
	}
	s := formattest.InMemory(t, img)
	const want = "version 1: adcf495a068587e8b51c2edfcdc7dadd83f66ff19decd3044db9929013164e14"
	if got := fmt.Sprintf("version %s: %s", Version, s.Sum()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// BenchmarkBoot writes a BOOT partition of 2 GiB with a kernel of 16 MB and an initramfs of 120 MB to a file, beside which
// BenchmarkCopy copies these files.
func BenchmarkBoot(b *testing.B) {
	tr, size := benchTree(b)
	b.SetBytes(size)
	name := filepath.Join(b.TempDir(), "xfs.img")
	for b.Loop() {
		img, err := Plan(tr, Options{Size: 2 << 30, Label: "BOOT", UUID: bootUUID})
		if err != nil {
			b.Fatal(err)
		}
		f, err := os.Create(name)
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(f.Truncate(img.Size()), img.Write(f), f.Close()); err != nil {
			b.Fatal(err)
		}
	}
	var st syscall.Stat_t
	if err := syscall.Stat(name, &st); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(st.Blocks*512-size)/mib, "MiB-beside-content")
}

func BenchmarkCopy(b *testing.B) {
	tr, size := benchTree(b)
	b.SetBytes(size)
	dir := b.TempDir()
	for b.Loop() {
		for _, path := range []string{"A/vmlinuz", "A/initramfs.xz"} {
			n, _ := tr.Lookup(path)
			from, _ := tree.HostPath(n.Content)
			if out, err := exec.Command("cp", "--reflink=never", from, dir).CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
	}
}

func benchTree(b *testing.B) (tr *tree.Tree, size int64) {
	var nodes []tree.Node
	for path, n := range map[string]int{"A/vmlinuz": 16e6, "A/initramfs.xz": 120e6} {
		name := filepath.Join(b.TempDir(), "content")
		data := make([]byte, n)
		_, _ = rand.NewChaCha8([32]byte{}).Read(data)
		if err := os.WriteFile(name, data, 0o600); err != nil {
			b.Fatal(err)
		}
		blob, err := tree.File(name)
		if err != nil {
			b.Fatal(err)
		}
		nodes = append(nodes, tree.Node{Path: path, Mode: 0o644, Content: blob})
		size += int64(n)
	}
	return newTree(b, nodes...), size
}
