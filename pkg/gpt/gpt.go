// Package gpt writes and reads GUID partition tables with their protective MBR.
//
// A [Table] is plain data. [Table.Primary] are the bytes at the start of a disk, [Table.Apart] what may not follow them, and
// [Table.Backup] those at its end, so that the caller writes what lies between in ascending order. [Read] gives a Table back.
//
// # Byte map of a disk
//
//	sector 0            MBR: boot code (440 bytes), disk signature, one partition of type EE that covers the disk; bytes 510: 55 AA
//	sector 1            header: where everything is, checksums; 92 bytes
//	sector 2 + Skip     entries of 128 bytes: type, GUID, first and last sector, attributes, name; 128 of them unless asked otherwise
//	FirstUsable …       partitions
//	… LastUsable
//	                    the entries again
//	last sector         the header again, with the two positions exchanged
//
// Numbers are little-endian. A GUID's first three fields are too, which is why its bytes on disk are not in the order of its text.
//
// Specification: https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_GPT_Disk_Layout.html
//
// # Not supported
//
// Hybrid MBRs with partitions beside the protective one, entries of more than 128 bytes, sectors other than 512 and 4096 bytes.
package gpt

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"unicode/utf16"
)

// Version is part of the keys of what is stored: raise it when the bytes change.
const Version = "1"

const (
	headerSize   = 92
	entrySize    = 128
	revision     = 0x00010000
	signature    = "EFI PART"
	maxName      = 36   // UTF-16 units
	maxBootCode  = 446  // bytes before the MBR's partitions
	maxEntries   = 1024 // far more than anyone has
	protective   = 0xee
	mib          = 1 << 20
	maxDisk      = 1 << 62 // bytes
	defEntries   = 128
	defSector    = 512
	maxSector    = 4096
	mbrSize      = 512
	entriesStart = 2 // sector, where nothing is skipped
)

var le = binary.LittleEndian

// Types of partitions.
var (
	TypeESP       = MustParseGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b") // EFI system partition
	TypeBIOSBoot  = MustParseGUID("21686148-6449-6e6f-744e-656564454649") // GRUB's core image
	TypeLinux     = MustParseGUID("0fc63daf-8483-4772-8e79-3d69d8477de4") // a Linux file system
	TypeBasicData = MustParseGUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")
)

// Attributes of a partition.
const (
	AttrRequired   = 1 << 0
	AttrLegacyBoot = 1 << 2
	AttrReadOnly   = 1 << 60 // of TypeBasicData
)

// Partition is one entry of a table.
type Partition struct {
	Name       string // at most 36 UTF-16 units
	Type, GUID GUID
	Attributes uint64
	// First and Last sector; Last belongs to the partition.
	First, Last uint64
}

// Table is a partition table. SectorSize, Entries, FirstUsable and LastUsable have defaults at 0.
type Table struct {
	DiskGUID GUID
	// SectorSize is 512 (the default) or 4096 bytes.
	SectorSize int
	// Entries is the number of entries that there is room for: 128.
	Entries int
	// Skip is how many sectors the entries begin behind the header: boot code of single-board computers lies there.
	Skip uint64
	// FirstUsable is the first sector for partitions: by default the end of the MiB that the entries end in.
	FirstUsable uint64
	// LastUsable is the last sector for partitions: by default the one before the backup entries.
	LastUsable uint64
	// Partitions; the first is number 1. One with a zero Type is an unused number.
	Partitions []Partition
	// BootCode is what a BIOS runs: at most 446 bytes at the start of the disk.
	BootCode []byte
}

// withDefaults replaces zeros.
func (t Table) withDefaults(size int64) (Table, error) {
	if t.SectorSize == 0 {
		t.SectorSize = defSector
	}
	if t.Entries == 0 {
		t.Entries = defEntries
	}
	if t.SectorSize != 512 && t.SectorSize != 4096 {
		return t, fmt.Errorf("sectors of %d bytes: only 512 and 4096 are possible", t.SectorSize)
	}
	if t.Entries < 1 || t.Entries > maxEntries {
		return t, fmt.Errorf("%d entries: not from 1 to %d", t.Entries, maxEntries)
	}
	if size%int64(t.SectorSize) != 0 || size > maxDisk {
		return t, fmt.Errorf("size of %d bytes: not a multiple of the sector's %d, up to %d", size, t.SectorSize, int64(maxDisk))
	}
	if t.Skip > maxDisk/maxSector {
		return t, fmt.Errorf("entries %d sectors behind the header: at most %d", t.Skip, uint64(maxDisk/maxSector))
	}
	if least := int64(t.entriesEnd()+t.entrySectors()+2) * int64(t.SectorSize); size < least {
		return t, fmt.Errorf("size of %d bytes: the table alone takes %d", size, least)
	}
	if t.FirstUsable == 0 {
		unit := mib / uint64(t.SectorSize)
		t.FirstUsable = (t.entriesEnd() + unit - 1) / unit * unit
	}
	if t.LastUsable == 0 {
		t.LastUsable = t.backupEntries(size) - 1
	}
	return t, nil
}

// entrySectors is the length of the entries.
func (t Table) entrySectors() uint64 {
	return (uint64(t.Entries)*entrySize + uint64(t.SectorSize) - 1) / uint64(t.SectorSize)
}

// entriesEnd is the sector behind the first copy of the entries.
func (t Table) entriesEnd() uint64 { return entriesStart + t.Skip + t.entrySectors() }

// lastSector is the disk's.
func (t Table) lastSector(size int64) uint64 { return uint64(size)/uint64(t.SectorSize) - 1 }

// backupEntries is where the second copy of the entries starts: just before the second header.
func (t Table) backupEntries(size int64) uint64 { return t.lastSector(size) - t.entrySectors() }

// check refuses a table that a disk of size bytes cannot have.
func (t Table) check(size int64) error {
	if least := t.entriesEnd(); t.FirstUsable < least {
		return fmt.Errorf("first usable sector %d: the entries end at %d", t.FirstUsable, least)
	}
	if most := t.backupEntries(size) - 1; t.LastUsable > most {
		return fmt.Errorf("last usable sector %d: on a disk of %d bytes at most %d", t.LastUsable, size, most)
	}
	if len(t.BootCode) > maxBootCode {
		return fmt.Errorf("boot code of %d bytes: at most %d fit", len(t.BootCode), maxBootCode)
	}
	if len(t.Partitions) > t.Entries {
		return fmt.Errorf("%d partitions: there is room for %d", len(t.Partitions), t.Entries)
	}
	guids := map[GUID]int{}
	used := make([]int, 0, len(t.Partitions))
	for i, p := range t.Partitions {
		if p.Type.IsZero() {
			if p != (Partition{}) {
				return fmt.Errorf("partition %d (%s): has no type", i+1, p.Name)
			}
			continue
		}
		if err := t.checkPartition(p); err != nil {
			return fmt.Errorf("partition %d (%s): %w", i+1, p.Name, err)
		}
		if other, twice := guids[p.GUID]; twice {
			return fmt.Errorf("partitions %d and %d: both have the GUID %s", other, i+1, p.GUID)
		}
		guids[p.GUID] = i + 1
		used = append(used, i)
	}
	slices.SortFunc(used, func(a, b int) int { return cmp.Compare(t.Partitions[a].First, t.Partitions[b].First) })
	for k := 1; k < len(used); k++ {
		if a, b := t.Partitions[used[k-1]], t.Partitions[used[k]]; a.Last >= b.First {
			return fmt.Errorf("partitions %d (%s) and %d (%s): overlap at sector %d", used[k-1]+1, a.Name, used[k]+1, b.Name, b.First)
		}
	}
	return nil
}

func (t Table) checkPartition(p Partition) error {
	switch units := utf16.Encode([]rune(p.Name)); {
	case p.GUID.IsZero():
		return errors.New("has no GUID")
	case p.First > p.Last:
		return fmt.Errorf("first sector %d after the last, %d", p.First, p.Last)
	case p.First < t.FirstUsable || p.Last > t.LastUsable:
		return fmt.Errorf("sectors %d to %d: usable are %d to %d", p.First, p.Last, t.FirstUsable, t.LastUsable)
	case len(units) > maxName:
		return fmt.Errorf("name of %d UTF-16 units: at most %d fit", len(units), maxName)
	case slices.Contains(units, 0) || slices.Contains(units, 0xfffd):
		return errors.New("name: is not UTF-8, or has a zero character")
	}
	return nil
}

// ready is the table with its defaults, if a disk of size bytes can have it.
func (t Table) ready(size int64) (Table, error) {
	t, err := t.withDefaults(size)
	if err == nil {
		err = t.check(size)
	}
	if err != nil {
		err = fmt.Errorf("write GPT: %w", err)
	}
	return t, err
}

// Primary returns the first bytes of a disk of size bytes: MBR, header and, where nothing is skipped, the entries.
func (t Table) Primary(size int64) ([]byte, error) {
	t, err := t.ready(size)
	if err != nil {
		return nil, err
	}
	b := t.mbr(size)
	b = append(b, make([]byte, t.SectorSize-len(b))...)
	entries := t.entries()
	b = append(b, t.header(entries, 1, t.lastSector(size), entriesStart+t.Skip)...)
	if t.Skip == 0 {
		b = append(b, entries...)
	}
	return b, nil
}

// Apart returns the first copy of the entries, and where it starts, if it does not follow the header; else nothing.
func (t Table) Apart(size int64) (b []byte, off int64, err error) {
	if t, err = t.ready(size); err != nil || t.Skip == 0 {
		return nil, 0, err
	}
	return t.entries(), int64(entriesStart+t.Skip) * int64(t.SectorSize), nil
}

// Backup returns the last bytes of a disk of size bytes, and where they start.
func (t Table) Backup(size int64) (b []byte, off int64, err error) {
	if t, err = t.ready(size); err != nil {
		return nil, 0, err
	}
	entries := t.entries()
	b = append(b, entries...)
	b = append(b, t.header(entries, t.lastSector(size), 1, t.backupEntries(size))...)
	return b, size - int64(len(b)), nil
}

// mbr makes the sector that keeps programs without GPT off the disk.
func (t Table) mbr(size int64) []byte {
	b := make([]byte, mbrSize)
	copy(b, t.BootCode)
	p := b[446:]                                                          // the first of four partitions
	copy(p, "\x00\x00\x02\x00\xee\xff\xff\xff")                           // not active; from cylinder 0, head 0, sector 2; type; to the end
	le.PutUint32(p[8:], 1)                                                // first sector
	le.PutUint32(p[12:], uint32(min(t.lastSector(size), math.MaxUint32))) // sectors
	b[510], b[511] = 0x55, 0xaa
	return b
}

// entries returns all entries in whole sectors.
func (t Table) entries() []byte {
	b := make([]byte, t.entrySectors()*uint64(t.SectorSize))
	for i, p := range t.Partitions {
		if p.Type.IsZero() {
			continue
		}
		e := b[i*entrySize:][:entrySize]
		p.Type.put(e)
		p.GUID.put(e[16:])
		le.PutUint64(e[32:], p.First)
		le.PutUint64(e[40:], p.Last)
		le.PutUint64(e[48:], p.Attributes)
		for j, u := range utf16.Encode([]rune(p.Name)) {
			le.PutUint16(e[56+2*j:], u)
		}
	}
	return b
}

// header returns the header that stands in sector self.
func (t Table) header(entries []byte, self, other, entriesAt uint64) []byte {
	b := make([]byte, t.SectorSize)
	copy(b, signature)
	le.PutUint32(b[8:], revision)
	le.PutUint32(b[12:], headerSize)
	le.PutUint64(b[24:], self)
	le.PutUint64(b[32:], other)
	le.PutUint64(b[40:], t.FirstUsable)
	le.PutUint64(b[48:], t.LastUsable)
	t.DiskGUID.put(b[56:])
	le.PutUint64(b[72:], entriesAt)
	le.PutUint32(b[80:], uint32(t.Entries))
	le.PutUint32(b[84:], entrySize)
	le.PutUint32(b[88:], crc32.ChecksumIEEE(entries[:t.Entries*entrySize]))
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:headerSize])) // of the header with zeros here
	return b
}
