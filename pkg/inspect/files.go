package inspect

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/talosmith/talosmith/pkg/tree"
)

// File is one of an artefact's files.
type File struct {
	Layer  string `json:"layer"` // "rootfs", an extension's name, "initramfs", or a volume: "iso", "esp", "boot", "image"
	Path   string `json:"path"`
	Mode   Mode   `json:"mode"` // "-rw-r--r--"
	UID    uint32 `json:"uid"`
	GID    uint32 `json:"gid"`
	Size   int64  `json:"size"`
	Link   string `json:"link,omitempty"`
	SHA256 string `json:"sha256,omitempty"`

	Xattrs map[string][]byte `json:"xattrs,omitempty"`
}

// Mode is a [fs.FileMode] that is text in JSON.
type Mode fs.FileMode

func (m Mode) String() string { return fs.FileMode(m).String() }

// MarshalText implements [encoding.TextMarshaler].
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

func (m Mode) isRegular() bool { return fs.FileMode(m).IsRegular() }

// Files tells every file of every layer, layer by layer and by path, to fn. Contents are read for their hashes.
func (a *Artefact) Files(ctx context.Context, fn func(File) error) error {
	for _, l := range a.layers {
		for _, f := range l.entries() {
			if err := a.hashFile(ctx, l, &f); err != nil {
				return err
			}
			if err := fn(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// entries are a layer's files but the root directory, without hashes where they are not known.
func (l *layer) entries() []File {
	list := l.list
	if l.files != nil {
		list = make([]File, 0, l.files.Len())
		for n := range l.files.All() {
			list = append(list, File{Path: n.Path, Mode: Mode(n.Mode), UID: n.UID, GID: n.GID, Size: n.Size(), Link: n.Link, Xattrs: n.Xattrs})
		}
	}
	var files []File
	for _, f := range list {
		if f.Layer = l.name; f.Path != tree.Root {
			files = append(files, f)
		}
	}
	return files
}

func (a *Artefact) hashFile(ctx context.Context, l *layer, f *File) error {
	if !f.Mode.isRegular() || f.SHA256 != "" || l.files == nil {
		return context.Cause(ctx)
	}
	n, _ := l.files.Lookup(f.Path)
	sum, err := a.digest(ctx, n.Content)
	if err != nil {
		return fmt.Errorf("layer %s: %s: %w", l.name, printable(f.Path), err)
	}
	f.SHA256 = sum
	return nil
}
