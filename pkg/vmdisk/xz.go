package vmdisk

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"hash/crc64"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz/lzma"
)

const (
	xzBlock     = mib
	xzDictByte  = 16 // stands for a dictionary of 1 MiB
	xzLZMA2     = 0x21
	xzCheck     = 4        // CRC64
	storedMost  = 64 << 10 // bytes in a chunk of LZMA2 that is not compressed
	storedFirst = 1        // such a chunk, at the start of a block
	storedNext  = 2
)

var crc64Table = crc64.MakeTable(crc64.ECMA)

// xzStream is one stream. Its blocks give their sizes, so that xz unpacks them on several processors.
type xzStream struct {
	blocks  uint64
	records []byte // of the index
}

func (*xzStream) limits() (block, encoders int) { return xzBlock, 3 }

func (*xzStream) start() []byte {
	flags := []byte{0, xzCheck}
	return le.AppendUint32(append([]byte("\xfd7zXZ\x00"), flags...), crc32.ChecksumIEEE(flags))
}

// encoder first tries zstd, which is a hundred times as fast: what it can't shrink, LZMA is not asked. Most of a boot disk is
// compressed already.
func (*xzStream) encoder() (encode, error) {
	var data bytes.Buffer
	var scratch []byte
	try, err := zstdEncoder(zstd.SpeedFastest, xzBlock)
	return func(dst, src []byte) (out []byte, err error) {
		data.Reset()
		if scratch, err = try(scratch[:0], src); err != nil {
			return nil, err
		}
		if len(scratch) > len(src)-len(src)/64 {
			lzma2Store(&data, src)
		} else if err := lzma2(&data, src); err != nil {
			return nil, err
		}
		return appendXZBlock(dst, data.Bytes(), src), nil
	}, err
}

func lzma2(w *bytes.Buffer, src []byte) error {
	z, err := lzma.Writer2Config{DictCap: xzBlock}.NewWriter2(w)
	if err != nil {
		return err
	}
	if _, err := z.Write(src); err != nil {
		return err
	}
	return z.Close()
}

// lzma2Store makes LZMA2 of bytes as they are.
func lzma2Store(w *bytes.Buffer, src []byte) {
	for kind := byte(storedFirst); len(src) > 0; kind = storedNext {
		n := min(len(src), storedMost)
		w.Write([]byte{kind, byte((n - 1) >> 8), byte(n - 1)})
		w.Write(src[:n])
		src = src[n:]
	}
	w.WriteByte(0) // the end
}

// appendXZBlock appends a block: header, data, padding, checksum of what was packed.
func appendXZBlock(dst, data, src []byte) []byte {
	head := []byte{0, 0xc0} // its length; one filter, both sizes are there
	head = binary.AppendUvarint(head, uint64(len(data)))
	head = binary.AppendUvarint(head, uint64(len(src)))
	head = append(head, xzLZMA2, 1, xzDictByte)
	head = pad4(head)
	head[0] = byte(len(head) / 4) // with the checksum that follows, minus one
	dst = le.AppendUint32(append(dst, head...), crc32.ChecksumIEEE(head))
	dst = append(dst, data...)
	dst = append(dst, make([]byte, roundUp(len(data), 4)-len(data))...)
	return le.AppendUint64(dst, crc64.Checksum(src, crc64Table))
}

func pad4(b []byte) []byte { return append(b, make([]byte, roundUp(len(b), 4)-len(b))...) }

// add records a block. Its length in the index is without the padding before the checksum.
func (x *xzStream) add(_ []byte, n int64, packed []byte) {
	head := (int(packed[0]) + 1) * 4
	data, _ := binary.Uvarint(packed[2:])
	x.records = binary.AppendUvarint(x.records, uint64(head)+data+8)
	x.records = binary.AppendUvarint(x.records, uint64(n))
	x.blocks++
}

// end returns index and footer.
func (x *xzStream) end() []byte {
	index := binary.AppendUvarint([]byte{0}, x.blocks)
	index = pad4(append(index, x.records...))
	index = le.AppendUint32(index, crc32.ChecksumIEEE(index))
	foot := le.AppendUint32(nil, uint32(len(index)/4-1))
	foot = append(foot, 0, xzCheck)
	b := le.AppendUint32(index, crc32.ChecksumIEEE(foot))
	return append(append(b, foot...), "YZ"...)
}
