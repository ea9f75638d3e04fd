// Package ext4 writes and reads ext4 file systems.
//
// [Plan] lays out a tree as a file system that is, but for the files, what mkfs.ext4 makes with -O ^has_journal,^resize_inode,^flex_bg
// and -m 0: no feature is newer than Linux 3.18, and a kernel may also write to it. [Image.Write] writes it: in ascending order, no
// byte twice, and nothing for free space, so that it takes as long as the content does. The container has to read as zeros where
// nothing is written.
//
// # Byte map
//
// A block has 4096 bytes. The file system is divided into groups of 32768 blocks (128 MiB); what is left at the end and too short for
// a group of its own is not used. In each group:
//
//	block 0    superblock, at byte 1024 in the first group; only in groups 0, 1 and the powers of 3, 5 and 7, as is the next
//	block 1 …  descriptors of all groups, 64 bytes each
//	1 block    which blocks are in use, a bit for each
//	1 block    which inodes are in use, the same
//	blocks …   inodes of 256 bytes, the same number in each group: one for every 16 KiB, or as many as the tree wants
//	blocks …   directories and long symbolic links, then files in tree order, until there is no more
//	…          free
//
// The two bitmaps and the inodes of a group in which nothing is used are not written: its descriptor says so.
//
// Numbers are little-endian. Superblock, descriptors, bitmaps, inodes, directories and trees of extents have checksums (CRC-32C), which
// begin with the UUID. Inodes 1 to 10 are reserved: 2 is the root directory. 11 is lost+found, into which e2fsck puts what it finds;
// then come all others in tree order.
//
// An inode holds a short symbolic link itself, else up to 4 extents of its content, or the root of a tree of them. A directory is a
// list of entries in tree order, whose last entry in a block is as long as the rest of it.
//
// Specification: https://docs.kernel.org/filesystems/ext4/
//
// # Not supported
//
// Writing: a journal (where power fails while it is mounted to write, it needs e2fsck), extended attributes, indexes of directories
// (the kernel searches a great one from its start; it makes an index itself where it lets a directory grow beyond a block), blocks
// reserved for root, blocks of other sizes, growing while it is mounted (resize2fs does it otherwise). Reading: a journal that has to
// be replayed, content without extents (ext2, ext3), inline data, encryption, meta_bg, extended attributes.
package ext4

// Version is part of the keys of what is stored: raise it when the bytes change.
const Version = "1"
