// Package kmod reads Linux kernel modules and writes what depmod writes: the text and binary indexes in a release directory
// (lib/modules/<release>) with which modprobe and udev find modules.
//
// [Scan] reads each module once and keeps what it says as plain data, so that the result for a base system can be stored;
// [Merge] lays the modules of extensions over it; [Index] makes the files. They are those of kmod 34.2, byte for byte, as
// depmod makes them when directories list their entries in byte order (that decides between two modules of one name in
// the same search directory, and nothing else) and is built with every compression (Debian's is not with gzip).
//
// [KernelExports] reads what an x86 kernel itself has for modules.
//
// A module is an ELF relocatable object, plain or compressed with xz, zstd or gzip (told by its first bytes), from which this
// is read:
//
//	.modinfo            key=value strings, NUL-separated
//	.symtab .strtab     undefined symbols are imports; __crc_NAME is the CRC of the export NAME
//	__ksymtab_strings   names of exports, where no __crc_ symbol is (and namespaces, which depmod takes for exports, too)
//	__versions          of 64 bytes each: CRC of an import in 8 bytes, its name and NULs
//	appended            PKCS#7 message, 12 bytes of description, "~Module signature appended~\n"
//
// A binary index (*.bin) is a trie of 7-bit ASCII keys. Integers are big endian:
//
//	0   4  magic B007F457
//	4   4  version 2.1: 00020001
//	8   4  root node
//
// where a node is a place in the file (low 28 bits) and three flags that tell which of its fields are there:
//
//	80000000  prefix: characters after the one that led here, and NUL
//	20000000  first and last character that lead on, a byte each; then 4 bytes for every character from first to last: a node or 0
//	40000000  number of values in 4 bytes; for each its priority (the module's place in modules.dep) in 4 bytes, its characters, NUL
//
// The format is described in libkmod-index.c of https://github.com/kmod-project/kmod, the text files in modules.dep(5), the
// search order in depmod.d(5), signatures in https://docs.kernel.org/admin-guide/module-signing.html.
//
// Not supported: ELF of 32 bits or big endian and machines other than x86-64 and AArch64; extended modversions
// (__version_ext_crcs), which kmod 34.2 does not read; override, external and exclude of depmod.d(5); a symbolic link to a
// directory, which is not followed. Names with white space, which the text files cannot hold, are refused.
package kmod

// Version names what this package makes of its input. Raise it when the bytes of [Index] or the fields of [Module] change.
const Version = "1"
