package sandbox

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestTidy(t *testing.T) {
	base := t.TempDir()
	now := time.Now()
	for name, age := range map[string]time.Duration{"v1.13.9-used": 0, "v1.13.9-old": 8 * 24 * time.Hour, "making-1": 0} {
		dir := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Join(dir, "blobs"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(base, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tidy(base, now.Add(-keep)); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, err := os.ReadDir(base)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if err != nil || !slices.Equal(left, []string{"lock", "v1.13.9-used"}) {
		t.Errorf("%q is left, %v", left, err)
	}
}
