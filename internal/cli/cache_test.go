package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCache(t *testing.T) {
	cache := t.TempDir()
	for name, days := range map[string]int{"store/actions/aa/a": 3, "store/blobs/bb/b": 40, "downloads/blobs/sha256/c": 20, "standin/x": 100} {
		name = filepath.Join(cache, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, make([]byte, 2048), 0o644); err != nil {
			t.Fatal(err)
		}
		used := time.Now().AddDate(0, 0, -days)
		if err := os.Chtimes(name, used, used); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	o := Options{Stdout: &out, Env: func(name string) (string, bool) { return cache, name == "TALOSMITH_CACHE" }}
	shown := func() string {
		t.Helper()
		out.Reset()
		if err := CacheUse(o); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(out.String(), "\n")
		for i, l := range lines {
			lines[i] = strings.Join(strings.Fields(l), " ")
		}
		return strings.Join(lines[1:], "\n")
	}
	const before = `steps 1 2.0 KiB 3 days ago
outputs 1 2.0 KiB 40 days ago
downloads 1 2.0 KiB 20 days ago
interrupted downloads 0 0 B
demo: packages 0 0 B
demo: release 1 2.0 KiB 100 days ago
all 4 8.0 KiB
`
	if got := shown(); got != before {
		t.Errorf("got\n%s", got)
	}
	// What the clock says is later than now is not counted below nothing.
	ahead, steps := time.Now().AddDate(1, 0, 0), filepath.Join(cache, "store/actions/aa/a")
	if err := os.Chtimes(steps, ahead, ahead); err != nil {
		t.Fatal(err)
	}
	if got := shown(); !strings.HasPrefix(got, "steps 1 2.0 KiB 0 days ago\n") {
		t.Errorf("got\n%s", got)
	}
	out.Reset()
	if err := CachePrune(t.Context(), o, PruneSize, PruneAge); err != nil || out.String() != "removed 1 file, 2.0 KiB\n" {
		t.Errorf("printed %q, %v", out.String(), err)
	}
	if err := CachePrune(t.Context(), o, "2KiB", "30d"); err != nil {
		t.Error(err)
	}
	if got := shown(); !strings.Contains(got, "all 2 4.0 KiB") || !strings.Contains(got, "steps 1 ") || !strings.Contains(got, "demo: release 1 ") {
		t.Errorf("got\n%s", got)
	}
}

func TestSizesAndAges(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "17": 17, "17B": 17, "2KiB": 2048, "3 MiB": 3 << 20, "10GiB": 10 << 30, "8388607TiB": 8388607 << 40} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("size %q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "GiB", "-1", "1.5GiB", "10GB", "8388608TiB", "9223372036854775808"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("size %q: %d", text, got)
		}
	}
	for text, want := range map[string]time.Duration{"0d": 0, "30d": 720 * time.Hour, "65535d": 65535 * 24 * time.Hour, "12h": 12 * time.Hour, "1h30m": 90 * time.Minute} {
		if got, err := parseAge(text); err != nil || got != want {
			t.Errorf("age %q: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "30", "-1d", "-1h", "65536d", "1w"} {
		if got, err := parseAge(text); err == nil {
			t.Errorf("age %q: %s", text, got)
		}
	}
}
