package xfs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/tree"
)

var (
	when = time.Date(2026, 11, 22, 18, 46, 7, 122773000, time.UTC)
	// bootUUID is the one of a Talos BOOT partition.
	bootUUID = [16]byte{0x24, 0xc7, 0x30, 0x76, 0x40, 0x92, 0x85, 0xdd, 0x9d, 0x98, 0x68, 0x6a, 0x2d, 0xbf, 0x6d, 0x81}
	options  = Options{Size: Least, Label: "BOOT", UUID: bootUUID}
)

func newTree(t testing.TB, nodes ...tree.Node) *tree.Tree {
	t.Helper()
	for i := range nodes {
		if nodes[i].ModTime.IsZero() {
			nodes[i].ModTime = when
		}
	}
	tr, err := tree.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func file(path, text string) tree.Node {
	return tree.Node{Path: path, Mode: 0o644, Content: tree.String(text)}
}

// onlyOnce fails when a byte is written twice or out of order.
type onlyOnce struct {
	t   testing.TB
	f   *os.File
	end int64
}

func (w *onlyOnce) WriteAt(p []byte, off int64) (int, error) {
	if off < w.end {
		w.t.Errorf("write at %d after %d was written", off, w.end)
	}
	w.end = off + int64(len(p))
	return w.f.WriteAt(p, off)
}

// write writes an image to a file of its size.
func write(t testing.TB, tr *tree.Tree, o Options) (string, *Image) {
	t.Helper()
	img, err := Plan(tr, o)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "xfs.img")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(img.Size()); err != nil {
		t.Fatal(err)
	}
	w := &onlyOnce{t: t, f: f}
	if err := img.Write(w); err != nil {
		t.Fatal(err)
	}
	if w.end > img.Size() {
		t.Errorf("wrote up to %d, the image has %d bytes", w.end, img.Size())
	}
	return name, img
}

// repair fails where xfs_repair has more to say than the names of its phases.
func repair(t testing.TB, name string) {
	t.Helper()
	out := tooltest.Run(t, "xfs_repair", "-n", "-f", name)
	for line := range strings.SplitSeq(out, "\n") {
		switch known := strings.TrimLeft(line, " -"); {
		case line == "", strings.Contains("Cannot get host filesystem geometry.|Repair may fail if there is a sector size mismatch between|the image and the host filesystem.", line):
		case strings.HasPrefix(line, "Phase "), strings.HasPrefix(known, "agno = "), strings.HasPrefix(known, "found root inode"):
		case strings.HasPrefix(known, "zero log"), strings.HasPrefix(known, "scan filesystem freespace"), strings.HasPrefix(known, "scan (but don't clear)"),
			strings.HasPrefix(known, "process known inodes"), strings.HasPrefix(known, "process newly discovered"), strings.HasPrefix(known, "setting up duplicate"),
			strings.HasPrefix(known, "check for inodes claiming"), strings.HasPrefix(known, "traversing filesystem"), strings.HasPrefix(known, "traversal finished"),
			strings.HasPrefix(known, "moving disconnected"), strings.HasPrefix(known, "No modify flag set"), strings.HasPrefix(known, "Maximum metadata LSN"):
		default:
			t.Errorf("xfs_repair: %s", line)
			if len(out) < 5000 {
				t.Log(out)
			}
			return
		}
	}
}

func TestEmpty(t *testing.T) {
	name, _ := write(t, newTree(t), options)
	repair(t, name); if os.Getenv("KEEP") != "" { os.Rename(name, os.Getenv("KEEP")) }
	out := tooltest.Run(t, "xfs_repair", "-n", "-f", name)
	fmt.Println(out)
}

func TestSome(t *testing.T) {
	nodes := []tree.Node{file("A/vmlinuz", strings.Repeat("k", 100000)), file("A/initramfs.xz", "i"), {Path: "grub", Mode: fs.ModeDir | 0o700}, file("grub/grub.cfg", "x"),
		{Path: "link", Mode: fs.ModeSymlink | 0o777, Link: "grub/grub.cfg"}, {Path: "long", Mode: fs.ModeSymlink | 0o777, Link: strings.Repeat("l/", 500)},
		{Path: "null", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Major: 1, Minor: 3}, {Path: "fifo", Mode: fs.ModeNamedPipe | 0o600}, {Path: "sock", Mode: fs.ModeSocket | 0o600},
		{Path: "blk", Mode: fs.ModeDevice | 0o600, Major: 8, Minor: 1}, {Path: "suid", Mode: 0o755 | fs.ModeSetuid | fs.ModeSetgid, Content: tree.String("")},
		{Path: "tmp", Mode: fs.ModeDir | 0o777 | fs.ModeSticky, UID: 1, GID: 70000},
		{Path: "z", Mode: 0o644, Content: tree.String("i"), Link: "A/initramfs.xz"},
	}
	for _, n := range []int{10, 100, 130, 200, 400, 600, 2000, 20000, 200000} {
		for i := range n {
			nodes = append(nodes, file(fmt.Sprintf("d%d/%c%d", n, 'a'+i%26, i), ""))
		}
	}
	o := options
	o.Size = 1 << 30
	name, img := write(t, newTree(t, nodes...), o)
	for _, in := range img.inodes {
		if in.Mode.IsDir() {
			fmt.Println(in.Path, in.dir)
		}
	}
	repair(t, name); if os.Getenv("KEEP") != "" { os.Rename(name, os.Getenv("KEEP")) }
}
