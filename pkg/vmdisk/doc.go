// Package vmdisk writes raw disks in the formats that clouds and hypervisors take, compresses them, and reads those formats.
//
// [Write] is all that a writer needs: a [Disk] that can write itself, and [Options]. Nothing ever has the whole raw disk, neither
// in memory nor in a temporary file. The disk is composed once (raw, VHD, VMDK and what compresses these) or twice (QCOW2, OVA,
// .tar.gz): the first time to learn what the head of the file must say, the second time to write. So the output is always written
// in ascending order, no byte twice. Memory is bounded by the blocks that are being compressed, and 16 bytes for each run of
// blocks with data. Blocks are cut at multiples of their size and compressed on their own, so neither the number of processors
// nor the sizes of writes show in the output; a block of zeros costs a copy of what the first one was compressed to.
//
// # Byte map: QCOW2 (version 3, numbers big-endian)
//
//	cluster 0     header, 112 bytes: sizes and places of all tables; an empty list of extensions
//	cluster 1 …   refcount table: 8 bytes for each refcount block, its place
//	              refcount blocks: 2 bytes for each cluster of the file, always 1
//	              L1 table: 8 bytes for each L2 table: its place, bit 63; 0 without data
//	              L2 tables: one cluster each; 8 bytes for each cluster of the disk: its place, bit 63; 0 for zeros
//	              clusters that are not all zeros, in the disk's order
//
// Specification: https://www.qemu.org/docs/master/interop/qcow2.html
//
// # Byte map: fixed VHD (numbers big-endian)
//
//	0             the raw disk
//	disk's size   footer, 512 bytes: size, geometry, id, time, checksum
//
// The footer has what qemu-img convert -O vpc -o subformat=fixed,force_size puts there. Azure takes multiples of 1 MiB only:
// https://learn.microsoft.com/azure/virtual-machines/linux/create-upload-generic. Specification: Microsoft, "Virtual Hard Disk
// Image Format Specification", 2006.
//
// # Byte map: stream-optimised VMDK (sectors of 512 bytes, numbers little-endian)
//
//	sector 0      header; the place of the grain directory is given as "at the end"
//	sector 1      descriptor, a text; zeros up to sector 128
//	sector 128    grains of 64 KiB that are not all zeros: sector on the disk (8), length (4), zlib stream, zeros up to a sector;
//	              after the last grain of each 32 MiB with data: a marker, and their grain table: 512 numbers of 4 bytes, sectors
//	              a marker, and the grain directory: the sector of each grain table, or 0
//	              a marker, and the footer: the header again, with the place of the grain directory
//	last sector   the marker of the end: zeros
//
// Specification: VMware, "Virtual Disk Format 5.0".
//
// # Byte map: OVA
//
// A USTAR archive of disk.ovf (the virtual machine, XML), disk.mf (SHA-256 of the other two) and disk.vmdk. Specification:
// https://www.dmtf.org/sites/default/files/standards/documents/DSP0243_1.1.1.pdf
//
// # Byte map: compression
//
//	gz            one member (RFC 1952): deflate streams of 1 MiB each, joined by empty stored blocks
//	xz            one stream: blocks of 1 MiB that give their sizes, CRC64, index (https://tukaani.org/xz/xz-file-format.txt)
//	zst           frames of 4 MiB with size and checksum, one after another (RFC 8878)
//	tar.gz        gz of an archive with one member, disk.raw (or .qcow2, …), as old GNU sparse file: header, further headers with
//	              the map of extents, the extents' bytes, zeros up to a multiple of 10240
//
// # Not supported
//
// Writing: compressed QCOW2, dynamic and differencing VHD, VHDX, VMDK that can be written to. Reading: QCOW2 with encryption,
// backing file, external data file or extended L2 entries, and its snapshots; VHD and VMDK of other kinds than the ones above;
// any outer compression.
package vmdisk

// Version is part of the keys of what is stored: raise it when the bytes change.
const Version = "1"
