package cli

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/talosmith/talosmith/pkg/store"
)

// What prune leaves where nothing else is asked for.
const (
	PruneSize = "10GiB"
	PruneAge  = "30d"
)

const (
	storeDir     = "store"
	downloadsDir = "downloads"
)

// cacheFolders are the parts of the cache that are pruned, which nobody uses without having the store open.
func cacheFolders(cache string) []store.Folder {
	return append(store.Folders(filepath.Join(cache, storeDir)),
		store.Folder{Name: "downloads", Path: filepath.Join(cache, downloadsDir, "blobs")},
		store.Folder{Name: "interrupted downloads", Path: filepath.Join(cache, downloadsDir, "partial")})
}

// CacheUse prints what the cache holds.
func CacheUse(o Options) error {
	o = o.withDefaults()
	cache, err := CacheDir(o.Env)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(o.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\tfiles\tsize\tused last, the oldest\n", cache)
	folders := append(cacheFolders(cache),
		store.Folder{Name: "demo: packages", Path: filepath.Join(cache, "debian")}, store.Folder{Name: "demo: release", Path: filepath.Join(cache, "standin")})
	total := store.Usage{}
	for _, f := range folders {
		u, err := store.Use(f)
		if err != nil {
			return err
		}
		printUse(w, f.Name, u)
		total.Files += u.Files
		total.Bytes += u.Bytes
	}
	printUse(w, "all", total)
	return w.Flush()
}

func printUse(w io.Writer, name string, u store.Usage) {
	used := ""
	if !u.Used.IsZero() {
		used = fmt.Sprintf("%d days ago", max(int(time.Since(u.Used).Hours()/24), 0)) // clocks go wrong
	}
	fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", name, u.Files, amount(u.Bytes), used)
}

// CachePrune removes what was used the longest ago, until the cache keeps to a size ("10GiB") and an age ("30d"), and prints what it did.
func CachePrune(ctx context.Context, o Options, size, age string) error {
	o = o.withDefaults()
	cache, err := CacheDir(o.Env)
	if err != nil {
		return err
	}
	most, err := parseSize(size)
	if err != nil {
		return err
	}
	oldest, err := parseAge(age)
	if err != nil {
		return err
	}
	if _, err := os.Stat(cache); err != nil {
		return fmt.Errorf("prune %s: %w: nothing was built yet", cache, err)
	}
	removed, err := store.Prune(ctx, filepath.Join(cache, storeDir), cacheFolders(cache), store.Limits{Size: most, Since: time.Now().Add(-oldest)},
		func() { fmt.Fprintf(o.Stderr, "note: a build uses %s: waiting for its end\n", cache) })
	fmt.Fprintf(o.Stdout, "removed %s, %s\n", count(removed.Files, "file"), amount(removed.Bytes))
	return err
}

// parseSize reads a number of bytes with or without a unit.
func parseSize(s string) (int64, error) {
	number, shift := s, 0
	for i, unit := range []string{"B", "KiB", "MiB", "GiB", "TiB"} {
		if n, ok := strings.CutSuffix(s, unit); ok {
			number, shift = n, 10*i
		}
	}
	n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 63)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("size %q: write a whole number with a unit, such as \"10GiB\" or \"512MiB\"", s)
	}
	return int64(n << shift), nil
}

// parseAge reads a number of days, or a duration as Go writes them.
func parseAge(s string) (time.Duration, error) {
	const day = 24 * time.Hour
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * day, nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return d, nil
	}
	return 0, fmt.Errorf("age %q: write days or hours, such as \"30d\" or \"12h\"", s)
}
