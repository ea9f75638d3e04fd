package iso9660

import (
	"bytes"
	"encoding/binary"

	"github.com/talosmith/talosmith/pkg/tree"
)

// dir is a directory that is being laid out.
type dir struct {
	node    tree.Node
	name    isoName
	parent  *dir // the root is its own
	number  int  // in the path table, from 1
	entries []*entry
	place   [2]place // in the first and the second set
}

// place is where a directory lies: the first block, and the number of blocks of its records; what they have no room for follows.
type place struct{ block, records int64 }

// entry is a directory's: a directory, a file or a symbolic link.
type entry struct {
	node tree.Node
	name isoName
	dir  *dir
	file *file
}

// file is content that lies somewhere in the image; hard links share it.
type file struct {
	path    string // its first name
	content tree.Blob
	block   int64
	stored  bool // in the tree's area
}

// set is one of the two descriptions of the tree. The blocks in here count from the image's start, those on disk from base.
type set struct {
	index          int
	base           int64 // block where the volume starts
	blocks         int64 // of the volume
	descriptors    int64 // block of the first
	boot           bool  // has a boot record
	tableSize      int64 // bytes of one path table
	tableL, tableM int64 // blocks of the little-endian and the big-endian path table
}

// Flags of a directory record.
const (
	flagDir        = 0x02
	flagMoreExtent = 0x80 // the file goes on with the next record
)

// encode makes the directory's records and what they have no room for. Sizes do not depend on where anything lies, so a first
// call tells how many blocks to take.
func (d *dir) encode(s *set, empty int64) (records, overrun []byte) {
	own := d.place[s.index]
	c := &continuation{start: uint32(own.block + own.records - s.base)}
	w := recordWriter{set: s, continuation: c}

	self := [][]byte{px(d.node), tf(d.node.ModTime)}
	if d.parent == d {
		self = append(append([][]byte{sp()}, self...), er())
	}
	w.directory("\x00", d, self)
	w.directory("\x01", d.parent, [][]byte{px(d.parent.node), tf(d.parent.node.ModTime)})
	for _, e := range d.entries {
		fields := append([][]byte{px(e.node), tf(e.node.ModTime)}, nm(e.node.Name())...)
		switch {
		case e.dir != nil:
			w.directory(e.name.String(), e.dir, fields)
		case e.file != nil:
			w.file(e, fields)
		default:
			w.record(e.name.String(), e.node, empty-s.base, 0, 0, append(fields, sl(e.node.Link)...))
		}
	}
	return fillBlock(w.buf), fillBlock(c.buf)
}

type recordWriter struct {
	set          *set
	continuation *continuation
	buf          []byte
}

func (w *recordWriter) directory(id string, d *dir, fields [][]byte) {
	p := d.place[w.set.index]
	w.record(id, d.node, p.block-w.set.base, p.records*blockSize, flagDir, fields)
}

// file writes one record for each 4 GiB that a file has.
func (w *recordWriter) file(e *entry, fields [][]byte) {
	block, left := e.file.block-w.set.base, e.file.content.Size()
	for ; left > maxExtent; left -= maxExtent {
		w.record(e.name.String(), e.node, block, maxExtent, flagMoreExtent, fields)
		block += maxExtent / blockSize
	}
	w.record(e.name.String(), e.node, block, left, 0, fields)
}

// record appends a directory record; none crosses a block's border.
//
//	0 length; 1 length of the extended attribute record: 0; 2 first block (both orders); 10 bytes (both); 18 time
//	25 flags; 26 interleaving: 0, 0; 28 volume: 1 (both); 32 length of the identifier; 33 identifier, filled up to even; system use area
func (w *recordWriter) record(id string, n tree.Node, block, size int64, flags byte, fields [][]byte) {
	const maxRecord = 254 // one byte, and even
	r := []byte{0, 0}
	r = both32(r, uint32(block))
	r = both32(r, uint32(size))
	r = append(r, shortTime(n.ModTime)...)
	r = append(r, flags, 0, 0)
	r = both16(r, 1)
	r = append(append(r, byte(len(id))), id...)
	r = fillEven(r)
	r = append(r, w.continuation.place(maxRecord-len(r), fields)...)
	r = fillEven(r)
	r[0] = byte(len(r))
	if len(w.buf)%blockSize+len(r) > blockSize {
		w.buf = fillBlock(w.buf)
	}
	w.buf = append(w.buf, r...)
}

// pathTable lists all directories by depth, parent and name, each with its block and its parent's number.
func pathTable(dirs []*dir, s *set, order binary.AppendByteOrder) []byte {
	var b []byte
	for _, d := range dirs {
		id := d.name.base
		if d.parent == d {
			id = "\x00"
		}
		b = append(b, byte(len(id)), 0)
		b = order.AppendUint32(b, uint32(d.place[s.index].block-s.base))
		b = order.AppendUint16(b, uint16(d.parent.number))
		b = fillEven(append(b, id...))
	}
	return b
}

func fillEven(b []byte) []byte { return append(b, make([]byte, len(b)&1)...) }

func fillBlock(b []byte) []byte {
	return append(b, bytes.Repeat([]byte{0}, -len(b)&(blockSize-1))...)
}
