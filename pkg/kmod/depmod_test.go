package kmod

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talosmith/talosmith/internal/debian"
	"github.com/talosmith/talosmith/internal/debian/debiantest"
	"github.com/talosmith/talosmith/pkg/tree"
)

var update = flag.Bool("update", false, "rewrite testdata/complete with what depmod makes")

// depmod is kmod 34.2 of Debian trixie, run with its own loader and libraries.
type depmod struct{ root string }

func newDepmod(t *testing.T) depmod {
	d := depmod{debiantest.Unpack(t, "trixie", "amd64", "kmod", "libkmod2", "libc6", "libzstd1", "liblzma5", "libssl3t64")}
	out, err := d.command("depmod", "--version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "kmod version 34.2\n") {
		t.Fatalf("depmod --version: %v\n%s", err, out)
	}
	return d
}

func (d depmod) command(tool string, args ...string) *exec.Cmd {
	lib := filepath.Join(d.root, "usr/lib/x86_64-linux-gnu")
	cmd := exec.Command(filepath.Join(lib, "ld-linux-x86-64.so.2"),
		append([]string{"--library-path", lib, "--argv0", tool, filepath.Join(d.root, "usr/bin/kmod")}, args...)...)
	cmd.Env = []string{"LC_ALL=C"}
	return cmd
}

const release = "6.1.0-test"

// run writes a tree to a release directory, runs depmod there and returns the files whose names begin with "modules.".
func (d depmod) run(t *testing.T, dir *tree.Tree, search []string) (map[string][]byte, error) {
	t.Helper()
	base := t.TempDir()
	top := filepath.Join(base, "lib/modules", release)
	for n := range dir.All() {
		name := filepath.Join(top, n.Path)
		if n.Mode.IsDir() {
			if err := os.MkdirAll(name, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if n.Mode.IsRegular() {
			b, err := tree.ReadAll(n.Content)
			if err == nil {
				err = os.WriteFile(name, b, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	config := filepath.Join(base, "depmod.conf")
	text := "# nothing\n"
	if search != nil {
		text = "search " + strings.Join(search, " ") + "\n"
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := d.command("depmod", "--all", "--basedir", base, "--config", config, release).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("depmod: %w\n%s", err, out)
	}
	return modulesFiles(t, os.DirFS(top)), nil
}

func modulesFiles(t testing.TB, dir fs.FS) map[string][]byte {
	t.Helper()
	list, err := fs.Glob(dir, "modules.*")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, name := range list {
		if files[name], err = fs.ReadFile(dir, name); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func makeIndex(t testing.TB, dir *tree.Tree, search []string) map[string][]byte {
	t.Helper()
	modules, err := Scan(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	index, err := Index(dir, modules, Options{Search: search})
	if err != nil {
		t.Fatal(err)
	}
	return modulesFiles(t, index)
}

// compare wants the same files with the same bytes.
func compare(t *testing.T, got, want map[string][]byte) {
	t.Helper()
	if g, w := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(g, w) {
		t.Fatalf("files %q, want %q", g, w)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if bytes.Equal(got[name], want[name]) {
			continue
		}
		if strings.HasSuffix(name, ".bin") {
			g, gotErr := ReadIndex(got[name])
			w, wantErr := ReadIndex(want[name])
			t.Errorf("%s differs: %v, %v, %s", name, gotErr, wantErr, cmp.Diff(w, g))
			continue
		}
		at := 0
		for at < min(len(got[name]), len(want[name])) && got[name][at] == want[name][at] {
			at++
		}
		t.Errorf("%s differs at byte %d: %.200q\nwant %.200q", name, at, got[name][at:], want[name][at:])
	}
}

// depmod itself makes the same of modules built here, of the real kernel of Debian, and refuses the same.
func TestDepmod(t *testing.T) {
	d := newDepmod(t)
	t.Run("complete", func(t *testing.T) {
		c := completeCase(t)
		dir := testTree(t, c.files)
		want, err := d.run(t, dir, c.search)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, makeIndex(t, dir, c.search), want)
		if *update {
			for name, content := range want {
				if err := os.WriteFile(filepath.Join("testdata/complete", name), content, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		compare(t, modulesFiles(t, os.DirFS("testdata/complete")), want)
	})
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("random/%d", seed), func(t *testing.T) {
			t.Parallel()
			c := randomCase(t, seed)
			dir := testTree(t, c.files)
			want, err := d.run(t, dir, c.search)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, makeIndex(t, dir, c.search), want)
		})
	}
	t.Run("empty", func(t *testing.T) {
		dir := testTree(t, nil)
		want, err := d.run(t, dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, makeIndex(t, dir, nil), want)
	})
	t.Run("loop", func(t *testing.T) {
		dir := loopTree(t)
		if _, err := d.run(t, dir, nil); err == nil || !strings.Contains(err.Error(), "Cycle detected: c -> d -> b -> c") {
			t.Errorf("depmod does not refuse the loop: %v", err)
		}
	})
}

// theKernel is opened once for all tests, which takes seconds.
var theKernel struct {
	sync.Mutex
	pkg     *tree.Tree
	release string
}

// kernelPackage is Debian's kernel for machines with amd64, and its release.
func kernelPackage(t testing.TB) (pkg *tree.Tree, release string) {
	k := &theKernel
	k.Lock()
	defer k.Unlock()
	if k.pkg != nil {
		return k.pkg, k.release
	}
	debiantest.Fetch(t, "trixie", "amd64", "linux-image-amd64")
	meta, err := debian.Fetch(t.Context(), debiantest.Options(t, "trixie", "amd64"), "linux-image-amd64")
	if err != nil {
		t.Fatal(err)
	}
	image := meta[0].Depends[0] // the package of one version
	if k.pkg, err = debian.Open(debiantest.Fetch(t, "trixie", "amd64", image)[image]); err != nil {
		t.Fatal(err)
	}
	k.release = strings.TrimPrefix(image, "linux-image-")
	return k.pkg, k.release
}

// kernelTree is the release directory of Debian's kernel.
func kernelTree(t testing.TB) *tree.Tree {
	pkg, release := kernelPackage(t)
	dir, err := pkg.Sub("usr/lib/modules/" + release)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// The modules of a real kernel, as many as take a few seconds. Once in the extras directory, some go before those of the kernel.
func TestDebianKernel(t *testing.T) {
	d := newDepmod(t)
	dir, err := kernelTree(t).Filter(func(n tree.Node) bool {
		return strings.HasPrefix(n.Path, "modules.") || slices.ContainsFunc([]string{
			"arch", "block", "crypto", "drivers/block", "drivers/char", "drivers/hid", "drivers/md", "drivers/usb", "drivers/virtio", "fs", "lib", "net",
		}, func(p string) bool { return strings.HasPrefix(n.Path, "kernel/"+p+"/") })
	})
	if err != nil {
		t.Fatal(err)
	}
	nodes := slices.Collect(dir.All())
	for _, n := range nodes {
		if strings.HasPrefix(n.Path, "kernel/fs/nfs") && n.Mode.IsRegular() {
			n.Path = strings.Replace(n.Path, "kernel", "extras", 1)
			nodes = append(nodes, n)
		}
	}
	if dir, err = tree.New(nodes); err != nil {
		t.Fatal(err)
	}
	want, err := d.run(t, dir, talosSearch)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(want["modules.dep"], []byte("\n")); n < 1000 {
		t.Errorf("%d modules are too few to prove something", n)
	}
	if !bytes.Contains(want["modules.dep"], []byte("\nextras/fs/nfs/")) {
		t.Error("no module is in extras")
	}
	compare(t, makeIndex(t, dir, talosSearch), want)
	modinfo(t, d, dir, "kernel/fs/btrfs/btrfs.ko.xz")
}

// modinfo compares what a module says with what modinfo prints.
func modinfo(t *testing.T, d depmod, dir *tree.Tree, path string) {
	t.Helper()
	content, err := dir.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := read(t, content)
	if err != nil {
		t.Fatal(err)
	}
	if m.Signature == nil {
		t.Fatalf("%s is not signed", path)
	}
	file := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	for field, got := range map[string]string{
		"vermagic": m.Vermagic, "depends": strings.Join(m.Depends, ","), "alias": strings.Join(m.Aliases, "\n"),
		"softdep": strings.Join(m.Softdeps, "\n"),
		"signer":  m.Signature.Signer, "sig_key": m.Signature.KeyID, "sig_hashalgo": m.Signature.Hash,
	} {
		out, err := d.command("modinfo", "-F", field, file).Output()
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.TrimSuffix(string(out), "\n"); got != want {
			t.Errorf("%s of %s is %q, want %q", field, path, got, want)
		}
	}
}

// All modules of Debian's kernel: some 4200, compressed with xz.
func BenchmarkDebianKernel(b *testing.B) {
	dir := kernelTree(b)
	var modules []Module
	b.Run("scan", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var err error
			if modules, err = Scan(dir, 0); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(modules)), "modules")
	})
	b.Run("index", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Index(dir, modules, Options{Search: talosSearch}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
