package initramfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// Compression of a segment.
type Compression string

// What the kernel of a Talos takes.
const (
	Plain Compression = "plain"
	Zstd  Compression = "zstd"
	XZ    Compression = "xz"
	Gzip  Compression = "gzip"
)

// maxWindow is the kernel's limit on a zstd frame's window, and ours on an xz dictionary, in bytes.
const maxWindow = 128 << 20

var magics = []struct {
	Compression
	magic []byte
}{
	{Plain, []byte("07070")}, // then 1, or 2 with checksums
	{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd}},
	{XZ, []byte{0xfd, '7', 'z', 'X', 'Z', 0}},
	{Gzip, []byte{0x1f, 0x8b}},
}

func detect(b []byte) (Compression, bool) {
	for _, m := range magics {
		if bytes.HasPrefix(b, m.magic) {
			return m.Compression, true
		}
	}
	return "", false
}

// Segment is one part of an initramfs: where it lies, in bytes, and what it is.
type Segment struct {
	Offset, Size int64
	Compression  Compression

	r io.ReaderAt
}

// Segments finds the segments of an initramfs of the given size without decompressing (but for gzip, which does not say where it
// ends). What follows the last segment must be zero bytes.
func Segments(r io.ReaderAt, size int64) ([]Segment, error) {
	return segmentsWithin(r, size, maxUnpacked)
}

// segmentsWithin is Segments that inflates so many bytes at most.
func segmentsWithin(r io.ReaderAt, size, inflate int64) ([]Segment, error) {
	var segments []Segment
	c := &cursor{r: r, size: size, inflate: inflate}
	for {
		if err := c.skipZeros(); err != nil {
			return nil, err
		}
		if c.off == c.size {
			return segments, nil
		}
		start := c.off
		magic, err := c.peek(6)
		if err != nil {
			return nil, err
		}
		kind, ok := detect(magic)
		if !ok {
			return nil, fmt.Errorf("read initramfs at byte %d: % x is no cpio archive and no zstd, xz or gzip stream", start, magic)
		}
		if kind == Plain && start%memberAlign != 0 {
			return nil, fmt.Errorf("read initramfs at byte %d: a plain archive must start at a multiple of %d, or the kernel stops here",
				start, memberAlign)
		}
		switch kind {
		case Plain:
			err = c.skipArchive()
		case Zstd:
			err = c.skipZstdFrame()
		case XZ:
			err = c.skipXZStream()
		case Gzip:
			err = c.skipGzipMember()
		}
		if err != nil {
			return nil, fmt.Errorf("read initramfs: %s segment at byte %d: %w", kind, start, err)
		}
		segments = append(segments, Segment{Offset: start, Size: c.off - start, Compression: kind, r: r})
	}
}

// Open returns the segment's archives, decompressed.
func (s Segment) Open() (io.ReadCloser, error) {
	raw := io.NewSectionReader(s.r, s.Offset, s.Size)
	switch s.Compression {
	case Zstd:
		d, err := zstd.NewReader(raw, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case XZ:
		d, err := xz.NewReader(raw, maxWindow)
		if err != nil {
			return nil, err
		}
		d.Multistream(false)
		return io.NopCloser(d), nil
	case Gzip:
		d, err := gzip.NewReader(raw)
		if err != nil {
			return nil, err
		}
		d.Multistream(false)
		return d, nil
	}
	return io.NopCloser(raw), nil
}

// cursor walks a file's structure with small reads.
type cursor struct {
	r         io.ReaderAt
	off, size int64
	inflate   int64 // bytes that may be inflated yet
	buf       [4096]byte
}

// peek returns up to n (at most 4096) bytes at the cursor; fewer at the end of the file.
func (c *cursor) peek(n int) ([]byte, error) {
	n = int(min(int64(n), c.size-c.off))
	b := c.buf[:n]
	if _, err := c.r.ReadAt(b, c.off); err != nil && !(errors.Is(err, io.EOF) && n == 0) {
		if errors.Is(err, io.EOF) { // some readers say so with the last bytes
			if m, err2 := io.ReadFull(io.NewSectionReader(c.r, c.off, int64(n)), b); m == n && err2 == nil {
				return b, nil
			}
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b, nil
}

// take returns exactly n bytes and moves on.
func (c *cursor) take(n int) ([]byte, error) {
	b, err := c.peek(n)
	if err != nil {
		return nil, err
	}
	if len(b) < n {
		return nil, io.ErrUnexpectedEOF
	}
	c.off += int64(n)
	return b, nil
}

func (c *cursor) skip(n int64) error {
	if n < 0 || n > c.size-c.off {
		return io.ErrUnexpectedEOF
	}
	c.off += n
	return nil
}

func (c *cursor) skipZeros() error {
	for c.off < c.size {
		b, err := c.peek(len(c.buf))
		if err != nil {
			return err
		}
		rest := bytes.TrimLeft(b, "\x00")
		c.off += int64(len(b) - len(rest))
		if len(rest) > 0 {
			return nil
		}
	}
	return nil
}

// skipArchive goes from member to member, over the contents, behind the trailer.
func (c *cursor) skipArchive() error {
	for {
		at := c.off
		h, err := c.take(headerSize)
		if err != nil {
			return fmt.Errorf("the archive has no trailer: %w", err)
		}
		if kind, _ := detect(h); kind != Plain || (h[5] != '1' && h[5] != '2') {
			return fmt.Errorf("no member starts at byte %d", at)
		}
		size, err1 := hex8(h[54:])
		nameLen, err2 := hex8(h[94:])
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("member at byte %d: %w", at, err)
		}
		if nameLen < 1 || nameLen > maxName+1 {
			return fmt.Errorf("member at byte %d: a name of %d bytes; 1 to %d can be", at, nameLen, maxName+1)
		}
		name, err := c.take(int(nameLen))
		if err != nil {
			return err
		}
		last := string(name[:nameLen-1]) == trailer
		if err := c.skip(pad(headerSize+nameLen, memberAlign) + size); err != nil {
			return fmt.Errorf("member at byte %d: its content of %d bytes ends behind the file: %w", at, size, err)
		}
		if err := c.skip(min(pad(size, memberAlign), c.size-c.off)); err != nil {
			return err
		}
		if last {
			return nil
		}
	}
}

func hex8(b []byte) (int64, error) {
	var n int64
	for _, c := range b[:8] {
		var d byte
		switch {
		case c >= '0' && c <= '9':
			d = c - '0'
		case c >= 'a' && c <= 'f':
			d = c - 'a' + 10
		case c >= 'A' && c <= 'F':
			d = c - 'A' + 10
		default:
			return 0, fmt.Errorf("%q are not eight hexadecimal digits", b[:8])
		}
		n = n<<4 | int64(d)
	}
	return n, nil
}

// skipZstdFrame walks the headers of a frame's blocks: RFC 8878, section 3.1.1.
func (c *cursor) skipZstdFrame() error {
	h, err := c.take(5)
	if err != nil {
		return err
	}
	descriptor := h[4]
	const singleSegment, reserved, checksum = 1 << 5, 1 << 3, 1 << 2
	if descriptor&reserved != 0 {
		return errors.New("a reserved bit of the frame header is set")
	}
	if descriptor&3 != 0 {
		return errors.New("it wants a dictionary, which the kernel has not")
	}
	more := []int64{0, 2, 4, 8}[descriptor>>6] // the frame content size
	if descriptor&singleSegment == 0 {
		more++ // the window descriptor
	} else if more == 0 {
		more = 1
	}
	if err := c.skip(more); err != nil {
		return err
	}
	for last := false; !last; {
		b, err := c.take(3)
		if err != nil {
			return err
		}
		head := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		last = head&1 != 0
		size := int64(head >> 3)
		switch head >> 1 & 3 {
		case 1: // one byte, repeated
			size = 1
		case 3:
			return fmt.Errorf("a block of the reserved type at byte %d", c.off-3)
		}
		if err := c.skip(size); err != nil {
			return err
		}
	}
	if descriptor&checksum != 0 {
		return c.skip(4)
	}
	return nil
}

// skipXZStream walks the LZMA2 chunks of a stream's blocks and the index: https://tukaani.org/xz/xz-file-format.txt.
func (c *cursor) skipXZStream() error {
	h, err := c.take(12)
	if err != nil {
		return err
	}
	check := h[7] & 0xf
	checkSize := []int64{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}[check]
	for {
		b, err := c.peek(1)
		if err != nil || len(b) == 0 {
			return errors.Join(err, io.ErrUnexpectedEOF)
		}
		if b[0] == 0 { // the index
			break
		}
		if err := c.skip((int64(b[0]) + 1) * 4); err != nil {
			return err
		}
		start := c.off
		if err := c.skipLZMA2(); err != nil {
			return err
		}
		if err := c.skip(pad(c.off-start, 4) + checkSize); err != nil {
			return err
		}
	}
	index := c.off
	c.off++
	records, err := c.varint()
	if err != nil {
		return err
	}
	for range records {
		for range 2 { // unpadded and uncompressed size
			if _, err := c.varint(); err != nil {
				return err
			}
		}
	}
	return c.skip(pad(c.off-index, 4) + 4 + 12) // the index's CRC32, the stream footer
}

func (c *cursor) skipLZMA2() error {
	for {
		b, err := c.take(1)
		if err != nil {
			return err
		}
		control := b[0]
		switch {
		case control == 0: // the end
			return nil
		case control == 1 || control == 2: // uncompressed
			b, err := c.take(2)
			if err != nil {
				return err
			}
			err = c.skip(int64(binary.BigEndian.Uint16(b)) + 1)
			if err != nil {
				return err
			}
		case control >= 0x80:
			b, err := c.take(4) // uncompressed size, compressed size
			if err != nil {
				return err
			}
			size := int64(binary.BigEndian.Uint16(b[2:])) + 1
			if control >= 0xc0 {
				size++ // new properties
			}
			if err := c.skip(size); err != nil {
				return err
			}
		default:
			return fmt.Errorf("LZMA2 control byte %#x at byte %d", control, c.off-1)
		}
	}
}

func (c *cursor) varint() (uint64, error) {
	var n uint64
	for i := range 9 {
		b, err := c.take(1)
		if err != nil {
			return 0, err
		}
		n |= uint64(b[0]&0x7f) << (7 * i)
		if b[0]&0x80 == 0 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("a number of more than 9 bytes before byte %d", c.off)
}

// skipGzipMember inflates, since only that tells the end.
func (c *cursor) skipGzipMember() error {
	in := &byteCounter{r: io.NewSectionReader(c.r, c.off, c.size-c.off)}
	d, err := gzip.NewReader(in)
	if err != nil {
		return err
	}
	d.Multistream(false)
	out := &limitReader{r: d, left: c.inflate}
	if _, err := io.Copy(io.Discard, out); err != nil {
		return err
	}
	c.inflate = out.left
	return c.skip(in.used())
}

// byteCounter is an io.ByteReader, beyond which inflate reads nothing.
type byteCounter struct {
	r        *io.SectionReader
	buf      [4096]byte
	at, end  int
	consumed int64
}

func (b *byteCounter) used() int64 { return b.consumed + int64(b.at) }

func (b *byteCounter) fill() error {
	if b.at < b.end {
		return nil
	}
	b.consumed += int64(b.at)
	n, err := b.r.Read(b.buf[:])
	b.at, b.end = 0, n
	if n > 0 {
		return nil
	}
	return err
}

func (b *byteCounter) ReadByte() (byte, error) {
	if err := b.fill(); err != nil {
		return 0, err
	}
	b.at++
	return b.buf[b.at-1], nil
}

func (b *byteCounter) Read(p []byte) (int, error) {
	if err := b.fill(); err != nil {
		return 0, err
	}
	n := copy(p, b.buf[b.at:b.end])
	b.at += n
	return n, nil
}
