package source

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t testing.TB, dir string, files ...string) string {
	t.Helper()
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFromDirectory(t *testing.T) {
	t.Parallel()
	one := write(t, t.TempDir(), "manifest.yaml=version: v1alpha1", "rootfs/usr/bin/tool=#!", "rootfs/etc/conf=x")
	two := write(t, filepath.Join(t.TempDir(), "x"), "rootfs/etc/conf=x", "rootfs/usr/bin/tool=#!", "manifest.yaml=version: v1alpha1")
	for _, err := range []error{
		os.Symlink("../../etc/conf", one+"/rootfs/usr/link"), os.Symlink("../../etc/conf", two+"/rootfs/usr/link"),
		os.Chmod(one+"/rootfs/usr/bin/tool", 0o700), os.Chmod(two+"/rootfs/usr/bin/tool", 0o4755), os.Chmod(two+"/rootfs/etc/conf", 0o666),
		os.Chtimes(two+"/manifest.yaml", time.Now(), time.Unix(1, 0)),
		os.Symlink(two, two+"2"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	tr, err := FromDirectory(one)
	if err != nil {
		t.Fatal(err)
	}
	want := "manifest.yaml=version: v1alpha1\nrootfs/\nrootfs/etc/\nrootfs/etc/conf=x\nrootfs/usr/\nrootfs/usr/bin/\nrootfs/usr/bin/tool=#!\nrootfs/usr/link -> ../../etc/conf\n"
	if got := list(t, tr); got != want {
		t.Errorf("tree:\n%swant:\n%s", got, want)
	}
	for n := range tr.All() {
		mode := os.FileMode(0o644)
		switch {
		case n.Mode.IsDir():
			mode = os.ModeDir | 0o755
		case n.Name() == "tool":
			mode = 0o755
		case n.Name() == "link":
			mode = os.ModeSymlink | 0o777
		}
		if n.Mode != mode || n.UID != 0 || n.GID != 0 || n.ModTime.Unix() != 0 {
			t.Errorf("%s: %v %d:%d %v", n.Path, n.Mode, n.UID, n.GID, n.ModTime)
		}
	}
	for _, dir := range []string{two, two + "2"} {
		if got, want := must(Digest(must(FromDirectory(dir)))), must(Digest(tr)); got != want {
			t.Errorf("the same content elsewhere has digest %s, want %s", got, want)
		}
	}
}

func TestFromDirectoryRefuses(t *testing.T) {
	t.Parallel()
	latin, deep := t.TempDir(), t.TempDir()
	for _, err := range []error{
		os.WriteFile(latin+"/a\xff", nil, 0o600), os.MkdirAll(deep+strings.Repeat("/d", 130), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ dir, want string }{
		{latin, "not UTF-8"}, {deep, "128 directories deep"}, {deep + "/none", "no such file"}, {write(t, t.TempDir(), "f=1") + "/f", "no directory"},
	} {
		_, err := FromDirectory(c.dir)
		wantError(t, err, "read directory", c.want)
	}
}

// TestDirectoryIsPlain: what should not be there is there for those alone who look for it.
func TestDirectoryIsPlain(t *testing.T) {
	t.Parallel()
	socket, climbing := t.TempDir(), t.TempDir()
	l, err := net.Listen("unix", socket+"/sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Symlink("../x", climbing+"/l"); err != nil {
		t.Fatal(err)
	}
	s, _, _ := sources(t, Options{})
	for _, c := range []struct{ dir, path, want string }{{socket, "sock", `"sock": a socket`}, {climbing, "l", `"l": a symbolic link to "../x", which is above the root`}} {
		a, err := s.Resolve(t.Context(), Ref{Path: c.dir}, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Tree(t.Context(), a, nil, nil)
		wantError(t, err, "read directory", c.want)
		tr, err := s.RawTree(t.Context(), a, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := tr.Lookup(c.path); !ok {
			t.Errorf("%s is not there", c.path)
		}
	}
}

func TestDirectorySource(t *testing.T) {
	t.Parallel()
	dir := write(t, t.TempDir(), "manifest.yaml=m", "rootfs/a=1", "rootfs/b=2")
	s, _, _ := sources(t, Options{})
	a, err := s.Resolve(t.Context(), Ref{Path: dir}, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if !a.Dir || a.Reference != "" || a.Manifest != must(Digest(must(FromDirectory(dir)))) {
		t.Errorf("artifact %+v", a)
	}
	tr, err := s.Tree(t.Context(), a, func(p string) bool { return p != "rootfs/a" && p != "rootfs" }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := list(t, tr), "manifest.yaml=m\nrootfs/\nrootfs/b=2\n"; got != want {
		t.Errorf("tree:\n%swant:\n%s", got, want)
	}
	write(t, dir, "rootfs/a=changed")
	if _, err = s.Tree(t.Context(), a, nil, nil); !errors.Is(err, ErrDigest) {
		t.Errorf("a changed directory: error %v", err)
	}
	_, err = s.Layer(t.Context(), a, 0)
	wantError(t, err, "layer 1", "it has 0")
}

// TestTreeSource: a tree in memory is as good as a directory with the same content, and its files must not change either.
func TestTreeSource(t *testing.T) {
	t.Parallel()
	dir := write(t, t.TempDir(), "manifest.yaml=m", "rootfs/a=1")
	s, _, _ := sources(t, Options{})
	a, err := s.Resolve(t.Context(), Ref{Tree: &Tree{Name: "agent", Files: must(FromDirectory(dir))}}, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	same := must(s.Resolve(t.Context(), Ref{Path: dir}, "amd64"))
	if !a.Dir || a.Index != same.Index || a.Manifest != same.Manifest {
		t.Errorf("artifact %+v, of the directory %+v", a, same)
	}
	tr, err := s.Tree(t.Context(), a, func(p string) bool { return p != "manifest.yaml" }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := list(t, tr), "rootfs/\nrootfs/a=1\n"; got != want {
		t.Errorf("tree:\n%swant:\n%s", got, want)
	}
	write(t, dir, "rootfs/a=2")
	_, err = s.Tree(t.Context(), a, nil, nil)
	wantError(t, err, "read agent", "changed")
	if !errors.Is(err, ErrDigest) {
		t.Errorf("a changed file: error %v", err)
	}
}
