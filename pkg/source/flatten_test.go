package source

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/tree"
)

func flatten(t testing.TB, keep func(string) bool, tars ...[]byte) (*tree.Tree, error) {
	t.Helper()
	return Flatten(t.Context(), layers(tars...), keep, &memSpool{}, Limits{})
}

func TestFlatten(t *testing.T) {
	t.Parallel()
	under := func(prefixes ...string) func(string) bool {
		return func(p string) bool {
			return slices.ContainsFunc(prefixes, func(x string) bool { return strings.HasPrefix(p, x) })
		}
	}
	for _, c := range []struct {
		name   string
		layers [][]byte
		keep   func(string) bool
		want   string
	}{
		{"names are cleaned", [][]byte{tarOf("./", "./a=1", "/b=2", "c//d=3", "./e/./f=4")}, nil, "a=1\nb=2\nc/\nc/d=3\ne/\ne/f=4\n"},
		{"the last of duplicates wins", [][]byte{tarOf("a=1", "a=2", "b/", "b=3", "c=4", "c/", "c/d=5")}, nil, "a=2\nb=3\nc/\nc/d=5\n"},
		{"upper over lower", [][]byte{tarOf("a/", "a/x=1", "a/y=1"), tarOf("a/x=2")}, nil, "a/\na/x=2\na/y=1\n"},
		{"directory over directory keeps children", [][]byte{tarOf("a/", "a/x=1"), tarOf("a/")}, nil, "a/\na/x=1\n"},
		{"file over directory", [][]byte{tarOf("a/", "a/x=1"), tarOf("a=2")}, nil, "a=2\n"},
		{"directory over file", [][]byte{tarOf("a=1"), tarOf("a/", "a/x=2")}, nil, "a/\na/x=2\n"},
		{"directory over symbolic link", [][]byte{tarOf("d/", "a -> d"), tarOf("a/", "a/x=1")}, nil, "a/\na/x=1\nd/\n"},
		{"symbolic link over directory", [][]byte{tarOf("a/", "a/x=1", "d/"), tarOf("a -> d")}, nil, "a -> d\nd/\n"},
		{"whiteout of a file", [][]byte{tarOf("a=1", "b=2"), tarOf(".wh.a")}, nil, "b=2\n"},
		{"whiteout of a directory", [][]byte{tarOf("a/", "a/b/", "a/b/c=1", "d=2"), tarOf(".wh.a")}, nil, "d=2\n"},
		{"whiteout of nothing", [][]byte{tarOf("a=1"), tarOf(".wh.b", "c/.wh.d")}, nil, "a=1\n"},
		{"whiteout before its replacement", [][]byte{tarOf("a/", "a/x=1"), tarOf(".wh.a", "a/", "a/y=2")}, nil, "a/\na/y=2\n"},
		{"whiteout after its replacement", [][]byte{tarOf("a/", "a/x=1"), tarOf("a/", "a/y=2", ".wh.a")}, nil, "a/\na/y=2\n"},
		{"whiteout spares its own layer", [][]byte{tarOf("a=1"), tarOf("a=2", ".wh.a")}, nil, "a=2\n"},
		{"opaque directory", [][]byte{tarOf("a/", "a/x=1", "a/b/", "a/b/c=1"), tarOf("a/", "a/.wh..wh..opq", "a/y=2")}, nil, "a/\na/y=2\n"},
		{"opaque directory, marker last", [][]byte{tarOf("a/", "a/x=1", "a/b/", "a/b/c=1"), tarOf("a/", "a/b/d=2", "a/.wh..wh..opq")}, nil, "a/\na/b/\na/b/d=2\n"},
		{"opaque root", [][]byte{tarOf("a=1"), tarOf(".wh..wh..opq", "b=2")}, nil, "b=2\n"},
		{"opaque, then a third layer", [][]byte{tarOf("a/x=1"), tarOf("a/.wh..wh..opq", "a/y=2"), tarOf("a/.wh.y", "a/z=3")}, nil, "a/\na/z=3\n"},
		{"aufs notes are skipped", [][]byte{tarOf(".wh..wh.plnk/", ".wh..wh.plnk/1=x", ".wh..wh.aufs=y", "a=1")}, nil, "a=1\n"},
		{"hard link", [][]byte{tarOf("b=1", "a => b", "c => ./b")}, nil, "a=1\nb => a\nc => a\n"},
		{"hard link to a lower layer", [][]byte{tarOf("a=1"), tarOf("b => /a")}, nil, "a=1\nb => a\n"},
		{"hard link outlives its first name", [][]byte{tarOf("a=1", "b => a"), tarOf(".wh.a")}, nil, "b=1\n"},
		{"a rewritten file leaves its links", [][]byte{tarOf("a=1", "b => a"), tarOf("a=2")}, nil, "a=2\nb=1\n"},
		{"hard link to a symbolic link", [][]byte{tarOf("a -> /x", "b => a")}, nil, "a -> /x\nb -> /x\n"},
		{"below a symbolic link", [][]byte{tarOf("usr/", "usr/lib/", "lib -> usr/lib"), tarOf("lib/x=1", "lib/y => lib/x")}, nil,
			"lib -> usr/lib\nusr/\nusr/lib/\nusr/lib/x=1\nusr/lib/y => usr/lib/x\n"},
		{"below an absolute symbolic link", [][]byte{tarOf("usr/lib/", "a/", "a/lib -> /usr/lib"), tarOf("a/lib/x=1")}, nil,
			"a/\na/lib -> /usr/lib\nusr/\nusr/lib/\nusr/lib/x=1\n"},
		{"below a symbolic link to nowhere", [][]byte{tarOf("lib -> usr/lib"), tarOf("lib/x=1")}, nil, "lib -> usr/lib\nusr/\nusr/lib/\nusr/lib/x=1\n"},
		{"whiteout below a symbolic link", [][]byte{tarOf("usr/lib/x=1", "lib -> usr/lib"), tarOf("lib/.wh.x")}, nil, "lib -> usr/lib\nusr/\nusr/lib/\n"},
		{"links stay as they are", [][]byte{tarOf("a/", "a/b -> ../c", "d -> /etc/../x", "e -> nowhere")}, nil, "a/\na/b -> ../c\nd -> /etc/../x\ne -> nowhere\n"},
		{"long names", [][]byte{tarOf(strings.Repeat("d/", 60)+strings.Repeat("n", 200)+"=1", "l -> "+strings.Repeat("t", 300))},
			under("l", strings.Repeat("d/", 60)), longWant()},
		{"keep", [][]byte{tarOf("a/", "a/x=1", "b/", "b/y=2", "c=3")}, under("b/", "c"), "b/\nb/y=2\nc=3\n"},
		{"keep: no device where none is kept", [][]byte{tarHeaders(tar.Header{Typeflag: tar.TypeChar, Name: "dev/null"}, tar.Header{Typeflag: tar.TypeFifo, Name: "dev/p"},
			tar.Header{Name: "a", Uname: "1"})}, under("a"), "a=1\n"},
		{"a device that goes", [][]byte{tarHeaders(tar.Header{Typeflag: tar.TypeChar, Name: "null"}), tarOf(".wh.null", "a=1")}, nil, "a=1\n"},
		{"keep: a hard link whose first name is left out", [][]byte{tarOf("x/", "x/a=1", "x/b=2", "k/", "k/a => x/a", "k/b => x/b", "k/c => k/a")}, under("k/"),
			"k/\nk/a=1\nk/b=2\nk/c => k/a\n"},
		{"keep: an empty directory", [][]byte{tarOf("a/", "a/b/", "c/")}, func(p string) bool { return p == "a/b" }, "a/\na/b/\n"},
		{"empty layer", [][]byte{tarOf(), tarOf("a=1"), tarOf()}, nil, "a=1\n"},
		{"global headers", [][]byte{tarHeaders(tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}, tar.Header{Name: "a", Uname: "1"})}, nil, "a=1\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tr, err := flatten(t, c.keep, c.layers...)
			if err != nil {
				t.Fatal(err)
			}
			if got := list(t, tr); got != c.want {
				t.Errorf("tree:\n%swant:\n%s", got, c.want)
			}
		})
	}
}

func longWant() string {
	var b strings.Builder
	for i := range 60 {
		fmt.Fprintf(&b, "%s/\n", strings.Repeat("d/", i)+"d")
	}
	fmt.Fprintf(&b, "%s=1\n", strings.Repeat("d/", 60)+strings.Repeat("n", 200))
	fmt.Fprintf(&b, "l -> %s\n", strings.Repeat("t", 300))
	return b.String()
}

func TestFlattenMetadata(t *testing.T) {
	t.Parallel()
	when := time.Unix(1600000000, 123456789).UTC()
	tr, err := flatten(t, nil, tarHeaders(
		tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o1777, Uid: 5, ModTime: when, Format: tar.FormatPAX},
		tar.Header{Name: "su", Uname: "x", Mode: 0o6755, Uid: 1000, Gid: 4294967295, ModTime: when, Format: tar.FormatPAX, PAXRecords: map[string]string{
			"SCHILY.xattr.security.selinux": "system_u:object_r:bin_t:s0\x00", "SCHILY.xattr.security.capability": "\x01\x00", "other.key": "v"}},
		tar.Header{Typeflag: tar.TypeLink, Name: "su2", Linkname: "su"},
	))
	if err != nil {
		t.Fatal(err)
	}
	root, _ := tr.Lookup(tree.Root)
	if root.Mode != os.ModeDir|os.ModeSticky|0o777 || root.UID != 5 || !root.ModTime.Equal(when) {
		t.Errorf("root %v %d %v", root.Mode, root.UID, root.ModTime)
	}
	n, _ := tr.Lookup("su2")
	if n.Mode != os.ModeSetuid|os.ModeSetgid|0o755 || n.UID != 1000 || n.GID != 4294967295 || !n.ModTime.Equal(when) || n.Link != "su" {
		t.Errorf("su2: %v %d:%d %v link %q", n.Mode, n.UID, n.GID, n.ModTime, n.Link)
	}
	if len(n.Xattrs) != 2 || string(n.Xattrs["security.selinux"]) != "system_u:object_r:bin_t:s0\x00" || string(n.Xattrs["security.capability"]) != "\x01\x00" {
		t.Errorf("attributes %q", n.Xattrs)
	}
}

func compressed(t testing.TB, format string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch format {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "zstd":
		w, err = zstd.NewWriter(&out)
	case "xz":
		w, err = xz.NewWriter(&out)
	default:
		return b
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Every damage is an error that names the layer, in whatever way the layer is compressed.
func TestFlattenDamage(t *testing.T) {
	t.Parallel()
	good := tarOf("a="+strings.Repeat("some content ", 500), "b=2")
	for _, format := range []string{"none", "gzip", "zstd", "xz"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			b := compressed(t, format, good)
			if _, err := flatten(t, nil, b); err != nil {
				t.Fatal(err)
			}
			step := max(len(b)/97, 1)
			for cut := 0; cut < len(b)-1; cut += step {
				if format == "none" && cut >= len(good)-512 {
					break // one block of zeros is an end as well
				}
				_, err := flatten(t, nil, b[:cut])
				wantError(t, err, "flatten layer 1")
			}
			_, err := flatten(t, nil, append(slices.Clone(b), "garbage"...))
			wantError(t, err, "flatten layer 1")
			_, err = flatten(t, nil, compressed(t, format, append(slices.Clone(good), "garbage"...)))
			wantError(t, err, "flatten layer 1", "follow the end of the archive")
			if format != "none" {
				for i := range 40 {
					bad := slices.Clone(b)
					bad[len(bad)*(i+1)/42] ^= 0x10
					if tr, err := flatten(t, nil, bad); err == nil && list(t, tr) != list(t, must(flatten(t, nil, b))) {
						t.Errorf("flipped bit %d: another tree and no error", i)
					}
				}
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestFlattenDiffID(t *testing.T) {
	t.Parallel()
	b := tarOf("a=1")
	l := Content{Layer: Layer{Digest: "sha256:aa", DiffID: digestOf(b)}, Blob: tree.Bytes(compressed(t, "gzip", b))}
	if _, err := Flatten(t.Context(), []Content{l}, nil, &memSpool{}, Limits{}); err != nil {
		t.Error(err)
	}
	l.DiffID = digestOf(nil)
	_, err := Flatten(t.Context(), []Content{l}, nil, &memSpool{}, Limits{})
	if !errors.Is(err, ErrDigest) {
		t.Errorf("error %v, want ErrDigest", err)
	}
	wantError(t, err, "layer 1 (sha256:aa)", digestOf(b), digestOf(nil))
}

func TestFlattenRefuses(t *testing.T) {
	t.Parallel()
	h := func(h tar.Header) []byte { return tarHeaders(h) }
	xattrs := func(name string, n int) tar.Header {
		return tar.Header{Name: "a", PAXRecords: map[string]string{"SCHILY.xattr." + name: strings.Repeat("x", n)}}
	}
	var many []string
	for i := range 11 {
		many = append(many, fmt.Sprintf("f%d=", i))
	}
	small := Limits{Entries: 10, Bytes: 100_000, Metadata: 10_000, Depth: 5, Path: 300, Layers: 3}
	loop := tarOf("a -> b", "b -> a", "a/x=1")
	for _, c := range []struct {
		name   string
		layers [][]byte
		lim    Limits
		want   []string
	}{
		{"path out", [][]byte{tarOf("../a=1")}, Limits{}, []string{`entry "../a"`, `".."`}},
		{"path out, deep", [][]byte{tarOf("a/../../b=1")}, Limits{}, []string{`".."`}},
		{"path with dots that stays", [][]byte{tarOf("a/../b=1")}, Limits{}, []string{`".."`}},
		{"hard link out", [][]byte{tarOf("a => ../../etc/shadow")}, Limits{}, []string{`entry "a"`, "etc/shadow", `".."`}},
		{"hard link to nothing", [][]byte{tarOf("a => b")}, Limits{}, []string{`hard link to "b", which is not there`}},
		{"hard link to what comes later", [][]byte{tarOf("a => b", "b=1")}, Limits{}, []string{"not there"}},
		{"hard link to a directory", [][]byte{tarOf("b/", "a => b")}, Limits{}, []string{"is a directory"}},
		{"hard link below a file", [][]byte{tarOf("b=1", "a => b/c")}, Limits{}, []string{"not there"}},
		{"hard link to what is hidden", [][]byte{tarOf("b=1"), tarOf(".wh.b", "a => b")}, Limits{}, []string{"layer 2", "not there"}},
		{"symbolic link out", [][]byte{tarOf("a/", "a/b -> ../../c")}, Limits{}, []string{`"a/b"`, "above the root"}},
		{"symbolic link out and back", [][]byte{tarOf("b -> ../x/c")}, Limits{}, []string{"above the root"}},
		{"symbolic link loop", [][]byte{loop}, Limits{}, []string{"too many symbolic links"}},
		{"symbolic link without target", [][]byte{h(tar.Header{Typeflag: tar.TypeSymlink, Name: "a"})}, Limits{}, []string{"link target has 0 bytes"}},
		{"below a file", [][]byte{tarOf("a=1", "a/b=2")}, Limits{}, []string{`entry "a/b"`, `parent "a" is no directory`}},
		{"device", [][]byte{tarOf("x=1"), h(tar.Header{Typeflag: tar.TypeBlock, Name: "dev/sda"})}, Limits{}, []string{`"dev/sda"`, "block device"}},
		{"character device", [][]byte{h(tar.Header{Typeflag: tar.TypeChar, Name: "null"})}, Limits{}, []string{"character device"}},
		{"device number", [][]byte{h(tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1 << 32, Format: tar.FormatGNU})}, Limits{}, []string{`entry "null"`, "device 4294967296:0"}},
		{"pipe", [][]byte{h(tar.Header{Typeflag: tar.TypeFifo, Name: "p"})}, Limits{}, []string{"named pipe"}},
		{"entry type", [][]byte{h(tar.Header{Typeflag: 'Z', Name: "a"})}, Limits{}, []string{`entry type 'Z'`}},
		{"root as file", [][]byte{tarHeaders(tar.Header{Typeflag: tar.TypeSymlink, Name: "./", Linkname: "x"})}, Limits{}, []string{"root"}},
		{"whiteout of nothing", [][]byte{tarOf(".wh.")}, Limits{}, []string{"whiteout"}},
		{"whiteout of the directory", [][]byte{tarOf("a/", "a/.wh..")}, Limits{}, []string{"whiteout"}},
		{"whiteout of the parent", [][]byte{tarOf("a/", "a/.wh...")}, Limits{}, []string{"whiteout"}},
		{"below a whiteout", [][]byte{tarOf(".wh.a/b=1")}, Limits{}, []string{"whiteout"}},
		{"owner", [][]byte{h(tar.Header{Name: "a", Uid: 1 << 32, Format: tar.FormatPAX})}, Limits{}, []string{"owner 4294967296:0"}},
		{"no UTF-8", [][]byte{h(tar.Header{Name: "a\xff", Format: tar.FormatGNU})}, Limits{}, []string{"not UTF-8"}},
		{"no UTF-8 in a directory", [][]byte{h(tar.Header{Name: "a\xff/b", Format: tar.FormatGNU})}, Limits{}, []string{"not UTF-8"}},
		{"attribute value", [][]byte{h(xattrs("user.a", maxXattr+1))}, Limits{}, []string{"65537 bytes"}},
		{"attribute name", [][]byte{h(xattrs(strings.Repeat("n", 256), 1))}, Limits{}, []string{"name of 256"}},
		{"element", [][]byte{tarOf(strings.Repeat("n", 256) + "=1")}, Limits{}, []string{"256 bytes, limit 255"}},
		{"element of a link followed", [][]byte{tarOf("a -> "+strings.Repeat("n", 256), "a/b=1")}, Limits{}, []string{"256 bytes, limit 255"}},
		{"target", [][]byte{tarOf("a -> " + strings.Repeat("n/", 2049))}, Limits{}, []string{"4098 bytes, limit 1 to 4096"}},
		{"path", [][]byte{tarOf(strings.Repeat("abcdefghi/", 30) + "x=1")}, small, []string{"301 bytes, limit 300"}},
		{"depth", [][]byte{tarOf("1/2/3/4/5/6=x")}, small, []string{"6 elements, limit 5"}},
		{"depth through a link", [][]byte{tarOf("a -> 1/2/3/4/5", "a/6=x")}, small, []string{"6 elements, limit 5"}},
		{"entries", [][]byte{tarOf(many...)}, small, []string{"more than 10 entries"}},
		{"entries over layers", [][]byte{tarOf(many[:6]...), tarOf(many[:6]...)}, small, []string{"layer 2", "more than 10 entries"}},
		{"layers", [][]byte{tarOf(), tarOf(), tarOf(), tarOf()}, small, []string{"4 layers, limit 3"}},
		{"size", [][]byte{h(tar.Header{Name: "a", Uname: strings.Repeat("x", 100_001)})}, small, []string{`entry "a"`, "100001 bytes", "limit of 100000"}},
		{"sizes", [][]byte{tarOf("a="+strings.Repeat("x", 60_000), "b="+strings.Repeat("x", 60_000))}, small, []string{`entry "b"`}},
		{"metadata", [][]byte{h(xattrs("user.a", 10_001))}, small, []string{"more than 10000 bytes of paths"}},
		{"trailing zeros", [][]byte{append(tarOf("a=1"), make([]byte, 100_000)...)}, small, []string{"100000 uncompressed bytes"}},
		{"no tar", [][]byte{[]byte(strings.Repeat("this is no tar archive ", 100))}, Limits{}, []string{"layer 1", "entry 1"}},
		{"an empty file", [][]byte{{}}, Limits{}, []string{"truncated"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tr, err := Flatten(t.Context(), layers(c.layers...), nil, &memSpool{}, c.lim)
			if err == nil {
				err = Plain(tr)
			}
			wantError(t, err, c.want...)
		})
	}
}

// pattern is a stream of n bytes that costs no memory.
func pattern(n int64) io.Reader { return io.LimitReader(&patternReader{}, n) }

type patternReader struct{ n int }

// noise does not compress: it repeats beyond gzip's window only.
var noise = func() []byte {
	b, n := make([]byte, 64<<10), uint64(0)
	for i := 0; i < len(b); i += 8 {
		n = n*6364136223846793005 + 1442695040888963407
		binary.LittleEndian.PutUint64(b[i:], n)
	}
	return b
}()

func (p *patternReader) Read(b []byte) (int, error) {
	for i := 0; i < len(b); {
		k := copy(b[i:], noise[p.n:])
		i += k
		p.n = (p.n + k) % len(noise)
	}
	return len(b), nil
}

// streamed is a blob that a function writes each time it is opened.
type streamed struct{ write func(io.Writer) error }

func (s streamed) Size() int64 { return -1 }
func (s streamed) Open() (io.ReadCloser, error) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(s.write(w)) }()
	return r, nil
}

func bigLayer(size int64, content func() io.Reader) tree.Blob {
	return streamed{func(w io.Writer) error {
		tw := tar.NewWriter(w)
		if err := tw.WriteHeader(&tar.Header{Name: "big", Mode: 0o644, Size: size}); err != nil {
			return err
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{tw}, content(), make([]byte, 1<<20)); err != nil {
			return err
		}
		return tw.Close()
	}}
}

// discard is a spool that keeps nothing.
type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (discard) ReadAt([]byte, int64) (int, error)      { return 0, io.EOF }

// A layer streams: memory stays small whatever its size.
func TestFlattenMemory(t *testing.T) {
	const size = 300 << 20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	l := Content{Blob: bigLayer(size, func() io.Reader { return pattern(size) })}
	tr, err := Flatten(t.Context(), []Content{l}, nil, discard{}, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n, _ := tr.Lookup("big"); n.Size() != size {
		t.Errorf("size %d", n.Size())
	}
	// All that was ever allocated, whether collected or not.
	if got := after.TotalAlloc - before.TotalAlloc; got > 16<<20 {
		t.Errorf("%d MiB allocated for a layer of %d MiB", got>>20, size>>20)
	}
}

func TestFlattenBombs(t *testing.T) {
	t.Parallel()
	const size = 280 << 20
	zeros := func() io.Reader { return io.LimitReader(zeroReader{}, size) }
	for _, format := range []string{"gzip", "zstd"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			var w io.WriteCloser = must(gzip.NewWriterLevel(&b, gzip.BestSpeed))
			if format == "zstd" {
				w = must(zstd.NewWriter(&b, zstd.WithEncoderLevel(zstd.SpeedFastest)))
			}
			r := must(bigLayer(size, zeros).Open())
			if _, err := io.Copy(w, r); err != nil {
				t.Fatal(err)
			}
			w.Close()
			lim := Limits{Ratio: 100}
			_, err := Flatten(t.Context(), layers(b.Bytes()), nil, discard{}, lim)
			wantError(t, err, "layer 1", "100 times its compressed size")
		})
	}
	t.Run("sparse", func(t *testing.T) {
		t.Parallel()
		// One data byte after a hole of 8 GiB, as GNU tar's PAX 1.0 form has it.
		sparse := "1\n8589934591\n1\n"
		body := sparse + strings.Repeat("\x00", 512-len(sparse)) + "x"
		var b bytes.Buffer
		rawPAX(&b, map[string]string{"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "hole", "GNU.sparse.realsize": "8589934592"})
		b.Write(tarHeaders(tar.Header{Name: "hole", Uname: body, Format: tar.FormatUSTAR}))
		_, err := flatten(t, nil, b.Bytes())
		wantError(t, err, "layer 1", "250 times its compressed size")
	})
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// rawPAX writes an extended header that archive/tar's writer refuses.
func rawPAX(b *bytes.Buffer, records map[string]string) {
	var body strings.Builder
	for _, k := range slices.Sorted(maps.Keys(records)) {
		rest := " " + k + "=" + records[k] + "\n"
		n := len(rest) + 1
		for len(fmt.Sprint(n))+len(rest) != n {
			n++
		}
		fmt.Fprint(&body, n, rest)
	}
	x := tarHeaders(tar.Header{Typeflag: tar.TypeReg, Name: "x", Uname: body.String(), Format: tar.FormatUSTAR})
	x = x[:512+(body.Len()+511)&^511]
	x[156] = 'x'
	copy(x[148:], "        ")
	sum := 0
	for _, c := range x[:512] {
		sum += int(c)
	}
	copy(x[148:], fmt.Sprintf("%06o\x00 ", sum))
	b.Write(x)
}

func TestFlattenCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Flatten(ctx, layers(tarOf("a=1")), nil, &memSpool{}, Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// A directory is searched once a layer, however many whiteouts name it: else a small layer costs quadratic time.
func TestPruneOnce(t *testing.T) {
	t.Parallel()
	dir := &entry{inode: impliedDir(0), kids: map[string]*entry{}}
	lower := &entry{inode: &inode{}, layer: 0}
	for _, c := range []struct{ layer, left int }{{1, 0}, {1, 1}, {2, 0}} {
		dir.kids["never there after a search"] = lower
		prune(dir, c.layer)
		if len(dir.kids) != c.left {
			t.Errorf("after layer %d: %d entries, want %d", c.layer, len(dir.kids), c.left)
		}
	}
}

// GNU tar is the oracle: what it packs of a tree, and unpacks of ours, is what we read.
func TestFlattenGNUTar(t *testing.T) {
	t.Parallel()
	tooltest.Need(t, "tar")
	for _, format := range []string{"gnu", "posix", "ustar", "v7"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			deep := dir + "/in/usr/" + strings.Repeat("n", 80)
			for _, err := range []error{
				os.MkdirAll(deep, 0o755), os.WriteFile(deep+"/file", []byte("content"), 0o640), os.Link(deep+"/file", dir+"/in/hard"),
				os.Symlink("usr/x", dir+"/in/soft"), os.WriteFile(dir+"/in/tool", []byte("#!"), 0o755), os.Chmod(dir+"/in/tool", os.ModeSetuid|0o755),
				os.WriteFile(dir+"/in/sparse", nil, 0o644), os.Truncate(dir+"/in/sparse", 1<<20),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			args := []string{"-C", dir + "/in", "--format=" + format, "--sort=name", "--owner=7", "--group=8", "--mtime=@1500000000", "-cf", dir + "/x.tar", "."}
			if format == "gnu" || format == "posix" {
				args = append([]string{"-S"}, args...) // holes as such
			}
			tooltest.Run(t, "tar", args...)
			b, err := os.ReadFile(dir + "/x.tar")
			if err != nil {
				t.Fatal(err)
			}
			tr, err := flatten(t, nil, b)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for n := range tr.All() {
				fmt.Fprintf(&got, "%s %v %d:%d %d %d %q\n", n.Path, n.Mode, n.UID, n.GID, n.Size(), n.ModTime.Unix(), n.Link)
			}
			name := "usr/" + strings.Repeat("n", 80)
			want := ". drwxr-xr-x 7:8 0 1500000000 \"\"\n" +
				"hard -rw-r----- 7:8 7 1500000000 \"\"\n" +
				"soft Lrwxrwxrwx 7:8 0 1500000000 \"usr/x\"\n" +
				"sparse -rw-r--r-- 7:8 1048576 1500000000 \"\"\n" +
				"tool urwxr-xr-x 7:8 2 1500000000 \"\"\n" +
				"usr drwxr-xr-x 7:8 0 1500000000 \"\"\n" +
				name + " drwxr-xr-x 7:8 0 1500000000 \"\"\n" +
				name + "/file -rw-r----- 7:8 7 1500000000 \"hard\"\n"
			if got.String() != want {
				t.Errorf("tree:\n%swant:\n%s", got.String(), want)
			}
		})
	}
}

func BenchmarkFlatten(b *testing.B) {
	const files, size = 2000, 50_000
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	r := &patternReader{}
	chunk := make([]byte, size)
	for i := range files {
		r.Read(chunk[:size/2]) // the rest compresses
		w.WriteHeader(&tar.Header{Name: fmt.Sprintf("usr/lib/%d", i), Mode: 0o644, Size: size})
		w.Write(chunk)
	}
	w.Close()
	for _, format := range []string{"none", "gzip", "zstd"} {
		layer := layers(compressed(b, format, plain.Bytes()))
		for _, pack := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/pack=%v", format, pack), func(b *testing.B) {
				b.SetBytes(int64(plain.Len()))
				b.ReportAllocs()
				for b.Loop() {
					f := must(os.CreateTemp(b.TempDir(), ""))
					tr := must(Flatten(b.Context(), layer, nil, f, Limits{}))
					if pack {
						out := must(os.CreateTemp(b.TempDir(), ""))
						must(WritePack(out, tr))
						out.Close()
					}
					f.Close()
				}
			})
		}
	}
}

func FuzzFlatten(f *testing.F) {
	f.Add(tarOf("a/", "a/b=1", "l -> a", "l/c=2", "h => a/b"), tarOf("a/.wh.b", "a/.wh..wh..opq", "d -> /x"))
	f.Add(tarOf("a=1"), compressed(f, "gzip", tarOf(".wh.a", "a/b=2")))
	f.Add(tarHeaders(tar.Header{Name: "x", PAXRecords: map[string]string{"SCHILY.xattr.user.a": "v"}}), []byte{})
	lim := Limits{Entries: 1000, Bytes: 1 << 20, Metadata: 1 << 16, Path: 300, Depth: 20}
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		spool := &memSpool{}
		tr, err := Flatten(t.Context(), layers(lower, upper), nil, spool, lim)
		if err != nil {
			return
		}
		if len(*spool) > 1<<20 {
			t.Errorf("%d bytes spooled, over the limit", len(*spool))
		}
		digest, err := Digest(tr)
		if err != nil {
			t.Fatal(err)
		}
		var pack memSpool
		n, err := WritePack(&pack, tr)
		if err != nil {
			t.Fatal(err)
		}
		again, err := OpenPack(&pack, n)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := Digest(again); err != nil || d != digest {
			t.Errorf("pack has digest %s (%v), tree %s", d, err, digest)
		}
	})
}
