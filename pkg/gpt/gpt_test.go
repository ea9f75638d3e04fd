package gpt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/internal/tooltest"
)

var (
	diskGUID = MustParseGUID("d92d45b3-cde9-8760-be9f-a2a71fac8d11")
	efi      = Partition{Name: "EFI", Type: TypeESP, GUID: MustParseGUID("bca5174b-0118-8a6a-af0b-2c6e1585acae")}
	bios     = Partition{Name: "BIOS", Type: TypeBIOSBoot, GUID: MustParseGUID("a2a02ff5-d88d-8e6e-9c95-26b9b6c80bc3"), Attributes: AttrLegacyBoot}
	boot     = Partition{Name: "BOOT", Type: TypeLinux, GUID: MustParseGUID("24c73076-4092-85dd-9d98-686a2dbf6d81")}
	meta     = Partition{Name: "META", Type: TypeLinux, GUID: MustParseGUID("cf04f137-101e-8ec6-9627-fa3f51cdabb8")}
)

func place(t testing.TB, table Table, size int64, sizes ...int64) Table {
	t.Helper()
	table, err := table.Place(size, sizes)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// talos is the table of a disk as Talos has it for an sd-boot disk.
func talos(t testing.TB, size int64) Table {
	return place(t, Table{DiskGUID: diskGUID, Partitions: []Partition{efi, meta}}, size, 2101*mib, mib)
}

// write makes a disk with nothing but the table.
func write(t testing.TB, table Table, name string, size int64) string {
	t.Helper()
	name = formattest.Empty(t, name, size)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	primary, err := table.Primary(size)
	if err != nil {
		t.Fatal(err)
	}
	backup, off, err := table.Backup(size)
	if err != nil {
		t.Fatal(err)
	}
	if off+int64(len(backup)) != size {
		t.Errorf("the backup ends at %d of %d", off+int64(len(backup)), size)
	}
	if _, err := f.WriteAt(primary, 0); err != nil {
		t.Fatal(err)
	}
	entries, at, err := table.Apart(size)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(entries, at); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(backup, off); err != nil {
		t.Fatal(err)
	}
	return name
}

// sgdisk says of our disks what it says of the official imager's.
func TestOfficialLayouts(t *testing.T) {
	t.Parallel()
	const dualSize, sdbootSize = 8697856 * 512, 4599808 * 512
	for name, c := range map[string]struct {
		size  int64
		table Table
	}{
		"dual": {dualSize, place(t, Table{DiskGUID: diskGUID, Partitions: []Partition{efi, bios, boot, meta}, BootCode: []byte{0xeb, 0x63}},
			dualSize, 2101*mib, mib, 2000*mib, mib)},
		"sdboot": {sdbootSize, talos(t, sdbootSize)},
	} {
		disk := write(t, c.table, name+".raw", c.size)
		var got strings.Builder
		for i := range len(c.table.Partitions) + 1 {
			args := []string{"-p", disk}
			if i > 0 {
				args = []string{"-i", fmt.Sprint(i), disk}
				got.WriteByte('\n')
			}
			out := tooltest.Run(t, "sgdisk", args...)
			fmt.Fprintf(&got, "$ sgdisk %s %s.raw\n%s", strings.Join(args[:len(args)-1], " "), name, strings.ReplaceAll(out, disk, name+".raw"))
		}
		want, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(string(want), "\n")
		if got.String() != text {
			t.Errorf("%s: got\n%s\nwant\n%s", name, &got, text)
		}
		verify(t, disk)
	}
}

// verify fails where sgdisk finds a problem.
func verify(t *testing.T, disk string) {
	t.Helper()
	if out := tooltest.Run(t, "sgdisk", "-v", disk); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %s", out)
	}
}

// sfdisk or fdisk reads what we mean, and so do we, for either size of sectors.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, sector := range []int{512, 4096} {
		size := int64(3000 * mib)
		table := place(t, Table{DiskGUID: diskGUID, SectorSize: sector, Partitions: []Partition{efi, bios, boot, {Name: "größe \U0001f642", Type: TypeBasicData,
			GUID: meta.GUID, Attributes: AttrRequired | AttrReadOnly}}}, size, 100*mib, mib, 1000*mib+4096, 0)
		disk := write(t, table, "disk", size)
		if sector == 512 {
			checkSfdisk(t, disk, table)
		} else { // Debian 12's sfdisk cannot be told of other sectors in a file, but its fdisk can
			checkFdisk(t, disk, table)
		}
		for i, p := range table.Partitions {
			if p.First*uint64(sector)%mib != 0 {
				t.Errorf("partition %d is not aligned", i+1)
			}
		}
		got := mustRead(t, disk, size)
		if !reflect.DeepEqual(got, table) {
			t.Errorf("read back %+v, want %+v", got, table)
		}
	}
}

// checkFdisk compares what fdisk lists. It also says where one of the copies is damaged.
func checkFdisk(t *testing.T, disk string, table Table) {
	t.Helper()
	said := tooltest.Run(t, "fdisk", "-b", fmt.Sprint(table.SectorSize), "-l", "-o", "Start,End,Type-UUID,UUID", disk)
	want := []string{"Disklabel type: gpt", "Disk identifier: " + strings.ToUpper(table.DiskGUID.String()), fmt.Sprintf("Units: sectors of 1 * %d = %[1]d bytes", table.SectorSize)}
	for _, p := range table.Partitions {
		want = append(want, strings.ToUpper(fmt.Sprintf("%d %d %s %s", p.First, p.Last, p.Type, p.GUID)))
	}
	lines := strings.Split(said, "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	for _, w := range want {
		if !slices.Contains(lines, w) {
			t.Errorf("fdisk does not say %q:\n%s", w, said)
		}
	}
	if strings.Contains(said, "corrupt") || strings.Contains(said, "mismatch") {
		t.Errorf("fdisk: %s", said)
	}
}

func checkSfdisk(t *testing.T, disk string, table Table) {
	t.Helper()
	var out struct {
		PartitionTable struct {
			Label, ID  string
			FirstLBA   uint64
			LastLBA    uint64
			SectorSize int
			Partitions []struct {
				Start, Size             uint64
				Type, UUID, Name, Attrs string
			}
		}
	}
	said := tooltest.Run(t, "sfdisk", "-J", disk)
	if err := json.Unmarshal([]byte(said), &out); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	pt := out.PartitionTable
	if pt.Label != "gpt" || pt.ID != strings.ToUpper(diskGUID.String()) || pt.FirstLBA != table.FirstUsable || pt.LastLBA != table.LastUsable || pt.SectorSize != table.SectorSize {
		t.Errorf("sfdisk: %s", said)
	}
	for i, p := range table.Partitions {
		q := pt.Partitions[i]
		if q.Start != p.First || q.Start+q.Size-1 != p.Last || q.Type != strings.ToUpper(p.Type.String()) || q.UUID != strings.ToUpper(p.GUID.String()) || q.Name != p.Name {
			t.Errorf("partition %d: sfdisk has %+v of %+v", i+1, q, p)
		}
	}
}

func mustRead(t *testing.T, disk string, size int64) Table {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, notes, err := Read(f, size)
	if err != nil || len(notes) > 0 {
		t.Errorf("read: %v %v", notes, err)
	}
	return got
}

// The table of a hybrid ISO as xorriso makes it: 248 entries, from sector 64 on, partitions that are not aligned.
func TestISO(t *testing.T) {
	t.Parallel()
	const size = 1055384 * 512
	table := Table{DiskGUID: diskGUID, Entries: 248, FirstUsable: 64, BootCode: bytes.Repeat([]byte{0x90}, 446), Partitions: []Partition{
		{Name: "ISO9660", Type: TypeBasicData, GUID: efi.GUID, Attributes: AttrReadOnly | AttrRequired, First: 64, Last: 690175},
		{Name: "Appended2", Type: TypeESP, GUID: bios.GUID, First: 690176, Last: 1054719},
		{Name: "Gap1", Type: TypeBasicData, GUID: boot.GUID, Attributes: AttrReadOnly | AttrRequired, First: 1054720, Last: 1055319},
	}}
	disk := write(t, table, "iso", size)
	verify(t, disk)
	out := tooltest.Run(t, "sgdisk", "-p", disk)
	for _, line := range []string{
		"Partition table holds up to 248 entries", "Main partition table begins at sector 2 and ends at sector 63",
		"First usable sector is 64, last usable sector is 1055320", "Total free space is 1 sectors",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("sgdisk -p does not say %q: %s", line, out)
		}
	}
	table.SectorSize, table.LastUsable = 512, 1055320
	if got := mustRead(t, disk, size); !reflect.DeepEqual(got, table) {
		t.Errorf("read back %+v, want %+v", got, table)
	}
}

// What sgdisk made, we read; and a number that is not used stays so.
func TestReadSgdisk(t *testing.T) {
	t.Parallel()
	const size = 64 * mib
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	tooltest.Run(t, "sgdisk", "-n", "1:2048:4095", "-t", "1:ef00", "-c", "1:EFI", "-u", "1:"+efi.GUID.String(), "-n", "3:4096:8191", "-t", "3:8300",
		"-c", "3:"+strings.Repeat("n", 36), "-u", "3:"+boot.GUID.String(), "-A", "3:set:2", "-U", diskGUID.String(), disk)
	want := Table{DiskGUID: diskGUID, SectorSize: 512, Entries: 128, FirstUsable: 34, LastUsable: size/512 - 34, Partitions: []Partition{
		{Name: "EFI", Type: TypeESP, GUID: efi.GUID, First: 2048, Last: 4095}, {},
		{Name: strings.Repeat("n", 36), Type: TypeLinux, GUID: boot.GUID, Attributes: AttrLegacyBoot, First: 4096, Last: 8191},
	}}
	if got := mustRead(t, disk, size); !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, want %+v", got, want)
	}
	// Written again it is the same disk.
	primary, err := want.Primary(size)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(primary[512:], theirs[512:len(primary)]) {
		t.Error("header or entries differ from sgdisk's")
	}
}

// The entries behind boot code, as single-board computers want it: upstream's two offsets, and sgdisk's own table byte for byte.
func TestSkip(t *testing.T) {
	t.Parallel()
	const size = 64 * mib
	for skip, first := range map[uint64]uint64{0: 2048, 1: 2048, 2014: 2048, 2015: 4096, 2048: 4096, 20480: 22528} {
		table := place(t, Table{DiskGUID: diskGUID, Skip: skip, Partitions: []Partition{efi, meta}}, size, 8*mib, mib)
		if table.FirstUsable != first || table.Partitions[0].First != first {
			t.Errorf("skip %d: usable from %d, the first partition at %d; want %d", skip, table.FirstUsable, table.Partitions[0].First, first)
		}
		disk := write(t, table, "disk", size)
		verify(t, disk)
		if got := mustRead(t, disk, size); !reflect.DeepEqual(got, table) {
			t.Errorf("skip %d: read back %+v, want %+v", skip, got, table)
		}
		line := fmt.Sprintf("Main partition table begins at sector %d and ends at sector %d", 2+skip, 33+skip)
		if out := tooltest.Run(t, "sgdisk", "-p", disk); !strings.Contains(out, line) {
			t.Errorf("sgdisk -p does not say %q: %s", line, out)
		}
		b, err := os.ReadFile(disk)
		if err != nil {
			t.Fatal(err)
		}
		if skip > 0 && !bytes.Equal(b[1024:][:skip*512], make([]byte, skip*512)) {
			t.Errorf("skip %d: something lies in what is skipped", skip)
		}

		theirs := filepath.Join(t.TempDir(), "theirs")
		if err := errors.Join(os.WriteFile(theirs, nil, 0o600), os.Truncate(theirs, size)); err != nil {
			t.Fatal(err)
		}
		tooltest.Run(t, "sgdisk", "-a", "1", "-j", fmt.Sprint(2+skip),
			"-n", fmt.Sprintf("1:%d:+8M", first), "-t", "1:ef00", "-c", "1:EFI", "-u", "1:"+efi.GUID.String(),
			"-n", fmt.Sprintf("2:%d:+1M", first+8*2048), "-t", "2:8300", "-c", "2:META", "-u", "2:"+meta.GUID.String(), "-U", diskGUID.String(), theirs)
		c, err := os.ReadFile(theirs)
		if err != nil {
			t.Fatal(err)
		}
		if at := (2 + skip) * 512; !bytes.Equal(b[at:at+16384], c[at:at+16384]) {
			t.Errorf("skip %d: the entries differ from sgdisk's", skip)
		}
	}
}

// image is a small disk in memory.
func image(t testing.TB) (table Table, b []byte) {
	const size = 4 * mib
	table = place(t, Table{DiskGUID: diskGUID, Partitions: []Partition{bios, meta}}, size, mib, mib)
	primary, err := table.Primary(size)
	if err != nil {
		t.Fatal(err)
	}
	backup, off, err := table.Backup(size)
	if err != nil {
		t.Fatal(err)
	}
	b = make([]byte, size)
	copy(b, primary)
	copy(b[off:], backup)
	return table, b
}

func TestDamaged(t *testing.T) {
	t.Parallel()
	table, whole := image(t)
	last := len(whole) - 512
	for _, c := range []struct {
		name   string
		damage func(b []byte) []byte
		want   string // of the note, or of the error
		fails  bool
	}{
		{"nothing", func(b []byte) []byte { return b }, "", false},
		{"primary header", func(b []byte) []byte { b[512+60]++; return b }, "the backup is used: header in sector 1: the checksum is wrong", false},
		{"primary entries", func(b []byte) []byte { b[1024]++; return b }, "the backup is used: entries in sector 2: the checksum is wrong", false},
		{"primary gone", func(b []byte) []byte { clear(b[512:1024]); return b }, "the backup is used: the header at the start is missing", false},
		{"backup header", func(b []byte) []byte { b[last+60]++; return b }, "the backup is damaged: header in sector 8191: the checksum", false},
		{"backup entries", func(b []byte) []byte { b[last-1]++; return b }, "the backup is damaged: entries in sector 8159: the checksum", false},
		{"backup gone", func(b []byte) []byte { clear(b[last:]); return b }, "the backup is damaged: sector 8191: there is no header", false},
		{"longer disk", func(b []byte) []byte { return append(b, make([]byte, mib)...) }, "the backup's header is in sector 8191, not in the last one, 10239", false},
		{"MBR", func(b []byte) []byte { b[510] = 0; return b }, "the MBR does not protect", false},
		{"both headers", func(b []byte) []byte { b[512+60]++; b[last+60]++; return b }, "sector 1: the checksum is wrong; and the backup: header in sector 8191", true},
		{"cut", func(b []byte) []byte { return b[:len(b)-512] }, "on a disk of 4193792 bytes at most", true},
		{"nothing there", func(b []byte) []byte { return make([]byte, mib) }, "read GPT: there is no header", true},
		{"one sector", func(b []byte) []byte { return b[:512] }, "no header", true},
		{"empty", func(b []byte) []byte { return nil }, "no header", true},
		{"another backup", func(b []byte) []byte {
			other := table
			other.DiskGUID = meta.GUID
			backup, off, err := other.Backup(int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			copy(b[off:], backup)
			return b
		}, "the backup is another table", false},
	} {
		b := c.damage(bytes.Clone(whole))
		got, notes, err := Read(bytes.NewReader(b), int64(len(b)))
		switch {
		case c.fails:
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: error %v does not say %q", c.name, err, c.want)
			}
		case err != nil || !strings.Contains(strings.Join(notes, "\n"), c.want) || c.want == "" && len(notes) > 0:
			t.Errorf("%s: notes %q, error %v; want %q", c.name, notes, err, c.want)
		case !reflect.DeepEqual(got, table):
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// Headers with right checksums and wrong contents.
func TestHostileHeader(t *testing.T) {
	t.Parallel()
	table, whole := image(t)
	entries := table.entries()
	for name, c := range map[string]struct {
		at   int
		put  []byte
		want string
	}{
		"revision":      {8, []byte{1}, "not supported: revision 0x10001"},
		"entry size":    {84, []byte{0, 1}, "entries of 256 bytes"},
		"entry count":   {80, []byte{255, 255, 255, 255}, "4294967295 entries"},
		"entries start": {72, bytes.Repeat([]byte{255}, 8), "entries in sector 18446744073709551615"},
		"self":          {24, []byte{9}, "says that it is in sector 9"},
		"backup":        {32, bytes.Repeat([]byte{255}, 8), "the disk ends with sector"},
		"first usable":  {40, []byte{3, 0}, "first usable sector 3: the entries end at 34"},
		"last usable":   {48, bytes.Repeat([]byte{255}, 8), "last usable sector 18446744073709551615"},
	} {
		b := bytes.Clone(whole)
		h := table.header(entries, 1, table.lastSector(int64(len(b))), entriesStart)[:headerSize]
		clear(b[len(b)-512:]) // no backup
		copy(h[c.at:], c.put)
		copy(b[512:], checksummed(h))
		_, notes, err := Read(bytes.NewReader(b), int64(len(b)))
		if !strings.Contains(fmt.Sprint(notes, err), c.want) {
			t.Errorf("%s: %q, %v; want %q", name, notes, err, c.want)
		}
	}
}

// One over each limit.
func TestRefused(t *testing.T) {
	t.Parallel()
	const size = 64 * mib
	ok := Partition{Name: "x", Type: TypeLinux, GUID: meta.GUID, First: 2048, Last: 4095}
	with := func(change func(*Partition)) Table {
		p := ok
		change(&p)
		return Table{Partitions: []Partition{p}}
	}
	for _, c := range []struct {
		name  string
		table Table
		size  int64
		want  string
	}{
		{"fine", with(func(*Partition) {}), size, ""},
		{"last sector", with(func(p *Partition) { p.Last = size/512 - 34 }), size, ""},
		{"beyond the last sector", with(func(p *Partition) { p.Last = size/512 - 33 }), size, "partition 1 (x): sectors 2048 to 131039: usable are 2048 to 131038"},
		{"before the first", with(func(p *Partition) { p.First = 2047 }), size, "usable are 2048"},
		{"nothing long", with(func(p *Partition) { p.Last = 2047 }), size, "first sector 2048 after the last, 2047"},
		{"no GUID", with(func(p *Partition) { p.GUID = GUID{} }), size, "has no GUID"},
		{"no type", with(func(p *Partition) { p.Type = GUID{} }), size, "has no type"},
		{"name of 36", with(func(p *Partition) { p.Name = strings.Repeat("\U0001f642", 18) }), size, ""},
		{"name of 37", with(func(p *Partition) { p.Name = strings.Repeat("é", 37) }), size, "name of 37 UTF-16 units: at most 36 fit"},
		{"name not UTF-8", with(func(p *Partition) { p.Name = "\xff" }), size, "is not UTF-8"},
		{"boot code of 446", Table{BootCode: make([]byte, 446)}, size, ""},
		{"boot code of 447", Table{BootCode: make([]byte, 447)}, size, "boot code of 447 bytes: at most 446 fit"},
		{"sector", Table{SectorSize: 1024}, size, "sectors of 1024 bytes"},
		{"entries", Table{Entries: 1025}, size, "1025 entries: not from 1 to 1024"},
		{"too many", Table{Entries: 1, Partitions: make([]Partition, 2)}, size, "2 partitions: there is room for 1"},
		{"odd size", Table{}, size + 1, "not a multiple"},
		{"least size", Table{FirstUsable: 34}, 68 * 512, ""},
		{"tiny", Table{FirstUsable: 34}, 67 * 512, "the table alone takes 34816"},
		{"usable in the table", Table{FirstUsable: 33}, size, "first usable sector 33: the entries end at 34"},
		{"skip", Table{Skip: size/512 - 68}, size, ""},
		{"skip, usable in the table", Table{Skip: 2048, FirstUsable: 2081}, size, "first usable sector 2081: the entries end at 2082"},
		{"skip too far", Table{Skip: size/512 - 67}, size, "the table alone takes"},
		{"skip beyond everything", Table{Skip: math.MaxUint64}, size, "entries 18446744073709551615 sectors behind the header: at most 1125899906842624"},
		{"usable in the backup", Table{LastUsable: size/512 - 33}, size, "last usable sector 131039"},
		{"overlap", Table{Partitions: []Partition{ok, {Name: "y", Type: TypeLinux, GUID: efi.GUID, First: 4095, Last: 4096}}}, size, "partitions 1 (x) and 2 (y): overlap at sector 4095"},
		{"same GUID", Table{Partitions: []Partition{ok, {Name: "y", Type: TypeLinux, GUID: meta.GUID, First: 4096, Last: 4096}}}, size, "partitions 1 and 2: both have the GUID"},
		{"2 TiB and more", Table{}, 3 << 40, ""},
	} {
		_, err := c.table.Primary(c.size)
		_, _, errBackup := c.table.Backup(c.size)
		_, _, errApart := c.table.Apart(c.size)
		if fmt.Sprint(err) != fmt.Sprint(errBackup) || fmt.Sprint(err) != fmt.Sprint(errApart) {
			t.Errorf("%s: primary: %v; apart: %v; backup: %v", c.name, err, errApart, errBackup)
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

func TestPlaceRefused(t *testing.T) {
	t.Parallel()
	table := Table{Partitions: []Partition{efi, meta}}
	for _, c := range []struct {
		size  int64
		sizes []int64
		want  string
	}{
		{4 * mib, []int64{mib, mib}, ""},
		{3*mib + 33*512, []int64{mib, mib}, ""},
		{3*mib + 32*512, []int64{mib, mib}, "a disk of 3162112 bytes is too small: the least size is 3162624 (4 MiB)"},
		{4 * mib, []int64{mib, 0}, ""},
		{3 * mib, []int64{mib, 0}, "the least size is 3162624 (4 MiB)"},
		{4 * mib, []int64{mib}, "1 sizes for 2 partitions"},
		{4 * mib, []int64{0, mib}, "place partition 1 (EFI): size of 0 bytes"},
		{4 * mib, []int64{-512, mib}, "size of -512 bytes"},
		{4 * mib, []int64{100, mib}, "size of 100 bytes"},
		{4 * mib, []int64{1 << 62, 1 << 62}, "together more than"},
		{4 * mib, []int64{math.MaxInt64 - 511, mib}, "size of"},
	} {
		got, err := table.Place(c.size, c.sizes)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v on %d: error %v, want %q", c.sizes, c.size, err, c.want)
		}
		if err == nil {
			if _, err := got.Primary(c.size); err != nil {
				t.Error(err)
			}
		}
	}
	if table.Partitions[0].First != 0 {
		t.Error("Place changed its receiver")
	}
}

func TestGUID(t *testing.T) {
	t.Parallel()
	if got := diskGUID.String(); got != "d92d45b3-cde9-8760-be9f-a2a71fac8d11" {
		t.Error(got)
	}
	disk := make([]byte, 16)
	diskGUID.put(disk)
	if fmt.Sprintf("%x", disk) != "b3452dd9e9cd6087be9fa2a71fac8d11" || guidAt(disk) != diskGUID {
		t.Errorf("on disk % x, read %s", disk, guidAt(disk))
	}
	for _, s := range []string{"", "d92d45b3", "d92d45b3-cde9-8760-be9f-a2a71fac8d1", "d92d45b3-cde9-8760-be9f-a2a71fac8d1g", "d92d45b3-cde9-8760-be9fa2a71-fac8d11", "{92d45b3-cde9-8760-be9f-a2a71fac8d1}"} {
		if g, err := ParseGUID(s); err == nil || !g.IsZero() {
			t.Errorf("%q parsed to %s", s, g)
		}
	}
	if g, err := ParseGUID(strings.ToUpper(diskGUID.String())); err != nil || g != diskGUID {
		t.Errorf("upper case: %s, %v", g, err)
	}
}

// sparse is a disk of which only some parts are there.
type sparse struct {
	primary, backup []byte
	off, size       int64
}

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > s.size {
		return 0, io.EOF
	}
	clear(p)
	if off < int64(len(s.primary)) {
		copy(p, s.primary[off:])
	}
	if off >= s.off {
		copy(p, s.backup[off-s.off:])
	}
	return len(p), nil
}

// FuzzRead reads anything in the place of a table; what it accepts, it can write and read again.
func FuzzRead(f *testing.F) {
	_, whole := image(f)
	f.Add(whole[:1024+256], whole[len(whole)-512:], byte(0))
	f.Add(whole[:512], whole[len(whole)-512-32*512:], byte(0))
	f.Fuzz(func(t *testing.T, primary, backup []byte, fix byte) {
		const size = 4 * mib
		if len(primary) > mib || len(backup) > mib {
			return
		}
		if fix&1 != 0 && len(primary) >= 512+headerSize { // let it come past the checksum
			copy(primary[512:], checksummed(primary[512:][:headerSize]))
		}
		table, _, err := Read(sparse{primary, backup, size - int64(len(backup)), size}, size)
		if err != nil {
			return
		}
		p, err := table.Primary(size)
		if err != nil {
			t.Fatal(err)
		}
		if table.Skip > 0 {
			entries, at, err := table.Apart(size)
			if err != nil {
				t.Fatal(err)
			}
			p = append(append(p, make([]byte, at-int64(len(p)))...), entries...)
		}
		b, off, err := table.Backup(size)
		if err != nil {
			t.Fatal(err)
		}
		again, notes, err := Read(sparse{p, b, off, size}, size)
		if err != nil || len(notes) > 0 || !reflect.DeepEqual(again, table) {
			t.Errorf("%+v\nbecame %+v\n%v %v", table, again, notes, err)
		}
	})
}

// checksummed returns a header with the right checksum.
func checksummed(h []byte) []byte {
	h = bytes.Clone(h)
	clear(h[16:20])
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
	return h
}
