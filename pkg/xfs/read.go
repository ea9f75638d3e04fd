package xfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"strings"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Limits of what is read, far above what a boot partition has.
const (
	maxDirBlocks = 1 << 18 // of all directories
	maxExtents   = 1 << 20 // of a file
	maxTreeLevel = 9       // of extents: what 2^54 blocks could need
)

// Features that change the format in ways that a reader has to know.
const (
	featSparse      = 0x2 // chunks of inodes may be there in part
	featMetaUUID    = 0x4 // the UUID was changed after the file system was made
	featBigTime     = 0x8 // inodes may have times of 64 bits
	featNeedsRepair = 0x10
	featManyExtents = 0x20  // inodes may have counts of extents of 64 bits
	featExchange    = 0x40  // two files may exchange their extents
	featParents     = 0x80  // files know their directories, in attributes
	featMetaDir     = 0x100 // a directory of its own for inodes that are no files
	featKnown       = featureFileType | featSparse | featMetaUUID | featBigTime | featManyExtents | featExchange | featParents | featMetaDir

	flagRealtime = 0x1 // of an inode
	flag2BigTime = 0x8
	flag2Many    = 0x10
)

// Reader is an XFS version 5 that somebody made. It is an [fs.FS], [fs.ReadDirFS], [fs.StatFS], [fs.ReadLinkFS] and
// [fs.ReadFileFS], and follows no symbolic link.
type Reader struct {
	*files
	Label string
	UUID  [16]byte
	// Size in bytes.
	Size int64
}

// files is what a Reader has from its tree.
type files = tree.Tree

// Tree returns all files. Their contents are read from the Reader's image when they are opened.
func (r *Reader) Tree() (*tree.Tree, error) { return r.files, nil }

// volume is a file system while it is read.
type volume struct {
	r         io.ReaderAt
	block     int64 // bytes
	dirBlock  int64 // bytes of a block of a directory
	inode     int64 // bytes
	blocks    int64
	group     int64 // blocks
	groups    int64
	groupLog  uint
	inodeLog  uint // bits of an inode number for the place in a block
	root      uint64
	incompat  uint32
	dirBlocks int
}

// NewReader reads superblock, directories and inodes. Contents are read when they are asked for. What the log may still hold is
// not replayed.
func NewReader(r io.ReaderAt) (*Reader, error) {
	v := &volume{r: r}
	out, err := v.readSuper()
	if err == nil {
		out.files, err = tree.Walk(v, v.root)
	}
	if err != nil {
		return nil, fmt.Errorf("read XFS: %w", err)
	}
	return out, nil
}

func (v *volume) readSuper() (*Reader, error) {
	b := make([]byte, 512)
	if err := tree.ReadFull(v.r, b, 0); err != nil {
		return nil, fmt.Errorf("superblock: %w", err)
	}
	if be.Uint32(b) != magicSuper {
		return nil, errors.New("superblock: does not start with XFSB")
	}
	if version := be.Uint16(b[100:]) & 0xf; version != 5 {
		return nil, fmt.Errorf("superblock: not supported: version %d; only 5 is", version)
	}
	if length := int(be.Uint16(b[102:])); length > len(b) && length <= 32<<10 { // the checksum is of a whole sector
		b = make([]byte, length)
		if err := tree.ReadFull(v.r, b, 0); err != nil {
			return nil, fmt.Errorf("superblock: %w", err)
		}
	}
	if !sealed(b, superCRC) {
		return nil, errors.New("superblock: the checksum is wrong")
	}
	v.block, v.inode = int64(be.Uint32(b[4:])), int64(be.Uint16(b[104:]))
	v.blocks, v.root = int64(be.Uint64(b[8:])), be.Uint64(b[56:])
	v.group, v.groups = int64(be.Uint32(b[84:])), int64(be.Uint32(b[88:]))
	v.groupLog, v.inodeLog = uint(b[124]), uint(b[123])
	v.dirBlock = v.block << min(b[192], 8)
	v.incompat = be.Uint32(b[216:])
	switch {
	case v.block < 512 || v.block > 64<<10 || v.block&(v.block-1) != 0:
		return nil, fmt.Errorf("superblock: blocks of %d bytes: not a power of two from 512 to 65536", v.block)
	case v.dirBlock > 64<<10:
		return nil, fmt.Errorf("superblock: directory blocks of %d bytes: at most 65536", v.dirBlock)
	case v.inode < 512 || v.inode > 2048 || v.inode > v.block || v.inode&(v.inode-1) != 0 || v.inode<<v.inodeLog != v.block:
		return nil, fmt.Errorf("superblock: inodes of %d bytes, %d bits of them in a block of %d", v.inode, v.inodeLog, v.block)
	case v.group < 1 || v.groups < 1 || v.groupLog != uint(bits.Len64(uint64(v.group-1))) ||
		v.blocks < 1 || (v.blocks-1)/v.group != v.groups-1:
		return nil, fmt.Errorf("superblock: %d groups of %d blocks (%d bits) for %d blocks", v.groups, v.group, v.groupLog, v.blocks)
	case v.blocks > 1<<62/v.block:
		return nil, fmt.Errorf("superblock: %d blocks: too many", v.blocks)
	case v.incompat&featNeedsRepair != 0:
		return nil, errors.New("superblock: the file system says that it needs xfs_repair")
	case v.incompat&^featKnown != 0 || v.incompat&featureFileType == 0:
		return nil, fmt.Errorf("superblock: not supported: features %#x; known are %#x, and %#x has to be there", v.incompat, featKnown, featureFileType)
	}
	out := &Reader{Label: strings.TrimRight(string(b[108:120]), "\x00"), Size: v.blocks * v.block}
	copy(out.UUID[:], b[32:])
	return out, nil
}

// place turns a block as it is written on disk into its offset in bytes, for count blocks of a group.
func (v *volume) place(fsBlock uint64, count int64) (int64, error) {
	group, in := int64(fsBlock>>v.groupLog), int64(fsBlock&(1<<v.groupLog-1))
	if group < 0 || group >= v.groups || count > v.group-in || count > v.blocks-group*v.group-in {
		return 0, fmt.Errorf("blocks %d to %d of group %d: there are %d groups of %d blocks, %d in all", in, in+count-1, group, v.groups, v.group, v.blocks)
	}
	return (group*v.group + in) * v.block, nil
}

// Node implements [tree.Volume].
func (v *volume) Node(number uint64) (tree.Node, error) {
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
	number  uint64
	mode    fs.FileMode
	form    byte
	uid     uint32
	gid     uint32
	time    time.Time
	size    int64
	extents uint64 // how many there are
	fork    []byte // what the inode itself has of the content
}

// device returns the numbers of a device.
func (in *rawInode) device() (major, minor uint32) {
	if len(in.fork) < 4 {
		return 0, 0
	}
	dev := be.Uint32(in.fork)
	return dev >> 18, dev & maxMinor
}

func (v *volume) readInode(number uint64) (*rawInode, error) {
	in := &rawInode{number: number}
	off, err := v.place(number>>v.inodeLog, 1)
	b := make([]byte, v.inode)
	if err == nil {
		err = tree.ReadFull(v.r, b, off+int64(number&(1<<v.inodeLog-1))*v.inode)
	}
	if err != nil {
		return nil, fmt.Errorf("inode %d: %w", number, err)
	}
	flags, flags2 := be.Uint16(b[90:]), be.Uint64(b[120:])
	unix := be.Uint16(b[2:])
	mode, ok := tree.FileMode(unix)
	in.mode = mode
	in.form, in.uid, in.gid = b[5], be.Uint32(b[8:]), be.Uint32(b[12:])
	in.size, in.extents = int64(be.Uint64(b[56:])), uint64(be.Uint32(b[76:]))
	if flags2&flag2Many != 0 {
		in.extents = be.Uint64(b[24:])
	}
	in.time = time.Unix(int64(int32(be.Uint32(b[40:]))), int64(be.Uint32(b[44:])))
	if flags2&flag2BigTime != 0 { // nanoseconds since the earliest time that 32 bits of seconds hold
		ns := be.Uint64(b[40:])
		in.time = time.Unix(int64(ns/1e9)-1<<31, int64(ns%1e9))
	}
	in.fork = b[inodeHead:]
	fork := int(b[82]) * 8
	switch {
	case be.Uint16(b) != magicInode || b[4] != 3 || be.Uint64(b[152:]) != number:
		return nil, fmt.Errorf("inode %d: there is no such inode", number)
	case !sealed(b, inodeCRC):
		return nil, fmt.Errorf("inode %d: the checksum is wrong", number)
	case !ok:
		return nil, fmt.Errorf("inode %d: mode %#o: no such type", number, unix)
	case in.size < 0 || fork > len(in.fork) || in.extents > maxExtents:
		return nil, fmt.Errorf("inode %d: size %d, %d extents, fork at %d: at most %d extents are supported", number, in.size, in.extents, fork, maxExtents)
	case flags&flagRealtime != 0:
		return nil, fmt.Errorf("inode %d: not supported: content on a realtime device", number)
	}
	if fork > 0 { // attributes follow
		in.fork = in.fork[:fork]
	}
	return in, nil
}

// readExtents returns the extents in the order of the file, without those that were never written.
func (v *volume) readExtents(in *rawInode) (out []tree.Extent, err error) {
	records := uint64(0)
	last := int64(0)
	add := func(b []byte) error {
		for ; len(b) >= extentRecord; b = b[extentRecord:] {
			high, low := be.Uint64(b), be.Uint64(b[8:])
			at, block, count := int64(high<<1>>10), high<<55>>12|low>>21, int64(low&maxExtent)
			if records++; records > in.extents || at < last || count == 0 || at > 1<<62/v.block {
				return fmt.Errorf("extent %d of %d: %d blocks at %d, after %d", records, in.extents, count, at, last)
			}
			off, err := v.place(block, count)
			if err != nil {
				return fmt.Errorf("extent %d: %w", records, err)
			}
			if last = at + count; high>>63 == 0 {
				out = append(out, tree.Extent{At: at * v.block, Off: off, Size: count * v.block})
			}
		}
		return nil
	}
	switch in.form {
	case formExtents:
		if in.extents > uint64(len(in.fork)/extentRecord) {
			return nil, fmt.Errorf("%d extents in %d bytes", in.extents, len(in.fork))
		}
		err = add(in.fork[:in.extents*extentRecord])
	case formTree:
		err = v.readTree(in, add)
	default:
		err = fmt.Errorf("content of form %d: only 2 and 3 are possible here", in.form)
	}
	if err == nil && records != in.extents {
		err = fmt.Errorf("%d extents where there should be %d", records, in.extents)
	}
	return out, err
}

// readTree reads the tree of extents whose root the inode has.
func (v *volume) readTree(in *rawInode, add func([]byte) error) error {
	level, count, room := be.Uint16(in.fork), int(be.Uint16(in.fork[2:])), (len(in.fork)-4)/16
	if level < 1 || level > maxTreeLevel || count > room {
		return fmt.Errorf("tree of extents: level %d, %d of %d children", level, count, room)
	}
	return v.readChildren(in, in.fork[4+8*room:][:8*count], level-1, add)
}

// readChildren reads the blocks of a level. A leaf that is there twice is noticed: the extents have to ascend.
func (v *volume) readChildren(in *rawInode, blocks []byte, level uint16, add func([]byte) error) error {
	for ; len(blocks) > 0; blocks = blocks[8:] {
		off, err := v.place(be.Uint64(blocks), 1)
		b := make([]byte, v.block)
		if err == nil {
			err = tree.ReadFull(v.r, b, off)
		}
		if err != nil {
			return fmt.Errorf("tree of extents: %w", err)
		}
		count, room := int(be.Uint16(b[6:])), (len(b)-extentsHead)/extentRecord
		if be.Uint32(b) != magicExtents || be.Uint16(b[4:]) != level || be.Uint64(b[56:]) != in.number || count < 1 || count > room {
			return fmt.Errorf("tree of extents: the block at byte %d is none of it", off)
		}
		if !sealed(b, extentsCRC) {
			return fmt.Errorf("tree of extents: the checksum of the block at byte %d is wrong", off)
		}
		if level == 0 {
			err = add(b[extentsHead:][:extentRecord*count])
		} else {
			err = v.readChildren(in, b[extentsHead+8*room:][:8*count], level-1, add)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *volume) readLink(in *rawInode) (string, error) {
	if in.size < 1 || in.size > maxLink+1 {
		return "", fmt.Errorf("link target of %d bytes: not from 1 to %d", in.size, maxLink+1)
	}
	if in.form == formLocal {
		if in.size > int64(len(in.fork)) {
			return "", fmt.Errorf("link target of %d bytes in %d", in.size, len(in.fork))
		}
		return string(in.fork[:in.size]), nil
	}
	extents, err := v.readExtents(in)
	if err != nil {
		return "", err
	}
	var target []byte
	for _, e := range extents {
		for at := int64(0); at < e.Size && int64(len(target)) < in.size; at += v.block {
			b := make([]byte, v.block)
			if err := tree.ReadFull(v.r, b, e.Off+at); err != nil {
				return "", fmt.Errorf("link target: %w", err)
			}
			length := int64(be.Uint32(b[8:]))
			if be.Uint32(b) != magicLink || !sealed(b, linkCRC) || be.Uint64(b[32:]) != in.number ||
				int(be.Uint32(b[4:])) != len(target) || length < 1 || length > v.block-linkHead {
				return "", fmt.Errorf("link target: the block at byte %d is none of it", e.Off+at)
			}
			target = append(target, b[linkHead:][:length]...)
		}
	}
	if int64(len(target)) != in.size {
		return "", fmt.Errorf("link target: %d of %d bytes are there", len(target), in.size)
	}
	return string(target), nil
}
