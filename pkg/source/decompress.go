package source

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// maxWindow bounds the memory that a compressed stream may ask of its reader: as much as zstd --long=27 and twice xz -9.
const maxWindow = 128 << 20

// Compressions by their first bytes. A media type does not decide: some tools announce gzip and store plain tar.
var (
	magicGzip = []byte{0x1f, 0x8b}
	magicZstd = []byte{0x28, 0xb5, 0x2f, 0xfd}
	magicXz   = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
)

// decompress returns what is inside a gzip, zstd or xz stream, and anything else as it is. The caller calls stop when done.
func decompress(r io.Reader) (plain io.Reader, stop func(), err error) {
	in := bufio.NewReaderSize(r, 128<<10)
	head, err := in.Peek(len(magicXz))
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(head, magicGzip):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, fmt.Errorf("gzip: %w", err)
		}
		return named{"gzip", z}, func() {}, nil
	case bytes.HasPrefix(head, magicZstd) || skippable(head):
		// One goroutine: what a stream may hold in memory stays one window.
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("zstd: %w", err)
		}
		return named{"zstd", z}, z.Close, nil
	case bytes.HasPrefix(head, magicXz):
		z, err := xz.NewReader(in, maxWindow)
		if err != nil {
			return nil, nil, fmt.Errorf("xz: %w", err)
		}
		return named{"xz", z}, func() {}, nil
	}
	return in, func() {}, nil
}

// skippable tells a zstd skippable frame, with which zstd:chunked and pzstd streams may begin.
func skippable(head []byte) bool {
	return len(head) >= 4 && head[0]&0xf0 == 0x50 && head[1] == 0x2a && head[2] == 0x4d && head[3] == 0x18
}

// named says which decompressor an error comes from.
type named struct {
	format string
	r      io.Reader
}

func (n named) Read(p []byte) (int, error) {
	k, err := n.r.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%s: %w", n.format, err)
	}
	return k, err
}
