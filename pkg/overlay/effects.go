package overlay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Effects are what an installer did.
type Effects struct {
	// Raw is what it wrote to the disk, ascending, without the sectors that it left zero.
	Raw []Extent
	// ESP are the files and directories for the EFI system partition.
	ESP *tree.Tree
}

// Extent is a run of sectors.
type Extent struct {
	At      int64 // byte of the disk
	Content tree.Blob
}

// Where [Effects.Tree] has them.
const (
	rawTree = "raw" // a file for each extent, named by its offset: 16 hexadecimal digits
	espTree = "esp"
)

// Tree is all of it as one tree, for the store.
func (e Effects) Tree() (*tree.Tree, error) {
	var nodes []tree.Node
	for _, x := range e.Raw {
		nodes = append(nodes, tree.Node{Path: fmt.Sprintf("%s/%016x", rawTree, x.At), Mode: 0o644, Content: x.Content})
	}
	for n := range e.ESP.All() {
		n.Path = path.Join(espTree, n.Path)
		nodes = append(nodes, n)
	}
	return tree.New(nodes)
}

// ReadEffects is the inverse of [Effects.Tree].
func ReadEffects(t *tree.Tree) (e Effects, err error) {
	for n := range t.Children(rawTree) {
		at, err := strconv.ParseInt(n.Name(), 16, 64)
		if err != nil {
			return e, err
		}
		e.Raw = append(e.Raw, Extent{at, n.Content})
	}
	e.ESP, err = t.Sub(espTree)
	return e, err
}

const (
	sector     = 512
	maxExtents = 100_000 // u-boot has about 50
	scanBuffer = 1 << 20
)

// extents are the runs of sectors of a disk that are not zero: the same whatever the file system makes of a sparse file.
func extents(ctx context.Context, disk *os.File, size int64) (all []Extent, err error) {
	start, end := int64(0), int64(-1) // of the run that is being read; end < 0: none
	flush := func() {
		if end > start {
			all = append(all, Extent{start, tree.Section(disk, start, end-start)})
		}
		end = -1
	}
	buf, zeros := make([]byte, scanBuffer), make([]byte, sector)
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		next, err := nextData(disk, at, size)
		if err != nil {
			return nil, err
		}
		at = next / sector * sector
		n := min(size-at, scanBuffer)
		if _, err := disk.ReadAt(buf[:n], at); err != nil {
			return nil, err
		}
		for b := buf[:n]; len(b) > 0; {
			one := b[:min(sector, len(b))]
			switch {
			case bytes.Equal(one, zeros[:len(one)]):
				flush()
			case end != at:
				flush()
				start, end = at, at+int64(len(one))
			default:
				end += int64(len(one))
			}
			at, b = at+int64(len(one)), b[len(one):]
		}
		if len(all) > maxExtents {
			return nil, fmt.Errorf("it wrote to more than %d places of installDisk", maxExtents)
		}
	}
	flush()
	return all, nil
}

// rootFile is a file below a directory, which no link leads out of.
type rootFile struct {
	root *os.Root
	name string
	size int64
}

func (f rootFile) Size() int64 { return f.size }

func (f rootFile) Open() (io.ReadCloser, error) {
	info, err := f.root.Lstat(f.name)
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: f.name, Err: errors.New("it is no regular file any more")}
	}
	if err == nil {
		err = f.root.Chmod(f.name, 0o600) // a program may forbid reading
	}
	if err != nil {
		return nil, err
	}
	return f.root.Open(f.name)
}
