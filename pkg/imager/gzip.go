package imager

import (
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"
	"math"

	"github.com/talosmith/talosmith/pkg/tree"
)

// stored is a blob as a gzip stream that does not compress it: for content that is compressed already, where the media type has to
// say gzip (RFC 1951 section 3.2.4, RFC 1952).
type stored struct{ tree.Blob }

const (
	storedBlock  = math.MaxUint16 // bytes of content in a deflate block that is not compressed
	storedHeader = 5              // its header: last or not, length, length inverted
)

// gzipHeader has no name, no time, and an unknown operating system.
var gzipHeader = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}

const gzipTrailer = 8 // CRC-32 and size modulo 2^32

func (s stored) Size() int64 {
	n := s.Blob.Size()
	blocks := max((n+storedBlock-1)/storedBlock, 1)
	return int64(len(gzipHeader)) + blocks*storedHeader + n + gzipTrailer
}

func (s stored) Open() (io.ReadCloser, error) {
	r, err := s.Blob.Open()
	if err != nil {
		return nil, err
	}
	return &storedReader{r: r, left: s.Blob.Size(), size: s.Blob.Size(), crc: crc32.NewIEEE(), pending: gzipHeader}, nil
}

// storedReader gives pending bytes first, then the content of the block that it is in.
type storedReader struct {
	r          io.ReadCloser
	left, size int64 // of the content in bytes
	block      int64 // bytes that are left in this block
	pending    []byte
	crc        hash.Hash32
	begun, end bool
}

func (s *storedReader) Read(p []byte) (int, error) {
	for len(s.pending) == 0 && s.block == 0 {
		switch {
		case s.end:
			return 0, io.EOF
		case s.left > 0 || !s.begun:
			s.nextBlock()
		default:
			s.pending = binary.LittleEndian.AppendUint32(nil, s.crc.Sum32())
			s.pending = binary.LittleEndian.AppendUint32(s.pending, uint32(s.size))
			s.end = true
		}
	}
	if len(s.pending) > 0 {
		n := copy(p, s.pending)
		s.pending = s.pending[n:]
		return n, nil
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.block)])
	s.crc.Write(p[:n])
	s.block -= int64(n)
	if err == io.EOF && s.block > 0 {
		err = io.ErrUnexpectedEOF
	} else if err == io.EOF {
		err = nil
	}
	return n, err
}

func (s *storedReader) nextBlock() {
	s.begun = true
	s.block = min(s.left, storedBlock)
	s.left -= s.block
	last := byte(0)
	if s.left == 0 {
		last = 1
	}
	s.pending = binary.LittleEndian.AppendUint16([]byte{last}, uint16(s.block))
	s.pending = binary.LittleEndian.AppendUint16(s.pending, ^uint16(s.block))
}

func (s *storedReader) Close() error { return s.r.Close() }
