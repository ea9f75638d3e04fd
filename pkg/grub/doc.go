// Package grub puts GRUB's images together from a directory of its files, as grub-mkimage and grub-bios-setup do: core images
// for a disk and for a CD-ROM, programs for UEFI, the code of the master boot record, and the grub.cfg of Talos's ISOs and disks.
//
// # Byte map
//
// An i386-pc image is a first stage in one sector, a decompressor, and a stream of LZMA without a header:
//
//	0       cdboot.img (2048 bytes), in an i386-pc-eltorito image alone: what a BIOS starts from a CD-ROM
//	0       diskboot.img (512 bytes): loads the rest. 0x1f4: block list: u64 first sector, u16 sectors, u16 segment 0x0820
//	0x200   lzma_decompress.img: at +8 u32 bytes that are compressed, at +12 u32 bytes that come of them;
//	        at +16 u32 bytes of Reed–Solomon redundancy: 0, since only grub-bios-setup makes it, into gaps between partitions
//	…       LZMA: lc=3, lp=0, pb=2, no end marker
//
// What is compressed is the kernel as it lies in memory from 0x9000 on, then the modules:
//
//	0       .text, .rodata and .data of kernel.img, each at its address less 0x9000
//	…       u32 magic "mimg", u32 size of this header: 12, u32 bytes of this and all that follows
//	…       for each module, then for the embedded configuration and the prefix: u32 type (0 module, 2 configuration, 3 prefix),
//	        u32 size with this header, content, filled up to a multiple of 4; text ends with a zero byte
//
// An x86_64-efi or arm64-efi image is a PE32+ program of four sections, whole pages each, the same in the file as in memory:
//
//	0       program for DOS; 0x80: PE header; 2015-01-01 as time; image base 0
//	0x1000  .text: what is executed of kernel.img, which is an object file here: linked to this address
//	…       .data: the rest of it, zeros included, then the global offset table (arm64)
//	…       mods: as above from "mimg" on, but 24 bytes of header (u32 magic, u32 0, u64 24, u64 size) and multiples of 8
//	…       .reloc: base relocations: where addresses are
//
// The layout is the same in GRUB 2.06, 2.12 and 2.14; what has changed between them is read from the files: a kernel that cares
// for the attributes of memory (2.14) makes a program that says NX_COMPAT.
//
// Sources: GRUB's manual, chapter "Images" (https://www.gnu.org/software/grub/manual/grub/html_node/Images.html), its headers
// include/grub/offsets.h, include/grub/kernel.h and include/grub/efi/pe32.h (https://cgit.git.savannah.gnu.org/cgit/grub.git); the ABI
// supplements of ELF for x86-64 (https://gitlab.com/x86-psABIs/x86-64-ABI) and AArch64 (https://github.com/ARM-software/abi-aa).
//
// # Not supported
//
// Other platforms and formats (PXE), memory disks, public keys, SBAT sections, Reed–Solomon redundancy.
package grub

// Version is part of the keys of what is made with this package: raise it when the bytes change.
const Version = "1"

const sectorSize = 512
