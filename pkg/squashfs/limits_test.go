package squashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/pkg/tree"
)

// What an image cannot hold is refused, with its name, the value and the limit; one less is taken.
func TestRefuses(t *testing.T) {
	t.Parallel()
	n := func(n tree.Node) tree.Node {
		if n.Path == "" {
			n.Path = "dir/node"
		}
		if n.Mode.IsRegular() {
			n.Content = tree.String("content")
		}
		return n
	}
	xattr := func(name string, size int) tree.Node {
		return n(tree.Node{Xattrs: map[string][]byte{name: make([]byte, size)}})
	}
	lots := func(names int) tree.Node { // each name takes 64 bytes
		set := map[string][]byte{}
		for i := range names {
			set[fmt.Sprintf("user.%058d", i)] = nil
		}
		return n(tree.Node{Xattrs: set})
	}
	device := func(major, minor uint32) tree.Node {
		return n(tree.Node{Mode: fs.ModeDevice, Major: major, Minor: minor})
	}
	for name, c := range map[string]struct {
		good, bad tree.Node
		says      []string // in the error
	}{
		"name": {
			n(tree.Node{Path: "d/" + strings.Repeat("n", 255)}), n(tree.Node{Path: "d/" + strings.Repeat("n", 256)}), []string{"256 bytes", "255"},
		},
		"link": {
			n(tree.Node{Mode: fs.ModeSymlink, Link: strings.Repeat("l", 4095)}), n(tree.Node{Mode: fs.ModeSymlink, Link: strings.Repeat("l", 4096)}),
			[]string{"4096 bytes", "4095"},
		},
		"late":   {n(tree.Node{ModTime: time.Unix(1<<32-1, 0)}), n(tree.Node{ModTime: time.Unix(1<<32, 0)}), []string{"2106-02-07T06:28:16Z"}},
		"early":  {n(tree.Node{ModTime: time.Unix(0, 0)}), n(tree.Node{ModTime: time.Unix(-1, 0)}), []string{"1969-12-31T23:59:59Z", "1970"}},
		"finer":  {n(tree.Node{ModTime: time.Unix(1, 0)}), n(tree.Node{ModTime: time.Unix(1, 1)}), []string{"00:00:01.000000001Z", "truncate"}},
		"major":  {device(1<<12-1, 0), device(1<<12, 0), []string{"4096:0", "4095:1048575"}},
		"minor":  {device(0, 1<<20-1), device(0, 1<<20), []string{"0:1048576", "4095:1048575"}},
		"mode":   {n(tree.Node{Mode: fs.ModeSticky}), n(tree.Node{Mode: fs.ModeAppend}), []string{"mode a"}},
		"type":   {n(tree.Node{Mode: fs.ModeNamedPipe}), n(tree.Node{Mode: fs.ModeIrregular}), []string{"mode ?"}},
		"prefix": {xattr("user.x", 1), xattr("system.posix_acl_access", 1), []string{`"system.posix_acl_access"`, "trusted.*", "remove"}},
		"rest":   {xattr("user.x", 1), xattr("user.", 1), []string{`"user."`}},
		"value":  {xattr("user.x", 64<<10), xattr("user.x", 64<<10+1), []string{`"user.x"`, "65537 bytes", "65536"}},
		"xname":  {xattr("user."+strings.Repeat("x", 250), 1), xattr("user."+strings.Repeat("x", 251), 1), []string{"256 bytes", "255"}},
		"xlist":  {lots(1024), lots(1025), []string{"65600 bytes", "65536"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sameTree(t, mustRead(t, mustWrite(t, mustTree(t, c.good), Options{BlockSize: testBlock, Level: 1})), mustTree(t, c.good))
			wantError(t, mustTree(t, c.bad), Options{}, append(c.says, c.bad.Path)...)
		})
	}
}

func wantError(t *testing.T, tr *tree.Tree, o Options, says ...string) {
	t.Helper()
	_, err := Write(formattest.Discard{}, tr, o)
	if err == nil {
		t.Fatal("no error")
	}
	for _, s := range append(says, "write squashfs") {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
}

func TestRefusesAllAtOnce(t *testing.T) {
	t.Parallel()
	wantError(t, mustTree(t,
		tree.Node{Path: "early", Mode: fs.ModeNamedPipe, ModTime: time.Unix(-1, 0)},
		tree.Node{Path: "late", Mode: fs.ModeNamedPipe, ModTime: time.Unix(1<<33, 0)},
	), Options{}, "early", "late")
}

func TestRefusesOwners(t *testing.T) {
	t.Parallel()
	owners := func(n int) *tree.Tree {
		nodes := []tree.Node{{Path: ".", Mode: fs.ModeDir, UID: 0, GID: 1}}
		for i := 2; i < n; i += 2 {
			nodes = append(nodes, tree.Node{Path: fmt.Sprint(i), Mode: fs.ModeNamedPipe, UID: uint32(i), GID: uint32(min(i+1, n-1))})
		}
		return mustTree(t, nodes...)
	}
	good := owners(65535)
	sameTree(t, mustRead(t, mustWrite(t, good, Options{Level: 1})), good)
	wantError(t, owners(65536), Options{Level: 1}, "65536 different", "65535")
}

func TestRefusesTables(t *testing.T) {
	t.Parallel()
	const limit = 1<<32 - 1
	if err := checkTables("d", limit-3, limit, limit); err != nil {
		t.Error(err)
	}
	for says, err := range map[string]error{
		"listing has 4294967293 bytes, squashfs takes 4294967292":         checkTables("d", limit-2, 0, 0),
		"directory table has 4294967296 bytes, squashfs takes 4294967295": checkTables("d", 0, limit+1, 0),
		"inode table has 4294967296 bytes, squashfs takes 4294967295":     checkTables("d", 0, 0, limit+1),
	} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v does not say %q", err, says)
		}
	}
}

func TestRefusesOptions(t *testing.T) {
	t.Parallel()
	for says, o := range map[string]Options{
		`compression "gzip"`:    {Compression: GZIP},
		`compression "lz4"`:     {Compression: "lz4"},
		"block size 2048":       {BlockSize: 2048},
		"block size 2097152":    {BlockSize: 2 << 20},
		"block size 5000":       {BlockSize: 5000},
		"block size -4096":      {BlockSize: -4096},
		"level 5":               {Level: 5},
		"level -1":              {Level: -1},
		"level 1":               {Level: 1, Compression: XZ},
		"level 3":               {Level: 3, Thrifty: true},
		"level 0":               {Thrifty: true, Compression: XZ},
		"workers -1":            {Workers: -1},
		"1969-12-31T23:59:59Z":  {ModTime: time.Unix(-1, 0)},
		"2106-02-07T06:28:16Z":  {ModTime: time.Unix(1<<32, 0)},
		"1970-01-01T00:00:00.5": {ModTime: time.Unix(0, 5e8)},
	} {
		wantError(t, mustTree(t), o, "options", says)
	}
}

// lying is a content that has other bytes than it announced.
type lying struct {
	size    int64
	content io.Reader
	err     error // of Open
}

func (l lying) Size() int64                  { return l.size }
func (l lying) Open() (io.ReadCloser, error) { return io.NopCloser(l.content), l.err }

var errTest = errors.New("no such luck")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errTest }

func TestBadContents(t *testing.T) {
	t.Parallel()
	big := noise(200_000)
	for name, c := range map[string]struct {
		blob lying
		says string
	}{
		"shorter":       {lying{size: 100_000, content: bytes.NewReader(big[:99_999])}, "ended after 99999 of 100000 bytes"},
		"longer":        {lying{size: 100_000, content: bytes.NewReader(big)}, "more than the 100000 bytes"},
		"longer-small":  {lying{size: 10, content: bytes.NewReader(big[:11])}, "more than the 10 bytes"},
		"empty":         {lying{size: 10, content: bytes.NewReader(nil)}, "ended after 0 of 10 bytes"},
		"not-empty":     {lying{size: 0, content: bytes.NewReader(big)}, "more than the 0 bytes"},
		"read":          {lying{size: 10, content: failing{}}, errTest.Error()},
		"read-late":     {lying{size: 100_000, content: io.MultiReader(bytes.NewReader(big[:50_000]), failing{})}, errTest.Error()},
		"read-end":      {lying{size: 100_000, content: io.MultiReader(bytes.NewReader(big[:100_000]), failing{})}, errTest.Error()},
		"open":          {lying{size: 10, content: bytes.NewReader(big), err: errTest}, errTest.Error()},
		"negative":      {lying{size: -1, content: bytes.NewReader(nil)}, "size is -1"},
		"huge-announce": {lying{size: 1 << 62, content: bytes.NewReader(big)}, "ended after 200000 of"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := tree.Node{Path: "bad/file", Content: c.blob}
			wantError(t, mustTree(t, n, regular("a", big), regular("z", big[:1000])), Options{BlockSize: testBlock, Level: 1}, "bad/file", c.says)
			if c.blob.size > 0 && c.blob.size < 1<<20 { // and where it is hashed, because another file has its size
				wantError(t, mustTree(t, n, regular("same", big[:c.blob.size])), Options{BlockSize: testBlock, Level: 1}, "bad/file")
			}
		})
	}
}

// full is a disk that has no more room.
type full struct {
	formattest.Memory
	room int64
}

func (f *full) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.room {
		return 0, errTest
	}
	return f.Memory.WriteAt(p, off)
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	tr := mustTree(t, regular("a", noise(300_000)), regular("b", noise(310_000)), regular("c", text(1000)))
	whole := int64(len(mustWrite(t, tr, Options{BlockSize: testBlock, Level: 1})))
	for room := int64(0); room < whole; room += 20_000 {
		w := &full{room: room}
		if size, err := Write(w, tr, Options{BlockSize: testBlock, Level: 1}); !errors.Is(err, errTest) || size != 0 {
			t.Errorf("with room for %d of %d bytes: size %d, error %v", room, whole, size, err)
		}
		if _, err := NewReader(bytes.NewReader(w.Memory)); err == nil {
			t.Errorf("with room for %d of %d bytes there is an image", room, whole)
		}
	}
}
