package squashfs

import (
	"errors"
	"fmt"
	"io/fs"
	"math"

	"github.com/talosmith/talosmith/pkg/tree"
)

const (
	maxName = 255  // bytes of a file name, of Linux; squashfs itself has room for 256
	maxLink = 4095 // bytes of a symbolic link's target, of Linux
)

// check refuses what an image cannot hold, all of it at once.
func check(t *tree.Tree) error {
	if int64(t.Len()) >= math.MaxUint32 {
		return fmt.Errorf("the tree has %d nodes, squashfs takes %d", t.Len(), int64(math.MaxUint32)-1)
	}
	var errs []error
	for n := range t.All() {
		if n.IsHardLink() {
			n = tree.Node{Path: n.Path} // all but its name was checked with the first one
		}
		if err := checkNode(n); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n.Path, err))
		}
	}
	return errors.Join(errs...)
}

func checkNode(n tree.Node) error {
	if l := len(n.Name()); l > maxName {
		return fmt.Errorf("the name has %d bytes, Linux takes %d", l, maxName)
	}
	if n.Mode&^(fs.ModeType|permissions) != 0 || typeOf(n.Mode) == 0 {
		return fmt.Errorf("mode %v: squashfs has no such type or bits", n.Mode)
	}
	if _, err := encodeTime(n.ModTime); err != nil {
		return err
	}
	if n.Size() < 0 {
		return fmt.Errorf("the size is %d", n.Size())
	}
	if n.Mode.Type() == fs.ModeSymlink && len(n.Link) > maxLink {
		return fmt.Errorf("the link's target has %d bytes, Linux takes %d", len(n.Link), maxLink)
	}
	if n.Mode&fs.ModeDevice != 0 && (n.Major > maxMajor || n.Minor > maxMinor) {
		return fmt.Errorf("device %d:%d: squashfs has numbers up to %d:%d", n.Major, n.Minor, maxMajor, maxMinor)
	}
	return checkXattrs(n.Xattrs)
}
