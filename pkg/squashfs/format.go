package squashfs

import (
	"io/fs"

	"github.com/talosmith/talosmith/pkg/tree"
)

const (
	magic        = 0x73717368 // "hsqs"
	majorVersion = 4
	minorVersion = 0

	superblockSize = 96
	metaBlockSize  = 8192
	padding        = 4096 // images are a multiple of this, so that a loop device of any block size shows their end

	minBlockSize = 4 << 10
	maxBlockSize = 1 << 20

	none32 = 1<<32 - 1 // "no fragment", "no xattrs"
	none64 = 1<<64 - 1 // "no such table"

	storedMeta  = 1 << 15 // in a metadata block's header: not compressed
	storedBlock = 1 << 24 // in a data block's size: not compressed
)

// Compressors by their number in the superblock.
const (
	idGzip = 1
	idXZ   = 4
	idZstd = 6
)

// Flags of the superblock. They tell how an image was made; no reader needs them.
const (
	flagNoFragments = 0x0010
	flagDuplicates  = 0x0040 // duplicate files are stored once
	flagExport      = 0x0080 // there is an export table
	flagNoXattrs    = 0x0200
)

// superblock is at offset 0. A table's position is in bytes from the start of the image, none64 where there is no such table.
type superblock struct {
	Magic         uint32
	Inodes        uint32 // number of inodes
	ModTime       uint32 // of the file system, in seconds since 1970
	BlockSize     uint32 // of data blocks, in bytes: a power of two from 4096 to 1048576
	Fragments     uint32 // number of fragment blocks
	Compressor    uint16
	BlockLog      uint16 // BlockSize is 1 << BlockLog
	Flags         uint16
	IDs           uint16 // number of different owners and groups
	Major, Minor  uint16 // 4.0
	Root          uint64 // reference of the root directory's inode
	BytesUsed     uint64 // size of the image without its padding
	IDTable       uint64
	XattrTable    uint64
	InodeTable    uint64
	DirTable      uint64
	FragmentTable uint64
	ExportTable   uint64
}

// Types of inodes. Directory entries have the basic types only.
const (
	typeDir = 1 + iota
	typeFile
	typeSymlink
	typeBlockDev
	typeCharDev
	typeFIFO
	typeSocket

	// extended is what a type's extended form is higher by. It holds what the basic form has no room for.
	extended = 7
)

// inodeHeader starts every inode.
type inodeHeader struct {
	Type     uint16
	Mode     uint16 // the permission bits with set-user-id, set-group-id and sticky: 12 bits
	UID, GID uint16 // indexes into the id table
	ModTime  uint32 // seconds since 1970
	Number   uint32 // from 1 to the superblock's number of inodes
}

// The rest of each type of inode.
type (
	dirInode struct {
		Block  uint32 // metadata block of the directory table where its listing starts
		Links  uint32 // 2, and one for each directory in it
		Size   uint16 // of the listing in bytes, plus 3
		Offset uint16 // of the listing in the uncompressed metadata block
		Parent uint32 // inode number; one more than there are inodes for the root
	}

	// An extended directory is followed by its index.
	extendedDirInode struct {
		Links, Size, Block, Parent uint32
		Indexes                    uint16 // number of entries of the index
		Offset                     uint16
		Xattr                      uint32 // index into the table of xattr ids, or none32
	}

	// A file is followed by the size on disk of each of its blocks: a u32, with bit storedBlock, 0 for a hole.
	fileInode struct {
		Start          uint32 // where its blocks start in the image
		Fragment       uint32 // number of the fragment block that has its end, or none32
		FragmentOffset uint32 // in the uncompressed fragment block
		Size           uint32 // in bytes
	}

	extendedFileInode struct {
		Start, Size    uint64
		Sparse         uint64 // bytes in holes
		Links          uint32 // number of names
		Fragment       uint32
		FragmentOffset uint32
		Xattr          uint32
	}

	// A symbolic link is followed by its target, an extended one by an xattr index after that.
	symlinkInode struct {
		Links uint32
		Size  uint32 // of the target in bytes
	}

	// A device is followed by an xattr index where it is extended.
	deviceInode struct {
		Links  uint32
		Device uint32 // major and minor number as Linux encodes them: see encodeDevice
	}

	// A FIFO or socket is followed by an xattr index where it is extended.
	ipcInode struct {
		Links uint32
	}
)

// dirHeader starts a run of up to 256 directory entries, whose inodes start in the same metadata block.
type dirHeader struct {
	Count  uint32 // of entries, less one
	Block  uint32 // metadata block of the inode table
	Number uint32 // what the entries' inode numbers are relative to
}

const dirHeaderSize, maxDirRun = 12, 256

// dirEntry is followed by the name.
type dirEntry struct {
	Offset   uint16 // of the inode in its uncompressed metadata block
	Delta    int16  // inode number, less the header's
	Type     uint16 // basic type
	NameSize uint16 // in bytes, less one
}

const dirEntrySize = 8

// dirIndex tells where a listing enters a further metadata block. It is followed by the name of the first entry there.
type dirIndex struct {
	Position uint32 // in the listing, of a header
	Block    uint32 // metadata block of the directory table
	NameSize uint32 // in bytes, less one
}

// fragmentEntry is one of the fragment table.
type fragmentEntry struct {
	Start  uint64 // in the image
	Size   uint32 // on disk, with bit storedBlock
	Unused uint32
}

const fragmentEntrySize = 16

// xattrID is one of the table of xattr ids.
type xattrID struct {
	Ref   uint64 // reference of the first pair
	Count uint32 // number of pairs
	Size  uint32 // of the pairs in bytes
}

const xattrIDSize = 16

// xattrTable is where the superblock's XattrTable points to; it is followed by where each block of ids starts.
type xattrTable struct {
	Pairs  uint64 // where the metadata blocks of pairs start
	IDs    uint32 // number of ids
	Unused uint32
}

const xattrTableSize = 16

// Extended attributes: a u16 prefix, u16 size of the rest of the name, that rest, u32 size of the value, the value. With
// xattrElsewhere the value is a u64 reference of the size and value that are meant.
const (
	xattrElsewhere  = 0x100
	xattrPrefixMask = 0xff
)

// xattrPrefixes by their number.
var xattrPrefixes = []string{"user.", "trusted.", "security."}

func ref(block int64, offset int) uint64 { return uint64(block)<<16 | uint64(offset) }
func refBlock(r uint64) int64            { return int64(r >> 16) }
func refOffset(r uint64) int             { return int(r & 0xffff) }

// encodeDevice is Linux's encoding of a device number: 12 bits of major, 20 bits of minor, the minor around the major.
func encodeDevice(major, minor uint32) uint32 { return minor&0xff | major<<8 | minor&^0xff<<12 }

func decodeDevice(d uint32) (major, minor uint32) { return d >> 8 & 0xfff, d&0xff | d>>12&0xfff00 }

const maxMajor, maxMinor = 1<<12 - 1, 1<<20 - 1

// typeModes are the mode bits of each basic type.
var typeModes = map[uint16]fs.FileMode{
	typeDir:      fs.ModeDir,
	typeFile:     0,
	typeSymlink:  fs.ModeSymlink,
	typeBlockDev: fs.ModeDevice,
	typeCharDev:  fs.ModeDevice | fs.ModeCharDevice,
	typeFIFO:     fs.ModeNamedPipe,
	typeSocket:   fs.ModeSocket,
}

const permissions = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

func encodePermissions(m fs.FileMode) uint16 { return tree.UnixMode(m) & 0o7777 }

func decodePermissions(p uint16) fs.FileMode {
	m, _ := tree.FileMode(p & 0o7777) // the type is elsewhere
	return m
}
