package source

import (
	"os"
	"path/filepath"
	"testing"
)

// TestTemp: what is unpacked lies on the disk of the cache, under no name.
func TestTemp(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	cache := filepath.Join(t.TempDir(), "cache")
	f, err := New(Options{Cache: cache}).Temp()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 1<<20); err != nil {
		t.Error(err)
	}
	if dir, err := New(Options{Cache: cache}).TempDir(); err != nil || filepath.Dir(dir) != cache {
		t.Errorf("folder %q, %v", dir, err)
	}
	if names, err := filepath.Glob(filepath.Join(cache, "*", "*")); err != nil || len(names) > 0 {
		t.Errorf("the cache has %q, %v", names, err)
	}
	if f, err := New(Options{}).Temp(); err == nil {
		t.Errorf("%s was made where there is no folder", f.Name())
	}
	t.Setenv("TMPDIR", t.TempDir())
	without, err := New(Options{}).Temp()
	if err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(os.TempDir()); err != nil || len(names) > 0 {
		t.Errorf("the folder for temporary files has %v, %v", names, err)
	}
	if err := without.Close(); err != nil {
		t.Error(err)
	}
}
