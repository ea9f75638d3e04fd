package iso9660

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Reader is an image that was read: its tree, which is an [io/fs.FS], and what its descriptors say. Names, modes, owners and
// links are Rock Ridge's where the image has it, else the bare identifiers. The content of files is read on demand.
type Reader struct {
	*tree.Tree
	VolumeID, VolumeSetID, PreparerID string
	ModTime                           time.Time
	Size                              int64 // of the volume in bytes, with what is appended to the tree
	Boot                              []BootImage
}

// BootImage is an entry of the boot catalog.
type BootImage struct {
	Platform Platform
	Bootable bool
	Media    uint8 // 0 for no emulation
	Sectors  uint16
	Offset   int64  // in bytes
	Path     string // the file of the tree that starts there, if one does
}

// ErrFormat is wrapped by what [NewReader] says of bytes that make no image.
var ErrFormat = errors.New("not a valid ISO 9660 image")

// Limits of what a hostile image makes the reader do.
const (
	maxDescriptors = 64
	maxPath        = 4096
	maxMetadata    = 256 << 20 // bytes of directories, their continuations and the paths that come of them
	maxCE          = 32        // continuations of a record, as Linux has it
	maxCatalog     = 1 << 15
)

// NewReader reads an image's descriptors, directories and boot catalog. The volume within a partition is read by giving the
// partition, as an [io.SectionReader].
func NewReader(r io.ReaderAt) (*Reader, error) {
	p := &parser{r: r, budget: maxMetadata, seen: map[uint32]bool{}, files: map[uint32]string{}}
	image, err := p.image()
	if err != nil {
		return nil, fmt.Errorf("read ISO 9660 image: %w", err)
	}
	return image, nil
}

type parser struct {
	r      io.ReaderAt
	budget int64
	susp   bool            // the root has SP
	skip   int             // bytes before the fields of a system use area
	seen   map[uint32]bool // blocks of directories
	files  map[uint32]string
	nodes  []tree.Node
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrFormat, fmt.Errorf(format, args...))
}

func (p *parser) image() (*Reader, error) {
	image := &Reader{}
	var root, boot []byte
	for i := int64(systemBlocks); ; i++ {
		b, err := p.read(i*blockSize, blockSize)
		if err != nil {
			return nil, fmt.Errorf("descriptor %d: %w", i, err)
		}
		if string(b[1:6]) != standardID || i == systemBlocks+maxDescriptors {
			return nil, invalid("block %d is no volume descriptor, and none before it was the last", i)
		}
		if b[0] == typeTerminator {
			break
		}
		switch {
		case b[0] == typePrimary && root == nil:
			if n := binary.LittleEndian.Uint16(b[128:]); n != blockSize {
				return nil, invalid("blocks of %d bytes: only %d are supported", n, blockSize)
			}
			root = b[156:190]
			image.VolumeID, image.VolumeSetID, image.PreparerID = text(b[40:72]), text(b[190:318]), text(b[446:574])
			image.Size = int64(binary.LittleEndian.Uint32(b[80:])) * blockSize
			image.ModTime = parseLongTime(b[830:847])
		case b[0] == typeBootRecord && text(b[7:39]) == bootSystemID && boot == nil:
			boot = b
		}
	}
	if root == nil {
		return nil, invalid("there is no primary volume descriptor")
	}
	if err := p.root(root); err != nil {
		return nil, err
	}
	var err error
	if image.Tree, err = tree.New(p.nodes); err != nil {
		return nil, invalid("%w", err)
	}
	if boot != nil {
		image.Boot, err = p.catalog(binary.LittleEndian.Uint32(boot[71:]))
	}
	return image, err
}

// read reads bytes that must be there. Memory grows with what is there, not with what a hostile image says.
func (p *parser) read(off, size int64) ([]byte, error) {
	b, err := io.ReadAll(io.NewSectionReader(p.r, off, size))
	if err == nil && int64(len(b)) < size {
		err = invalid("it ends before byte %d: %w", off+size, io.ErrUnexpectedEOF)
	}
	return b, err
}

// spend counts what is kept in memory or read on behalf of the image.
func (p *parser) spend(n int) error {
	if p.budget -= int64(n); p.budget < 0 {
		return invalid("its directories and paths take more than %d bytes", int64(maxMetadata))
	}
	return nil
}

// dirRecord is a directory record as it was read.
type dirRecord struct {
	block, size uint32
	flags       byte
	time        time.Time
	id          string
	system      []byte // use area
}

func parseRecord(b []byte) (r dirRecord, err error) {
	if len(b) < 34 || int(b[0]) > len(b) || b[0] < 34 || 33+int(b[32]) > int(b[0]) {
		return r, invalid("directory record of %d bytes", len(b))
	}
	b = b[:b[0]]
	if b[26] != 0 || b[27] != 0 {
		return r, invalid("interleaved files are not supported")
	}
	end := 33 + int(b[32])
	r = dirRecord{
		block: binary.LittleEndian.Uint32(b[2:]) + uint32(b[1]), // behind an extended attribute record
		size:  binary.LittleEndian.Uint32(b[10:]),
		flags: b[25],
		time:  parseShortTime(b[18:25]),
		id:    string(b[33:end]),
	}
	if end += 1 - int(b[32])&1; end < len(b) {
		r.system = b[end:]
	}
	return r, nil
}

func (r dirRecord) isSelf() bool   { return r.id == "\x00" }
func (r dirRecord) isParent() bool { return r.id == "\x01" }

// records reads a directory's records.
func (p *parser) records(block, size uint32) (list []dirRecord, err error) {
	if p.seen[block] {
		return nil, invalid("two directories lie at block %d", block)
	}
	p.seen[block] = true
	if err := p.spend(int(size)); err != nil {
		return nil, err
	}
	b, err := p.read(int64(block)*blockSize, int64(size))
	if err != nil {
		return nil, err
	}
	for at := 0; at < len(b); {
		left := blockSize - at%blockSize
		if b[at] == 0 { // the rest of the block is empty
			at += left
			continue
		}
		r, err := parseRecord(b[at:min(at+left, len(b))])
		if err != nil {
			return nil, err
		}
		at += int(b[at])
		list = append(list, r)
	}
	if len(list) == 0 || !list[0].isSelf() {
		return nil, invalid("the directory at block %d does not begin with itself", block)
	}
	return list, nil
}

// root reads the tree.
func (p *parser) root(b []byte) error {
	top, err := parseRecord(b)
	if err != nil {
		return fmt.Errorf("root: %w", err)
	}
	list, err := p.records(top.block, top.size)
	if err != nil {
		return fmt.Errorf("root: %w", err)
	}
	if s := list[0].system; len(s) >= 7 && string(s[:2]) == "SP" && s[4] == 0xBE && s[5] == 0xEF {
		p.susp, p.skip = true, int(s[6])
		list[0].system = append(make([]byte, p.skip), s...) // the root's own fields begin at once
	}
	return p.directory(tree.Root, list)
}

// directory adds the nodes of a directory and of all below it.
func (p *parser) directory(path string, list []dirRecord) error {
	self, err := p.node(list[0])
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	if path == tree.Root {
		self.Path = tree.Root
		self.Mode = fs.ModeDir | self.Mode.Perm()
		p.nodes = append(p.nodes, self.Node)
	}
	for i := 1; i < len(list); i++ {
		r := list[i]
		if r.isSelf() || r.isParent() {
			continue
		}
		extents := []dirRecord{r}
		for ; r.flags&flagMoreExtent != 0; r = list[i] {
			if i++; i == len(list) || list[i].id != r.id {
				return invalid("%q: a file of several parts lacks the last", path)
			}
			extents = append(extents, list[i])
		}
		if err := p.entry(path, extents); err != nil {
			return err
		}
	}
	return nil
}

// entry adds the node of an entry of the directory dir, and what is below it.
func (p *parser) entry(dir string, extents []dirRecord) error {
	first := extents[0]
	n, err := p.node(first)
	if err != nil {
		return fmt.Errorf("%q in %q: %w", first.id, dir, err)
	}
	if n.relocated {
		return nil // it is found through the place where it belongs
	}
	name := n.Path
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return invalid("%q in %q: name %q", first.id, dir, name)
	}
	if dir != tree.Root {
		n.Path = dir + "/" + name
	}
	if len(n.Path) > maxPath {
		return invalid("%q in %q: the path has more than %d bytes", first.id, dir, maxPath)
	}
	if err := p.spend(len(n.Path)); err != nil {
		return err
	}
	switch {
	case n.Mode.IsDir():
		p.nodes = append(p.nodes, n.Node)
		block, size := first.block, first.size
		if n.child != 0 {
			block = n.child
			if size, err = p.childSize(block); err != nil {
				return fmt.Errorf("%q: %w", n.Path, err)
			}
		}
		list, err := p.records(block, size)
		if err != nil {
			return fmt.Errorf("%q: %w", n.Path, err)
		}
		return p.directory(n.Path, list)
	case n.Mode.IsRegular():
		var parts []tree.Blob
		for _, e := range extents {
			parts = append(parts, tree.Section(p.r, int64(e.block)*blockSize, int64(e.size)))
		}
		n.Content = parts[0]
		if len(parts) > 1 {
			n.Content = tree.Concat(parts...)
		}
		if _, ok := p.files[first.block]; !ok && first.size > 0 {
			p.files[first.block] = n.Path
		}
	}
	p.nodes = append(p.nodes, n.Node)
	return nil
}

// childSize reads how long a relocated directory is.
func (p *parser) childSize(block uint32) (uint32, error) {
	b, err := p.read(int64(block)*blockSize, 255)
	if err != nil {
		return 0, err
	}
	r, err := parseRecord(b)
	return r.size, err
}

// catalog reads the boot catalog.
func (p *parser) catalog(block uint32) (images []BootImage, err error) {
	var platform Platform
	for at, inSection := int64(0), 1; ; at += catalogEntry {
		if at == maxCatalog {
			return nil, invalid("boot catalog: has more than %d bytes", maxCatalog)
		}
		b, err := p.read(int64(block)*blockSize+at, catalogEntry)
		if err != nil {
			return nil, fmt.Errorf("boot catalog: %w", err)
		}
		switch {
		case at == 0:
			if b[0] != headerValidation || b[30] != 0x55 || b[31] != 0xAA || sum16(b) != 0 {
				return nil, invalid("boot catalog: its first entry is no validation entry")
			}
			platform = Platform(b[1])
		case inSection > 0 && b[0] != entryExtension:
			inSection--
			at := binary.LittleEndian.Uint32(b[8:])
			images = append(images, BootImage{
				Platform: platform, Bootable: b[0] == entryBootable, Media: b[1], Sectors: binary.LittleEndian.Uint16(b[6:]),
				Offset: int64(at) * blockSize, Path: p.files[at],
			})
		case b[0] == headerSection || b[0] == headerLastSection:
			platform, inSection = Platform(b[1]), int(binary.LittleEndian.Uint16(b[2:]))
		case b[0] != entryExtension:
			return images, nil
		}
	}
}

func text(b []byte) string { return strings.TrimRight(string(b), " \x00") }
