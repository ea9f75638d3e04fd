package imager

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/atomicfile"
)

// TestWhereNoFileCanBe: errors name what was to be written, not the name that it has meanwhile.
func TestWhereNoFileCanBe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, taken := filepath.Join(dir, "file"), filepath.Join(dir, "a.iso")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(taken, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := createOut(t.Context(), filepath.Join(file, "out", "a.iso"))
	if want := "make folder " + filepath.Join(file, "out") + ": not a directory: choose another one"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if runtime.GOOS == "linux" { // which has a folder that not even root makes files in
		_, err = createOut(t.Context(), "/proc/a.iso")
		if err == nil || !strings.HasPrefix(err.Error(), "write /proc/a.iso: ") || strings.Contains(err.Error(), "tmp") {
			t.Errorf("%v", err)
		}
	}
	w, err := createOut(t.Context(), taken)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = w.commit(0)
	if want := "write " + taken + ": a folder is in its place: remove it"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 || err != nil {
		t.Errorf("left %q, %v", left, err)
	}
}

// TestLeftInAFolderOfAnyName: what killed runs left is removed, whatever the folder is called.
func TestLeftInAFolderOfAnyName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"out", "out [1", "out*"} {
		dir := filepath.Join(t.TempDir(), name)
		left, kept := filepath.Join(dir, atomicfile.Prefix+"a.iso.123"), filepath.Join(dir, "a.iso")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{left, kept} {
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		w, err := createOut(t.Context(), filepath.Join(dir, "b.iso"))
		if err != nil {
			t.Fatal(err)
		}
		if err := removeLeft(dir, atomicfile.Prefix); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for file, want := range map[string]bool{left: false, kept: true, w.f.Name(): true} {
			if _, err := os.Stat(file); (err == nil) != want {
				t.Errorf("%s: %v", file, err)
			}
		}
		if err := w.discard(); err != nil {
			t.Error(err)
		}
	}
	if err := removeLeft(filepath.Join(t.TempDir(), "none"), atomicfile.Prefix); err != nil {
		t.Error(err)
	}
}
