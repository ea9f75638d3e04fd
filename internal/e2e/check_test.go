package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
)

// TestCheck: nothing is wrong with the profile of this repository but what is wrong with the stand-in, whose crun is Debian's, with none
// of its libraries.
func TestCheck(t *testing.T) {
	release := sandboxtest.Open(t)
	b := build(t)
	res := run{args: []string{"check"}, env: b.env(release)}.must(t)
	t.Log(res)
	for _, want := range []string{"metal amd64", "  siderolabs/gvisor", "  modules.dep", "  all ", "  EFI, of ", "  BOOT, of ", "looked at 1 image: 0 errors, 1 warning"} {
		if !strings.Contains(res.stdout, want) {
			t.Errorf("standard output lacks %q", want)
		}
	}
	if !strings.Contains(res.stderr, "/usr/local/bin/crun  4 libraries are not found: ") || strings.Count(res.stderr, "Warning: ") != 1 || strings.Contains(res.stderr, "Error: ") {
		t.Error("standard error has not the one warning")
	}
	if strings.Contains(res.stderr, "squashfs ") {
		t.Error("something was made that the build had made")
	}
}

// TestCheckDirectory looks at an extension in a directory before and after a mistake.
func TestCheckDirectory(t *testing.T) {
	release := sandboxtest.Open(t)
	b := build(t)
	good := run{args: []string{"check", "-path=examples/motd"}, env: b.env(release)}.must(t)
	if !strings.Contains(good.stdout, "looked at 1 image: nothing is wrong") || !strings.Contains(good.stdout, "motd amd64") {
		t.Error(good)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "manifest.yaml"), string(read(t, filepath.Join(repository(t), "examples/motd/manifest.yaml"))))
	write(t, filepath.Join(dir, "rootfs/opt/x"), "x")
	write(t, filepath.Join(dir, "rootfs/usr/lib/modules/5.4.0/extras/x.ko"), "no module")
	bad := run{args: []string{"check", "-path=" + dir}, env: b.env(release)}.do(t)
	if bad.code != 1 {
		t.Error(bad)
	}
	for _, want := range []string{"Error: Extension " + filepath.Base(dir) + ": 2 errors", "/opt  its files (1) are not allowed in extensions", "/usr/lib/modules/5.4.0  its modules are for the kernel 5.4.0"} {
		if !strings.Contains(bad.stderr, want) {
			t.Errorf("no %q in %s", want, bad)
		}
	}
}
