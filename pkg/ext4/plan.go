package ext4

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"sort"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Options are the properties of a file system that do not come from its tree.
type Options struct {
	// Size of the container in bytes: a multiple of 4096 from 1 MiB to 8 TiB.
	Size int64
	// Label of at most 16 bytes.
	Label string
	// UUID, which is also what hashes of names start with. Not zero: e2fsck would give another one.
	UUID [16]byte
	// ModTime is when the file system was made, and lost+found where the tree has none. The zero time stands for the Unix epoch.
	ModTime time.Time
}

const (
	maxLabel = 16
	maxName  = 255
	maxLink  = blockSize - 1
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
	maxLinks = 65000     // names of a file; with its subdirectories' ".." of a directory
	maxDir   = 1<<31 - 1 // bytes of a directory
	lostDir  = 16 << 10  // bytes that lost+found has at least, so that e2fsck needs no space
	lostName = "lost+found"

	rootInode     = 2
	lostInode     = 11
	reservedCount = lostInode - 1 // inodes before it
)

// Image is a file system that is laid out, ready to be written.
type Image struct {
	o       Options
	g       geometry
	inodes  []*inode // in the order of their numbers
	content int64    // bytes of all files
	largest *inode   // file
	used    []int64  // blocks from the start of each group
	next    int64    // group in which there may be free blocks
}

// inode is a file, directory, link or special file with its place.
type inode struct {
	tree.Node
	number  uint32
	links   int
	entries []entry // of a directory
	extents []extent
	// treeBlocks are the nodes of the tree of extents, the leaves first, where the inode has no room for the extents.
	treeBlocks []extent
}

// entry of a directory.
type entry struct {
	name string
	*inode
}

// Plan lays out a tree as a file system. It refuses what ext4 or this package cannot hold; nothing is read or written.
func Plan(t *tree.Tree, o Options) (*Image, error) {
	img, err := newImage(t, o)
	if err != nil {
		return nil, fmt.Errorf("lay out ext4: %w", err)
	}
	err = img.place(o.Size)
	if err == nil {
		return img, nil
	}
	err = fmt.Errorf("lay out ext4 in %d bytes: %w", o.Size, err)
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
		return 0, fmt.Errorf("measure ext4: %w", err)
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

// Size of the image in bytes: that of its container.
func (img *Image) Size() int64 { return img.o.Size }

// newImage checks everything that does not depend on the size.
func newImage(t *tree.Tree, o Options) (*Image, error) {
	if o.ModTime.IsZero() {
		o.ModTime = time.Unix(0, 0)
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	img := &Image{o: o}
	lost, found := t.Lookup(lostName)
	if !found {
		lost = tree.Node{Path: lostName, Mode: fs.ModeDir | 0o700, ModTime: o.ModTime}
	} else if !lost.Mode.IsDir() {
		return nil, fmt.Errorf("%s: has to be a directory, into which e2fsck puts what it finds", lostName)
	}
	byPath := make(map[string]*inode, t.Len())
	add := func(n tree.Node) *inode {
		in := &inode{Node: n}
		img.inodes = append(img.inodes, in)
		byPath[n.Path] = in
		return in
	}
	for n := range t.All() {
		if err := checkNode(n); err != nil {
			return nil, fmt.Errorf("%s: %w", n.Path, err)
		}
		if n.Path == tree.Root {
			root := add(n)
			root.link("..", root)
			if add(lost); !found {
				root.link(lostName, byPath[lostName])
			}
			continue
		}
		in := byPath[n.Path] // only lost+found is there before its turn
		switch {
		case n.IsHardLink():
			in = byPath[n.Link]
		case in == nil:
			in = add(n)
		}
		byPath[path.Dir(n.Path)].link(n.Name(), in)
	}
	for i, in := range img.inodes {
		if in.number = lostInode - 1 + uint32(i); i == 0 {
			in.number = rootInode
		}
		if err := in.check(); err != nil {
			return nil, fmt.Errorf("%s: %w", in.Path, err)
		}
		img.content += in.Size()
		if in.Mode.IsRegular() && (img.largest == nil || in.Size() > img.largest.Size()) {
			img.largest = in
		}
	}
	return img, nil
}

// link gives an inode a name in a directory.
func (dir *inode) link(name string, in *inode) {
	if in.Mode.IsDir() && in.entries == nil {
		in.entries = []entry{{".", in}, {"..", dir}}
		in.links = 1
		dir.links++
	}
	if in != dir {
		dir.entries = append(dir.entries, entry{name, in})
		in.links++
	}
}

func (o Options) check() error {
	if len(o.Label) > maxLabel {
		return fmt.Errorf("label %q: %d bytes, ext4 holds %d", o.Label, len(o.Label), maxLabel)
	}
	for _, c := range []byte(o.Label) {
		if c <= ' ' || c > '~' {
			return fmt.Errorf("label %q: only visible ASCII characters are allowed", o.Label)
		}
	}
	if o.UUID == [16]byte{} {
		return errors.New("UUID: is zero; e2fsck wants one")
	}
	if s := o.ModTime.Unix(); s < 0 || s > maxTime {
		return fmt.Errorf("time %s of the file system: ext4 holds those from 1970-01-01 to 2310-04-03", o.ModTime.UTC().Format(time.DateOnly))
	}
	return nil
}

func checkNode(n tree.Node) error {
	if len(n.Xattrs) > 0 {
		return errors.New("extended attributes are not supported")
	}
	if s := n.ModTime.Unix(); s < minTime || s > maxTime {
		return fmt.Errorf("time %s: ext4 holds those from 1901-12-13 to 2310-04-03", n.ModTime.UTC().Format(time.DateOnly))
	}
	if len(n.Name()) > maxName {
		return fmt.Errorf("name of %d bytes, ext4 holds %d", len(n.Name()), maxName)
	}
	if len(n.Link) > maxLink && n.Mode.Type() == fs.ModeSymlink {
		return fmt.Errorf("link target of %d bytes, ext4 holds %d", len(n.Link), maxLink)
	}
	if typeOf(n.Mode) == 0 {
		return fmt.Errorf("ext4 has no files of type %v", n.Mode.Type())
	}
	if n.Major > maxMajor || n.Minor > maxMinor {
		return fmt.Errorf("device %d:%d: ext4 holds up to %d:%d", n.Major, n.Minor, maxMajor, maxMinor)
	}
	return nil
}

// check looks at what becomes of an inode only when the whole tree is known.
func (in *inode) check() error {
	if in.Mode.IsDir() {
		return checkDir(in.links-2, in.blocks()*blockSize)
	}
	if in.links > maxLinks {
		return fmt.Errorf("%d names, ext4 holds %d", in.links, maxLinks)
	}
	return nil
}

func checkDir(subdirectories int, size int64) error {
	if subdirectories > maxLinks-2 {
		return fmt.Errorf("%d subdirectories, ext4 without an index holds %d", subdirectories, maxLinks-2)
	}
	if size > maxDir {
		return fmt.Errorf("directory of %d bytes, ext4 holds %d", size, maxDir)
	}
	return nil
}

// place gives everything its blocks in a container of a size: what is read to find files comes first.
func (img *Image) place(size int64) (err error) {
	if img.g, err = newGeometry(size, reservedCount+int64(len(img.inodes))-1); err != nil {
		return err
	}
	img.used, img.next = make([]int64, img.g.groups), 0
	for i := range img.used {
		img.used[i] = img.g.head(int64(i))
	}
	for in := range img.inPlace() {
		if in.extents, err = img.take(in.blocks()); err == nil {
			in.treeBlocks, err = img.take(treeSize(int64(len(in.extents))))
		}
		if err != nil && img.largest == nil {
			return fmt.Errorf("%w for %s", err, in.Path)
		}
		if err != nil {
			return fmt.Errorf("%w for %s: the files have %d bytes, the largest (%s) %d", err, in.Path, img.content, img.largest.Path, img.largest.Size())
		}
	}
	return nil
}

// inPlace yields the inodes in the order of their blocks.
func (img *Image) inPlace() iter.Seq[*inode] {
	return func(yield func(*inode) bool) {
		for _, files := range []bool{false, true} {
			for _, in := range img.inodes {
				if in.Mode.IsRegular() == files && !yield(in) {
					return
				}
			}
		}
	}
}

// blocks is the number of blocks of an inode's content.
func (in *inode) blocks() (n int64) {
	switch {
	case in.Mode.IsDir():
		for range in.dirBlocks() {
			n++
		}
	case in.Mode.Type() == fs.ModeSymlink && len(in.Link) > shortLink:
		n = 1
	case in.Mode.IsRegular():
		n = parts(in.Size(), blockSize)
	}
	return n
}
