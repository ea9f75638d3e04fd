package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/initramfs"
)

// TestDirectory builds with an extension whose files have modes, owners and times that version control does not keep, and lets
// unsquashfs tell what becomes of them.
func TestDirectory(t *testing.T) {
	t.Parallel()
	b := build(t)
	release := sandboxtest.Open(t)
	dir := t.TempDir()
	profile := small(t, dir, "x")
	top := filepath.Join(dir, "hello/rootfs/usr/local")
	write(t, filepath.Join(top, "bin/tool"), "#!/bin/sh\n")
	write(t, filepath.Join(top, "share/secret"), "x")
	for name, mode := range map[string]os.FileMode{"bin/tool": 0o700, "share/secret": 0o600, "share/hello": 0o666, "bin": 0o700} {
		if err := os.Chmod(filepath.Join(top, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"bin/link": "tool", "bin/absolute": "/etc/hosts"} {
		if err := os.Symlink(to, filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(filepath.Join(top, "bin/tool"), time.Time{}, time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(filepath.Join(top, "bin/tool"), 1234, 1234); err != nil {
			t.Fatal(err)
		}
	}
	r := run{args: []string{"initramfs", "-profile=" + profile, "-out=" + filepath.Join(dir, "out")}, env: b.env(release)}
	for epoch, when := range map[string]time.Time{"": epochOf(t, release), "1700000000": time.Unix(1700000000, 0)} {
		r.env["SOURCE_DATE_EPOCH"] = epoch
		r.must(t)
		image := read(t, filepath.Join(dir, "out/small-amd64-initramfs.xz"))
		said := tooltest.Run(t, "unsquashfs", "-lln", "-UTC", member(t, image, "2.sqsh"))
		at := when.UTC().Format("2006-01-02 15:04")
		for _, want := range []string{
			"drwxr-xr-x 0/0 | squashfs-root/usr/local/bin", "-rwxr-xr-x 0/0 | squashfs-root/usr/local/bin/tool", "lrwxrwxrwx 0/0 | squashfs-root/usr/local/bin/link -> tool",
			"lrwxrwxrwx 0/0 | squashfs-root/usr/local/bin/absolute -> /etc/hosts", "-rw-r--r-- 0/0 | squashfs-root/usr/local/share/secret",
			"-rw-r--r-- 0/0 | squashfs-root/usr/local/share/hello", "drwxr-xr-x 0/0 | squashfs-root",
		} {
			head, tail, _ := strings.Cut(want, " | ")
			found := false
			for line := range strings.Lines(said) {
				line = strings.TrimSuffix(line, "\n")
				found = found || strings.HasPrefix(line, head) && strings.HasSuffix(line, at+" "+tail)
			}
			if !found {
				t.Errorf("SOURCE_DATE_EPOCH=%s: unsquashfs does not say %s … %s %s:\n%s", epoch, head, at, tail, said)
			}
		}
	}
}

// member takes a file of an initramfs out into one on disk.
func member(t *testing.T, image []byte, name string) string {
	t.Helper()
	segments, err := initramfs.Segments(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, s := range segments {
		if s.Compression == initramfs.Plain {
			pipe(t, dir, image[s.Offset:s.Offset+s.Size], "cpio", "-idm", "--quiet", name)
		}
	}
	return filepath.Join(dir, name)
}

// TestHostileDirectory builds with an extension that no image should have.
func TestHostileDirectory(t *testing.T) {
	t.Parallel()
	b := build(t)
	release := sandboxtest.Open(t)
	for _, c := range []struct {
		name string
		make func(top string) error // in rootfs/usr/local
		want []string
	}{
		{"a pipe", func(top string) error { return syscall.Mkfifo(filepath.Join(top, "pipe"), 0o644) }, []string{"extensions.hcl line 10", "special-file: ", "/usr/local/pipe  special files are not allowed (pipe)"}},
		{"a link that climbs", func(top string) error { return os.Symlink("../../../../../etc/passwd", filepath.Join(top, "up")) },
			[]string{"extensions.hcl line 10", "link-escapes: ", `/usr/local/up  the link to "../../../../../etc/passwd" leaves the root`}},
		{"a name that is no text", func(top string) error { return os.WriteFile(filepath.Join(top, "a\xff"), nil, 0o644) }, []string{`a\xff`, "UTF-8"}},
		{"a link for rootfs", func(top string) error {
			rootfs := filepath.Dir(filepath.Dir(top))
			if err := os.RemoveAll(rootfs); err != nil {
				return err
			}
			return os.Symlink("/etc", rootfs)
		}, []string{"rootfs"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			small(t, dir, "x")
			if err := c.make(filepath.Join(dir, "hello/rootfs/usr/local")); err != nil {
				t.Fatal(err)
			}
			res := run{dir: dir, args: []string{"initramfs"}, env: b.env(release)}.do(t)
			if res.code != 1 || res.stdout != "" {
				t.Errorf("%s", res)
			}
			for _, want := range append(c.want, "hello") {
				if !strings.Contains(res.stderr, want) {
					t.Errorf("no %q: %s", want, res)
				}
			}
			if left := list(t, filepath.Join(dir, "out")); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
			t.Logf("%s", res)
		})
	}
}
