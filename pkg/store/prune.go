package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Folder is a directory of a cache with what lies in it, for people.
type Folder struct {
	Name string
	Path string
}

// Folders are those of a store's directory that are worth pruning.
func Folders(dir string) []Folder {
	return []Folder{{"steps", filepath.Join(dir, actionsDir)}, {"outputs", filepath.Join(dir, blobsDir)}}
}

// Usage is what lies in a folder.
type Usage struct {
	Files int
	Bytes int64
	Used  time.Time // when the file was used last whose last use is the longest ago; the zero time where there is no file
}

// Use measures a folder. A missing one is empty.
func Use(f Folder) (u Usage, err error) {
	files, err := list(f.Path)
	for _, file := range files {
		u.add(file)
	}
	return u, err
}

func (u *Usage) add(f file) {
	u.Files++
	u.Bytes += f.size
	if u.Used.IsZero() || f.used.Before(u.Used) {
		u.Used = f.used
	}
}

// Limits are what prune leaves.
type Limits struct {
	Size  int64     // bytes of all folders together, at most
	Since time.Time // what has not been used since then goes
}

// Prune removes files of folders, the least recently used first, until they keep to the limits; and says what it removed. It
// waits until no process has the store of directory dir open, of which waits is told, and keeps it from being opened meanwhile: so
// nothing goes that a build needs. The folders may be any that are used only by processes that have this store open.
func Prune(ctx context.Context, dir string, folders []Folder, l Limits, waits func()) (removed Usage, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return removed, fmt.Errorf("prune store: %w", err)
	}
	lock := inUse(dir)
	if err := await(ctx, lock, waits); err != nil {
		return removed, errors.Join(fmt.Errorf("prune store: wait for other processes to end: %w", err), lock.Close())
	}
	defer lock.Close()
	var all []file
	total := int64(0)
	for _, f := range folders {
		files, err := list(f.Path)
		if err != nil {
			return removed, fmt.Errorf("prune store: %w", err)
		}
		all = append(all, files...)
	}
	for _, f := range all {
		total += f.size
	}
	slices.SortFunc(all, func(a, b file) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.name, b.name)) })
	for _, f := range all {
		if total <= l.Size && !f.used.Before(l.Since) {
			break
		}
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		if err := os.Remove(f.name); err != nil {
			return removed, fmt.Errorf("prune store: %w", err)
		}
		total -= f.size
		removed.add(f)
	}
	return removed, nil
}

type file struct {
	name string
	size int64
	used time.Time
}

// list returns the regular files below a directory.
func list(dir string) (files []file, err error) {
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // gone meanwhile, or never there
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			files = append(files, file{name, info.Size(), info.ModTime()})
		}
		return err
	})
	return files, err
}
