package profile_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/talosmith/talosmith/pkg/profile"
)

// TestLocksThatAreNoFiles: what has no end, or has no business to be so long, is not read.
func TestLocksThatAreNoFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	large := filepath.Join(dir, "large.lock.json")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 8<<20+1); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		os.DevNull: "read " + os.DevNull + ": it is not a regular file",
		dir:        "read " + dir + ": it is a directory",
		large:      "read " + large + ": it is larger than 8192 KiB",
	} {
		if _, err := profile.ReadLock(name); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if l, err := profile.ReadLock(filepath.Join(dir, "none")); l != nil || err != nil {
		t.Errorf("a lock that is not there: %v, %v", l, err)
	}
}
