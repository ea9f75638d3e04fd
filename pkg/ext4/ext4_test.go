package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/tree"
)

var (
	when = time.Date(2024, 11, 22, 18, 46, 7, 122773000, time.UTC)
	// cacheUUID is the one of a Talos IMAGECACHE partition.
	cacheUUID = [16]byte{0x3b, 0x54, 0x49, 0xbc, 0xc2, 0x1f, 0x80, 0x09, 0x8b, 0x51, 0x18, 0x94, 0x59, 0x67, 0xf8, 0xdf}
	options   = Options{Size: 64 * mib, Label: "IMAGECACHE", UUID: cacheUUID, ModTime: when}
)

const uuidText = "3b5449bc-c21f-8009-8b51-18945967f8df"

func newTree(t testing.TB, nodes ...tree.Node) *tree.Tree {
	t.Helper()
	return formattest.Tree(t, when, nodes...)
}

func file(path, text string) tree.Node {
	return tree.Node{Path: path, Mode: 0o644, Content: tree.String(text)}
}

func dir(path string) tree.Node { return tree.Node{Path: path, Mode: fs.ModeDir | 0o755} }

// withLost is a tree with the lost+found that Plan adds.
func withLost(t testing.TB, tr *tree.Tree) *tree.Tree {
	nodes := slices.Collect(tr.All())
	if _, ok := tr.Lookup(lostName); !ok {
		nodes = append(nodes, tree.Node{Path: lostName, Mode: fs.ModeDir | 0o700, ModTime: when})
	}
	return newTree(t, nodes...)
}

// write writes an image to a file of its size.
func write(t testing.TB, tr *tree.Tree, o Options) (string, *Image) {
	t.Helper()
	img, err := Plan(tr, o)
	if err != nil {
		t.Fatal(err)
	}
	return formattest.Write(t, "ext4.img", img), img
}

// fsck fails where e2fsck has more to say than the names of its phases and its count of files.
func fsck(t testing.TB, name string) {
	t.Helper()
	out := tooltest.Run(t, "e2fsck", "-fn", name)
	for line := range strings.Lines(out) {
		known := strings.HasPrefix(line, "e2fsck ") || strings.HasPrefix(line, "Pass ") || strings.Contains(line, " files (")
		if !known {
			t.Errorf("e2fsck: %.3000s", out)
			return
		}
	}
}

func open(t testing.TB, name string) *Reader {
	t.Helper()
	return formattest.Open(t, name, NewReader)
}

// cacheTree is what an image cache has.
func cacheTree(t testing.TB) *tree.Tree {
	return newTree(t, file("blob/sha256-0123", strings.Repeat("layer ", 300_000)), file("blob/sha256-4567", "{}"),
		file("manifests/registry.k8s.io/pause/digest/sha256-4567", "{}"), file("manifests/registry.k8s.io/pause/reference/3.10", "sha256:4567"))
}

// oddTree has all types, modes, names and times that there are.
func oddTree(t testing.TB) *tree.Tree {
	device := fs.ModeDevice
	nodes := []tree.Node{
		{Path: tree.Root, Mode: fs.ModeDir | 0o750, UID: 5, GID: 6},
		{Path: "block", Mode: device | 0o600, Major: maxMajor, Minor: maxMinor},
		{Path: "block2", Mode: device | 0o600, Major: 255, Minor: 256},
		{Path: "char", Mode: device | fs.ModeCharDevice | 0o666, Major: 1, Minor: 3},
		{Path: "char2", Mode: device | fs.ModeCharDevice | 0o666, Major: 255, Minor: 255},
		{Path: "fifo", Mode: fs.ModeNamedPipe | 0o600},
		{Path: "socket", Mode: fs.ModeSocket | 0o600},
		{Path: "set", Mode: 0o755 | fs.ModeSetuid | fs.ModeSetgid, UID: 1<<32 - 2, GID: 70000, Content: tree.String("")},
		{Path: "tmp", Mode: fs.ModeDir | 0o777 | fs.ModeSticky, ModTime: time.Unix(minTime, 1)},
		{Path: "late", Content: tree.String("x"), ModTime: time.Unix(maxTime, 999999999)},
		{Path: "epoch", Content: tree.String("x"), ModTime: time.Unix(1<<31, 5)},
		{Path: "link", Mode: fs.ModeSymlink | 0o777, Link: "blob/a"},
		file("block4096", strings.Repeat("4", blockSize)), file("block4097", strings.Repeat("5", blockSize+1)),
		file("hard", "linked"),
		{Path: "hard2/link", Mode: 0o644, Content: tree.String("linked"), Link: "hard"},
	}
	for _, n := range []int{shortLink, shortLink + 1, 60, 64, maxLink} {
		nodes = append(nodes, tree.Node{Path: fmt.Sprintf("link%d", n), Mode: fs.ModeSymlink | 0o777, Link: strings.Repeat("l", n)})
	}
	return newTree(t, slices.CompactFunc(nodes, func(a, b tree.Node) bool { return a.Path == b.Path })...)
}

// dirsTree has directories of many sizes, and names of all lengths.
func dirsTree(t testing.TB, sizes ...int) *tree.Tree {
	var nodes []tree.Node
	for _, n := range sizes {
		for i := range n {
			nodes = append(nodes, file(fmt.Sprintf("%06d/%c-%d", n, 'a'+i%26, i), ""))
		}
	}
	for n := range maxName {
		nodes = append(nodes, file("lengths/"+strings.Repeat("n", 1+n), ""))
	}
	return newTree(t, nodes...)
}

// Everything comes back, and e2fsck has nothing to say.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tree *tree.Tree
		size int64
	}{
		"empty": {newTree(t), Least}, "cache": {cacheTree(t), 3 * mib}, "odd": {oddTree(t), 64 * mib},
		"dirs":           {dirsTree(t, 1, 2, 254, 255, 256, 257, 20000), 128 * mib},
		"subdirectories": {newTree(t, dir("a/b/c/d"), dir("a/e"), dir("f")), 130 * mib},
		"lost":           {newTree(t, dir("a"), tree.Node{Path: lostName, Mode: fs.ModeDir | 0o711, UID: 7}, file("lost+found/file", "text"), file("z", "")), 300 * mib},
	} {
		o := options
		o.Size = c.size
		img, _ := write(t, c.tree, o)
		fsck(t, img)
		r := open(t, img)
		if r.Label != o.Label || r.UUID != o.UUID || r.Size > o.Size || r.Size < o.Size-5*mib {
			t.Errorf("%s: read %q %x %d", name, r.Label, r.UUID, r.Size)
		}
		got, err := r.Tree()
		if err != nil {
			t.Fatal(err)
		}
		formattest.Compare(t, got, withLost(t, c.tree))
	}
}

// Every size of a container is laid out well, where the last group becomes too short above all.
func TestSizes(t *testing.T) {
	t.Parallel()
	const group = groupBlocks * blockSize
	tr := cacheTree(t)
	name := filepath.Join(t.TempDir(), "img")
	for _, size := range []int64{3 * mib, 3*mib + blockSize, group - blockSize, group, group + blockSize, group + 2*mib, group + 3*mib, 2*group + 2*mib, 2*group + 563*blockSize,
		2*group + 564*blockSize, 9*group - mib, 10*group + 123*blockSize, 64*group + 6*mib, 65 * group, 1 << 40} {
		o := options
		o.Size = size
		img, err := Plan(tr, o)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Truncate(size), img.Write(f), f.Close()); err != nil {
			t.Fatal(err)
		}
		fsck(t, name)
		formattest.Compare(t, open(t, name).files, withLost(t, tr))
	}
}

// e2fsck, which these tests trust, does find damage.
func TestFsckFinds(t *testing.T) {
	t.Parallel()
	name, img := write(t, cacheTree(t), options)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("damage"), img.inodes[0].extents[0].block*blockSize+100); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tooltest.Need(t, "e2fsck"), "-fn", name).CombinedOutput(); err == nil {
		t.Errorf("e2fsck found nothing: %s", out)
	}
}

// More inodes than there would be for the space, in one group and in some.
func TestManyInodes(t *testing.T) {
	t.Parallel()
	var nodes []tree.Node
	for i := range 60_000 {
		nodes = append(nodes, tree.Node{Path: fmt.Sprintf("%d/%d", i/1000, i), Mode: 0o600, Content: tree.Bytes(nil)})
	}
	for _, c := range []struct {
		files        int
		size, inodes int64 // inodes of a group
	}{{1000, 5 * mib, 1024}, {30_000, 64 * mib, 30_048}, {40_000, 260 * mib, 32768}, {60_000, 512 * mib, 16384}} {
		tr := newTree(t, nodes[:c.files]...)
		o := options
		o.Size = c.size
		name, img := write(t, tr, o)
		if img.g.inodes != c.inodes {
			t.Errorf("%d files in %d bytes: %d inodes in each group, want %d", c.files, c.size, img.g.inodes, c.inodes)
		}
		fsck(t, name)
		formattest.Compare(t, open(t, name).files, withLost(t, tr))
	}
}

// Trees of extents of one and two levels: of files that are only as many zeros, since each extent is at most a group.
func TestExtentTree(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		size int64
		tree int
	}{{480 * mib, 0}, {700 * mib, 1}, {50 << 30, 2}, {300 << 30, 8 + 1}} {
		tail := tree.Concat(tree.String("the start"), tree.Zeros(c.size), tree.String("the end"))
		tr := newTree(t, file("a", "first"), tree.Node{Path: "big", Mode: 0o600, Content: tail}, file("z", "last"))
		o := options
		var err error
		if o.Size, err = MinSize(tr, o); err != nil {
			t.Fatal(err)
		}
		name, img := write(t, tr, o)
		if blocks := treeSize(int64(len(img.largest.extents))); blocks != int64(c.tree) {
			t.Errorf("%d bytes: %d extents in a tree of %d blocks, want %d", c.size, len(img.largest.extents), blocks, c.tree)
		}
		fsck(t, name)
		r := open(t, name)
		for path, want := range map[string]string{"a": "first", "z": "last", "big": "the end"} {
			n, _ := r.Lookup(path)
			b := make([]byte, len(want))
			if _, err := n.Content.(io.ReaderAt).ReadAt(b, n.Size()-int64(len(want))); err != nil || string(b) != want {
				t.Errorf("%s ends with %q (%v)", path, b, err)
			}
		}
		start := tooltest.Run(t, "debugfs", "-R", "stat /big", name)
		if !strings.Contains(start, fmt.Sprintf("Size: %d", tail.Size())) {
			t.Errorf("debugfs says %s", start)
		}
	}
}

// As many names and subdirectories as can be counted.
func TestManyLinks(t *testing.T) {
	t.Parallel()
	nodes := []tree.Node{file("d0", "linked")}
	for i := range maxLinks - 2 {
		nodes = append(nodes, dir(fmt.Sprintf("d/%d", i)), tree.Node{Path: fmt.Sprintf("e%d", i), Mode: 0o644, Link: "d0", Content: tree.String("linked")})
	}
	tr := newTree(t, nodes...)
	o := options
	o.Size = 512 * mib
	name, _ := write(t, tr, o)
	fsck(t, name)
	if got := open(t, name).Len(); got != tr.Len()+1 {
		t.Errorf("read %d nodes of %d", got, tr.Len())
	}
}

// debugfs, which has a reader of its own, takes everything out as it was.
func TestDebugfs(t *testing.T) {
	t.Parallel()
	tr := newTree(t, slices.Concat(nodesOf(cacheTree(t)), nodesOf(dirsTree(t, 300, 3000)),
		[]tree.Node{{Path: "link", Mode: fs.ModeSymlink | 0o777, Link: strings.Repeat("x/", 1000)}, {Path: "short", Mode: fs.ModeSymlink | 0o777, Link: "link"}})...)
	name, _ := write(t, tr, options)
	to := t.TempDir()
	if out, err := exec.Command(tooltest.Need(t, "debugfs"), "-R", "rdump / "+to, name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for n := range tr.All() {
		path := filepath.Join(to, n.Path)
		switch n.Mode.Type() {
		case fs.ModeSymlink:
			if link, err := os.Readlink(path); err != nil || link != n.Link {
				t.Errorf("%s: link %q (%v)", n.Path, link, err)
			}
		case 0:
			got, err := os.ReadFile(path)
			want, err2 := tree.ReadAll(n.Content)
			if err != nil || err2 != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes of %d (%v, %v)", n.Path, len(got), len(want), err, err2)
			}
		}
	}
}

func nodesOf(tr *tree.Tree) (nodes []tree.Node) {
	for n := range tr.All() {
		if n.Path != tree.Root {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// What dumpe2fs says of an image cache is as we know it.
func TestTranscript(t *testing.T) {
	t.Parallel()
	o := options
	o.Size = 260 * mib
	name, _ := write(t, cacheTree(t), o)
	_, got, _ := strings.Cut(tooltest.Run(t, "dumpe2fs", name), "\n") // without its version
	b, err := os.ReadFile("testdata/cache-260MiB.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, want, _ := strings.Cut(string(b), "\n") // without the command
	if strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("testdata/cache-260MiB.txt differs; got:\n%s", got)
	}
}

// mkfs makes an image of a size, at the time "when".
func mkfs(t testing.TB, size int64, args ...string) string {
	t.Helper()
	name := formattest.Empty(t, "mkfs.img", size)
	cmd := exec.Command(tooltest.Need(t, "mkfs.ext4"), append(append([]string{"-q", "-F"}, args...), name)...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("E2FSPROGS_FAKE_TIME=%d", when.Unix()))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4 %q: %v\n%s", args, err, out)
	}
	return name
}

// An empty image is mkfs.ext4's, byte for byte. What differs: mkfs.ext4 counts what it has written, and gives inode 1,
// which stands for bad blocks, the time.
func TestSameAsMkfs(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{mib, 64 * mib, 129 * mib, 131 * mib, 389 * mib} {
		o := options
		o.Size, o.ModTime = size, when.Truncate(time.Second)
		root := tree.Node{Path: tree.Root, Mode: fs.ModeDir | 0o755, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), ModTime: o.ModTime}
		ours, img := write(t, newTree(t, root), o)
		theirs := mkfs(t, size, "-b", "4096", "-m", "0", "-L", "IMAGECACHE", "-U", uuidText, "-N", fmt.Sprint(img.g.inodes*img.g.groups),
			"-O", "^has_journal,^resize_inode,^flex_bg", "-E", "lazy_itable_init=0,root_owner,hash_seed="+uuidText)
		a, b := blocksOf(t, ours), blocksOf(t, theirs)
		for at := int64(0); at < img.g.blocks; at++ {
			ours, theirs := a(at), b(at)
			if at%groupBlocks == 0 && hasSuper(at/groupBlocks) {
				super := theirs[map[bool]int{true: 1024}[at == 0]:][:1024]
				clear(super[0x178:0x180])
				le.PutUint32(super[superCRC:], superSum(super))
			}
			if at == img.g.bitmaps(0)+2 {
				clear(ours[:inodeSize])
				clear(theirs[:inodeSize])
			}
			for i := range ours {
				if ours[i] != theirs[i] {
					t.Fatalf("%d bytes: block %d byte %#x: ours %#x, theirs %#x", size, at, i, ours[i], theirs[i])
				}
			}
		}
	}
}

// blocksOf reads blocks of a file.
func blocksOf(t testing.TB, name string) func(int64) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	b := make([]byte, blockSize)
	return func(at int64) []byte {
		if _, err := f.ReadAt(b, at*blockSize); err != nil {
			t.Fatal(err)
		}
		return b
	}
}

// The greatest image: in memory, since it is nearly empty.
func TestGreatest(t *testing.T) {
	t.Parallel()
	tail := tree.Concat(tree.Zeros(7<<40), tree.String("the end"))
	tr := newTree(t, file("a", "first"), tree.Node{Path: "big", Content: tail}, file("z", "last"))
	img, err := Plan(tr, Options{Size: Most, UUID: cacheUUID})
	if err != nil {
		t.Fatal(err)
	}
	s := formattest.InMemory(t, img)
	if copies := int64(len(s)) - 2*img.g.groups; copies > 30*img.g.descriptors {
		t.Errorf("%d blocks written besides the bitmaps", copies)
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
}

// One over each limit is refused with a reason.
func TestRefused(t *testing.T) {
	t.Parallel()
	node := func(change func(*tree.Node)) *tree.Tree {
		n := file("x", "x")
		change(&n)
		return newTree(t, n)
	}
	many := func(n int, each func(i int) tree.Node) *tree.Tree {
		nodes := []tree.Node{file("first", "x")}
		for i := range n {
			nodes = append(nodes, each(i))
		}
		return newTree(t, nodes...)
	}
	name := func(i int) tree.Node {
		return tree.Node{Path: fmt.Sprintf("x%d", i), Link: "first", Content: tree.String("x")}
	}
	for _, c := range []struct {
		name string
		tree *tree.Tree
		o    func(*Options)
		want string // "" where it is just within the limit
	}{
		{"least size", nil, func(o *Options) { o.Size = mib }, ""},
		{"a block less", nil, func(o *Options) { o.Size = mib - 4096 }, "from 1048576 (1 MiB) to 8796093022208 (8 TiB); the least size is 1048576 bytes (1 MiB)"},
		{"half a block", nil, func(o *Options) { o.Size = mib + 2048 }, "not a multiple of 4096"},
		{"greatest size", nil, func(o *Options) { o.Size = 8 << 40 }, ""},
		{"a block more", nil, func(o *Options) { o.Size = 8<<40 + 4096 }, "(8 TiB)"},
		{"label of 16", nil, func(o *Options) { o.Label = "sixteen-letters!" }, ""},
		{"label of 17", nil, func(o *Options) { o.Label = "seventeen-letters" }, "17 bytes, ext4 holds 16"},
		{"label with a blank", nil, func(o *Options) { o.Label = "a b" }, "only visible ASCII"},
		{"no UUID", nil, func(o *Options) { o.UUID = [16]byte{} }, "UUID: is zero"},
		{"no time", nil, func(o *Options) { o.ModTime = time.Time{} }, ""},
		{"made in 1969", nil, func(o *Options) { o.ModTime = time.Unix(-1, 0) }, "time 1969-12-31 of the file system: ext4 holds those from 1970-01-01"},
		{"made in 2310", nil, func(o *Options) { o.ModTime = time.Unix(maxTime, 0) }, ""},
		{"made after", nil, func(o *Options) { o.ModTime = time.Unix(maxTime+1, 0) }, "time 2310-04-04 of the file system"},
		{"name of 255", node(func(n *tree.Node) { n.Path = strings.Repeat("n", 255) }), nil, ""},
		{"name of 256", node(func(n *tree.Node) { n.Path = strings.Repeat("n", 256) }), nil, "name of 256 bytes, ext4 holds 255"},
		{"target of 4095", newTree(t, tree.Node{Path: "l", Mode: fs.ModeSymlink, Link: strings.Repeat("l", 4095)}), nil, ""},
		{"target of 4096", newTree(t, tree.Node{Path: "l", Mode: fs.ModeSymlink, Link: strings.Repeat("l", 4096)}), nil, "link target of 4096 bytes, ext4 holds 4095"},
		{"time after 2310", node(func(n *tree.Node) { n.ModTime = time.Unix(maxTime+1, 0) }), nil, "x: time 2310-04-04: ext4 holds"},
		{"time before 1901", node(func(n *tree.Node) { n.ModTime = time.Unix(-1<<31-1, 0) }), nil, "time 1901-12-13"},
		{"xattr", node(func(n *tree.Node) { n.Xattrs = map[string][]byte{"user.x": nil} }), nil, "x: extended attributes are not supported"},
		{"major", newTree(t, tree.Node{Path: "d", Mode: fs.ModeDevice, Major: maxMajor + 1}), nil, "d: device 4096:0: ext4 holds up to 4095:1048575"},
		{"minor", newTree(t, tree.Node{Path: "d", Mode: fs.ModeDevice, Minor: maxMinor + 1}), nil, "device 0:1048576"},
		{"irregular", newTree(t, tree.Node{Path: "d", Mode: fs.ModeIrregular}), nil, "d: ext4 has no files of type ?---------"},
		{"lost+found", newTree(t, file(lostName, "x")), nil, "lost+found: has to be a directory"},
		{"lost+found below", newTree(t, file("a/lost+found", "x")), nil, ""},
		{"64999 subdirectories", many(64999, func(i int) tree.Node { return dir(fmt.Sprintf("d/%d", i)) }), nil, "d: 64999 subdirectories, ext4"},
		{"65000 names", many(64999, name), nil, ""},
		{"65001 names", many(65000, name), nil, "first: 65001 names, ext4 holds 65000"},
		{"inodes of a group", many(32768-10-2, func(i int) tree.Node { return file(fmt.Sprint(i), "") }), func(o *Options) { o.Size = 128 * mib }, ""},
		{"one more", many(32768-10-1, func(i int) tree.Node { return file(fmt.Sprint(i), "") }), func(o *Options) { o.Size = 128 * mib }, "no room for 32769 inodes; the least size is"},
		{"much", node(func(n *tree.Node) { n.Content = tree.Zeros(1 << 30) }), nil,
			"lay out ext4 in 67108864 bytes: no room for x: the files have 1073741824 bytes, the largest (x) 1073741824; the least size is 1093664768 bytes (1043 MiB)"},
		{"more than most", node(func(n *tree.Node) { n.Content = tree.Zeros(8 << 40) }), func(o *Options) { o.Size = Most }, "no room for x"},
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

// Directories at their limits, of which no tree is made.
func TestDirLimits(t *testing.T) {
	t.Parallel()
	if err := checkDir(64998, 1<<31-blockSize); err != nil {
		t.Error(err)
	}
	if err := checkDir(64999, blockSize); err == nil || !strings.Contains(err.Error(), "64999 subdirectories, ext4 without an index holds 64998") {
		t.Error(err)
	}
	if err := checkDir(0, 1<<31); err == nil || !strings.Contains(err.Error(), "directory of 2147483648 bytes, ext4 holds 2147483647") {
		t.Error(err)
	}
}

// The least size is enough, and a MiB less is not.
func TestMinSize(t *testing.T) {
	t.Parallel()
	for _, content := range []int64{0, 90 * mib, 120 * mib, 125 * mib, 126 * mib, 127 * mib, 5 << 30, 300 << 30, 6 << 40} {
		tr := newTree(t, tree.Node{Path: "x", Content: tree.Zeros(content)}, file("a/b/c", "d"))
		o := options
		var err error
		if o.Size, err = MinSize(tr, o); err != nil {
			t.Fatal(err)
		}
		if o.Size > content+content/40+2*mib {
			t.Errorf("%d bytes of content take %d", content, o.Size)
		}
		for _, more := range []int64{0, mib, 2 * mib, 3 * mib, 128 * mib} {
			greater := o
			greater.Size += more
			if _, err := Plan(tr, greater); err != nil {
				t.Errorf("least size and %d: %v", more, err)
			}
		}
		least := fmt.Sprintf("the least size is %d bytes", o.Size)
		o.Size -= mib
		if _, err := Plan(tr, o); o.Size > 0 && (err == nil || !strings.Contains(err.Error(), least)) {
			t.Errorf("%d bytes of content: %s, a MiB less: %v", content, least, err)
		}
	}
	if _, err := MinSize(newTree(t, tree.Node{Path: "x", Content: tree.Zeros(Most)}), options); err == nil || !strings.Contains(err.Error(), "measure ext4: no room for x") {
		t.Error(err)
	}
}

// More space always holds as much: no size fails above one that does not.
func TestMoreSpaceHoldsMore(t *testing.T) {
	t.Parallel()
	for _, inodes := range []int64{10, 9000, 17_000, 33_000, 100_000, 140_000} {
		last, at := int64(-1), int64(0)
		for size := int64(Least); size < 1400*mib; size += 256 << 10 {
			g, err := newGeometry(size, inodes)
			if err != nil && last < 0 {
				continue
			}
			room := int64(0)
			for i := range g.groups {
				room += g.length(i) - g.head(i)
			}
			if err != nil || room < last {
				t.Fatalf("%d inodes: %d bytes have room for %d blocks (%v), %d bytes for %d", inodes, size, room, err, at, last)
			}
			last, at = room, size
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
		if err := img.Write(formattest.Discard{}); err == nil || !strings.Contains(err.Error(), "write ext4 x: ") {
			t.Errorf("lie %d: %v", lie, err)
		}
	}
}

// A writer that fails is heard, wherever it does.
func TestWriteFails(t *testing.T) {
	t.Parallel()
	o := options
	o.Size = 400 * mib
	img, err := Plan(newTree(t, file("a", "x"), tree.Node{Path: "l", Mode: fs.ModeSymlink, Link: strings.Repeat("l", 100)}), o)
	if err != nil {
		t.Fatal(err)
	}
	full := errors.New("disk full")
	for n := range 100 {
		w := &failing{left: n, err: full}
		err := img.Write(w)
		if err == nil {
			if n < 8 {
				t.Errorf("only %d writes", n)
			}
			return
		}
		if !errors.Is(err, full) || !strings.HasPrefix(err.Error(), "write ext4") {
			t.Error(err)
		}
	}
	t.Error("never done")
}

type failing struct {
	left int
	err  error
}

func (f *failing) WriteAt(b []byte, _ int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, f.err
	}
	return len(b), nil
}

// The bytes of a known tree. Where they change on purpose, raise Version.
func TestVersion(t *testing.T) {
	t.Parallel()
	img, err := Plan(cacheTree(t), options)
	if err != nil {
		t.Fatal(err)
	}
	s := formattest.InMemory(t, img)
	const want = "version 1: ea1e26fbb12d0027119ecfecc509ef5e7180760635b45696c5b5c0f9d9db7c73"
	if got := fmt.Sprintf("version %s: %s", Version, s.Sum()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// BenchmarkCache writes an IMAGECACHE partition with 2 GiB of layers to a file, beside which BenchmarkCopy copies them. What is
// allocated in all is more than the memory in use at any time.
func BenchmarkCache(b *testing.B) {
	tr, size := benchTree(b)
	b.SetBytes(size)
	b.ReportAllocs()
	name := filepath.Join(b.TempDir(), "ext4.img")
	for b.Loop() {
		img, err := Plan(tr, Options{Size: 64 << 30, Label: "IMAGECACHE", UUID: cacheUUID})
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
		for n := range tr.All() {
			if !n.Mode.IsRegular() {
				continue
			}
			from, _ := tree.HostPath(n.Content)
			if out, err := exec.Command("cp", "--reflink=never", from, filepath.Join(dir, n.Name())).CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
	}
}

// benchTree has 64 layers of 32 MiB.
func benchTree(b *testing.B) (tr *tree.Tree, size int64) {
	dir := b.TempDir()
	data := make([]byte, 32*mib)
	rnd := rand.NewChaCha8([32]byte{})
	var nodes []tree.Node
	for i := range 64 {
		name := filepath.Join(dir, fmt.Sprint(i))
		_, _ = rnd.Read(data)
		if err := os.WriteFile(name, data, 0o600); err != nil {
			b.Fatal(err)
		}
		blob, err := tree.File(name)
		if err != nil {
			b.Fatal(err)
		}
		nodes = append(nodes, tree.Node{Path: fmt.Sprintf("blob/sha256-%d", i), Mode: 0o644, Content: blob})
		size += blob.Size()
	}
	return newTree(b, nodes...), size
}
