package squashfs

import (
	"encoding/binary"
)

// metaWriter makes a table of metadata blocks in memory.
type metaWriter struct {
	c      compressor
	out    []byte   // finished blocks with their headers
	raw    []byte   // the block that is being filled; less than metaBlockSize
	starts []uint64 // where each finished block starts in out
	buf    []byte
}

// ref is the reference of what is written next.
func (m *metaWriter) ref() uint64 { return ref(int64(len(m.out)), len(m.raw)) }

// write adds to the table.
func (m *metaWriter) write(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), metaBlockSize-len(m.raw))
		m.raw = append(m.raw, p[:n]...)
		p = p[n:]
		if len(m.raw) == metaBlockSize {
			if err := m.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush ends the block that is being filled.
func (m *metaWriter) flush() error {
	if len(m.raw) == 0 {
		return nil
	}
	m.starts = append(m.starts, uint64(len(m.out)))
	packed, err := m.c.compress(m.buf[:0], m.raw)
	if err != nil {
		return err
	}
	m.buf = packed
	header := uint16(len(packed))
	if len(packed) >= len(m.raw) {
		packed, header = m.raw, uint16(len(m.raw))|storedMeta
	}
	m.out = binary.LittleEndian.AppendUint16(m.out, header)
	m.out = append(m.out, packed...)
	m.raw = m.raw[:0]
	return nil
}

// encode appends an on-disk struct.
func encode(p []byte, v any) []byte {
	p, err := binary.Append(p, binary.LittleEndian, v)
	if err != nil {
		panic(err) // v is no struct of fixed size: a mistake in this package
	}
	return p
}
