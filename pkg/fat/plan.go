package fat

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"sort"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Options are the properties of a file system that do not come from its tree. All but Size have a good zero value.
type Options struct {
	// Size of the container in bytes, a multiple of the sector's.
	Size int64
	// SectorSize is a power of two from 512 to 4096 bytes: what the disk has, as firmware wants. 0 is 512.
	SectorSize int64
	// Label of the volume: at most 11 characters, upper case.
	Label string
	// VolumeID is the serial number; 0 is mkfs.fat's 0x1234ABCD.
	VolumeID uint32
	// LabelTime is the label's time; zero is mkfs.fat's 2015-03-14 09:26:52.
	LabelTime time.Time
	// SectorsPerCluster is a power of two up to 64; 0 is by Size, as mkfs.fat chooses.
	SectorsPerCluster int
	// FileAlign is a power of two up to 1 MiB of which every file's offset in the image is a multiple; 0 is any.
	FileAlign int64
	// HiddenSectors is the number of sectors before the container on its disk, which old firmware likes to know.
	HiddenSectors uint32
}

const (
	maxFileSize   = math.MaxUint32
	maxDirEntries = 1 << 16 // slots of a directory
	maxFileAlign  = mib
	defaultID     = 0x1234abcd
)

// Image is a file system that is laid out, ready to be written.
type Image struct {
	o     Options
	g     geometry
	label shortName
	// nodes in the order of their clusters, the root directory first.
	nodes []*node
	paths map[string]*node
	used  int64 // clusters
	// content is the number of bytes of all files, to say what takes the room.
	content int64
	largest *node
}

// node is a directory or a file with its place.
type node struct {
	tree.Node
	name    entryName
	parent  *node
	kids    []*node
	size    int64 // in bytes, of a directory too
	cluster uint32
	count   uint32 // of clusters, one after another
}

// end is the number of the cluster after the node's last.
func (n *node) end() uint32 { return n.cluster + n.count }

// Plan lays out a tree as a file system. It refuses what FAT cannot hold; nothing is read or written.
func Plan(t *tree.Tree, o Options) (*Image, error) {
	img, err := newImage(t, o)
	if err != nil {
		return nil, fmt.Errorf("lay out FAT32: %w", err)
	}
	if err := img.place(o.Size); err != nil {
		err = fmt.Errorf("lay out FAT32 in %d bytes: %w", o.Size, err)
		if least, none := img.minSize(); none != nil {
			err = fmt.Errorf("lay out FAT32: %w", none)
		} else if least > o.Size {
			err = fmt.Errorf("%w; the least size is %d bytes (%d MiB)", err, least, least/mib)
		}
		return nil, err
	}
	return img, nil
}

// MinSize returns the least size of a container for a tree, in whole MiB. The Size in o does not matter.
func MinSize(t *tree.Tree, o Options) (int64, error) {
	img, err := newImage(t, o)
	if err != nil {
		return 0, fmt.Errorf("measure FAT32: %w", err)
	}
	size, err := img.minSize()
	if err != nil {
		return 0, fmt.Errorf("measure FAT32: %w", err)
	}
	return size, nil
}

// newImage checks everything that does not depend on the size.
func newImage(t *tree.Tree, o Options) (*Image, error) {
	if o.SectorSize == 0 {
		o.SectorSize = sectorSize
	}
	if n := o.SectorSize; n < sectorSize || n > maxSector || n&(n-1) != 0 {
		return nil, fmt.Errorf("sectors of %d bytes: not a power of two from %d to %d", n, sectorSize, maxSector)
	}
	if n := o.SectorsPerCluster; n < 0 || n > 64 || n&(n-1) != 0 {
		return nil, fmt.Errorf("%d sectors per cluster: not a power of two from 1 to 64", n)
	}
	if a := o.FileAlign; a < 0 || a > maxFileAlign || a&(a-1) != 0 {
		return nil, fmt.Errorf("file alignment of %d bytes: not a power of two from 1 to %d", a, maxFileAlign)
	}
	o.FileAlign = max(o.FileAlign, o.SectorSize)
	if o.VolumeID == 0 {
		o.VolumeID = defaultID
	}
	if o.LabelTime.IsZero() {
		o.LabelTime = time.Date(2015, 3, 14, 9, 26, 52, 0, time.UTC)
	}
	if _, _, err := dosTime(o.LabelTime); err != nil {
		return nil, fmt.Errorf("label time: %w", err)
	}
	label, err := packLabel(o.Label)
	if err != nil {
		return nil, err
	}
	root, _ := t.Lookup(tree.Root)
	top := &node{Node: root}
	img := &Image{o: o, label: label, paths: make(map[string]*node, t.Len()), largest: top}
	return img, img.add(t, top)
}

// packLabel checks a label and pads it.
func packLabel(label string) (shortName, error) {
	s := shortName([]byte("           "))
	if label == "" {
		return shortName([]byte("NO NAME    ")), nil
	}
	if len(label) > len(s) {
		return s, fmt.Errorf("label %q: %d bytes, FAT holds %d", label, len(label), len(s))
	}
	for _, c := range []byte(label) {
		if text, exact := shorten(string(c), 1); c != ' ' && (!exact || text != string(c) || checkName(text) != nil) {
			return s, fmt.Errorf("label %q: the character %q is not allowed; use upper-case letters, digits and \"_\" or \"-\"", label, c)
		}
	}
	if label[0] == ' ' || label[len(label)-1] == ' ' {
		return s, fmt.Errorf("label %q: starts or ends with a blank", label)
	}
	copy(s[:], label)
	return s, nil
}

// add appends a node and all below it, in tree order.
func (img *Image) add(t *tree.Tree, n *node) error {
	if err := checkNode(n.Node); err != nil {
		return fmt.Errorf("%s: %w", n.Path, err)
	}
	img.nodes = append(img.nodes, n)
	img.paths[n.Path] = n
	if !n.Mode.IsDir() {
		n.size = n.Size()
		if img.content += n.size; n.size > img.largest.Size() {
			img.largest = n
		}
		return nil
	}
	var names []string
	for kid := range t.Children(n.Path) {
		names = append(names, kid.Name())
		n.kids = append(n.kids, &node{Node: kid, parent: n})
	}
	entries, err := entryNames(names)
	if err != nil {
		return fmt.Errorf("directory %s: %w", n.Path, err)
	}
	slots := 2 // "." and ".."
	if n.parent == nil {
		slots = 1 // the label
	}
	for i, kid := range n.kids {
		kid.name = entries[i]
		slots += kid.name.slots()
	}
	if slots > maxDirEntries {
		return fmt.Errorf("directory %s: needs %d entries of 32 bytes, FAT holds %d", n.Path, slots, maxDirEntries)
	}
	n.size = int64(slots) * entrySize
	for _, kid := range n.kids {
		if err := img.add(t, kid); err != nil {
			return err
		}
	}
	return nil
}

func checkNode(n tree.Node) error {
	switch {
	case !n.Mode.IsDir() && !n.Mode.IsRegular():
		return fmt.Errorf("FAT has no %s; only files and directories", typeName(n.Mode))
	case len(n.Xattrs) > 0:
		return errors.New("FAT has no extended attributes")
	case n.Size() > maxFileSize:
		return fmt.Errorf("%d bytes, a file on FAT has at most %d", n.Size(), maxFileSize)
	}
	_, _, err := dosTime(n.ModTime)
	return err
}

func typeName(m fs.FileMode) string {
	switch m.Type() {
	case fs.ModeSymlink:
		return "symbolic links"
	case fs.ModeNamedPipe:
		return "named pipes"
	case fs.ModeSocket:
		return "sockets"
	}
	return "devices"
}

// place gives every node its clusters in a container of a size.
func (img *Image) place(size int64) error {
	g, err := newGeometry(size, img.o.SectorSize, int64(img.o.SectorsPerCluster), img.o.FileAlign)
	if err != nil {
		return err
	}
	if err := g.check(); err != nil {
		return err
	}
	img.g, img.used = g, 0
	next := int64(rootCluster)
	step := max(img.o.FileAlign/g.clusterSize(), 1) // clusters from one possible start of a file to the next
	for _, n := range img.nodes {
		count := (n.size + g.clusterSize() - 1) / g.clusterSize()
		n.cluster, n.count = 0, 0
		if count == 0 {
			continue
		}
		if !n.Mode.IsDir() {
			next = rootCluster + roundUp(next-rootCluster, step)
		}
		if next+count > rootCluster+g.clusters {
			return fmt.Errorf("no room for %s (%d bytes) after %d of %d clusters of %d bytes; the files have %d bytes, the largest (%s) %d",
				n.Path, n.size, next-rootCluster, g.clusters, g.clusterSize(), img.content, img.largest.Path, img.largest.size)
		}
		n.cluster, n.count = uint32(next), uint32(count)
		next += count
		img.used += count
	}
	return nil
}

// minSize looks for the least size in each range in which more bytes make more clusters.
func (img *Image) minSize() (int64, error) {
	probe := *img
	probe.nodes = make([]*node, len(img.nodes))
	for i, n := range img.nodes {
		clone := *n
		probe.nodes[i] = &clone
	}
	from := int64(mib)
	for _, c := range cylinders {
		for _, s := range clusterSizes {
			to := min(c.upTo, s.upTo) / sectorSize * img.o.SectorSize / mib * mib
			if to < from {
				continue
			}
			if probe.place(to) == nil {
				more := sort.Search(int((to-from)/mib), func(n int) bool { return probe.place(from+mib*int64(n)) == nil })
				return from + mib*int64(more), nil
			}
			from = to + mib
		}
	}
	return 0, fmt.Errorf("the tree fits no FAT32: %w", probe.place(maxSectors*img.o.SectorSize/mib*mib))
}

// Size of the image in bytes: that of its container.
func (img *Image) Size() int64 { return img.o.Size }

// Offset returns where in the image the bytes of a file lie, all in one piece. An empty file has no place.
func (img *Image) Offset(path string) (off int64, ok bool) {
	n, ok := img.paths[path]
	if !ok || n.Mode.IsDir() || n.count == 0 {
		return 0, false
	}
	return img.g.offset(n.cluster), true
}

// dosTime is a time as FAT has it: the day as year since 1980, month, day; and hour, minute, two seconds.
func dosTime(t time.Time) (date, clock uint16, err error) {
	t = t.UTC()
	switch year := t.Year(); {
	case year < 1980:
		return 1<<5 | 1, 0, nil // 1980-01-01: the earliest
	case year > 2107:
		return 0, 0, fmt.Errorf("time %s: FAT ends with the year 2107", t.Format(time.RFC3339))
	}
	date = uint16(t.Year()-1980)<<9 | uint16(t.Month())<<5 | uint16(t.Day())
	return date, uint16(t.Hour())<<11 | uint16(t.Minute())<<5 | uint16(t.Second()/2), nil
}
