package kmod

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Limits of one module.
const (
	// maxImage is the largest module, in bytes, unpacked. The largest of a distribution's kernel has 30 MiB.
	maxImage = 128 << 20
	// maxWindow is the largest dictionary of a compressed module; one of 64 MiB is what `xz -9` asks for.
	maxWindow = 64 << 20
)

// reader reads modules one after another. What it keeps between them saves memory: the buffer, the decoders' dictionaries, and
// one copy of each symbol's name.
type reader struct {
	limit  int64
	window int // bytes of a dictionary
	src    *bufio.Reader
	image  bytes.Buffer
	names  map[string]string
	xz     *xz.Reader
	zstd   *zstd.Decoder
	gzip   *gzip.Reader
}

func newReader() *reader {
	return &reader{limit: maxImage, window: maxWindow, src: bufio.NewReaderSize(nil, 64<<10), names: map[string]string{}}
}

func (r *reader) close() {
	if r.zstd != nil {
		r.zstd.Close()
	}
}

// read unpacks a module and parses it.
func (r *reader) read(b tree.Blob) (Module, error) {
	content, err := b.Open()
	if err != nil {
		return Module{}, err
	}
	err = errors.Join(r.unpack(content), content.Close())
	if err != nil {
		return Module{}, err
	}
	return parse(r.image.Bytes(), r.intern)
}

func (r *reader) unpack(content io.Reader) error {
	r.src.Reset(content)
	plain, err := r.decoder()
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	r.image.Reset()
	n, err := r.image.ReadFrom(io.LimitReader(plain, r.limit+1))
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	if n > r.limit {
		return fmt.Errorf("unpack: it has more than %d bytes, the limit for a module", r.limit)
	}
	return nil
}

// decoder returns what reads the plain bytes of r.src.
func (r *reader) decoder() (io.Reader, error) {
	magic, err := r.src.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte("\xfd7zXZ\x00")):
		if r.xz == nil {
			r.xz, err = xz.NewReader(r.src, uint32(r.window))
			return r.xz, err
		}
		return r.xz, r.xz.Reset(r.src)
	case bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")):
		if r.zstd == nil {
			r.zstd, err = zstd.NewReader(r.src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(uint64(r.window)))
			return r.zstd, err
		}
		return r.zstd, r.zstd.Reset(r.src)
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		if r.gzip == nil {
			r.gzip, err = gzip.NewReader(r.src)
			return r.gzip, err
		}
		return r.gzip, r.gzip.Reset(r.src)
	}
	return r.src, nil
}

// intern returns a string of b, the same one for the same bytes.
func (r *reader) intern(b []byte) string {
	if s, ok := r.names[string(b)]; ok {
		return s
	}
	s := string(b)
	r.names[s] = s
	return s
}
