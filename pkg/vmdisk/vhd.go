package vmdisk

import (
	"io"
	"math"
)

const (
	vhdMagic    = "conectix"
	vhdMaxSize  = 2040 * gib // where most tools end, QEMU among them
	vhdEpoch    = 946684800  // 2000-01-01 in Unix time
	vhdLastTime = vhdEpoch + math.MaxUint32
	vhdFixed    = 2 // type of disk
)

func newVHD(raw image, o Options) image {
	return func(w io.WriterAt) (int64, error) {
		size, err := raw(w)
		if err != nil {
			return 0, err
		}
		b := vhdFooter(size, o)
		_, err = w.WriteAt(b, size)
		return size + int64(len(b)), err
	}
}

func vhdFooter(size int64, o Options) []byte {
	b := make([]byte, sector)
	copy(b, vhdMagic)
	be.PutUint32(b[8:], 2)               // features: a bit that is always set
	be.PutUint32(b[12:], 0x00010000)     // version of the format
	be.PutUint64(b[16:], math.MaxUint64) // place of a further header: there is none
	be.PutUint32(b[24:], uint32(max(0, o.Time.Unix()-vhdEpoch)))
	copy(b[28:], "qem2")             // who made it; of this one, readers believe the size below and not the geometry
	be.PutUint32(b[32:], 0x00050003) // and its version
	copy(b[36:], "Wi2k")             // on Windows
	be.PutUint64(b[40:], uint64(size))
	be.PutUint64(b[48:], uint64(size)) // the size now, after the one at first
	be.PutUint16(b[56:], 0xffff)       // geometry at its most: cylinders,
	b[58], b[59] = 16, 255             // heads, sectors in a track
	be.PutUint32(b[60:], vhdFixed)
	copy(b[68:], o.ID[:])
	be.PutUint32(b[64:], vhdChecksum(b))
	return b
}

// vhdChecksum is the complement of the sum of a footer's bytes but for the checksum's own.
func vhdChecksum(b []byte) uint32 {
	var sum uint32
	for i, v := range b {
		if i < 64 || i >= 68 {
			sum += uint32(v)
		}
	}
	return ^sum
}
