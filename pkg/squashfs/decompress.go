package squashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

var compressions = map[uint16]Compression{idGzip: GZIP, 2: "lzma", 3: "lzo", idXZ: XZ, 5: "lz4", idZstd: ZSTD}

// decompressor uncompresses single blocks. Many goroutines may use one.
type decompressor struct {
	// uncompress appends what src is to dst, but no more than dst has room for: that is an error.
	uncompress func(dst, src []byte) ([]byte, error)
}

var errTooLong = errors.New("uncompressed it is longer than a block can be")

func newDecompressor(sb superblock) (*decompressor, error) {
	window := max(uint64(sb.BlockSize), metaBlockSize) // as the kernel
	switch sb.Compressor {
	case idZstd:
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxWindow(window), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return nil, err
		}
		return &decompressor{func(dst, src []byte) ([]byte, error) { return d.DecodeAll(src, dst) }}, nil
	case idGzip:
		return pooled(func(z io.Reader, src io.Reader) (io.Reader, error) {
			if z == nil {
				return zlib.NewReader(src)
			}
			return z, z.(zlib.Resetter).Reset(src, nil)
		}), nil
	case idXZ:
		return pooled(func(z io.Reader, src io.Reader) (io.Reader, error) {
			if z == nil {
				return xz.NewReader(src, uint32(window))
			}
			return z, z.(*xz.Reader).Reset(src)
		}), nil
	}
	name, ok := compressions[sb.Compressor]
	if !ok {
		name = "of an unknown kind"
	}
	return nil, fmt.Errorf("%w: compression %d (%s): can read %q, %q and %q only", errors.ErrUnsupported, sb.Compressor, name, ZSTD, XZ, GZIP)
}

// pooled is a decompressor of readers that are used again and again. open makes one if z is nil, else it resets z.
func pooled(open func(z, src io.Reader) (io.Reader, error)) *decompressor {
	var pool sync.Pool
	return &decompressor{func(dst, src []byte) ([]byte, error) {
		z, _ := pool.Get().(io.Reader)
		z, err := open(z, bytes.NewReader(src))
		if err != nil {
			return nil, err // and z is not used again
		}
		dst, err = readInto(dst, z)
		pool.Put(z)
		return dst, err
	}}
}

// readInto appends all that r gives to dst, within its capacity.
func readInto(dst []byte, r io.Reader) ([]byte, error) {
	for {
		if len(dst) == cap(dst) {
			var one [1]byte
			switch _, err := io.ReadFull(r, one[:]); err {
			case io.EOF:
				return dst, nil
			case nil:
				return nil, errTooLong
			default:
				return nil, err
			}
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
