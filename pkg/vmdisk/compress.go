package vmdisk

import (
	"io"

	"github.com/klauspost/compress/zstd"
)

// stream is a kind of compressed file. All but encoder is called by one goroutine.
type stream interface {
	// limits of the blocks, in bytes, and of the encoders that work at the same time: each takes memory.
	limits() (block, encoders int)
	// encoder returns a new encoder of blocks.
	encoder() (encode, error)
	// start returns what comes before the first block.
	start() []byte
	// add counts the next block, which has n bytes and becomes packed; b is nil for zeros.
	add(b []byte, n int64, packed []byte)
	// end returns what comes after the last block.
	end() []byte
}

// packer is a compressed file at work.
type packer struct {
	stream
	w     io.Writer
	block int64
	at    int64 // of the next block, in bytes of the image
	one   encode
	zeros []byte // what a block of zeros becomes
}

// compress writes an image as a stream.
func compress(w io.WriterAt, img image, s stream) (int64, error) {
	block, most := s.limits()
	encoders, err := newEncoders(most, s.encoder)
	if err != nil {
		return 0, err
	}
	return appendTo(w, func(w io.Writer) error {
		p := &packer{stream: s, w: w, block: int64(block), one: encoders[0]}
		if p.zeros, err = p.one(nil, make([]byte, block)); err != nil {
			return err
		}
		if _, err := w.Write(s.start()); err != nil {
			return err
		}
		size, err := p.writeData(img, encoders)
		if err != nil {
			return err
		}
		if err := p.skipTo(size); err != nil {
			return err
		}
		_, err = w.Write(s.end())
		return err
	})
}

// writeData writes all up to the last block that is not all zeros, and returns the image's size.
func (p *packer) writeData(img image, encoders []encode) (size int64, err error) {
	o := newOrdered(encoders, p.writeBlock)
	c := newCutter(int(p.block), o.add)
	if size, err = img(c); err == nil {
		err = c.finish(size)
	}
	if err2 := o.close(); err == nil {
		err = err2
	}
	return size, err
}

func (p *packer) writeBlock(index int64, in, out []byte) error {
	if err := p.skipTo(index * p.block); err != nil {
		return err
	}
	return p.put(in, int64(len(in)), out)
}

func (p *packer) put(in []byte, n int64, out []byte) error {
	p.add(in, n, out)
	p.at += n
	_, err := p.w.Write(out)
	return err
}

// skipTo writes blocks of zeros.
func (p *packer) skipTo(at int64) error {
	for at-p.at >= p.block {
		if err := p.put(nil, p.block, p.zeros); err != nil {
			return err
		}
	}
	if at == p.at {
		return nil
	}
	last, err := p.one(nil, make([]byte, at-p.at))
	if err != nil {
		return err
	}
	return p.put(nil, at-p.at, last)
}

const zstdBlock = 4 * mib

// zstdStream is frames one after another, each of a block.
type zstdStream struct{}

func (zstdStream) limits() (block, encoders int)   { return zstdBlock, 3 }
func (zstdStream) start() []byte                   { return nil }
func (zstdStream) add(_ []byte, _ int64, _ []byte) {}
func (zstdStream) end() []byte                     { return nil }

func (zstdStream) encoder() (encode, error) {
	return zstdEncoder(zstd.SpeedBetterCompression, zstdBlock)
}

func zstdEncoder(level zstd.EncoderLevel, window int) (encode, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	return func(dst, src []byte) ([]byte, error) { return e.EncodeAll(src, dst), nil }, err
}
