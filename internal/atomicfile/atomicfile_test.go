package atomicfile_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/talosmith/talosmith/internal/atomicfile"
)

// TestWrite: a file is there with its content and mode, or as it was; nothing else stays behind.
func TestWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name, folder := filepath.Join(dir, "file"), filepath.Join(dir, "folder")
	if err := os.MkdirAll(filepath.Join(folder, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	for content, mode := range map[string]os.FileMode{"one": 0o644, "another": 0o600} {
		if err := atomicfile.WriteMode(name, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(name)
		if err != nil || string(b) != content {
			t.Errorf("%q, %v", b, err)
		}
		if st, err := os.Stat(name); err != nil || st.Mode() != mode {
			t.Errorf("%v, %v, want %v", st.Mode(), err, mode)
		}
	}
	if err := atomicfile.Write(folder, nil); err == nil {
		t.Error("a folder was replaced")
	}
	if err := atomicfile.Write(filepath.Join(dir, "none", "file"), nil); err == nil {
		t.Error("a file was written into no folder")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestCause(t *testing.T) {
	t.Parallel()
	other := errors.New("other")
	for want, err := range map[error]error{
		fs.ErrNotExist:   fmt.Errorf("read: %w", &os.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}),
		fs.ErrPermission: &os.LinkError{Op: "rename", Old: "x", New: "y", Err: fs.ErrPermission},
		other:            other,
	} {
		if got := atomicfile.Cause(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}
