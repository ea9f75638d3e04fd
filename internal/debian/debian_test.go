package debian_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/debian"
	"github.com/talosmith/talosmith/internal/debian/debiantest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/tree"
)

// TestFetch uses its own cache for small packages, so that the way through apt-get is always taken.
func TestFetch(t *testing.T) {
	debiantest.Fetch(t, "trixie", "", "kmod") // ends the test where there is no apt or no network
	o := debian.Options{Cache: t.TempDir(), Suite: "trixie", Mirror: os.Getenv("TALOSMITH_DEBIAN_MIRROR")}
	got, err := debian.Fetch(t.Context(), o, "kmod", "linux-image-amd64")
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Name != "kmod" || !strings.HasPrefix(got[0].Version, "34.2-") || !slices.Contains(got[0].Depends, "libkmod2") {
		t.Errorf("kmod of trixie: %+v", got[0])
	}
	if d := got[1].Depends; len(d) != 1 || !strings.HasPrefix(d[0], "linux-image-6.12.") {
		t.Errorf("linux-image-amd64 depends on %q", d)
	}

	t.Setenv("PATH", t.TempDir()) // from here on there is no apt
	start := time.Now()
	again, err := debian.Fetch(t.Context(), o, "linux-image-amd64", "kmod")
	if err != nil {
		t.Fatal(err)
	}
	if again[1].Path != got[0].Path || time.Since(start) > time.Second {
		t.Errorf("from the cache: %+v, %v", again[1], time.Since(start))
	}
	if _, err := debian.Fetch(t.Context(), o, "libkmod2"); !errors.Is(err, debian.ErrNoApt) {
		t.Errorf("without apt: %v", err)
	}

	damaged, err := os.ReadFile(got[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	damaged[len(damaged)/2] ^= 1
	if err := os.WriteFile(got[0].Path, damaged, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := debian.Fetch(t.Context(), o, "kmod"); !errors.Is(err, debian.ErrNoApt) {
		t.Errorf("a damaged file is not fetched again: %v", err)
	}
}

func TestFetchRefuses(t *testing.T) {
	for _, name := range []string{"", "-o", "../x", "A", "a/b", "a b"} {
		if _, err := debian.Fetch(context.Background(), debian.Options{Cache: t.TempDir()}, name); err == nil || errors.Is(err, debian.ErrNoApt) {
			t.Errorf("package %q: %v", name, err)
		}
	}
}

func TestOpen(t *testing.T) {
	deb := debiantest.Fetch(t, "trixie", "", "kmod")["kmod"]
	files, err := debian.Open(deb)
	if err != nil {
		t.Fatal(err)
	}
	oracle := map[string]string{} // path -> mode
	for line := range strings.Lines(tooltest.Run(t, "dpkg-deb", "--contents", deb)) {
		f := strings.Fields(line)
		oracle[filepath.Clean(f[5])] = f[0]
	}
	for n := range files.All() {
		if want := oracle[n.Path]; want[1:] != n.Mode.Perm().String()[1:] {
			t.Errorf("%s: mode %s, dpkg-deb says %s", n.Path, n.Mode, want)
		}
	}
	if len(oracle) != files.Len() {
		t.Errorf("%d files, dpkg-deb says %d", files.Len(), len(oracle))
	}

	dir := t.TempDir()
	if err := debian.Unpack(deb, dir); err != nil {
		t.Fatal(err)
	}
	n, _ := files.Lookup("usr/bin/kmod")
	inTree, err := tree.ReadAll(n.Content)
	if err != nil {
		t.Fatal(err)
	}
	onDisk, err := os.ReadFile(filepath.Join(dir, "usr/sbin/depmod")) // a link to ../bin/kmod
	if err != nil || !bytes.Equal(inTree, onDisk) || !bytes.HasPrefix(onDisk, []byte("\x7fELF")) {
		t.Errorf("depmod unpacked: %v, %d bytes, in the tree %d", err, len(onDisk), len(inTree))
	}
	at := make([]byte, 3)
	if _, err := n.Content.(io.ReaderAt).ReadAt(at, 1); err != nil || string(at) != "ELF" {
		t.Errorf("read at 1: %q, %v", at, err)
	}
}

// TestUnpackRuns runs a program of another Debian by its own loader.
func TestUnpackRuns(t *testing.T) {
	dir := debiantest.Unpack(t, "trixie", "", "kmod", "libkmod2", "libc6", "libssl3t64", "libzstd1", "liblzma5", "zlib1g")
	out, err := exec.Command(filepath.Join(dir, "usr/lib64/ld-linux-x86-64.so.2"), "--library-path", filepath.Join(dir, "usr/lib/x86_64-linux-gnu"),
		"--argv0", "depmod", filepath.Join(dir, "usr/sbin/depmod"), "--version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "kmod version 34") {
		t.Errorf("depmod of trixie: %v\n%s", err, out)
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, content := range map[string]string{
		"empty":         "",
		"no archive":    "\x7fELF....",
		"no data":       "!<arch>\n",
		"damaged":       "!<arch>\ndebian-binary   0           0     0     100644  x         `\n",
		"cut":           "!<arch>\ndata.tar        0           0     0     100644  10240     `\nshort",
		"unknown":       "!<arch>\ndata.tar.rar    0           0     0     100644  0         `\n",
		"negative size": "!<arch>\ndata.tar        0           0     0     100644  -60       `\n",
	} {
		deb := filepath.Join(t.TempDir(), "x.deb")
		if err := os.WriteFile(deb, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := debian.Open(deb); err == nil {
			t.Errorf("%s: opened", name)
		}
		if _, err := os.Stat(deb + ".tar"); name != "cut" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: left a file: %v", name, err)
		}
	}
}
