package ext4

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Limits of what is read, far above what an image cache has.
const (
	maxDirBlocks = 1 << 18 // of all directories
	maxExtents   = 1 << 20 // of a file
	maxDepth     = 5       // of a tree of extents: what 2^32 blocks of 1 KiB could need
)

// Features that change the format in ways that a reader has to know.
const (
	featJournalDirty = 0x4
	featMultiMount   = 0x100   // a block tells whether it is mounted
	featFlexible     = 0x200   // bitmaps and inodes may lie in other groups
	featInodeValues  = 0x400   // extended attributes may have inodes of their own
	featSeed         = 0x2000  // the seed of checksums is written down
	featLargeDir     = 0x4000  // indexes of three levels
	featInline       = 0x8000  // inodes may hold content
	featEncrypted    = 0x10000 // inodes may be encrypted
	featFoldCase     = 0x20000
	featKnown        = featFileType | featExtents | feat64 | featMultiMount | featFlexible | featInodeValues | featSeed | featLargeDir |
		featInline | featEncrypted | featFoldCase

	flagCompressed = 0x4 // of an inode
	flagEncrypted  = 0x800
	flagIndex      = 0x1000
	flagInline     = 0x10000000
)

// Reader is an ext4 that somebody made. It is an [fs.FS], [fs.ReadDirFS], [fs.StatFS], [fs.ReadLinkFS] and [fs.ReadFileFS], and
// follows no symbolic link.
type Reader struct {
	*files
	Label string
	UUID  [16]byte
	// Size in bytes.
	Size int64
}

// files is what a Reader has from its tree.
type files = tree.Tree

// Tree returns all files, lost+found too. Their contents are read from the Reader's image when they are opened.
func (r *Reader) Tree() (*tree.Tree, error) { return r.files, nil }

// volume is a file system while it is read.
type volume struct {
	r           io.ReaderAt
	block       int64 // bytes
	blocks      int64
	descriptors int64 // byte where they start
	descriptor  int64 // bytes of one
	inode       int64 // bytes
	inodes      int64
	groupInodes int64
	checksums   bool
	seed        uint32
	tables      map[int64]int64 // of groups, to the byte where their inodes start
	dirBlocks   int
}

// NewReader reads superblock, directories and inodes. Contents are read when they are asked for.
func NewReader(r io.ReaderAt) (*Reader, error) {
	v := &volume{r: r, tables: map[int64]int64{}}
	out, err := v.readSuper()
	if err == nil {
		out.files, err = tree.Walk(v, uint32(rootInode))
	}
	if err != nil {
		return nil, fmt.Errorf("read ext4: %w", err)
	}
	return out, nil
}

func (v *volume) readSuper() (*Reader, error) {
	b := make([]byte, 1024)
	if err := tree.ReadFull(v.r, b, 1024); err != nil {
		return nil, fmt.Errorf("superblock: %w", err)
	}
	if magic := le.Uint16(b[0x38:]); magic != magicSuper {
		return nil, fmt.Errorf("superblock: has the magic number %#x, not %#x", magic, magicSuper)
	}
	incompat := le.Uint32(b[0x60:])
	v.checksums = le.Uint32(b[0x64:])&featChecksums != 0
	if v.checksums && le.Uint32(b[superCRC:]) != superSum(b) {
		return nil, errors.New("superblock: the checksum is wrong")
	}
	logBlock, first, group := le.Uint32(b[0x18:]), int64(le.Uint32(b[0x14:])), int64(le.Uint32(b[0x20:]))
	v.blocks, v.descriptor = int64(le.Uint32(b[0x04:])), 32
	v.inodes, v.groupInodes, v.inode = int64(le.Uint32(b[0x00:])), int64(le.Uint32(b[0x28:])), 128
	if le.Uint32(b[0x4c:]) > 0 {
		v.inode = int64(le.Uint16(b[0x58:]))
	}
	if incompat&feat64 != 0 {
		v.blocks |= int64(le.Uint32(b[0x150:])) << 32
		v.descriptor = int64(le.Uint16(b[0xfe:]))
	}
	switch {
	case incompat&featJournalDirty != 0:
		return nil, errors.New("superblock: not supported: its journal has to be replayed; mount it once, or let e2fsck repair it")
	case incompat&^featKnown != 0:
		return nil, fmt.Errorf("superblock: not supported: features %#x; known are %#x", incompat, featKnown)
	case logBlock > 6:
		return nil, fmt.Errorf("superblock: blocks of 1024 << %d bytes: at most 65536", logBlock)
	}
	v.block = 1024 << logBlock
	v.descriptors = max(v.block, 2048) // in the block after the superblock's
	switch {
	case v.inode < 128 || v.inode > v.block || v.inode&(v.inode-1) != 0:
		return nil, fmt.Errorf("superblock: inodes of %d bytes in blocks of %d", v.inode, v.block)
	case v.descriptor < 32 || v.descriptor > v.block || v.descriptor&(v.descriptor-1) != 0:
		return nil, fmt.Errorf("superblock: descriptors of %d bytes in blocks of %d", v.descriptor, v.block)
	case v.blocks <= first || v.blocks > 1<<62/v.block || group < 1:
		return nil, fmt.Errorf("superblock: %d blocks of %d bytes from %d on in groups of %d", v.blocks, v.block, first, group)
	case v.groupInodes < 1 || v.groupInodes > 8*v.block || v.inodes > v.groupInodes*parts(v.blocks-first, group):
		return nil, fmt.Errorf("superblock: %d inodes in groups of %d", v.inodes, v.groupInodes)
	}
	out := &Reader{Label: strings.TrimRight(string(b[0x78:0x88]), "\x00"), Size: v.blocks * v.block}
	copy(out.UUID[:], b[0x68:])
	v.seed = crc(noSum, out.UUID[:])
	if incompat&featSeed != 0 {
		v.seed = le.Uint32(b[0x270:])
	}
	return out, nil
}

// place turns blocks into the offset in bytes of the first.
func (v *volume) place(block, count int64) (int64, error) {
	if count > v.blocks || block > v.blocks-count {
		return 0, fmt.Errorf("blocks %d to %d: there are %d", block, block+count-1, v.blocks)
	}
	return block * v.block, nil
}

// Node implements [tree.Volume].
func (v *volume) Node(number uint32) (tree.Node, error) {
	in, err := v.readInode(number)
	if err != nil {
		return tree.Node{}, err
	}
	n := tree.Node{Mode: in.mode, UID: in.uid, GID: in.gid, ModTime: in.time}
	switch in.mode.Type() {
	case fs.ModeSymlink:
		n.Link, err = v.readLink(in)
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		n.Major, n.Minor = in.device()
	case 0:
		n.Content, err = v.newContent(in)
	}
	return n, err
}

// rawInode is an inode as it is read.
type rawInode struct {
	number uint32
	mode   fs.FileMode
	uid    uint32
	gid    uint32
	time   time.Time
	size   int64
	flags  uint32
	seed   uint32 // of its blocks' checksums
	body   []byte // 60 bytes: extents, a short link, or a device's numbers
}

// device returns the numbers of a device.
func (in *rawInode) device() (major, minor uint32) {
	if old := le.Uint32(in.body); old != 0 {
		return old >> 8 & 0xff, old & 0xff
	}
	dev := le.Uint32(in.body[4:])
	return dev >> 8 & maxMajor, dev&0xff | dev>>20<<8
}

// table returns the byte where a group's inodes start.
func (v *volume) table(group int64) (int64, error) {
	if off, ok := v.tables[group]; ok {
		return off, nil
	}
	b := make([]byte, v.descriptor)
	err := tree.ReadFull(v.r, b, v.descriptors+group*v.descriptor)
	if err == nil && v.checksums && le.Uint16(b[descriptorCRC:]) != descriptorSum(v.seed, uint32(group), b) {
		err = errors.New("the checksum is wrong")
	}
	if err != nil {
		return 0, fmt.Errorf("descriptor of group %d: %w", group, err)
	}
	block := int64(le.Uint32(b[0x08:]))
	if len(b) >= 64 {
		block |= int64(le.Uint32(b[0x28:])) << 32
	}
	off, err := v.place(block, parts(v.groupInodes*v.inode, v.block))
	if err != nil {
		return 0, fmt.Errorf("descriptor of group %d: %w", group, err)
	}
	v.tables[group] = off
	return off, nil
}

func (v *volume) readInode(number uint32) (*rawInode, error) {
	wrap := func(err error) (*rawInode, error) { return nil, fmt.Errorf("inode %d: %w", number, err) }
	if number < 1 || int64(number) > v.inodes {
		return wrap(fmt.Errorf("there are %d", v.inodes))
	}
	index := int64(number) - 1
	off, err := v.table(index / v.groupInodes)
	b := make([]byte, v.inode)
	if err == nil {
		err = tree.ReadFull(v.r, b, off+index%v.groupInodes*v.inode)
	}
	if err != nil {
		return wrap(err)
	}
	end := 128 // of what is in use
	if len(b) > 128 {
		if end += int(le.Uint16(b[0x80:])); end > len(b) {
			return wrap(fmt.Errorf("%d bytes in use of %d", end, len(b)))
		}
	}
	in := &rawInode{
		number: number,
		uid:    uint32(le.Uint16(b[0x02:])) | uint32(le.Uint16(b[0x78:]))<<16,
		gid:    uint32(le.Uint16(b[0x18:])) | uint32(le.Uint16(b[0x7a:]))<<16,
		time:   getTime(b[:end], 0x10, 0x88),
		size:   int64(le.Uint32(b[0x04:])) | int64(le.Uint32(b[0x6c:]))<<32,
		flags:  le.Uint32(b[0x20:]),
		seed:   inodeSeed(v.seed, number, le.Uint32(b[0x64:])),
		body:   b[0x28:][:inodeBody],
	}
	if v.checksums {
		high := end >= inodeHighCRC+2
		sum, want := inodeSum(in.seed, b, high), uint32(le.Uint16(b[inodeCRC:]))
		if high {
			want |= uint32(le.Uint16(b[inodeHighCRC:])) << 16
		} else {
			sum &= 0xffff
		}
		if sum != want {
			return wrap(errors.New("the checksum is wrong"))
		}
	}
	unix := le.Uint16(b)
	mode, ok := tree.FileMode(unix)
	in.mode = mode
	switch {
	case !ok:
		return wrap(fmt.Errorf("mode %#o: no such type", unix))
	case in.size < 0:
		return wrap(fmt.Errorf("size of %d bytes", uint64(in.size)))
	case in.flags&flagEncrypted != 0:
		return wrap(errors.New("not supported: is encrypted"))
	case in.flags&flagInline != 0:
		return wrap(errors.New("not supported: content in the inode (inline_data)"))
	case in.flags&flagCompressed != 0:
		return wrap(errors.New("not supported: is compressed"))
	}
	return in, nil
}

func (v *volume) readLink(in *rawInode) (string, error) {
	if in.size < 1 || in.size > maxLink {
		return "", fmt.Errorf("link target of %d bytes: not from 1 to %d", in.size, maxLink)
	}
	b := in.body
	if in.flags&flagExtents != 0 {
		c, err := v.newContent(in)
		if err == nil {
			b, err = tree.ReadAll(c)
		}
		if err != nil {
			return "", fmt.Errorf("link target: %w", err)
		}
	}
	if in.size > int64(len(b)) {
		return "", fmt.Errorf("link target of %d bytes in %d", in.size, len(b))
	}
	return string(b[:in.size]), nil
}
