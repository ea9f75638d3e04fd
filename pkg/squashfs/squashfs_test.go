package squashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/pkg/tree"
)

func mustTree(t testing.TB, nodes ...tree.Node) *tree.Tree {
	t.Helper()
	tr, err := tree.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func mustWrite(t testing.TB, tr *tree.Tree, o Options) []byte {
	t.Helper()
	var m formattest.Memory
	size, err := Write(&m, tr, o)
	if err != nil {
		t.Fatal(err)
	}
	if size != int64(len(m)) || size%4096 != 0 {
		t.Fatalf("Write returned size %d, wrote %d bytes", size, len(m))
	}
	return m
}

func mustRead(t testing.TB, img []byte) *tree.Tree {
	t.Helper()
	r, err := NewReader(bytes.NewReader(img))
	if err != nil {
		t.Fatal(err)
	}
	tr, err := r.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func regular(path string, content []byte) tree.Node {
	return tree.Node{Path: path, Mode: 0o644, Content: tree.Bytes(content)}
}

// noise is incompressible, text is compressible.
func noise(n int) []byte {
	p := make([]byte, n)
	rand.New(rand.NewSource(int64(n))).Read(p)
	return p
}

func text(n int) []byte {
	r := rand.New(rand.NewSource(int64(n)))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "line %d of %x\n", r.Intn(1000), r.Intn(1<<16))
	}
	return b.Bytes()[:n]
}

const testBlock = 4096

// sampleNodes has every kind of node, and every way to store a file in blocks of 4096 bytes.
func sampleNodes() []tree.Node {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	label := map[string][]byte{"security.selinux": []byte("system_u:object_r:bin_t:s0")}
	many := map[string][]byte{
		"user.a": []byte("1"), "user.long": noise(3000), "user.empty": {}, "trusted.overlay.opaque": []byte("y"),
		"security.capability": slices.Concat([]byte{1, 0, 0, 2, 0, 4}, make([]byte, 14)),
	}
	middle := slices.Concat(text(2*testBlock), make([]byte, 2*testBlock), text(testBlock+1))
	nodes := []tree.Node{
		{Path: ".", Mode: fs.ModeDir | 0o755, ModTime: at(5), Xattrs: label},
		{Path: "dev", Mode: fs.ModeDir | 0o700, UID: 1, GID: 2},
		{Path: "dev/block", Mode: fs.ModeDevice | 0o660, Major: 259, Minor: 70000, GID: 6},
		{Path: "dev/block-x", Mode: fs.ModeDevice | 0o660, Major: maxMajor, Minor: maxMinor, Xattrs: label},
		{Path: "dev/char", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Major: 1, Minor: 3},
		{Path: "dev/char-x", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Major: 10, Minor: 255, Xattrs: label},
		{Path: "dev/fifo", Mode: fs.ModeNamedPipe | 0o600},
		{Path: "dev/fifo-x", Mode: fs.ModeNamedPipe | 0o600, Xattrs: label},
		{Path: "dev/socket", Mode: fs.ModeSocket | 0o777},
		{Path: "dev/socket-x", Mode: fs.ModeSocket | 0o777, Xattrs: label},
		{Path: "empty", Mode: fs.ModeDir | 0o755},
		{Path: "empty-x", Mode: fs.ModeDir | 0o755, Xattrs: many},
		{Path: "tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777, ModTime: at(1<<32 - 1)},

		regular("size/0", nil), regular("size/1", []byte("x")),
		regular("size/block-1", text(testBlock-1)), regular("size/block", text(testBlock)),
		regular("size/block+1", text(testBlock+1)), regular("size/noise", noise(3*testBlock)), regular("size/noise+", noise(3*testBlock+100)),
		regular("size/text", text(100_000)),
		regular("hole/all", make([]byte, 4*testBlock)), regular("hole/all+1", make([]byte, 4*testBlock+1)),
		regular("hole/small", make([]byte, 10)),
		regular("hole/middle", middle), regular("hole/start", slices.Concat(make([]byte, 3*testBlock), text(testBlock))),
		regular("hole/end", slices.Concat(text(testBlock), make([]byte, 3*testBlock))),
		{Path: "hole/x", Mode: 0o600, Content: tree.Bytes(middle), Xattrs: many},

		regular("same/a", text(3*testBlock+7)), regular("same/b", text(3*testBlock+7)), regular("same/c", text(50)), regular("same/d", text(50)),
		regular("same/other", noise(3*testBlock+7)), regular("same/other-small", noise(50)),

		{Path: "mode/suid", Mode: fs.ModeSetuid | 0o755, Content: tree.String("u"), UID: 1<<32 - 1, GID: 1 << 31, ModTime: at(1234567890)},
		{Path: "mode/sgid", Mode: fs.ModeSetgid | 0o755, Content: tree.String("g"), UID: 65536},
		{Path: "mode/none", Mode: 0, Content: tree.String("n"), Xattrs: label},

		{Path: "link/sym", Mode: fs.ModeSymlink | 0o777, Link: "../size/text"},
		{Path: "link/sym-x", Mode: fs.ModeSymlink | 0o777, Link: "/absolute", Xattrs: label, ModTime: at(77)},
		{Path: "link/sym-long", Mode: fs.ModeSymlink | 0o777, Link: strings.Repeat("l", maxLink)},
		{Path: "link/hard-1", Mode: 0o755, Content: tree.Bytes(text(9000)), UID: 3, ModTime: at(99)},
		{Path: "names/ü-→-\x01-\"", Mode: 0o644, Content: tree.String("name")},
		{Path: "names/" + strings.Repeat("n", maxName), Mode: 0o644, Content: tree.String("long")},
		{Path: "names", Mode: fs.ModeDir | 0o2755},
		{Path: "names-x/a/b/c/d/e", Mode: fs.ModeDir | 0o755},
	}
	nodes[len(nodes)-2].Mode = fs.ModeDir | fs.ModeSetgid | 0o755
	for _, p := range []string{"link/hard-2", "z/y/hard-3"} {
		n := nodes[slices.IndexFunc(nodes, func(n tree.Node) bool { return n.Path == "link/hard-1" })]
		n.Path, n.Link = p, "link/hard-1"
		nodes = append(nodes, n)
	}
	for i := range 1500 { // a listing of many metadata blocks: needs an index
		nodes = append(nodes, regular(fmt.Sprintf("many/%04d-%s", i, strings.Repeat("m", i%80)), fmt.Append(nil, i)))
	}
	return nodes
}

func sample(t testing.TB) *tree.Tree { return mustTree(t, sampleNodes()...) }

// sameTree compares all that two trees say.
func sameTree(t testing.TB, got, want *tree.Tree) {
	t.Helper()
	if g, w := paths(got), paths(want); !slices.Equal(g, w) {
		t.Fatalf("paths differ: got %d, want %d\n%q\n%q", len(g), len(w), g, w)
	}
	for w := range want.All() {
		g, _ := got.Lookup(w.Path)
		if w.ModTime.IsZero() {
			w.ModTime = time.Unix(0, 0)
		}
		if g.Mode != w.Mode || g.UID != w.UID || g.GID != w.GID || g.Link != w.Link || !g.ModTime.Equal(w.ModTime) ||
			w.Mode&fs.ModeDevice != 0 && (g.Major != w.Major || g.Minor != w.Minor) || !maps.EqualFunc(g.Xattrs, w.Xattrs, bytes.Equal) {
			g.Content, w.Content = nil, nil
			t.Errorf("%s:\ngot  %+v\nwant %+v", w.Path, g, w)
			continue
		}
		if w.Mode.IsRegular() {
			sameContent(t, w.Path, g.Content, w.Content)
		}
	}
}

func sameContent(t testing.TB, path string, got, want tree.Blob) {
	t.Helper()
	g, err := tree.ReadAll(got)
	if err != nil {
		t.Errorf("%s: %v", path, err)
	}
	w, err := tree.ReadAll(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(g, w) {
		t.Errorf("%s: content differs: got %d bytes, want %d", path, len(g), len(w))
	}
}

func paths(t *tree.Tree) (p []string) {
	for n := range t.All() {
		p = append(p, n.Path)
	}
	return p
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	want := sample(t)
	for _, o := range []Options{
		{},
		{BlockSize: testBlock},
		{BlockSize: testBlock, Level: 1},
		{BlockSize: testBlock, Thrifty: true},
		{BlockSize: 128 << 10, Level: 3, Workers: 1},
		{BlockSize: 1 << 20, Level: 2},
		{Compression: XZ, BlockSize: testBlock},
		{Compression: XZ, BlockSize: 128 << 10},
	} {
		t.Run(fmt.Sprintf("%s-%d-%d-%t", o.Compression, o.BlockSize, o.Level, o.Thrifty), func(t *testing.T) {
			t.Parallel()
			img := mustWrite(t, want, o)
			sameTree(t, mustRead(t, img), want)
			// What was read can be written, and gives the same image.
			if again := mustWrite(t, mustRead(t, img), o); !bytes.Equal(again, img) {
				t.Error("the tree that was read makes another image")
			}
		})
	}
}

func TestEmptyTree(t *testing.T) {
	t.Parallel()
	img := mustWrite(t, mustTree(t), Options{ModTime: time.Unix(1700000000, 0)})
	if len(img) != 4096 {
		t.Errorf("an empty image has %d bytes", len(img))
	}
	sameTree(t, mustRead(t, img), mustTree(t))
	r, err := NewReader(bytes.NewReader(img))
	if err != nil {
		t.Fatal(err)
	}
	if !r.ModTime().Equal(time.Unix(1700000000, 0)) || r.BlockSize() != DefaultBlockSize || r.Compression() != ZSTD || r.Size() > 4096 {
		t.Errorf("%v, %d, %s, %d bytes", r.ModTime(), r.BlockSize(), r.Compression(), r.Size())
	}
}

// The bytes depend neither on the number of workers nor on what an encoder compressed before.
func TestDeterminism(t *testing.T) {
	t.Parallel()
	nodes := sampleNodes()
	for i := range 10 {
		nodes = append(nodes, regular(fmt.Sprintf("more/%d", i), text(100_000+i%3)))
	}
	tr := mustTree(t, nodes...)
	for c, counts := range map[Compression][]int{ZSTD: {1, 2, 9, 1}, XZ: {1, 3}} {
		var want []byte
		for _, workers := range counts {
			got := mustWrite(t, tr, Options{Compression: c, BlockSize: 32 << 10, Workers: workers})
			if want == nil {
				want = got
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: another image with %d workers", c, workers)
			}
		}
	}
}

func TestStoredOnce(t *testing.T) {
	t.Parallel()
	a, b, small := noise(50_000), noise(60_000), noise(300)
	once := mustWrite(t, mustTree(t, regular("a", a), regular("b", b), regular("s", small)), Options{BlockSize: testBlock})
	twice := mustWrite(t, mustTree(t, regular("a", a), regular("b", b), regular("s", small),
		regular("a2", a), regular("b2", b), regular("s2", small), regular("zeros", make([]byte, 10<<20))), Options{BlockSize: testBlock})
	if len(twice)-len(once) > 4096 {
		t.Errorf("duplicates and a hole of 10 MiB take %d bytes", len(twice)-len(once))
	}
}

func TestFS(t *testing.T) {
	t.Parallel()
	r, err := NewReader(bytes.NewReader(mustWrite(t, sample(t), Options{BlockSize: testBlock})))
	if err != nil {
		t.Fatal(err)
	}
	all, err := r.Tree()
	if err != nil {
		t.Fatal(err)
	}
	// TestFS opens every file, which neither devices nor links can be.
	files, err := all.Filter(func(n tree.Node) bool { return n.Mode.IsRegular() && !strings.Contains(n.Path, "many/1") })
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(files, paths(files)[1:]...); err != nil {
		t.Error(err)
	}
	if got, err := fs.ReadFile(r, "size/text"); err != nil || !bytes.Equal(got, text(100_000)) {
		t.Errorf("ReadFile: %d bytes, %v", len(got), err)
	}
	if got, err := r.ReadLink("link/sym"); err != nil || got != "../size/text" {
		t.Errorf("ReadLink: %q, %v", got, err)
	}
	if st, err := r.Lstat("link/sym"); err != nil || st.Mode() != fs.ModeSymlink|0o777 {
		t.Errorf("Lstat: %v, %v", st, err)
	}
	if f, err := r.Open("hole/middle"); err != nil {
		t.Error(err)
	} else if got, err := io.ReadAll(f); err != nil || len(got) != 5*testBlock+1 {
		t.Errorf("Open: %d bytes, %v", len(got), err)
	}
	if list, err := r.ReadDir("dev"); err != nil || len(list) != 8 {
		t.Errorf("ReadDir: %v, %v", list, err)
	}
	if _, err := r.Open("nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of what is not there: %v", err)
	}
}

// Contents can be read from anywhere, in any order, by many at once.
func TestReadAt(t *testing.T) {
	t.Parallel()
	want := slices.Concat(text(20*testBlock), make([]byte, 3*testBlock), noise(20*testBlock+77))
	for _, o := range []Options{{BlockSize: testBlock}, {BlockSize: 1 << 20}} {
		tr := mustRead(t, mustWrite(t, mustTree(t, regular("f", want)), o))
		n, _ := tr.Lookup("f")
		r := n.Content.(io.ReaderAt)
		for g := range 4 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				rnd := rand.New(rand.NewSource(int64(g)))
				for range 300 {
					off, size := rnd.Intn(len(want)), rnd.Intn(3*testBlock)
					p := make([]byte, size)
					n, err := r.ReadAt(p, int64(off))
					end := min(off+size, len(want))
					if !bytes.Equal(p[:n], want[off:end]) || (err == io.EOF) != (off+size > len(want)) || err != nil && err != io.EOF {
						t.Fatalf("ReadAt(%d bytes, %d): %d, %v", size, off, n, err)
					}
				}
			})
		}
		if n, err := r.ReadAt(make([]byte, 1), int64(len(want))); n != 0 || err != io.EOF {
			t.Errorf("ReadAt at the end: %d, %v", n, err)
		}
		if _, err := r.ReadAt(make([]byte, 1), -1); err == nil || err == io.EOF {
			t.Errorf("ReadAt(-1): %v", err)
		}
	}
}
