package squashfs

import (
	"bytes"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestThrifty: each block is as one of the levels makes it, which depends on the block alone.
func TestThrifty(t *testing.T) {
	t.Parallel()
	const size = 64 << 10
	options := func(o Options) Options {
		o.BlockSize = size
		o, err := o.resolve()
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	compress := func(c compressor, src []byte) []byte {
		out, err := c.compress([]byte("before"), src)
		if err != nil {
			t.Fatal(err)
		}
		rest, ok := bytes.CutPrefix(out, []byte("before"))
		if !ok {
			t.Fatal("what was in the buffer is gone")
		}
		return rest
	}
	thrifty := newCompressor(options(Options{Thrifty: true}))
	defer thrifty.release()
	for range 2 {
		for name, c := range map[string]struct {
			block []byte
			level zstd.EncoderLevel
		}{
			"text":  {text(size), zstd.SpeedBestCompression},
			"mixed": {slices.Concat(text(size/3), noise(size-size/3)), zstd.SpeedBetterCompression},
			"noise": {noise(size), zstd.SpeedFastest},
		} {
			one := newCompressor(options(Options{Level: int(c.level)}))
			if !bytes.Equal(compress(thrifty, c.block), compress(one, c.block)) {
				t.Errorf("%s is not compressed at level %v", name, c.level)
			}
			one.release()
		}
	}
}
