// Package fat writes and reads FAT file systems, which is what UEFI firmware boots from.
//
// [Plan] lays a tree out as a FAT32 file system that equals what mkfs.fat 4.2 (-F 32 --invariant) and mtools make of it, but for
// the boot code, and [Image.Write] writes it: no byte twice, ascending, nothing for free space. Every file lies in one piece, so
// that the same bytes can also be part of another file system ([Image.Offset], [Options].FileAlign).
//
// # Byte map of a FAT32 image
//
//	sector 0      boot sector: geometry, label, volume id
//	sector 1      FSInfo: free clusters, last allocated cluster
//	sector 6      copy of both
//	sector 32     first FAT, 4 bytes a cluster: the next one, or the end of the chain (at 64 where a cluster has 32 KiB; later
//	              where FileAlign asks for it)
//	              second FAT, the same
//	              clusters 2, 3, …: directories and files in tree order, each in one piece; the root directory is cluster 2
//
// A sector has 512 bytes, or more where [Options].SectorSize says so. All numbers are little-endian. A directory is a list of 32-byte
// entries; a name that is not 8.3 has further entries with 13 UTF-16 units each before its own.
//
// Specification: Microsoft, "FAT: General Overview of On-Disk Format" 1.03 (fatgen103), which
// https://uefi.org/specs/UEFI/2.10/13_Protocols_Media_Access.html#file-system-format builds upon.
//
// # What FAT keeps of a node
//
// Names, regardless of case; content; times at a resolution of 2 seconds, in UTC, from 1980 to 2107 (an earlier time, such as the
// Unix epoch, becomes 1980-01-01, as in mtools); and that a file is not writable. Owners and the other permission bits are not
// kept, and hard links become files of their own. Anything else is refused.
//
// # Not supported
//
// Writing: FAT12, FAT16, exFAT, sectors of more than 4096 bytes, symbolic links, devices, extended attributes. Reading: exFAT, short
// names with characters beyond ASCII that have no long name.
package fat

// Version is part of the keys of what is stored: raise it when the bytes change.
const Version = "1"
