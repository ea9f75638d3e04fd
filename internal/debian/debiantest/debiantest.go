// Package debiantest gives tests packages of Debian, from a cache that all tests share.
package debiantest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/talosmith/talosmith/internal/debian"
	"github.com/talosmith/talosmith/internal/tooltest"
)

// Options are those for packages of a suite and architecture ("" for trixie, amd64). The cache is the demo's:
// $TALOSMITH_CACHE/debian, by default below the user's cache directory.
func Options(t testing.TB, suite, arch string) debian.Options {
	t.Helper()
	base := os.Getenv("TALOSMITH_CACHE")
	if base == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		base = filepath.Join(dir, "talosmith")
	}
	return debian.Options{
		Cache: filepath.Join(base, "debian"), Suite: suite, Arch: arch, Mirror: os.Getenv("TALOSMITH_DEBIAN_MIRROR"),
		Log: func(m string) { t.Log(m) },
	}
}

// Fetch returns the paths of packages of a suite ("trixie", "bookworm", "sid") by name. It ends the test where they are not to be
// had: skipped, or failed where REQUIRE_TOOLS=1.
func Fetch(t testing.TB, suite, arch string, names ...string) map[string]string {
	t.Helper()
	packages, err := debian.Fetch(t.Context(), Options(t, suite, arch), names...)
	if errors.Is(err, debian.ErrNoApt) {
		tooltest.Missing(t, "apt-get", "apt")
	}
	if err != nil {
		if os.Getenv("REQUIRE_TOOLS") == "1" {
			t.Fatal(err)
		}
		t.Skipf("no Debian packages: %v", err)
	}
	paths := map[string]string{}
	for _, p := range packages {
		paths[p.Name] = p.Path
	}
	return paths
}

// Unpack fetches packages and unpacks them together into a directory of the test, which it returns: so a program of that
// Debian runs with its own loader, as in
//
//	dir/usr/lib64/ld-linux-x86-64.so.2 --library-path dir/usr/lib/x86_64-linux-gnu dir/usr/sbin/depmod
func Unpack(t testing.TB, suite, arch string, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, path := range Fetch(t, suite, arch, names...) {
		if err := debian.Unpack(path, dir); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
