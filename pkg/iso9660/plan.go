package iso9660

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Image is an image that is laid out: what lies where is settled.
type Image struct {
	blocks   int64
	behind   int64  // first block behind the tree, where the first appended partition starts
	offset   int64  // Options.PartitionOffset
	parts    []part // ascending
	appended []partition
	boot     []bootImage
	offsets  map[string]int64
}

// part is content of the image from a block on.
type part struct {
	block int64
	blob  tree.Blob
}

// partition is an appended one: the blocks that it takes.
type partition struct {
	block, blocks int64
	content       Content
}

// Plan lays an image out. What ISO 9660 with Rock Ridge cannot hold is refused here. No content is read but that of boot
// images that take boot information.
func Plan(t *tree.Tree, o Options) (*Image, error) {
	p := &planner{tree: t, o: o, files: map[string]*file{}, next: systemBlocks}
	image, err := p.plan()
	if err != nil {
		return nil, fmt.Errorf("plan ISO 9660 image: %w", err)
	}
	return image, nil
}

// Size is the image's length in bytes, with the tail.
func (im *Image) Size() int64 { return im.blocks * blockSize }

// Offset tells at which byte a file's content starts.
func (im *Image) Offset(path string) (int64, bool) {
	at, ok := im.offsets[path]
	return at, ok
}

// AppendedOffset tells at which byte an appended partition starts.
func (im *Image) AppendedOffset(i int) int64 { return im.appended[i].block * blockSize }

// Write writes what is behind the system area and before the tail, ascending. It leaves holes: w must read as zeros where nothing
// was written, and the caller makes it [Image.Size] bytes long.
func (im *Image) Write(w io.WriterAt) error {
	for _, p := range im.parts {
		if _, err := tree.CopyAt(w, p.block*blockSize, p.blob); err != nil {
			return fmt.Errorf("write ISO 9660 image, block %d: %w", p.block, err)
		}
	}
	for i, a := range im.appended {
		if err := a.content.Write(tree.Offset(w, a.block*blockSize)); err != nil {
			return fmt.Errorf("write ISO 9660 image, appended partition %d: %w", i, err)
		}
	}
	return nil
}

type planner struct {
	tree  *tree.Tree
	o     Options
	files map[string]*file
	dirs  []*dir  // breadth first, as in the path table
	deep  []*dir  // depth first, as they are stored
	store []*file // depth first, as they are stored
	next  int64   // the next free block
	empty int64   // a block of zeros, where everything lies that has no content
	image Image
}

// take gives the blocks for a number of bytes away.
func (p *planner) take(size int64) (block int64) {
	block = p.next
	p.next += blocksOf(size)
	return block
}

func blocksOf(size int64) int64 { return (size + blockSize - 1) / blockSize }

// put adds content to the image; the parts come in ascending order.
func (p *planner) put(block int64, blob tree.Blob) {
	p.image.parts = append(p.image.parts, part{block, blob})
}

func (p *planner) plan() (*Image, error) {
	if err := p.o.check(p.tree); err != nil {
		return nil, err
	}
	if err := p.collect(); err != nil {
		return nil, err
	}
	p.sort()
	sets := []*set{{descriptors: p.take(2 * blockSize), boot: len(p.o.Boot) > 0}}
	if sets[0].boot {
		p.next++
	}
	if p.o.PartitionOffset > 0 {
		p.next = p.o.PartitionOffset + systemBlocks
		sets = append(sets, &set{index: 1, base: p.o.PartitionOffset, descriptors: p.take(2 * blockSize)})
	}
	for _, s := range sets {
		if err := p.layOutDirs(s); err != nil {
			return nil, err
		}
	}
	p.layOutFiles()
	if err := p.layOutAppended(); err != nil {
		return nil, err
	}
	if p.image.blocks > maxBlocks {
		return nil, fmt.Errorf("image of %d blocks: ISO 9660 has room for %d of %d bytes", p.image.blocks, int64(maxBlocks), blockSize)
	}
	sets[0].blocks = p.image.blocks
	for _, s := range sets[1:] {
		s.blocks = p.image.behind - s.base
		if len(p.o.Shared) > 0 { // whose blocks belong to the volume as well
			s.blocks = p.image.blocks - s.base
		}
	}
	for _, s := range sets {
		p.put(s.descriptors, tree.Bytes(p.descriptors(s)))
	}
	for _, s := range sets {
		p.put(p.dirs[0].place[s.index].block, tree.Bytes(p.directories(s)))
	}
	return &p.image, p.contents()
}

// collect finds every directory, breadth first, with its entries in the order of their identifiers.
func (p *planner) collect() error {
	root, _ := p.tree.Lookup(tree.Root)
	if err := checkNode(root); err != nil {
		return err
	}
	top := &dir{node: root}
	top.parent = top
	p.dirs = []*dir{top}
	for i := 0; i < len(p.dirs); i++ { // grows
		if i == maxDirs {
			return fmt.Errorf("directory %q: is one more than the %d that a path table has room for", p.dirs[i].node.Path, maxDirs)
		}
		d := p.dirs[i]
		d.number = i + 1
		names := newNamer()
		for n := range p.children(d) {
			if err := checkNode(n); err != nil {
				return err
			}
			e := &entry{node: n, name: names.name(n.Name(), n.Mode.IsDir())}
			switch {
			case n.Mode.IsDir():
				e.dir = &dir{node: n, name: e.name, parent: d}
			case n.Mode.IsRegular():
				e.file = p.file(n)
			}
			d.entries = append(d.entries, e)
		}
		slices.SortFunc(d.entries, func(a, b *entry) int { return a.name.compare(b.name) })
		for _, e := range d.entries {
			if e.dir != nil {
				p.dirs = append(p.dirs, e.dir)
			}
		}
	}
	return nil
}

// children yields a directory's nodes; in the root the boot catalog too, which is a file as others are.
func (p *planner) children(d *dir) func(yield func(tree.Node) bool) {
	return func(yield func(tree.Node) bool) {
		for n := range p.tree.Children(d.node.Path) {
			if !yield(n) {
				return
			}
		}
		if d.parent == d && len(p.o.Boot) > 0 {
			yield(tree.Node{Path: catalog, Mode: 0o444, ModTime: p.o.ModTime, Content: tree.Zeros(blockSize)})
		}
	}
}

// file returns where a node's content lies; the names of a hard link share the place.
func (p *planner) file(n tree.Node) *file {
	path := n.Path
	if n.IsHardLink() {
		path = n.Link
	}
	if p.files[path] == nil {
		p.files[path] = &file{path: path, content: n.Content}
	}
	p.files[n.Path] = p.files[path]
	return p.files[path]
}

func checkNode(n tree.Node) error {
	switch typ := n.Mode.Type(); {
	case typ != 0 && typ != fs.ModeDir && typ != fs.ModeSymlink:
		return fmt.Errorf("%q: is a %v; only files, directories and symbolic links are supported", n.Path, typ)
	case n.Path != tree.Root && len(n.Name()) > maxName:
		return fmt.Errorf("%q: name of %d bytes: %d are the most", n.Path, len(n.Name()), maxName)
	case strings.IndexByte(n.Path, 0) >= 0:
		return fmt.Errorf("%q: name with a zero byte", n.Path)
	case len(n.Xattrs) > 0:
		return fmt.Errorf("%q: has extended attributes, for which Rock Ridge has no room", n.Path)
	case n.Size() > maxBlocks*blockSize:
		return fmt.Errorf("%q: has %d bytes, an image has at most %d", n.Path, n.Size(), int64(maxBlocks)*blockSize)
	case typ == fs.ModeSymlink:
		if err := checkTarget(n.Link); err != nil {
			return fmt.Errorf("%q: %w", n.Path, err)
		}
	}
	if err := checkTime(n.ModTime); err != nil {
		return fmt.Errorf("%q: %w", n.Path, err)
	}
	return nil
}

// layOutDirs gives one set's directories and path tables their blocks.
func (p *planner) layOutDirs(s *set) error {
	for _, d := range p.deep {
		records, overrun := d.encode(s, p.empty)
		if len(records) > maxExtent {
			return fmt.Errorf("directory %q: its records take %d bytes, %d are the most", d.node.Path, len(records), int64(maxExtent))
		}
		d.place[s.index] = place{p.take(int64(len(records) + len(overrun))), int64(len(records)) / blockSize}
	}
	s.tableSize = int64(len(pathTable(p.dirs, s, binary.LittleEndian)))
	s.tableL, s.tableM = p.take(s.tableSize), p.take(s.tableSize)
	return nil
}

// directories are a set's directories and path tables, one behind another.
func (p *planner) directories(s *set) (b []byte) {
	for _, d := range p.deep {
		records, overrun := d.encode(s, p.empty)
		b = append(append(b, records...), overrun...)
	}
	b = append(b, fillBlock(pathTable(p.dirs, s, binary.LittleEndian))...)
	return append(b, fillBlock(pathTable(p.dirs, s, binary.BigEndian))...)
}

// sort finds the order in which directories and files are stored: boot images first, then as they are found depth first.
func (p *planner) sort() {
	if len(p.o.Boot) > 0 {
		p.files[catalog].stored = true // by itself, before the others
	}
	for _, e := range p.o.Boot {
		if e.Path != "" {
			p.keep(p.files[e.Path])
		}
	}
	p.descend(p.dirs[0])
}

func (p *planner) descend(d *dir) {
	p.deep = append(p.deep, d)
	for _, e := range d.entries {
		if e.dir != nil {
			p.descend(e.dir)
		} else if e.file != nil {
			p.keep(e.file)
		}
	}
}

// keep lets a file be stored in the tree's area if it needs to be and is not yet.
func (p *planner) keep(f *file) {
	if _, shared := p.o.Shared[f.path]; !shared && !f.stored && f.content.Size() > 0 {
		f.stored = true
		p.store = append(p.store, f)
	}
}

// layOutFiles gives files and the boot catalog their blocks; without content they have one in common.
func (p *planner) layOutFiles() {
	p.empty = p.take(blockSize)
	for _, f := range p.files {
		f.block = p.empty
	}
	if len(p.o.Boot) > 0 {
		p.files[catalog].block = p.take(blockSize)
	}
	for _, f := range p.store {
		f.block = p.take(f.content.Size())
	}
}

// layOutAppended gives the partitions their blocks, and shared files theirs inside them.
func (p *planner) layOutAppended() error {
	im := &p.image
	const each = alignment / blockSize
	if len(p.o.Appended) > 0 {
		p.next = (p.next + each - 1) / each * each
	}
	im.behind, im.offset = p.next, p.o.PartitionOffset
	for _, c := range p.o.Appended {
		blocks := (c.Size() + alignment - 1) / alignment * each
		im.appended = append(im.appended, partition{p.next, blocks, c})
		p.next += blocks
	}
	im.blocks = p.next + p.o.Tail/blockSize
	found := 0
	for n := range p.tree.All() {
		s, ok := p.o.Shared[n.Path]
		if !ok {
			continue
		}
		found++
		switch {
		case !n.Mode.IsRegular() || n.IsHardLink():
			return fmt.Errorf("shared file %q: is no file of its own", n.Path)
		case s.Partition < 0 || s.Partition >= len(im.appended):
			return fmt.Errorf("shared file %q: there is no appended partition %d (of %d)", n.Path, s.Partition, len(im.appended))
		}
		a := im.appended[s.Partition]
		if s.Offset < 0 || s.Offset%blockSize != 0 || s.Offset > a.content.Size()-n.Size() {
			return fmt.Errorf("shared file %q: offset %d with %d bytes: must be a multiple of %d and end within the partition's %d bytes",
				n.Path, s.Offset, n.Size(), blockSize, a.content.Size())
		}
		p.files[n.Path].block = a.block + s.Offset/blockSize
	}
	if found != len(p.o.Shared) {
		return fmt.Errorf("shared files: the tree has only %d of the %d", found, len(p.o.Shared))
	}
	return nil
}

// descriptors are a set's volume descriptors.
func (p *planner) descriptors(s *set) []byte {
	b := primaryDescriptor(s, p.dirs[0], p.o)
	if s.boot {
		b = append(b, bootRecord(p.files[catalog].block)...)
	}
	return append(b, descriptor(typeTerminator)...)
}

// contents puts the boot catalog and the files into the image.
func (p *planner) contents() error {
	patched := map[string]BootEntry{}
	for _, e := range p.o.Boot {
		image := bootImage{platform: e.Platform}
		if e.Path == "" {
			image.block = p.image.appended[e.Appended].block
			image.sectors = e.loadSectors(p.o.Appended[e.Appended].Size())
		} else {
			image.file = true
			image.block = p.files[e.Path].block
			image.sectors = e.loadSectors(p.files[e.Path].content.Size())
			if e.BootInfoTable || e.GRUB2BootInfo {
				patched[e.Path] = e
			}
		}
		p.image.boot = append(p.image.boot, image)
	}
	if len(p.o.Boot) > 0 {
		p.put(p.files[catalog].block, tree.Bytes(bootCatalog(p.image.boot)))
	}
	for _, f := range p.store {
		content := f.content
		if e, ok := patched[f.path]; ok {
			var err error
			if content, err = e.patch(content, f.block); err != nil {
				return err
			}
		}
		p.put(f.block, content)
	}
	p.image.offsets = make(map[string]int64, len(p.files))
	for path, f := range p.files {
		p.image.offsets[path] = f.block * blockSize
	}
	return nil
}
