package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/talosmith/talosmith/pkg/store"
)

func TestPruneDropsTheLeastRecentlyUsed(t *testing.T) {
	dir, downloads := t.TempDir(), t.TempDir()
	now := time.Now()
	used := func(name string, size int, days int) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
		at := now.AddDate(0, 0, -days)
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	fill := func() {
		used(filepath.Join(dir, "actions/aa/a"), 10, 1)
		used(filepath.Join(dir, "blobs/bb/b"), 1000, 20)
		used(filepath.Join(dir, "blobs/cc/c"), 1000, 5)
		used(filepath.Join(downloads, "d"), 1000, 10)
		used(filepath.Join(downloads, "e"), 1000, 40)
	}
	folders := append(store.Folders(dir), store.Folder{Name: "downloads", Path: downloads}, store.Folder{Name: "none", Path: filepath.Join(dir, "none")})
	for _, c := range []struct {
		size int64
		days int
		left []string
	}{
		{1 << 30, 100, []string{"a", "b", "c", "d", "e"}},
		{1 << 30, 30, []string{"a", "b", "c", "d"}},
		{3010, 100, []string{"a", "b", "c", "d"}},
		{3009, 100, []string{"a", "c", "d"}},
		{1500, 100, []string{"a", "c"}},
		{1 << 30, 3, []string{"a"}},
		{0, 100, nil},
	} {
		fill()
		removed, err := store.Prune(t.Context(), dir, folders, store.Limits{Size: c.size, Since: now.AddDate(0, 0, -c.days)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var left []string
		files := 0
		for _, f := range folders {
			u, err := store.Use(f)
			if err != nil {
				t.Fatal(err)
			}
			files += u.Files
		}
		for _, f := range slices.Concat(filesOf(t, dir), filesOf(t, downloads)) {
			left = append(left, filepath.Base(f))
		}
		if !slices.Equal(left, c.left) || removed.Files != 5-len(left) || files != len(left) {
			t.Errorf("size %d, age %d days: left %q, want %q; removed %+v, counted %d", c.size, c.days, left, c.left, removed, files)
		}
	}
}

// TestUseIsMarked: also where a clock that was wrong has set a file's time ahead.
func TestUseIsMarked(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	var ran atomic.Int64
	for _, was := range []time.Time{now.AddDate(-1, 0, 0), now.AddDate(20, 0, 0)} {
		build(t, open(t, store.Options{Dir: dir}), say("text", &ran))
		for _, f := range filesOf(t, dir) {
			if err := os.Chtimes(f, was, was); err != nil {
				t.Fatal(err)
			}
		}
		build(t, open(t, store.Options{Dir: dir, Now: func() time.Time { return now }}), say("text", &ran))
		for _, f := range filesOf(t, dir) {
			if st, err := os.Stat(f); err != nil || st.ModTime().Sub(now).Abs() > time.Minute {
				t.Errorf("%s: used at %v, not %v", f, st.ModTime(), now)
			}
		}
	}
}

func filesOf(t *testing.T, dir string) []string {
	return slices.DeleteFunc(files(t, dir), func(f string) bool { return filepath.Base(f) == "in-use" || strings.Contains(f, "/run/") })
}

// TestPruneNeverDisturbsABuild: it waits for the store, and what is used is marked so.
func TestPruneNeverDisturbsABuild(t *testing.T) {
	dir := t.TempDir()
	var ran atomic.Int64
	s := open(t, store.Options{Dir: dir})
	build(t, s, say("x", &ran))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	waits := 0
	if _, err := store.Prune(ctx, dir, store.Folders(dir), store.Limits{}, func() { waits++ }); waits != 1 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("told of %d waits, error %v", waits, err)
	}
	if len(filesOf(t, dir)) != 2 {
		t.Errorf("left %q", filesOf(t, dir))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	last := time.Now().AddDate(0, 0, -20)
	for _, f := range filesOf(t, dir) {
		if err := os.Chtimes(f, last, last); err != nil {
			t.Fatal(err)
		}
	}
	marking, err := store.Open(store.Options{Dir: dir, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	build(t, marking, say("x", &ran))
	if err := marking.Close(); err != nil {
		t.Fatal(err)
	}
	removed, err := store.Prune(t.Context(), dir, store.Folders(dir), store.Limits{Size: 1 << 30, Since: time.Now().AddDate(0, 0, -10)}, nil)
	if err != nil || removed.Files != 0 {
		t.Errorf("removed %+v, %v", removed, err)
	}
	if _, err := store.Prune(t.Context(), dir, store.Folders(dir), store.Limits{}, nil); err != nil || len(filesOf(t, dir)) != 0 {
		t.Errorf("left %q, %v", filesOf(t, dir), err)
	}
	if got := build(t, open(t, store.Options{Dir: dir}), say("x", &ran)); got != "x" || ran.Load() != 2 {
		t.Errorf("got %q after %d runs", got, ran.Load())
	}
}
