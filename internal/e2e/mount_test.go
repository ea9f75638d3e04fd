package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/sandbox/report"
	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/internal/vm"
	"github.com/talosmith/talosmith/pkg/ext4"
	"github.com/talosmith/talosmith/pkg/gpt"
	"github.com/talosmith/talosmith/pkg/iso9660"
	"github.com/talosmith/talosmith/pkg/tree"
	"github.com/talosmith/talosmith/pkg/xfs"
)

// cutOut writes a part of a file to a file of its own, with holes.
func cutOut(t *testing.T, name string, off, size int64) string {
	t.Helper()
	in, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), "section"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	buf, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(buf)) {
		n, err := in.ReadAt(buf[:min(int64(len(buf)), size-at)], off+at)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if string(buf[:n]) != string(zeros[:n]) {
			if _, err := out.WriteAt(buf[:n], at); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := out.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}

// byPath are the lines of files by their path.
func byPath(lines []report.Line) map[string]report.Line {
	all := map[string]report.Line{}
	for _, l := range lines {
		all[l.Get("path")] = l
	}
	return all
}

// sameFiles compares what the kernel sees with a tree.
func sameFiles(t *testing.T, got map[string]report.Line, want *tree.Tree) {
	t.Helper()
	for n := range want.All() {
		l, ok := got[n.Path]
		if !ok {
			t.Errorf("the kernel does not see %s", n.Path)
			continue
		}
		mode := int64(n.Mode.Perm()) | map[fs.FileMode]int64{0: 0o100000, fs.ModeDir: 0o040000, fs.ModeSymlink: 0o120000}[n.Mode.Type()]
		if l.Get("mode") != strconv.FormatInt(mode, 8) || l.Get("link") != n.Link || l.Get("mtime") != strconv.FormatInt(n.ModTime.Unix(), 10) {
			t.Errorf("%s: the kernel says %v, want mode %o, link %q, time %d", n.Path, l, mode, n.Link, n.ModTime.Unix())
		}
		if n.Content != nil && l.Get("sha256") != hashOf(t, n.Content) {
			t.Errorf("%s: the kernel reads other content", n.Path)
		}
	}
}

func hashOf(t *testing.T, b tree.Blob) string {
	t.Helper()
	r, err := b.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// TestKernelMountsISO lets Linux mount the ISO, whose files lie in its EFI system partition.
func TestKernelMountsISO(t *testing.T) {
	t.Parallel()
	_, file := build(t).artefact(t, ".iso")
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := iso9660.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	sameFiles(t, byPath(sandboxtest.Mount(t, "iso9660", file, false)), r.Tree)
}

// TestUpgradeOnBOOT lets Linux write a second installation onto BOOT, as Talos does when it upgrades, and read everything again.
func TestUpgradeOnBOOT(t *testing.T) {
	t.Parallel()
	_, file := build(t).artefact(t, ".raw")
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	table, notes, err := gpt.Read(f, st.Size())
	if err != nil || len(notes) > 0 {
		t.Fatal(notes, err)
	}
	p := table.Partitions[2]
	boot := cutOut(t, file, int64(p.First)*512, int64(p.Last-p.First+1)*512)
	image, err := os.Open(boot)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	r, err := xfs.NewReader(image)
	if err != nil || r.Label != "BOOT" {
		t.Fatalf("label %q, %v", r.Label, err)
	}
	before, err := r.Tree()
	if err != nil {
		t.Fatal(err)
	}
	got := byPath(sandboxtest.Mount(t, "xfs", boot, true))
	for _, name := range []string{"vmlinuz", "initramfs.xz"} {
		n, ok := before.Lookup("A/" + name)
		if !ok {
			t.Fatalf("no A/%s", name)
		}
		want := hashOf(t, n.Content)
		for _, slot := range []string{"A/", "B/"} {
			if got[slot+name].Get("sha256") != want {
				t.Errorf("%s%s: %v", slot, name, got[slot+name])
			}
		}
	}
	config, err := fs.ReadFile(r, "grub/grub.cfg")
	if err != nil {
		t.Fatal(err)
	}
	if want := hashOf(t, tree.String(strings.ReplaceAll(string(config), "/A/", "/B/"))); got["grub/grub.cfg"].Get("sha256") != want {
		t.Errorf("grub.cfg: %v", got["grub/grub.cfg"])
	}
}

// forKernel has directories of every form, links, and a file with holes.
func forKernel(t *testing.T) *tree.Tree {
	t.Helper()
	at := time.Unix(1767225600, 0)
	nodes := []tree.Node{
		{Path: ".", Mode: fs.ModeDir | 0o755, ModTime: at},
		{Path: "short", Mode: fs.ModeSymlink | 0o777, ModTime: at, Link: "many/1"},
		{Path: "long", Mode: fs.ModeSymlink | 0o777, ModTime: at, Link: strings.Repeat("x/", 400)},
		{Path: "empty", Mode: 0o600, ModTime: at, Content: tree.Zeros(0)},
		{Path: "holes", Mode: 0o644, ModTime: at, Content: tree.Concat(tree.String("start"), tree.Zeros(20<<20), tree.String("end"))},
	}
	for dir, entries := range map[string]int{"few": 3, "some": 60, "many": 1500} {
		nodes = append(nodes, tree.Node{Path: dir, Mode: fs.ModeDir | 0o755, ModTime: at})
		for i := range entries {
			nodes = append(nodes, tree.Node{Path: fmt.Sprintf("%s/%d", dir, i), Mode: 0o644, ModTime: at, Content: tree.String(dir)})
		}
	}
	files, err := tree.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// writeImage writes a file system image to a file.
func writeImage(t *testing.T, image interface {
	Size() int64
	Write(io.WriterAt) error
}) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(image.Size()); err != nil {
		t.Fatal(err)
	}
	if err := image.Write(f); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// kernelWrites lets Linux write a file into an image of a tree, and compares all others.
func kernelWrites(t *testing.T, m vm.Machine, kind, image string, files *tree.Tree) {
	t.Helper()
	got := byPath(sandboxtest.MountOn(t, m, kind, image, true))
	if got["standin-was-here"].Get("size") != "22" {
		t.Errorf("what the kernel wrote: %v", got["standin-was-here"])
	}
	top, _ := files.Lookup(".")
	root := got["."]
	for i, field := range root.Fields { // it was written to
		if field.Key == "mtime" {
			root.Fields[i].Value = strconv.FormatInt(top.ModTime.Unix(), 10)
		}
	}
	got["."] = root
	sameFiles(t, got, files)
}

// TestKernelMountsXFS lets Linux read and write a file system with directories of every form, on disks with sectors of both lengths.
func TestKernelMountsXFS(t *testing.T) {
	t.Parallel()
	for _, sector := range []int64{512, 4096} {
		t.Run(fmt.Sprint(sector), func(t *testing.T) {
			t.Parallel()
			files := forKernel(t)
			image, err := xfs.Plan(files, xfs.Options{Size: 512 << 20, Label: "test", UUID: [16]byte{1, 2, 3}, SectorSize: sector})
			if err != nil {
				t.Fatal(err)
			}
			name := writeImage(t, image)
			kernelWrites(t, vm.Machine{SectorSize: int(sector)}, "xfs", name, files)
			tooltest.Run(t, "xfs_repair", "-n", "-f", name)
		})
	}
}

// TestKernelMountsEXT4 does the same, without writing first. After that e2fsck finds nothing, and we read what the kernel wrote.
func TestKernelMountsEXT4(t *testing.T) {
	t.Parallel()
	files := forKernel(t)
	image, err := ext4.Plan(files, ext4.Options{Size: 300 << 20, Label: "test", UUID: [16]byte{1, 2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	name := writeImage(t, image)
	sameFiles(t, byPath(sandboxtest.Mount(t, "ext4", name, false)), files)
	kernelWrites(t, vm.Machine{}, "ext4", name, files)
	tooltest.Run(t, "e2fsck", "-fn", name)
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := ext4.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := fs.ReadFile(r, "standin-was-here"); err != nil || string(b) != "written by the kernel\n" {
		t.Errorf("read %q, %v", b, err)
	}
}

// TestBiggerDisk boots the disk image on a disk that is larger, so that the table's copy is not at its end.
func TestBiggerDisk(t *testing.T) {
	t.Parallel()
	_, file := build(t).artefact(t, ".raw")
	disk := filepath.Join(t.TempDir(), "disk.qcow2")
	tooltest.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", file, disk, "20G")
	r := sandboxtest.Boot(t, vm.Machine{Disk: disk})
	if len(r.Of("EXTENSION")) < 9 {
		t.Errorf("extensions %v", r.Of("EXTENSION"))
	}
}
