package extension

import (
	"fmt"
	"io/fs"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Entry is what can be said of a file without its content at hand.
type Entry struct {
	Path string `json:"path"` // in the root file system, without leading slash
	// Mode has the type bits and the permissions.
	Mode fs.FileMode `json:"mode"`
	Size int64       `json:"size,omitempty"` // bytes of a regular file
	// Link is a symbolic link's target.
	Link string `json:"link,omitempty"`
	// Major and Minor are a device's numbers.
	Major uint32 `json:"major,omitempty"`
	Minor uint32 `json:"minor,omitempty"`
	// SHA256 is that of a regular file's content, in hexadecimal digits; empty where it was not computed.
	SHA256 string `json:"sha256,omitempty"`
}

// NewEntry describes a node, without the hash of its content.
func NewEntry(n tree.Node) Entry {
	e := Entry{Path: n.Path, Mode: n.Mode, Size: n.Size(), Major: n.Major, Minor: n.Minor}
	if n.Mode.Type() == fs.ModeSymlink {
		e.Link = n.Link
	}
	return e
}

// Entries describes everything below a root, with the hash of every file.
func Entries(root *tree.Tree) ([]Entry, error) {
	all := make([]Entry, 0, root.Len())
	sums := map[string]string{} // of files that are linked to
	for n := range root.All() {
		e := NewEntry(n)
		if n.Mode.IsRegular() {
			if e.SHA256 = sums[n.Link]; !n.IsHardLink() || e.SHA256 == "" {
				var err error
				if e.SHA256, err = tree.SHA256(n.Content); err != nil {
					return nil, fmt.Errorf("read %q: %w", "/"+n.Path, err)
				}
				sums[n.Path] = e.SHA256
			}
		}
		all = append(all, e)
	}
	return all, nil
}
