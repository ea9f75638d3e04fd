package gpt

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"unicode/utf16"
)

// Read reads the table of a disk of size bytes. Where the one at the start is damaged, the one at the end is taken. Notes say that
// and whatever else is wrong without making the table useless.
func Read(r io.ReaderAt, size int64) (t Table, notes []string, err error) {
	for _, sector := range []int{512, 4096} {
		d := disk{r: r, size: size, sector: int64(sector)}
		primary, errPrimary := d.read(1)
		if errors.Is(errPrimary, errNone) {
			continue
		}
		at := d.last()
		if errPrimary == nil {
			at = primary.other
		}
		backup, errBackup := d.read(at)
		switch {
		case errPrimary != nil && errBackup != nil:
			return Table{}, nil, fmt.Errorf("read GPT: %w; and the backup: %w", errPrimary, errBackup)
		case errPrimary != nil:
			t, notes = backup.Table, append(notes, fmt.Sprintf("the backup is used: %v", errPrimary))
		case errBackup != nil:
			t, notes = primary.Table, append(notes, fmt.Sprintf("the backup is damaged: %v", errBackup))
		default:
			t = primary.Table
			if !equal(primary.Table, backup.Table) {
				notes = append(notes, "the backup is another table")
			}
			if at != d.last() {
				notes = append(notes, fmt.Sprintf("the backup's header is in sector %d, not in the last one, %d", at, d.last()))
			}
		}
		return d.finish(t, notes)
	}
	// Without a header at the start, a disk may still have one at the end.
	for _, sector := range []int{512, 4096} {
		d := disk{r: r, size: size, sector: int64(sector)}
		if backup, err := d.read(d.last()); err == nil {
			return d.finish(backup.Table, []string{"the backup is used: the header at the start is missing"})
		}
	}
	return Table{}, nil, fmt.Errorf("read GPT: %w", errNone)
}

var errNone = errors.New("there is no header")

// disk is what a table is read from.
type disk struct {
	r            io.ReaderAt
	size, sector int64
}

// last sector.
func (d disk) last() uint64 { return uint64(max(d.size/d.sector-1, 0)) }

// copyOf is one of the two copies of a table.
type copyOf struct {
	Table
	other uint64 // sector of the other one's header
}

// read reads the copy whose header is in a sector.
func (d disk) read(at uint64) (c copyOf, err error) {
	if d.last() == 0 {
		return c, fmt.Errorf("disk of %d bytes: %w", d.size, errNone)
	}
	if at > d.last() {
		return c, fmt.Errorf("header in sector %d: the disk ends with sector %d", at, d.last())
	}
	h := make([]byte, headerSize)
	if _, err := d.r.ReadAt(h, int64(at)*d.sector); err != nil {
		return c, fmt.Errorf("header in sector %d: %w", at, err)
	}
	if string(h[:8]) != signature {
		return c, fmt.Errorf("sector %d: %w", at, errNone)
	}
	wrong := func(format string, args ...any) (copyOf, error) {
		return copyOf{}, fmt.Errorf("header in sector %d: %s", at, fmt.Sprintf(format, args...))
	}
	sum := le.Uint32(h[16:])
	clear(h[16:20])
	entriesAt, count, width := le.Uint64(h[72:]), le.Uint32(h[80:]), le.Uint32(h[84:])
	switch {
	case le.Uint32(h[8:]) != revision || le.Uint32(h[12:]) != headerSize:
		return wrong("not supported: revision %#x, %d bytes", le.Uint32(h[8:]), le.Uint32(h[12:]))
	case crc32.ChecksumIEEE(h) != sum:
		return wrong("the checksum is wrong")
	case le.Uint64(h[24:]) != at:
		return wrong("says that it is in sector %d", le.Uint64(h[24:]))
	case width != entrySize || count == 0 || count > maxEntries:
		return wrong("not supported: %d entries of %d bytes; up to %d of %d are", count, width, maxEntries, entrySize)
	case entriesAt < entriesStart || entriesAt > d.last():
		return wrong("entries in sector %d: not from %d to %d", entriesAt, entriesStart, d.last())
	}
	c.other = le.Uint64(h[32:])
	c.Table = Table{
		SectorSize: int(d.sector), Entries: int(count), DiskGUID: guidAt(h[56:]),
		FirstUsable: le.Uint64(h[40:]), LastUsable: le.Uint64(h[48:]),
	}
	if at == 1 { // the backup does not say where the first copy of its entries is
		c.Skip = entriesAt - entriesStart
	}
	b := make([]byte, count*entrySize)
	if _, err := d.r.ReadAt(b, int64(entriesAt)*d.sector); err != nil {
		return c, fmt.Errorf("entries in sector %d: %w", entriesAt, err)
	}
	if crc32.ChecksumIEEE(b) != le.Uint32(h[88:]) {
		return c, fmt.Errorf("entries in sector %d: the checksum is wrong", entriesAt)
	}
	for n := 1; len(b) > 0; n, b = n+1, b[entrySize:] {
		if p := parsePartition(b); !p.Type.IsZero() {
			c.Partitions = append(c.Partitions, make([]Partition, n-len(c.Partitions))...)
			c.Partitions[n-1] = p
		}
	}
	return c, nil
}

func parsePartition(e []byte) (p Partition) {
	if p.Type = guidAt(e); p.Type.IsZero() {
		return Partition{}
	}
	p.GUID = guidAt(e[16:])
	p.First, p.Last, p.Attributes = le.Uint64(e[32:]), le.Uint64(e[40:]), le.Uint64(e[48:])
	var units []uint16
	for at := 56; at < entrySize && le.Uint16(e[at:]) != 0; at += 2 {
		units = append(units, le.Uint16(e[at:]))
	}
	p.Name = string(utf16.Decode(units))
	return p
}

// finish checks the table and adds what the MBR says.
func (d disk) finish(t Table, notes []string) (Table, []string, error) {
	if err := t.check(d.size); err != nil {
		return Table{}, nil, fmt.Errorf("read GPT: %w", err)
	}
	mbr := make([]byte, mbrSize)
	if _, err := d.r.ReadAt(mbr, 0); err != nil {
		return Table{}, nil, fmt.Errorf("read MBR: %w", err)
	}
	if code := mbr[:maxBootCode]; !bytes.Equal(code, make([]byte, maxBootCode)) {
		t.BootCode = code
	}
	if mbr[510] != 0x55 || mbr[511] != 0xaa || mbr[446+4] != protective {
		notes = append(notes, "the MBR does not protect the disk from programs that do not know GPT")
	}
	return t, notes, nil
}

func equal(a, b Table) bool {
	return a.DiskGUID == b.DiskGUID && a.Entries == b.Entries && a.FirstUsable == b.FirstUsable && a.LastUsable == b.LastUsable &&
		slices.Equal(a.Partitions, b.Partitions)
}
