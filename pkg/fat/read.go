package fat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/talosmith/talosmith/pkg/tree"
)

// maxExtents limits what is read, in all, far above what a boot partition has.
const maxExtents = 1 << 20

// Reader is a FAT12, FAT16 or FAT32 file system that somebody made. It is an [fs.FS], [fs.ReadDirFS], [fs.StatFS] and
// [fs.ReadFileFS]; names are looked up as they are written.
type Reader struct {
	*files
	// Bits of a FAT entry: 12, 16 or 32.
	Bits     int
	Label    string // of the root directory's entry, else of the boot sector
	VolumeID uint32
	// Size in bytes, as the boot sector gives it.
	Size int64
	// ClusterSize in bytes.
	ClusterSize int64
}

// files is what a Reader has from its tree.
type files = tree.Tree

// Tree returns all directories and files. Their contents are read from the Reader's image when they are opened.
func (r *Reader) Tree() (*tree.Tree, error) { return r.files, nil }

// volume is a file system while its directories are read.
type volume struct {
	r           io.ReaderAt
	sector      int64 // bytes
	cluster     int64 // bytes
	bits        int
	fat         int64 // offset of the first FAT, bytes
	data        int64 // offset of cluster 2, bytes
	clusters    int64
	label       string
	seen        map[uint32]*[512]byte // bits of the clusters in use, in pages
	page        []byte                // of the FAT, the last that was read
	pageOff     int64
	extents     int
	root        file
	rootEntries int64 // of FAT12 and FAT16
	fatBytes    int64 // of one FAT
}

// file is a directory or a file as a directory has it.
type file struct {
	mode  fs.FileMode
	time  time.Time
	first uint32 // cluster
	size  int64
}

// NewReader reads the directories of a file system. Contents are read when they are asked for.
func NewReader(r io.ReaderAt) (*Reader, error) {
	v := &volume{r: r, seen: map[uint32]*[512]byte{}, pageOff: -1, root: file{mode: fs.ModeDir | 0o755, time: time.Unix(0, 0)}}
	out, err := v.readBoot()
	if err == nil {
		out.files, err = tree.Walk(v, &v.root)
	}
	if err != nil {
		return nil, fmt.Errorf("read FAT: %w", err)
	}
	if v.label != "" {
		out.Label = v.label
	}
	return out, nil
}

// readBoot reads the boot sector. What is called BPB there starts at byte 11.
func (v *volume) readBoot() (*Reader, error) {
	b := make([]byte, sectorSize)
	if err := tree.ReadFull(v.r, b, 0); err != nil {
		return nil, fmt.Errorf("boot sector: %w", err)
	}
	if b[510] != 0x55 || b[511] != 0xaa {
		return nil, errors.New("boot sector: does not end with 55 aa")
	}
	v.sector = int64(le.Uint16(b[11:]))
	perCluster, reserved, fats := int64(b[13]), int64(le.Uint16(b[14:])), int64(b[16])
	switch {
	case v.sector < 512 || v.sector > 4096 || v.sector&(v.sector-1) != 0:
		return nil, fmt.Errorf("boot sector: %d bytes in a sector, not a power of two from 512 to 4096", v.sector)
	case perCluster == 0 || perCluster&(perCluster-1) != 0:
		return nil, fmt.Errorf("boot sector: %d sectors in a cluster, not a power of two", perCluster)
	case reserved == 0 || fats == 0 || fats > 4:
		return nil, fmt.Errorf("boot sector: %d reserved sectors and %d FATs; there is at least one, and at most 4 FATs", reserved, fats)
	}
	v.rootEntries = int64(le.Uint16(b[17:]))
	sectors, fatLength, extended := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:])), 38
	if sectors == 0 {
		sectors = int64(le.Uint32(b[32:]))
	}
	fat32 := fatLength == 0
	if fat32 {
		fatLength, extended = int64(le.Uint32(b[36:])), 66
		v.root.first = le.Uint32(b[44:])
	}
	v.cluster = perCluster * v.sector
	v.fat = reserved * v.sector
	v.fatBytes = fatLength * v.sector
	v.data = v.fat + fats*v.fatBytes + roundUp(v.rootEntries*entrySize, v.sector)
	if v.data > sectors*v.sector || v.fatBytes == 0 {
		return nil, fmt.Errorf("boot sector: no room for data: %d sectors, FATs of %d", sectors, fatLength)
	}
	v.clusters = (sectors*v.sector - v.data) / v.cluster
	switch {
	case fat32:
		v.bits = 32
	case v.clusters < 4085:
		v.bits = 12
	default:
		v.bits = 16
	}
	if need := ((v.clusters+rootCluster)*int64(v.bits) + 7) / 8; need > v.fatBytes || v.clusters > maxClusters {
		return nil, fmt.Errorf("boot sector: a FAT of %d bytes does not hold %d clusters", v.fatBytes, v.clusters)
	}
	out := &Reader{Bits: v.bits, Size: sectors * v.sector, ClusterSize: v.cluster}
	if b[extended] == 0x29 {
		out.VolumeID = le.Uint32(b[extended+1:])
		if label := strings.TrimRight(string(b[extended+5:extended+16]), " "); label != "NO NAME" {
			out.Label = label
		}
	}
	return out, nil
}

// Node implements [tree.Volume].
func (v *volume) Node(f *file) (n tree.Node, err error) {
	n.Mode, n.ModTime = f.mode, f.time
	if n.Mode.IsRegular() {
		n.Content, err = v.newContent(f)
	}
	return n, err
}

// Entries implements [tree.Volume].
func (v *volume) Entries(dir *file, found func(name string, f *file) error) error {
	b, err := v.readDir(dir)
	if err != nil {
		return err
	}
	var long longName
	for ; len(b) >= entrySize && b[0] != 0; b = b[entrySize:] {
		e := b[:entrySize]
		switch attr := e[11]; {
		case e[0] == deleted, shortName(e[:11]) == dot, shortName(e[:11]) == dotDot:
		case attr&0x3f == attrLong:
			long.add(e)
			continue
		case attr&attrLabel != 0:
			if dir == &v.root && v.label == "" {
				v.label = strings.TrimRight(string(e[:11]), " ")
			}
		default:
			name, err := long.name(e)
			if err == nil {
				err = found(name, v.newFile(e))
			}
			if err != nil {
				return err
			}
		}
		long = longName{}
	}
	return nil
}

// readDir reads the entries of a directory.
func (v *volume) readDir(dir *file) ([]byte, error) {
	if dir == &v.root && v.bits != 32 {
		b := make([]byte, v.rootEntries*entrySize)
		return b, tree.ReadFull(v.r, b, v.data-roundUp(int64(len(b)), v.sector))
	}
	extents, size, err := v.chain(dir.first, maxDirEntries*entrySize)
	if err != nil {
		return nil, err
	}
	return tree.ReadAll(v.content(extents, size))
}

func (v *volume) newFile(e []byte) *file {
	f := &file{
		mode:  0o644,
		time:  goTime(le.Uint16(e[24:]), le.Uint16(e[22:])),
		first: uint32(le.Uint16(e[20:]))<<16 | uint32(le.Uint16(e[26:])),
		size:  int64(le.Uint32(e[28:])),
	}
	if e[11]&attrReadOnly != 0 {
		f.mode = 0o444
	}
	if e[11]&attrDir != 0 {
		f.mode |= fs.ModeDir | 0o111
	}
	if v.bits != 32 {
		f.first &= 0xffff
	}
	return f
}

func (v *volume) newContent(f *file) (tree.Blob, error) {
	if f.size == 0 && f.first != 0 {
		return nil, fmt.Errorf("an empty file has cluster %d", f.first)
	}
	if f.size == 0 {
		return tree.Bytes(nil), nil
	}
	extents, have, err := v.chain(f.first, f.size)
	if err == nil && have < f.size {
		err = fmt.Errorf("its clusters hold %d of its %d bytes", have, f.size)
	}
	return v.content(extents, f.size), err
}

func (v *volume) content(extents []tree.Extent, size int64) tree.Blob {
	return tree.Extents(v.r, size, func() ([]tree.Extent, error) { return extents, nil })
}

// chain follows clusters up to the end, which comes after limit bytes at the latest. Every cluster belongs to one chain.
func (v *volume) chain(first uint32, limit int64) (extents []tree.Extent, size int64, err error) {
	for c := first; ; {
		if int64(c) < rootCluster || int64(c) >= rootCluster+v.clusters {
			return nil, 0, fmt.Errorf("cluster %d: there are those from %d to %d", c, rootCluster, rootCluster+v.clusters-1)
		}
		if !v.mark(c) {
			return nil, 0, fmt.Errorf("cluster %d is in use twice", c)
		}
		off := v.data + int64(c-rootCluster)*v.cluster
		if n := len(extents); n > 0 && extents[n-1].Off+extents[n-1].Size == off {
			extents[n-1].Size += v.cluster
		} else {
			if v.extents++; v.extents > maxExtents {
				return nil, 0, fmt.Errorf("not supported: files in more than %d pieces", maxExtents)
			}
			extents = append(extents, tree.Extent{At: size, Off: off, Size: v.cluster})
		}
		if size += v.cluster; size >= limit+v.cluster {
			return nil, 0, fmt.Errorf("more clusters than %d bytes need", limit)
		}
		next, end, err := v.next(c)
		if err != nil {
			return nil, 0, err
		}
		if end {
			return extents, size, nil
		}
		c = next
	}
}

// mark notes that a cluster is in use, and returns false where it was before.
func (v *volume) mark(c uint32) bool {
	page := v.seen[c>>12]
	if page == nil {
		page = new([512]byte)
		v.seen[c>>12] = page
	}
	i, bit := c&4095>>3, byte(1)<<(c&7)
	free := page[i]&bit == 0
	page[i] |= bit
	return free
}

// next returns what the FAT says of a cluster: the next one, or that it is the last.
func (v *volume) next(c uint32) (next uint32, end bool, err error) {
	at := int64(c) * int64(v.bits) / 8
	var entry [4]byte
	width := max(v.bits/8, 2)
	if v.bits == 12 {
		width = 2
	}
	for i := range width {
		b, err := v.fatByte(at + int64(i))
		if err != nil {
			return 0, false, fmt.Errorf("FAT entry of cluster %d: %w", c, err)
		}
		entry[i] = b
	}
	next = le.Uint32(entry[:])
	switch v.bits {
	case 32:
		next &= 0x0fffffff
		return next, next >= 0x0ffffff8, nil
	case 16:
		return next, next >= 0xfff8, nil
	}
	next = next >> (c & 1 * 4) & 0xfff
	return next, next >= 0xff8, nil
}

func (v *volume) fatByte(at int64) (byte, error) {
	const pageSize = 4096
	if off := at / pageSize * pageSize; off != v.pageOff {
		if v.page == nil {
			v.page = make([]byte, pageSize)
		}
		page := v.page[:min(pageSize, v.fatBytes-off)]
		if err := tree.ReadFull(v.r, page, v.fat+off); err != nil {
			v.pageOff = -1
			return 0, err
		}
		v.pageOff = off
	}
	return v.page[at-v.pageOff], nil
}

// goTime turns a FAT time into a real one; what no calendar has becomes a neighbouring day.
func goTime(date, clock uint16) time.Time {
	return time.Date(1980+int(date>>9), time.Month(date>>5&15), int(date&31),
		int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC)
}

// longName collects the entries of a long name.
type longName struct {
	units []uint16
	next  byte // the number of the part that must come next; 0 when all are there
	sum   byte
	ok    bool
}

func (l *longName) add(e []byte) {
	number := e[0]
	if number&lastLong != 0 {
		number &^= lastLong
		*l = longName{next: number, sum: e[13], ok: number > 0 && number <= 20}
		if l.ok {
			l.units = make([]uint16, int(number)*unitsPerSlot)
		}
	}
	if !l.ok || number == 0 || number != l.next || e[13] != l.sum {
		*l = longName{}
		return
	}
	l.next--
	part := l.units[int(l.next)*unitsPerSlot:]
	for i, at := range [unitsPerSlot]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
		part[i] = le.Uint16(e[at:])
	}
}

// name returns the name of an entry: the long one where it belongs to the entry, else the short one, as Linux does.
func (l *longName) name(e []byte) (string, error) {
	if !l.ok || l.next != 0 || l.sum != shortName(e[:11]).checksum() {
		return decodeShort(shortName(e[:11]), e[12])
	}
	units := l.units
	if end := slices.Index(units, 0); end >= 0 {
		units = units[:end]
	}
	name := string(utf16.Decode(units))
	if strings.ContainsRune(name, '\ufffd') {
		return "", fmt.Errorf("name %q: not UTF-16", name)
	}
	return name, nil
}

func decodeShort(s shortName, lower byte) (string, error) {
	base, ext := bytes.TrimRight(s[:8], " "), bytes.TrimRight(s[8:], " ")
	for _, c := range s {
		if c < 0x20 || c > 0x7e {
			return "", fmt.Errorf("short name %q: not supported: the byte %#02x depends on a code page", s, c)
		}
	}
	if lower&lowerBase != 0 {
		base = bytes.ToLower(base)
	}
	if lower&lowerExt != 0 {
		ext = bytes.ToLower(ext)
	}
	if len(ext) == 0 {
		return string(base), nil
	}
	return string(base) + "." + string(ext), nil
}
