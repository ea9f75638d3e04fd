package xfs

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"sort"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Options are the properties of a file system that do not come from its tree.
type Options struct {
	// Size of the container in bytes: a multiple of 4096 from 300 MiB to 16 TiB.
	Size int64
	// Label of at most 12 bytes.
	Label string
	// UUID, which the kernel wants not to be zero.
	UUID [16]byte
	// SectorSize is 512 or 4096 bytes: the kernel mounts no file system with less than its disk has. 0 is 512.
	SectorSize int64
}

const (
	maxLabel = 12
	maxName  = 255
	maxLink  = 1023
	maxMajor = 1<<14 - 1
	maxMinor = 1<<18 - 1
)

// Image is a file system that is laid out, ready to be written.
type Image struct {
	o       Options
	g       geometry
	inodes  []*inode // in the order of their numbers
	content int64    // bytes of all files
	largest *inode   // file
	groups  []group
}

// inode is a file, directory, link or special file with its place.
type inode struct {
	tree.Node
	number  uint64
	links   uint32
	parent  *inode
	entries []entry // of a directory, in tree order
	dir     dirShape
	extents []extent
	// treeBlocks are the leaves of the tree of extents, where they are too many for the inode.
	treeBlocks []int64
	isBitmap   bool // the first of the realtime device's
}

// entry of a directory.
type entry struct {
	name string
	*inode
}

// Plan lays out a tree as a file system. It refuses what XFS or this package cannot hold; nothing is read or written.
func Plan(t *tree.Tree, o Options) (*Image, error) {
	img, err := newImage(t, o)
	if err != nil {
		return nil, fmt.Errorf("lay out XFS: %w", err)
	}
	err = img.place(o.Size)
	if err == nil {
		return img, nil
	}
	err = fmt.Errorf("lay out XFS in %d bytes: %w", o.Size, err)
	if least, none := img.minSize(); none == nil && least > o.Size {
		err = fmt.Errorf("%w; the least size is %d bytes (%d MiB)", err, least, least/mib)
	}
	return nil, err
}

// MinSize returns the least size of a container for a tree, in whole MiB. The Size in o does not matter.
func MinSize(t *tree.Tree, o Options) (int64, error) {
	img, err := newImage(t, o)
	if err == nil {
		o.Size, err = img.minSize()
	}
	if err != nil {
		return 0, fmt.Errorf("measure XFS: %w", err)
	}
	return o.Size, nil
}

// minSize looks for the least size; what fits in one fits in any greater one.
func (img *Image) minSize() (int64, error) {
	if err := img.place(Most); err != nil {
		return 0, err
	}
	return mib * int64(sort.Search(Most/mib, func(n int) bool { return img.place(mib*int64(n)) == nil })), nil
}

// newImage checks everything that does not depend on the size.
func newImage(t *tree.Tree, o Options) (*Image, error) {
	if len(o.Label) > maxLabel {
		return nil, fmt.Errorf("label %q: %d bytes, XFS holds %d", o.Label, len(o.Label), maxLabel)
	}
	for _, c := range []byte(o.Label) {
		if c <= ' ' || c > '~' {
			return nil, fmt.Errorf("label %q: only visible ASCII characters are allowed", o.Label)
		}
	}
	if o.UUID == [16]byte{} {
		return nil, errors.New("UUID: is zero; the kernel mounts no such file system")
	}
	if o.SectorSize == 0 {
		o.SectorSize = sectorSize
	}
	if n := o.SectorSize; n != sectorSize && n != longSector {
		return nil, fmt.Errorf("sectors of %d bytes: only %d and %d are possible", n, sectorSize, longSector)
	}
	img := &Image{o: o}
	byPath := make(map[string]*inode, t.Len())
	for n := range t.All() {
		if err := checkNode(n); err != nil {
			return nil, fmt.Errorf("%s: %w", n.Path, err)
		}
		in := byPath[n.Link]
		if !n.IsHardLink() {
			in = &inode{Node: n}
			img.inodes = append(img.inodes, in)
			byPath[n.Path] = in
			img.count(in)
		}
		if n.Path == tree.Root {
			in.links, in.parent = 1, in
			img.addRealtime(in)
			continue
		}
		parent := byPath[path.Dir(n.Path)]
		parent.entries = append(parent.entries, entry{n.Name(), in})
		in.links++
		if in.parent = parent; in.Mode.IsDir() {
			in.links++
			parent.links++
		}
	}
	img.inodes[0].links++
	for _, in := range img.inodes {
		if in.Mode.IsDir() {
			in.dir = shapeOf(in.entries)
		}
	}
	return img, nil
}

// addRealtime adds the two inodes of a realtime device: XFS wants them even where there is no such device.
func (img *Image) addRealtime(root *inode) {
	for i := range 2 {
		in := &inode{Node: tree.Node{Path: "realtime", ModTime: root.ModTime, Content: tree.Bytes(nil)}, links: 1, isBitmap: i == 0}
		img.inodes = append(img.inodes, in)
		img.count(in)
	}
}

func (img *Image) count(in *inode) {
	img.content += in.Size()
	if in.Mode.IsRegular() && (img.largest == nil || in.Size() > img.largest.Size()) {
		img.largest = in
	}
}

func checkNode(n tree.Node) error {
	if len(n.Xattrs) > 0 {
		return errors.New("extended attributes are not supported")
	}
	if s := n.ModTime.Unix(); s < math.MinInt32 || s > math.MaxInt32 {
		return fmt.Errorf("time %s: this XFS holds those from 1901-12-13 to 2038-01-19", n.ModTime.UTC().Format("2006-01-02"))
	}
	if len(n.Name()) > maxName {
		return fmt.Errorf("name of %d bytes, XFS holds %d", len(n.Name()), maxName)
	}
	if len(n.Link) > maxLink && n.Mode.Type() == fs.ModeSymlink {
		return fmt.Errorf("link target of %d bytes, XFS holds %d", len(n.Link), maxLink)
	}
	if typeOf(n.Mode) == 0 {
		return fmt.Errorf("XFS has no files of type %v", n.Mode.Type())
	}
	if n.Major > maxMajor || n.Minor > maxMinor {
		return fmt.Errorf("device %d:%d: XFS holds up to %d:%d", n.Major, n.Minor, maxMajor, maxMinor)
	}
	return nil
}

// place gives everything its blocks in a container of a size.
func (img *Image) place(size int64) error {
	g, err := newGeometry(size, img.o.SectorSize)
	if err != nil {
		return err
	}
	return img.placeIn(g)
}

func (img *Image) placeIn(g geometry) error {
	img.g = g
	free, err := img.placeInodes()
	if err != nil {
		return err
	}
	a := allocator{free: free}
	for _, dirs := range []bool{true, false} { // what is read to find files comes first
		for _, in := range img.inodes {
			if in.Mode.IsRegular() == dirs {
				continue
			}
			if in.extents, in.treeBlocks, err = a.take(in.needs()); err != nil {
				return fmt.Errorf("%w for %s: the files have %d bytes, the largest (%s) %d", err, in.Path, img.content, img.largest.Path, img.largest.Size())
			}
		}
	}
	for i := range img.groups {
		gr := &img.groups[i]
		gr.free = nil
		if gr.gap.count > 0 {
			gr.free = append(gr.free, gr.gap)
		}
		if rest := a.free[i]; rest.count > 0 {
			gr.free = append(gr.free, rest)
		}
	}
	return nil
}

// needs are the numbers of blocks of an inode's content, each with the place in the file where it starts.
func (in *inode) needs() []extent {
	switch {
	case in.Mode.IsDir():
		return in.dir.needs()
	case in.Mode.Type() == fs.ModeSymlink && len(in.Link) > literalSize:
		return []extent{{count: 1}}
	case in.Mode.IsRegular():
		return []extent{{count: (in.Size() + blockSize - 1) / blockSize}}
	}
	return nil
}

// Size of the image in bytes: that of its container.
func (img *Image) Size() int64 { return img.o.Size }
