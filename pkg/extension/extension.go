package extension

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/talosmith/talosmith/pkg/tree"
)

// The two entries at the top of an extension.
const (
	manifestFile = "manifest.yaml"
	rootDir      = "rootfs"
)

// Extension is a system extension.
type Extension struct {
	Manifest Manifest
	// Root is what lies below rootfs.
	Root *tree.Tree
}

// Load reads an extension from a tree that has manifest.yaml and rootfs at its top, and nothing else. All that is wrong is said at once.
func Load(t *tree.Tree) (*Extension, error) {
	var errs []error
	for n := range t.Children(tree.Root) {
		if n.Path != manifestFile && n.Path != rootDir {
			errs = append(errs, fmt.Errorf("unexpected file %q: only %s and %s may be at the top", n.Path, manifestFile, rootDir))
			if len(errs) == 10 {
				break
			}
		}
	}
	e := &Extension{}
	var err error
	if e.Manifest, err = loadManifest(t); err != nil {
		errs = append(errs, err)
	}
	if e.Root, err = t.Sub(rootDir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("extension rootfs is missing: there is no directory %s", rootDir)
		}
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("load extension: %w", errors.Join(errs...))
	}
	return e, nil
}

func loadManifest(t *tree.Tree) (Manifest, error) {
	n, ok := t.Lookup(manifestFile)
	if !ok || !n.Mode.IsRegular() {
		return Manifest{}, fmt.Errorf("extension manifest is missing: there is no file %s", manifestFile)
	}
	file, err := readSmall(n, maxManifest)
	if err != nil {
		return Manifest{}, err
	}
	return ParseManifest(file)
}

// readSmall reads a file of limited size.
func readSmall(n tree.Node, limit int64) ([]byte, error) {
	b, err := tree.ReadSmall(n.Content, limit)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", n.Path, err)
	}
	return b, nil
}
