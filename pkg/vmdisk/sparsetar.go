package vmdisk

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	tarBlock     = 512
	tarRecord    = 10240 // an archive's length is a multiple of it
	tarExtent    = 64 << 10
	inHeader     = 4  // extents in a header
	inExtension  = 21 // and in each that follows
	maxTarTime   = 1<<33 - 1
	tarMaxName   = 100
	tarMode      = 0o644
	maxTarOctal  = 1<<33 - 1 // in 11 digits
	tarSparseMap = 386       // offset in a header
)

// span is a run of bytes.
type span struct{ at, size int64 }

// sparseTar returns an archive of a file's extents.
func sparseTar(img image, name string, modified int64) (image, error) {
	extents, size, err := scan(img, tarExtent)
	if err != nil {
		return nil, err
	}
	var spans []span
	var data int64
	for _, e := range extents {
		at := e.first * tarExtent
		n := min(e.count*tarExtent, size-at) // the last block may be shorter
		spans = append(spans, span{at, n})
		data += n
	}
	spans = append(spans, span{size, 0}) // as GNU tar ends them, for a hole at the end
	head := sparseHeader(name, modified, size, data, spans)
	return func(w io.WriterAt) (int64, error) {
		n, err := appendTo(w, func(w io.Writer) error {
			if _, err := w.Write(head); err != nil {
				return err
			}
			return replay(img, tarExtent, extents, func(b []byte) error {
				_, err := w.Write(b)
				return err
			})
		})
		return roundUp(n+2*tarBlock, tarRecord), err // two blocks of zeros at least
	}, nil
}

// sparseHeader is a header of the old GNU format, and those that continue it.
func sparseHeader(name string, modified, size, data int64, spans []span) []byte {
	b := make([]byte, tarBlock)
	copy(b[:tarMaxName], name)
	copy(b[100:], fmt.Sprintf("%07o", tarMode))
	copy(b[108:], "0000000") // owner
	copy(b[116:], "0000000") // and group
	putTarNumber(b[124:136], data)
	putTarNumber(b[136:148], modified)
	b[156] = 'S' // a sparse file
	copy(b[257:], "ustar  \x00")
	rest := putSpans(b[tarSparseMap:], spans, inHeader)
	putTarNumber(b[483:495], size)
	var sum int
	copy(b[148:156], "        ")
	for _, v := range b {
		sum += int(v)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	for len(rest) > 0 {
		more := make([]byte, tarBlock)
		rest = putSpans(more, rest, inExtension)
		b = append(b, more...)
	}
	return b
}

// putSpans puts up to most spans, and a byte that tells whether there are more. It returns those.
func putSpans(b []byte, spans []span, most int) []span {
	n := min(len(spans), most)
	for i, s := range spans[:n] {
		putTarNumber(b[i*24:i*24+12], s.at)
		putTarNumber(b[i*24+12:i*24+24], s.size)
	}
	if n < len(spans) {
		b[most*24] = 1
	}
	return spans[n:]
}

// putTarNumber puts 11 octal digits, or where they are not enough, a bit that says so and a binary number.
func putTarNumber(b []byte, n int64) {
	if n <= maxTarOctal {
		copy(b, fmt.Sprintf("%011o", n))
		return
	}
	b[0] = 0x80
	binary.BigEndian.PutUint64(b[len(b)-8:], uint64(n))
}
