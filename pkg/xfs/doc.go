// Package xfs writes and reads XFS version 5 file systems.
//
// [Plan] lays out a tree as a file system of the shape that mkfs.xfs gives an image of that size, with no feature but those that
// every kernel since 3.15 and GRUB since 2.02 know: checksums (crc=1) and file types in directories (ftype=1). [Image.Write] writes
// it: in ascending order, no byte twice, and nothing for free space, so that it takes as long as the content does.
//
// # Byte map
//
// The file system is divided into allocation groups of equal length, 4 of them up to 4 TiB, of at most 1 TiB beyond. A block has
// 4096 bytes, a sector 512, or 4096 where [Options].SectorSize says so. In each group, for sectors of 512:
//
//	block 0        sector 0: superblock (the first group's counts; the others are copies); 1: AGF, the free space;
//	               2: AGI, the inodes; 3: AGFL, blocks kept for the growth of the next two
//	block 1        free space by place (B+tree)
//	block 2        free space by length (B+tree)
//	block 3        inodes (B+tree): its root, where there are many
//	block 4 …      the log, in the group in the middle only
//	4 blocks       what the AGFL lists
//	8 blocks …     inodes of 512 bytes in chunks of 64; the first chunk starts with the root directory; from the next group on only
//	               where the first one is full
//	…              the inode tree's further blocks
//	…              directories and long symbolic links, then files in tree order
//	…              free
//
// With sectors of 4096 bytes the four headers are blocks 0 to 3, and everything else comes three blocks later.
//
// Numbers are big-endian, checksums (CRC-32C) little-endian. Every block of metadata has its own place, the UUID and its owner in it.
//
// An inode holds a short directory or symbolic link itself, else the extents of its content, or the root of a B+tree of them. A
// directory is one of four forms: in the inode, one block, data blocks with one block of hashes, or data blocks with a tree of hashes
// and an index of free space.
//
// Specification: https://git.kernel.org/pub/scm/fs/xfs/xfs-documentation.git (XFS Algorithms & Data Structures, 3rd edition)
//
// # Not supported
//
// Writing: extended attributes, realtime devices, external logs, quotas, blocks and sectors of other sizes, times outside of 1901
// to 2038 (bigtime), and whatever mkfs.xfs added later (finobt, sparse inodes, rmapbt, reflink, …). Reading: version 4, attributes,
// what the log still holds, realtime files, ASCII case-insensitive look-up.
package xfs

// Version is part of the keys of what is stored: raise it when the bytes change.
const Version = "1"
