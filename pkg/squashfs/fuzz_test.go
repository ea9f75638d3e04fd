package squashfs

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/pkg/tree"
)

// goldenTree is what the images in testdata hold.
func goldenTree(t testing.TB) *tree.Tree {
	label := map[string][]byte{"security.selinux": []byte("system_u:object_r:bin_t:s0")}
	return mustTree(t,
		tree.Node{Path: "bin", Mode: fs.ModeDir | 0o755, ModTime: time.Unix(1, 0)},
		tree.Node{Path: "bin/tool", Mode: 0o755, Content: tree.Bytes(text(9000)), ModTime: time.Unix(2, 0), Xattrs: label},
		tree.Node{Path: "bin/tool-2", Mode: 0o755, Content: tree.Bytes(text(9000)), ModTime: time.Unix(2, 0), Xattrs: label, Link: "bin/tool"},
		tree.Node{Path: "bin/link", Mode: fs.ModeSymlink | 0o777, Link: "tool", Xattrs: label},
		tree.Node{Path: "dev", Mode: fs.ModeDir | 0o700},
		tree.Node{Path: "dev/null", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Major: 1, Minor: 3},
		tree.Node{Path: "dev/fifo", Mode: fs.ModeNamedPipe | 0o600, UID: 70000, GID: 8},
		regular("hole", append(make([]byte, 3*testBlock), "end"...)), regular("small", []byte("small\n")),
	)
}

const goldens = "testdata/mksquashfs-*.sqsh"

// Images that mksquashfs made are in testdata, for who has no mksquashfs. README.md there has the command.
func TestGolden(t *testing.T) {
	t.Parallel()
	if *update {
		for _, c := range []Compression{ZSTD, XZ, GZIP} {
			name := fmt.Sprintf("testdata/mksquashfs-%s.sqsh", c)
			if err := os.RemoveAll(name); err != nil {
				t.Fatal(err)
			}
			pipe(t, toTar(t, goldenTree(t)), "mksquashfs", "-", name, "-tar", "-comp", string(c), "-b", "4096", "-nopad",
				"-mkfs-time", "7", "-root-time", "7", "-quiet", "-no-progress")
		}
	}
	names, err := filepath.Glob(goldens)
	if err != nil || len(names) != 3 {
		t.Fatalf("%q, %v", names, err)
	}
	for _, name := range names {
		sameButRoot(t, mustRead(t, readFile(t, name)), goldenTree(t))
	}
}

// FuzzReader reads anything as an image, and writes what it could read.
func FuzzReader(f *testing.F) {
	names, err := filepath.Glob(goldens)
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		f.Add(readFile(f, name))
	}
	f.Add(newLab(f, goldenTree(f)).img)
	f.Fuzz(func(t *testing.T, img []byte) {
		if readAll(img, 64<<10) != nil {
			return
		}
		tr := mustRead(t, img)
		var size int64
		for n := range tr.All() {
			if size += n.Size(); size > 1<<20 || size < 0 {
				return // holes may be large
			}
		}
		o := Options{BlockSize: testBlock, Level: 1, Workers: 1}
		var m formattest.Memory
		if _, err := Write(&m, tr, o); err != nil {
			return // a reader takes more than a writer: long names and links
		}
		sameTree(t, mustRead(t, m), tr)
	})
}

// FuzzRoundTrip makes a tree of anything, four bytes for each node.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00"), uint8(0))
	f.Add([]byte("\x00\x00\x10\x00\x00\x01\x10\x00\x01\x02\x10\x01\x12\x03\x10\x00\x03\x04\x50\x05\x24\x05\x20\x02\x05\x06\x10\x00"), uint8(2))
	f.Fuzz(func(t *testing.T, recipe []byte, log uint8) {
		tr := mustTree(t, cook(recipe)...)
		o := Options{BlockSize: testBlock << (log % 9), Level: 1 + int(log%2), Workers: 1 + int(log%3)}
		img := mustWrite(t, tr, o)
		sameTree(t, mustRead(t, img), tr)
		o.Workers = 1
		if !bytes.Equal(mustWrite(t, tr, o), img) {
			t.Error("another image with one worker")
		}
	})
}

// cook makes nodes: what, where, how long, of what.
func cook(recipe []byte) (nodes []tree.Node) {
	first := tree.Node{}
	for i := 0; i+4 <= len(recipe) && i < 4*200; i += 4 {
		what, where, long, of := recipe[i], recipe[i+1], int(recipe[i+2]), recipe[i+3]
		n := tree.Node{
			Path: fmt.Sprintf("%d/%d-%d", where%7, where, i), Mode: fs.FileMode(where),
			UID: uint32(where), GID: uint32(what), ModTime: time.Unix(int64(of), 0),
		}
		if what >= 0x80 {
			n.Xattrs = map[string][]byte{"user.x": recipe[i : i+4], "security.selinux": {of}}
		}
		size := long * long / 2 // up to 8 blocks of 4096
		switch what % 8 {
		case 0:
			n.Content = tree.Bytes(noise(size))
		case 1:
			n.Content = tree.Bytes(bytes.Repeat([]byte{of}, size))
		case 2:
			n.Content = tree.Concat(tree.Zeros(int64(size)), tree.Bytes(text(size/2)), tree.Zeros(int64(of)*100))
		case 3:
			n.Mode |= fs.ModeDir
		case 4:
			n.Mode |= fs.ModeSymlink
			n.Link = fmt.Sprint("../", recipe[i:i+4])
		case 5:
			n.Mode |= fs.ModeDevice
			n.Major, n.Minor = uint32(long), uint32(of)<<8
		case 6:
			if first.Path == "" || tree.Compare(first.Path, n.Path) > 0 {
				continue
			}
			path := n.Path
			n = first
			n.Path, n.Link = path, first.Path
		case 7:
			n.Mode |= fs.ModeNamedPipe
		}
		if first.Path == "" && n.Mode.IsRegular() {
			first = n
		}
		nodes = append(nodes, n)
	}
	return nodes
}
