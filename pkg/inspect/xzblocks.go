package inspect

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
	"sync"

	"github.com/mikelolasagasti/xz"

	"github.com/talosmith/talosmith/pkg/tree"
)

// xzBlocks reads an .xz file of several blocks from anywhere: its index says where each one is, so that a disk's holes are never
// unpacked. xz -T and this project write such files. Format: https://tukaani.org/xz/xz-file-format.txt.
type xzBlocks struct {
	ctx    context.Context // of everything that reads the artefact
	r      io.ReaderAt
	header [xzHeaderSize]byte // of the stream
	blocks []xzBlock
	size   int64 // unpacked

	mu   sync.Mutex
	have int    // the block that data is of, -1 for none
	data []byte // unpacked
	left int64  // bytes that may be unpacked yet: who reads here and there unpacks blocks again
}

// xzBlock is a block: where it is in the file, and of what is unpacked.
type xzBlock struct {
	at, packed  int64 // packed: its "unpadded size"
	off, length int64
}

const (
	xzHeaderSize = 12 // of the stream's footer, too
	maxXZBlock   = 64 << 20
	maxXZIndex   = 1 << 20 // bytes
)

var errNoBlocks = errors.New("not an .xz file of several blocks in one stream")

// newXZBlocks reads the index. It gives errNoBlocks for what has to be unpacked from its start.
func newXZBlocks(ctx context.Context, c content, lim limits) (*xzBlocks, error) {
	x := &xzBlocks{ctx: ctx, r: c, have: -1, left: lim.unpacked}
	footer := make([]byte, xzHeaderSize)
	if c.Size() < 3*xzHeaderSize {
		return nil, errNoBlocks
	}
	if err := tree.ReadFull(c, x.header[:], 0); err != nil {
		return nil, err
	}
	if err := tree.ReadFull(c, footer, c.Size()-xzHeaderSize); err != nil {
		return nil, err
	}
	indexSize := (int64(binary.LittleEndian.Uint32(footer[4:])) + 1) * 4
	at := c.Size() - xzHeaderSize - indexSize
	if string(footer[10:]) != "YZ" || string(footer[8:10]) != string(x.header[6:8]) || at < xzHeaderSize || indexSize > maxXZIndex {
		return nil, errNoBlocks
	}
	index := make([]byte, indexSize)
	if err := tree.ReadFull(c, index, at); err != nil {
		return nil, err
	}
	end, err := x.readIndex(index)
	if err == nil && x.size > lim.unpacked {
		err = fmt.Errorf("%w: unpacks to %d bytes, more than %d", errLimit, x.size, lim.unpacked)
	}
	if err == nil && (end != at || len(x.blocks) < 2) { // other streams lie before, or nothing is to be won
		err = errNoBlocks
	}
	return x, err
}

// readIndex reads the sizes of all blocks, and returns where the last one ends.
func (x *xzBlocks) readIndex(b []byte) (end int64, err error) {
	body, sum := b[:len(b)-4], b[len(b)-4:]
	if len(body) == 0 || body[0] != 0 || crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return 0, errNoBlocks
	}
	body = body[1:]
	number := func() int64 {
		n, size := binary.Uvarint(body)
		if size <= 0 || n > 1<<48 {
			err = errNoBlocks
			return 0
		}
		body = body[size:]
		return int64(n)
	}
	end = xzHeaderSize
	for range number() {
		block := xzBlock{at: end, packed: number(), off: x.size, length: number()}
		if err != nil || block.packed == 0 || block.length == 0 || block.length > maxXZBlock {
			return 0, errNoBlocks
		}
		x.blocks = append(x.blocks, block)
		end += (block.packed + 3) / 4 * 4
		x.size += block.length
		if x.size > 1<<48 || end > 1<<48 {
			return 0, errNoBlocks
		}
	}
	return end, err
}

// ReadAt implements [io.ReaderAt]. The block that was read last is kept.
func (x *xzBlocks) ReadAt(p []byte, off int64) (n int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for n < len(p) && off+int64(n) < x.size {
		at := off + int64(n)
		i := sort.Search(len(x.blocks), func(i int) bool { return x.blocks[i].off > at }) - 1
		if err := x.load(i); err != nil {
			return n, fmt.Errorf("xz: block %d: %w", i+1, err)
		}
		n += copy(p[n:], x.data[at-x.blocks[i].off:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// load unpacks a block, as the only one of a stream, so that its checksum is compared.
func (x *xzBlocks) load(i int) error {
	if x.have == i {
		return nil
	}
	b := x.blocks[i]
	x.have = -1
	if err := context.Cause(x.ctx); err != nil {
		return err
	}
	if x.left -= b.length; x.left < 0 {
		return fmt.Errorf("%w: too many reads here and there", errLimit)
	}
	stream := io.MultiReader(bytes.NewReader(x.header[:]), io.NewSectionReader(x.r, b.at, (b.packed+3)/4*4), bytes.NewReader(x.ending(b)))
	r, err := xz.NewReader(stream, maxWindow)
	if err != nil {
		return err
	}
	if int64(cap(x.data)) < b.length {
		x.data = make([]byte, b.length)
	}
	x.data = x.data[:b.length]
	if _, err := io.ReadFull(r, x.data); err != nil {
		return err
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return errors.Join(err, errors.New("it is longer than the index says"))
	}
	x.have = i
	return nil
}

// ending is what follows the block in a stream that has no other: index and footer.
func (x *xzBlocks) ending(b xzBlock) []byte {
	index := []byte{0, 1} // an index, of one block
	index = binary.AppendUvarint(index, uint64(b.packed))
	index = binary.AppendUvarint(index, uint64(b.length))
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	index = binary.LittleEndian.AppendUint32(index, crc32.ChecksumIEEE(index))
	footer := binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1))
	footer = append(footer, x.header[6:8]...)
	out := binary.LittleEndian.AppendUint32(index, crc32.ChecksumIEEE(footer))
	return append(append(out, footer...), "YZ"...)
}
