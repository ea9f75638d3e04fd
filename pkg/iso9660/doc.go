// Package iso9660 writes and reads ISO 9660 images with Rock Ridge names, El Torito boot entries and partitions appended
// behind the file tree: what firmware starts from a CD-ROM, a virtual medium of a BMC and, byte for byte the same, a USB stick.
//
// Specifications: ECMA-119 (https://ecma-international.org/publications-and-standards/standards/ecma-119/), System Use
// Sharing Protocol 1.12 and Rock Ridge Interchange Protocol 1.12, in its 1991A form
// (https://web.archive.org/web/20220306183233/http://www.ymi.com/ymi/sites/default/files/pdf/Rockridge.pdf), El Torito 1.0
// (https://web.archive.org/web/2020/https://pdos.csail.mit.edu/6.828/2018/readings/boot-cdrom.pdf), section headers of the
// UEFI specification 2.10, chapter 13.3.2.
//
// # Byte map
//
// In blocks of 2048 bytes; numbers on disk are stored little-endian, big-endian or both, one after the other.
//
//	0..15   system area: the caller's (MBR, GPT)
//	16      primary volume descriptor
//	17      El Torito boot record: where the boot catalog lies (only if there are boot entries)
//	18      terminator of the descriptors
//	32      with PartitionOffset 16: primary descriptor and terminator of the second set, whose block 0 is block 16,
//	        so that a partition that starts there can be mounted
//	…       directories, depth first: records, then the Rock Ridge fields that a record has no room for
//	…       path tables, little-endian and big-endian
//	…       directories and path tables of the second set: the same, block numbers 16 lower
//	…       a block of zeros: where everything lies that has no content
//	…       boot catalog (the file /boot.catalog), one block
//	…       boot images, then the other files, depth first in the order of their identifiers, each from a new block on
//	1 MiB·n appended partitions, each a multiple of 1 MiB long
//	end     Options.Tail: the caller's (GPT backup)
//
// What lies where is as xorriso has it: for the trees of Talos and the same options the images are the same, byte for byte.
// Only names too long for a record, and those of a directory that have the same identifier, are treated in other ways.
//
// A file that already lies inside an appended partition is not stored again: its directory record names the blocks inside
// the partition (Options.Shared). Through the second set such a file can be read only from the whole device, since a
// partition ends before the next begins.
//
// # Not supported
//
// Writing: Joliet, HFS+, zisofs, floppy and hard disk emulation, relocated directories (deep trees are written as they are: Linux, GRUB
// and firmware take any depth), devices, sockets, extended attributes. Reading: Joliet names, zisofs files, interleaved files, images of
// several volumes; of a multi-session image the first session is read.
package iso9660

// Version is part of the keys of what is made with this package: raise it when the bytes change.
const Version = "1"

const (
	blockSize    = 2048
	systemBlocks = 16      // the system area before the first descriptor
	alignment    = 1 << 20 // of appended partitions: a cylinder of 64 heads with 32 sectors
	sectorSize   = 512     // of MBR, GPT and El Torito's counts

	maxBlocks = 1<<32 - 1         // a block number has 32 bits
	maxExtent = 1<<32 - blockSize // most bytes that one directory record tells of
	maxDirs   = 1<<16 - 1         // a directory's number in the path table has 16 bits
	catalog   = "boot.catalog"    // path of the boot catalog
)
