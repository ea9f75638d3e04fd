package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/talosmith/talosmith/pkg/tree"
)

// part is a file that Extract writes.
type part struct {
	name string
	tree.Blob
}

// addPart adds a part; of two with one name the first stays.
func (a *Artefact) addPart(name string, b tree.Blob) {
	for _, p := range a.parts {
		if p.name == name {
			return
		}
	}
	if fs.ValidPath(name) {
		a.parts = append(a.parts, part{name, b})
	}
}

// Extract writes the parts into a folder, which must be new or empty: kernel, initramfs, command line, UKI, boot loaders, layers and
// what else there is, by names that do not depend on the artefact. It returns the names, in order.
func (a *Artefact) Extract(ctx context.Context, dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("extract to %s: %s is there already: name a new folder, or empty this one", dir, entries[0].Name())
	}
	var names []string
	for _, p := range a.parts {
		if err == nil {
			err = p.write(ctx, root)
			names = append(names, p.name)
		}
	}
	return names, errors.Join(err, root.Close())
}

// write writes a part under another name first, so that it is there complete or not at all.
func (p part) write(ctx context.Context, root *os.Root) error {
	if err := root.MkdirAll(path.Dir(p.name), 0o755); err != nil {
		return err
	}
	temp := p.name + ".part"
	f, err := root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	r, err := p.Open()
	if err == nil {
		_, err = io.CopyBuffer(struct{ io.Writer }{f}, contextReader{ctx, r}, make([]byte, min(p.Size()+1, 1<<20)))
		err = errors.Join(err, r.Close())
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(temp, p.name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("extract %s: %w", p.name, err), root.Remove(temp))
	}
	return nil
}
