// Package squashfs writes and reads squashfs 4.0, the compressed read-only file system of Linux.
//
// An image, all numbers little endian, no gaps:
//
//	0        superblock, 96 bytes
//	96       data blocks of every file in order of the tree; fragment blocks between them as they fill up
//	         inode table        metadata blocks
//	         directory table    metadata blocks
//	         fragment table     metadata blocks, then where each of them starts
//	         export table       metadata blocks, then where each of them starts
//	         id table           metadata blocks, then where each of them starts
//	         xattr table        metadata blocks of pairs, metadata blocks of ids, 16 bytes, then where each block of ids starts
//	         zeros up to a multiple of 4096
//
// A data block holds up to a block size of one file. A fragment block holds many files that are smaller than a block; other
// writers put the ends of larger ones there, too. A metadata block is a u16 with its size on disk (bit 15: stored uncompressed),
// then up to 8192 bytes of a table that runs on from block to block. What is in a table is named by a reference: where its
// metadata block starts, counted from the table's start, times 65536, plus the offset in the uncompressed block.
//
// The format is described in https://docs.kernel.org/filesystems/squashfs.html and, byte for byte, in
// https://dr-emann.github.io/squashfs/squashfs.html.
//
// # Not supported
//
// Writing: compression other than zstd and xz (Talos kernels mount no other); extended attributes but user.*, trusted.* and
// security.*; hard links of what is no regular file; times outside of 1970 to 2106 or with fractions of a second. Reading:
// lzo, lz4 and the old lzma; versions before 4.0; names that are not UTF-8; images over the limits that the constants Max…
// give. Neither knows compressor options: none is written, and what mksquashfs stores there says nothing that a reader needs.
package squashfs

// Version is part of the key of whatever holds this package's output. Raise it when the bytes change.
const Version = "1"
