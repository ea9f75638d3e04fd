package vmdisk

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/zlib"
)

var le = binary.LittleEndian

const (
	vmdkMagic     = "KDMV"
	vmdkMaxSize   = 62 * tib // VMware's limit
	vmdkFlags     = 0x30001  // line ends to test with; grains are compressed, and have markers
	grain         = 64 << 10 // bytes
	perGrainTable = 512
	descriptorAt  = 1   // sectors
	descriptorLen = 20  // sectors
	firstGrain    = 128 // sector
	atEnd         = math.MaxUint64
	grainHead     = 12 // bytes before a grain's zlib stream
	vmdkWorkers   = 16
	vmdkLevel     = 5
)

// Types of markers.
const (
	markerTable = iota + 1
	markerDirectory
	markerFooter
)

func newVMDK(raw image, size int64, id [16]byte) image {
	return func(w io.WriterAt) (int64, error) {
		return appendTo(w, func(w io.Writer) error { return writeVMDK(w, raw, size, id) })
	}
}

// vmdk is a file at work.
type vmdk struct {
	w         io.Writer
	size      int64    // of the disk
	at        int64    // sector
	directory []uint32 // sectors of the grain tables
	table     [perGrainTable]uint32
	current   int64 // number of table, -1 before the first
}

func writeVMDK(w io.Writer, raw image, size int64, id [16]byte) error {
	tables := roundUp(size, grain*perGrainTable) / (grain * perGrainTable)
	v := &vmdk{w: w, size: size, directory: make([]uint32, tables), current: -1}
	head := make([]byte, firstGrain*sector)
	copy(head, v.header(atEnd))
	copy(head[descriptorAt*sector:], vmdkDescriptor(size, id))
	if err := v.write(head); err != nil {
		return err
	}
	if err := v.writeGrains(raw); err != nil {
		return err
	}
	return v.writeEnd()
}

// write writes full sectors.
func (v *vmdk) write(b []byte) error {
	v.at += int64(len(b) / sector)
	_, err := v.w.Write(b)
	return err
}

// place returns where the next thing goes, as tables give it.
func (v *vmdk) place() (uint32, error) {
	if v.at > math.MaxUint32 {
		return 0, fmt.Errorf("file: it has more than the %d sectors that grain tables can count", uint32(math.MaxUint32))
	}
	return uint32(v.at), nil
}

func (v *vmdk) writeGrains(raw image) (err error) {
	encoders, err := newEncoders(vmdkWorkers, grainEncoder)
	if err != nil {
		return err
	}
	o := newOrdered(encoders, func(index int64, _, out []byte) error { return v.writeGrain(index, out) })
	c := newCutter(grain, o.add)
	size, err := raw(c)
	if err == nil {
		err = c.finish(size)
	}
	if err2 := o.close(); err == nil {
		err = err2
	}
	return err
}

// grainEncoder leaves room for the head of a grain, and fills up the last sector.
func grainEncoder() (encode, error) {
	var b bytes.Buffer
	full := make([]byte, grain)
	z, err := zlib.NewWriterLevel(&b, vmdkLevel)
	return func(dst, src []byte) ([]byte, error) {
		clear(full[copy(full, src):]) // the disk's last grain may be shorter
		b.Reset()
		z.Reset(&b)
		if _, err := z.Write(full); err != nil {
			return nil, err
		}
		if err := z.Close(); err != nil {
			return nil, err
		}
		dst = append(dst, make([]byte, grainHead)...)
		le.PutUint32(dst[8:], uint32(b.Len()))
		dst = append(dst, b.Bytes()...)
		return append(dst, make([]byte, roundUp(len(dst), sector)-len(dst))...), nil
	}, err
}

func (v *vmdk) writeGrain(index int64, b []byte) error {
	if table := index / perGrainTable; table != v.current {
		if err := v.writeTable(); err != nil {
			return err
		}
		v.current = table
	}
	at, err := v.place()
	if err != nil {
		return err
	}
	v.table[index%perGrainTable] = at
	le.PutUint64(b, uint64(index*(grain/sector)))
	return v.write(b)
}

// writeTable ends the grain table at work, if there is one.
func (v *vmdk) writeTable() error {
	if v.current < 0 {
		return nil
	}
	at, err := v.writeMarked(markerTable, v.table[:])
	v.directory[v.current] = at
	clear(v.table[:])
	return err
}

// writeMarked writes a table with its marker, and returns its sector.
func (v *vmdk) writeMarked(kind uint32, table []uint32) (uint32, error) {
	b := make([]byte, roundUp(len(table)*4, sector))
	for i, at := range table {
		le.PutUint32(b[i*4:], at)
	}
	if err := v.writeMarker(kind, len(b)/sector); err != nil {
		return 0, err
	}
	at, err := v.place()
	if err != nil {
		return 0, err
	}
	return at, v.write(b)
}

// writeMarker announces something that is no grain, of so many sectors. A grain's length stands where a marker has its 0.
func (v *vmdk) writeMarker(kind uint32, sectors int) error {
	b := make([]byte, sector)
	le.PutUint64(b, uint64(sectors))
	le.PutUint32(b[12:], kind)
	return v.write(b)
}

func (v *vmdk) writeEnd() error {
	if err := v.writeTable(); err != nil {
		return err
	}
	directory, err := v.writeMarked(markerDirectory, v.directory)
	if err != nil {
		return err
	}
	if err := v.writeMarker(markerFooter, 1); err != nil {
		return err
	}
	return v.write(append(v.header(uint64(directory)), make([]byte, sector)...))
}

// header is the file's first sector and, when the grain directory's place is known, its last but one.
func (v *vmdk) header(directory uint64) []byte {
	b := make([]byte, sector)
	copy(b, vmdkMagic)
	le.PutUint32(b[4:], 3) // version
	le.PutUint32(b[8:], vmdkFlags)
	le.PutUint64(b[12:], uint64(v.size/sector))
	le.PutUint64(b[20:], grain/sector)
	le.PutUint64(b[28:], descriptorAt)
	le.PutUint64(b[36:], descriptorLen)
	le.PutUint32(b[44:], perGrainTable)
	// 48: no second grain directory
	le.PutUint64(b[56:], directory)
	le.PutUint64(b[64:], firstGrain)
	// 72: cleanly closed
	copy(b[73:], "\n \r\n") // damaged by what changes line ends
	le.PutUint16(b[77:], 1) // grains are deflated
	return b
}

// vmdkDescriptor has the geometry that VMware gives to disks behind SCSI controllers, and the hardware version that any of its
// products takes.
func vmdkDescriptor(size int64, id [16]byte) string {
	const heads, perTrack = 255, 63
	sectors := size / sector
	return fmt.Sprintf(`# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=%s
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW %d SPARSE "disk.vmdk"

# The Disk Data Base
ddb.longContentID = "%s"
ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "%d"
ddb.geometry.sectors = "%d"
ddb.adapterType = "lsilogic"
ddb.toolsInstallType = "4"
ddb.toolsVersion = "2147483647"
`, hex.EncodeToString(id[12:]), sectors, hex.EncodeToString(id[:]), roundUp(sectors, heads*perTrack)/(heads*perTrack), heads, perTrack)
}
