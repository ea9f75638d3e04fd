package source

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

func packOf(t testing.TB, tr *tree.Tree) []byte {
	t.Helper()
	var m memSpool
	n, err := WritePack(&m, tr)
	if err != nil {
		t.Fatal(err)
	}
	if n != int64(len(m)) {
		t.Fatalf("WritePack says %d bytes, wrote %d", n, len(m))
	}
	return m
}

// full is a tree with one of everything.
func full(t testing.TB) *tree.Tree {
	t.Helper()
	when := time.Unix(-5, 999)
	c := tree.String("content")
	x := map[string][]byte{"user.b": {}, "security.selinux": []byte("label\x00"), "user.a": {0, 255}}
	tr, err := tree.New([]tree.Node{
		{Path: ".", Mode: fs.ModeDir | fs.ModeSticky | 0o777, UID: 1<<32 - 1, ModTime: when},
		{Path: "a-b", Mode: 0o644, Content: tree.String(""), ModTime: when},
		{Path: "a", Mode: fs.ModeDir | 0o700, ModTime: when},
		{Path: "a/b", Mode: fs.ModeSetuid | fs.ModeSetgid | 0o755, Content: c, Xattrs: x, GID: 7, ModTime: when},
		{Path: "a/c", Mode: fs.ModeSetuid | fs.ModeSetgid | 0o755, Content: c, Xattrs: x, GID: 7, ModTime: when, Link: "a/b"},
		{Path: "d", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, Major: 1, Minor: 3, ModTime: when},
		{Path: "e", Mode: fs.ModeDevice | 0o600, Major: 8, Minor: 1 << 20, ModTime: when},
		{Path: "f", Mode: fs.ModeNamedPipe | 0o600, ModTime: when},
		{Path: "g", Mode: fs.ModeSocket | 0o600, ModTime: when},
		{Path: "h", Mode: fs.ModeSymlink | 0o777, Link: "/else where", ModTime: when},
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestPack(t *testing.T) {
	t.Parallel()
	tr := full(t)
	b := packOf(t, tr)
	if !strings.HasPrefix(string(b), "content\x01.") {
		t.Errorf("a hard link's content is there more than once, or is not at the start: %q", b[:20])
	}
	again, err := OpenPack(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := must(Digest(again)), must(Digest(tr)); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	if got := packOf(t, again); !bytes.Equal(got, b) {
		t.Error("the pack of the pack's tree has other bytes")
	}
	if n, _ := again.Lookup("a/c"); n.Link != "a/b" || string(must(tree.ReadAll(n.Content))) != "content" || len(n.Xattrs) != 3 {
		t.Errorf("a/c is %+v", n)
	}
	if n, _ := again.Lookup("h"); n.Link != "/else where" || n.ModTime.UnixNano() != -5e9+999 {
		t.Errorf("h is %+v", n)
	}
}

// The order of layers' entries leaves no trace: equal trees are equal packs.
func TestPackOrder(t *testing.T) {
	t.Parallel()
	one := must(flatten(t, nil, tarOf("d/", "a=1", "b=22", "c => b", "d/e=333")))
	two := must(flatten(t, nil, tarOf("x=gone", "b=other"), tarOf("d/", "d/e=333", "c=22", "b => c", "a=1", ".wh.x")))
	if a, b := packOf(t, one), packOf(t, two); !bytes.Equal(a, b) {
		t.Errorf("packs differ:\n%q\n%q", a, b)
	}
	three := must(flatten(t, nil, tarOf("d/", "a=1", "b=22", "c => b", "d/e=334")))
	if must(Digest(one)) == must(Digest(three)) {
		t.Error("other content, same digest")
	}
}

// The digest is part of lock files: it must never change by accident.
func TestDigestGolden(t *testing.T) {
	t.Parallel()
	const want = "sha256:5b48f6026205ee68af52bd2f5d692ad00b809d752c6269c22522be9e94728194"
	if got := must(Digest(full(t))); got != want {
		t.Errorf("digest %s, want %s: raise Version", got, want)
	}
}

func TestOpenPackDamage(t *testing.T) {
	t.Parallel()
	b := packOf(t, full(t))
	open := func(b []byte) (*tree.Tree, error) { return OpenPack(bytes.NewReader(b), int64(len(b))) }
	for cut := range len(b) {
		_, err := open(b[:cut])
		wantError(t, err, "open tree pack")
	}
	_, err := open(append(slices.Clone(b), 0))
	wantError(t, err, "magic")
	_, err = open(append([]byte{0}, b...))
	wantError(t, err, "does not fit")
	contents := binary.LittleEndian.Uint64(b[len(b)-packFooter:])
	for i := int(contents); i < len(b); i++ { // contents are the store's to check
		bad := slices.Clone(b)
		bad[i] ^= 0x04
		if _, err := open(bad); err == nil {
			t.Errorf("flipped byte %d of %d: no error", i, len(b))
		}
	}
}

// forge makes a pack of raw records with a footer that fits.
func forge(contents string, count int, records ...[]byte) []byte {
	index := slices.Concat(records...)
	b := append([]byte(contents), index...)
	for _, v := range []int{len(contents), len(index), count} {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	h := sha256.Sum256(index)
	return append(append(b, h[:]...), packMagic...)
}

func TestOpenPackHostile(t *testing.T) {
	t.Parallel()
	rec := func(n tree.Node) []byte { return must(record(nil, n)) }
	dir := func(p string) []byte { return rec(tree.Node{Path: p, Mode: fs.ModeDir | 0o755}) }
	file := func(p, c string) []byte { return rec(tree.Node{Path: p, Mode: 0o644, Content: tree.String(c)}) }
	link := rec(tree.Node{Path: "b", Mode: 0o644, Link: "a", Content: tree.String("xy")})
	long := file("f", "1")
	long = append(long[:len(long)-1], 0x81, 0x00) // the size 1 in two bytes
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"no root", forge("", 1, dir("a")), "out of order"},
		{"no record", forge("", 0), "belong to no record"},
		{"order", forge("", 3, dir("."), dir("b"), dir("a")), "out of order"},
		{"twice", forge("", 3, dir("."), dir("a"), dir("a")), "out of order"},
		{"missing parent", forge("", 2, dir("."), dir("a/b")), "no record"},
		{"path out", forge("", 2, dir("."), dir("../a")), "invalid tree"},
		{"below a file", forge("", 3, dir("."), file("a", ""), file("a/b", "")), "no directory"},
		{"beyond the contents", forge("x", 2, dir("."), file("a", "xy")), "beyond the contents"},
		{"contents left", forge("xyz", 2, dir("."), file("a", "xy")), "1 of the contents"},
		{"index left", forge("", 1, dir("."), dir("a")), "belong to no record"},
		{"too few records", forge("", 3, dir("."), dir("a")), "record 3"},
		{"hard link to nothing", forge("", 2, dir("."), link), "no earlier file"},
		{"hard link of another size", forge("x", 3, dir("."), file("a", "x"), link), "no earlier file"},
		{"directory with a size", forge("x", 1, append(dir(".")[:len(dir("."))-1], 1)), "has a size"},
		{"number in a longer form", forge("1", 2, dir("."), long), "size is broken"},
		{"unknown mode", forge("", 1, []byte{1, '.', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}), "mode 0 is unknown"},
		{"a path of claimed length", forge("", 1, []byte{0xff, 0xff, 0x03}), "cut off"},
		{"a path over the limit", forge("", 1, []byte{0xff, 0xff, 0x7f}), "above 65536"},
		{"many attributes", forge("", 1, append(dir(".")[:len(dir("."))-2], 0xff, 0xff, 0xff, 0xff, 0x7f)), "number of attributes"},
		{"attributes out of order", forge("", 1, append(dir(".")[:len(dir("."))-2], 2, 1, 'b', 0, 1, 'a', 0, 0)), "out of order"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := OpenPack(bytes.NewReader(c.b), int64(len(c.b)))
			wantError(t, err, "open tree pack", c.want)
		})
	}
}

func TestWritePackRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n    tree.Node
		want string
	}{
		{tree.Node{Path: "a", Mode: fs.ModeIrregular | 0o644}, "mode"},
		{tree.Node{Path: strings.Repeat("a", maxPackText+1), Mode: fs.ModeDir}, "more than 65536 bytes"},
		{tree.Node{Path: "a", Mode: fs.ModeSymlink, Link: strings.Repeat("a", maxPackText+1)}, "more than 65536 bytes"},
		{tree.Node{Path: "a", Mode: 0o644, Content: short{}}, "content ended after 3 of 4 bytes"},
	} {
		tr := must(tree.New([]tree.Node{c.n}))
		_, err := WritePack(&memSpool{}, tr)
		wantError(t, err, "write tree pack", c.want)
	}
}

// short is a blob that has less than it says.
type short struct{ tree.Blob }

func (short) Size() int64                  { return 4 }
func (short) Open() (io.ReadCloser, error) { return tree.String("abc").Open() }

func FuzzOpenPack(f *testing.F) {
	f.Add(packOf(f, full(f)))
	f.Add(packOf(f, must(flatten(f, nil, tarOf("a=1", "b => a")))))
	f.Fuzz(func(t *testing.T, b []byte) {
		// With the right hash in the footer, so that the index itself is tried.
		if n := len(b) - packFooter; n >= 0 {
			b = slices.Clone(b)
			off := binary.LittleEndian.Uint64(b[n:])
			if off <= uint64(n) {
				h := sha256.Sum256(b[off:n])
				copy(b[n+24:], h[:])
			}
		}
		tr, err := OpenPack(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if again := packOf(t, tr); !bytes.Equal(again, b) {
			t.Errorf("a pack that is not canonical was read: %q, want %q", b, again)
		}
	})
}
