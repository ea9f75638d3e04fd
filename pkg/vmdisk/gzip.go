package vmdisk

import (
	"bytes"
	"hash/crc32"

	"github.com/klauspost/compress/flate"
)

const gzipLevel = 7

// gzipStream is one member. Its deflate blocks know nothing of those before, and each of ours ends at a full byte.
type gzipStream struct {
	crc  uint32
	size uint32 // modulo 1<<32, as the format wants it
}

func (*gzipStream) limits() (block, encoders int) { return mib, 16 }

func (*gzipStream) start() []byte {
	// deflate; no name, no time; no word on the effort; by an unknown system
	return []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}
}

func (*gzipStream) encoder() (encode, error) {
	var b bytes.Buffer
	f, err := flate.NewWriter(&b, gzipLevel)
	return func(dst, src []byte) ([]byte, error) {
		b.Reset()
		f.Reset(&b)
		if _, err := f.Write(src); err != nil {
			return nil, err
		}
		if err := f.Flush(); err != nil { // an empty stored block
			return nil, err
		}
		return append(dst, b.Bytes()...), nil
	}, err
}

func (g *gzipStream) add(b []byte, n int64, _ []byte) {
	if g.size += uint32(n); b == nil {
		g.crc = crc32Zeros(g.crc, n)
	} else {
		g.crc = crc32.Update(g.crc, crc32.IEEETable, b)
	}
}

func (g *gzipStream) end() []byte {
	b := []byte{3, 0} // a last block, empty
	return le.AppendUint32(le.AppendUint32(b, g.crc), g.size)
}

// crc32Zeros is what the checksum becomes after n more bytes, all zeros. In CRC-32's arithmetic, of polynomials over the field of
// two elements modulo the checksum's own, a zero bit multiplies by x.
func crc32Zeros(crc uint32, n int64) uint32 {
	state, power := ^crc, uint32(1)<<(31-8) // bit 31 is 1, bit 30 is x, …: this is x to the eighth, a byte of zeros
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			state = crc32Multiply(state, power)
		}
		power = crc32Multiply(power, power)
	}
	return ^state
}

func crc32Multiply(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 {
		if a>>31 != 0 {
			product ^= b
		}
		b = b>>1 ^ crc32.IEEE&-(b&1)
	}
	return product
}
