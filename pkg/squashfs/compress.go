package squashfs

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Compression is how the blocks of an image are compressed.
type Compression string

const (
	ZSTD Compression = "zstd"
	XZ   Compression = "xz"   // for Talos before 1.8
	GZIP Compression = "gzip" // is read, not written
)

// compressor compresses one block at a time.
type compressor interface {
	// compress appends src, compressed, to dst.
	compress(dst, src []byte) ([]byte, error)
	// release ends the use of the compressor.
	release()
}

// newCompressor makes a compressor that many goroutines of a write can have one of each.
func newCompressor(o Options) compressor {
	if o.Compression == XZ {
		return xzCompressor{blockSize: o.BlockSize}
	}
	level := func(l zstd.EncoderLevel) zstdCompressor {
		pool := zstdPool(zstdKey{l, o.BlockSize})
		return zstdCompressor{enc: pool.Get().(*zstd.Encoder), pool: pool}
	}
	if o.Thrifty {
		return thriftyCompressor{probe: level(zstd.SpeedFastest), second: level(zstd.SpeedBetterCompression), best: level(zstd.SpeedBestCompression)}
	}
	return level(zstd.EncoderLevel(o.Level))
}

type zstdCompressor struct {
	enc  *zstd.Encoder
	pool *sync.Pool
}

func (z zstdCompressor) compress(dst, src []byte) ([]byte, error) {
	return z.enc.EncodeAll(src, dst), nil
}
func (z zstdCompressor) release() { z.pool.Put(z.enc) }

// thriftyCompressor uses the best level where it is of use. It looks for that with the fastest one, which takes 3 % of its time.
type thriftyCompressor struct{ probe, second, best zstdCompressor }

// thriftyPercent is how much of a block the fastest level may leave for the best one to be used. Programs' text has 35 to 50 % left,
// and loses 5 % more; debug information and the like have more left, lose 1 or 2 %, and take twice the time.
const thriftyPercent = 48

func (t thriftyCompressor) compress(dst, src []byte) ([]byte, error) {
	out, err := t.probe.compress(dst, src)
	switch left := len(out) - len(dst); {
	case err != nil || left >= len(src): // noise
		return out, err
	case left*100 > len(src)*thriftyPercent:
		return t.second.compress(dst, src)
	}
	return t.best.compress(dst, src)
}

func (t thriftyCompressor) release() {
	for _, z := range []zstdCompressor{t.probe, t.second, t.best} {
		z.release()
	}
}

type zstdKey struct {
	level     zstd.EncoderLevel
	blockSize int
}

// zstdPools keep encoders between writes, since one of the highest level has 34 MiB of tables.
var zstdPools sync.Map // zstdKey to *sync.Pool

func zstdPool(key zstdKey) *sync.Pool {
	if p, ok := zstdPools.Load(key); ok {
		return p.(*sync.Pool)
	}
	p, _ := zstdPools.LoadOrStore(key, &sync.Pool{New: func() any { return newZstdEncoder(key) }})
	return p.(*sync.Pool)
}

// newZstdEncoder makes an encoder of frames that the kernel takes: their window must not be larger than the block size.
func newZstdEncoder(key zstdKey) *zstd.Encoder {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(key.level),
		zstd.WithWindowSize(key.blockSize),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), // as mksquashfs
	)
	if err != nil {
		panic(fmt.Sprintf("squashfs: options.resolve let level %v and block size %d pass: %v", key.level, key.blockSize, err))
	}
	return enc
}

type xzCompressor struct{ blockSize int }

func (x xzCompressor) release() {}

func (x xzCompressor) compress(dst, src []byte) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	// The kernel has memory for a dictionary of the block size, and knows no check but CRC32.
	w, err := xz.WriterConfig{DictCap: x.blockSize, CheckSum: xz.CRC32}.NewWriter(buf)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(src); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
