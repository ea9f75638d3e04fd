package iso9660

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// Types of volume descriptors.
const (
	typeBootRecord = 0
	typePrimary    = 1
	typeTerminator = 255
)

const (
	standardID   = "CD001"
	bootSystemID = "EL TORITO SPECIFICATION"
)

func descriptor(typ byte) []byte {
	b := make([]byte, blockSize)
	b[0], b[6] = typ, 1
	copy(b[1:], standardID)
	return b
}

// primaryDescriptor makes the primary volume descriptor.
//
//	8 system id (blank); 40 volume id; 80 volume size in blocks; 120 volumes of the set, 124 number of this one: 1, 1
//	128 block size; 132 size of the path table; 140 its block, 148 block of the big-endian one; 156 record of the root
//	190 volume set id; 318 publisher, 446 preparer, 574 application; 702, 739, 776 names of files: blank
//	813 creation, 830 modification, 847 expiration, 864 effective from: never; 881 version of the records: 1
func primaryDescriptor(s *set, root *dir, o Options) []byte {
	b := descriptor(typePrimary)
	blank(b[8:72])
	copy(b[40:72], o.VolumeID)
	copy(b[80:], both32(nil, uint32(s.blocks)))
	copy(b[120:], both16(both16(both16(nil, 1), 1), blockSize))
	copy(b[132:], both32(nil, uint32(s.tableSize)))
	binary.LittleEndian.PutUint32(b[140:], uint32(s.tableL-s.base))
	binary.BigEndian.PutUint32(b[148:], uint32(s.tableM-s.base))
	copy(b[156:190], rootRecord(root, s))
	blank(b[190:813])
	copy(b[190:], o.VolumeSetID)
	copy(b[446:], o.PreparerID)
	copy(b[813:], longTime(o.ModTime))
	copy(b[830:], longTime(o.ModTime))
	never := strings.Repeat("0", 16) + "\x00"
	copy(b[847:], never+never)
	b[881] = 1
	blank(b[883:1395]) // for applications
	return b
}

// rootRecord is the root's directory record as it stands in a descriptor: without system use fields.
func rootRecord(d *dir, s *set) []byte {
	w := recordWriter{set: s, continuation: &continuation{}}
	w.directory("\x00", d, nil)
	return w.buf
}

// bootRecord leads to the boot catalog.
func bootRecord(block int64) []byte {
	b := descriptor(typeBootRecord)
	copy(b[7:], bootSystemID)
	binary.LittleEndian.PutUint32(b[71:], uint32(block))
	return b
}

func blank(b []byte) {
	for i := range b {
		b[i] = ' '
	}
}

// longTime is a descriptor's time: digits down to the hundredth of a second, and 0 for UTC.
func longTime(t time.Time) string {
	t = t.UTC()
	return t.Format("20060102150405") + fmt.Sprintf("%02d", t.Nanosecond()/10_000_000) + "\x00"
}
