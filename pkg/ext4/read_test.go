package ext4

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/tree"
)

// hostTree makes files, and directories of some sizes, on the host as whoever runs the test, and returns their tree.
func hostTree(t testing.TB, dirs ...int) (string, *tree.Tree) {
	t.Helper()
	top := t.TempDir()
	var nodes []tree.Node
	add := func(n tree.Node, err error) {
		if err != nil {
			t.Fatal(err)
		}
		n.UID, n.GID, n.ModTime = uint32(os.Getuid()), uint32(os.Getgid()), when.Truncate(time.Second)
		nodes = append(nodes, n)
	}
	host := func(path string) string { return filepath.Join(top, path) }
	put := func(path, text string) {
		add(tree.Node{Path: path, Mode: 0o600, Content: tree.String(text)}, os.WriteFile(host(path), []byte(text), 0o600))
	}
	add(tree.Node{Path: tree.Root, Mode: fs.ModeDir | 0o755}, nil)
	put("big", strings.Repeat("0123456789abcdef", 100_000))
	put("empty", "")
	put("holes", strings.Repeat("0", 70_000)+strings.Repeat("\x00", 500_000)+"end")
	put("one", "linked")
	add(tree.Node{Path: "two", Mode: 0o600, Link: "one", Content: tree.String("linked")}, os.Link(host("one"), host("two")))
	for _, n := range []int{1, 59, 60, 900} {
		path, target := fmt.Sprintf("link%d", n), strings.Repeat("t", n)
		add(tree.Node{Path: path, Mode: fs.ModeSymlink | 0o777, Link: target}, os.Symlink(target, host(path)))
	}
	for _, n := range dirs {
		path := fmt.Sprintf("d%d", n)
		add(tree.Node{Path: path, Mode: fs.ModeDir | 0o700}, os.Mkdir(host(path), 0o700))
		for i := range n {
			put(fmt.Sprintf("d%d/file-number-%d", n, i), fmt.Sprint(i%10))
		}
	}
	at, err := unix.TimeToTimespec(when)
	for _, n := range slices.Backward(nodes) {
		err = errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, host(n.Path), []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW))
	}
	if err != nil {
		t.Fatal(err)
	}
	return top, newTree(t, nodes...)
}

// What mkfs.ext4 -d makes, with the features that are its default in other releases, and with other sizes of blocks, we read.
func TestReadMkfs(t *testing.T) {
	t.Parallel()
	top, want := hostTree(t, 3, 60, 1500)
	for name, c := range map[string]struct {
		args  []string
		after []string // a command
	}{
		"Debian 12":      {},
		"e2fsprogs 1.47": {args: []string{"-b", "4096", "-O", "metadata_csum_seed,orphan_file", "-L", "IMAGECACHE", "-E", "hash_seed=" + uuidText}},
		"ours":           {args: []string{"-O", "^has_journal,^resize_inode,^flex_bg"}},
		"small blocks":   {args: []string{"-b", "1024", "-I", "128", "-O", "^metadata_csum,^64bit"}},
		"small, checked": {args: []string{"-b", "2048", "-O", "uninit_bg,sparse_super2"}},
		"great blocks":   {args: []string{"-b", "65536"}},
		"clusters":       {args: []string{"-O", "bigalloc"}},
		"indexes":        {args: []string{"-b", "4096"}, after: []string{"e2fsck", "-fyD"}},
		"old indexes":    {args: []string{"-b", "1024", "-O", "^metadata_csum,large_dir"}, after: []string{"e2fsck", "-fyD"}},
		"allocated":      {args: []string{"-b", "4096"}, after: []string{"debugfs", "-w", "-R", "fallocate /holes 20 100"}},
	} {
		t.Run(name, func(t *testing.T) {
			img := mkfs(t, 300*mib, append(c.args, "-d", top)...)
			if c.after != nil { // exit code 1: repaired
				out, err := exec.Command(tooltest.Need(t, c.after[0]), append(c.after[1:], img)...).CombinedOutput()
				if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
					t.Fatalf("%v: %s", err, out)
				}
			}
			if strings.HasSuffix(name, "indexes") {
				if out := tooltest.Run(t, "debugfs", "-R", "htree_dump /d1500", img); !strings.Contains(out, "Root node dump") {
					t.Fatal(out)
				}
			}
			if name == "indexes" { // made of a block of entries by a kernel, an index has the rest of their checksum
				said := strings.Fields(tooltest.Run(t, "debugfs", "-R", "bmap /d1500 0", img))
				block, err := strconv.Atoi(said[len(said)-1])
				if err != nil {
					t.Fatal(err)
				}
				patch(t, img, int64(block+1)*4096-8, dirTail, 0, 0, tailType)
			}
			r := open(t, img)
			nodes := slices.Collect(want.All())
			for n := range r.All() {
				switch n.Path {
				case lostName:
					nodes = append(nodes, n)
				case tree.Root:
					nodes[0].UID, nodes[0].GID, nodes[0].ModTime = n.UID, n.GID, n.ModTime
				}
			}
			formattest.Compare(t, r.files, newTree(t, nodes...))
			if name == "e2fsprogs 1.47" && r.Label != "IMAGECACHE" || r.Size != 300*mib {
				t.Errorf("label %q, %d bytes", r.Label, r.Size)
			}
			sub, err := fs.Sub(r, "d60")
			if err == nil {
				err = fstest.TestFS(sub, "file-number-59")
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// What we do not read is refused with its reason.
func TestReadRefused(t *testing.T) {
	t.Parallel()
	top, _ := hostTree(t, 3)
	for _, c := range []struct {
		args    []string
		command string // of debugfs
		want    string
	}{
		{[]string{"-O", "^extents,^64bit"}, "", "not supported: content without extents"},
		{[]string{"-O", "inline_data"}, "", "not supported: content in the inode (inline_data)"},
		{[]string{"-O", "^resize_inode,meta_bg"}, "", "not supported: features 0x2d2"},
		{nil, "feature needs_recovery", "its journal has to be replayed; mount it once"},
		{nil, "sif /d3 flags 0x80800", "not supported: is encrypted"},
		{nil, "sif /one flags 0x80004", "not supported: is compressed"},
	} {
		img := mkfs(t, 64*mib, append(c.args, "-d", top)...)
		if c.command != "" {
			tooltest.Run(t, "debugfs", "-w", "-R", c.command, img)
		}
		f, err := os.Open(img)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := NewReader(f); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q, %q: error %v, want %q", c.args, c.command, err, c.want)
		}
	}
}

func patch(t testing.TB, name string, off int64, b ...byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(b, off)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}
