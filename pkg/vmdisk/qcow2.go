package vmdisk

import (
	"encoding/binary"
	"io"
	"math/bits"
)

var be = binary.BigEndian

const (
	qcow2Magic   = "QFI\xfb"
	minCluster   = 512
	maxCluster   = 2 * mib
	maxL1Bytes   = 16 * mib // of the L1 table: half of what QEMU takes, which keeps the refcount table below QEMU's 8 MiB too
	entrySize    = 8        // of all tables but refcount blocks
	refcountSize = 2        // bytes, in a refcount block
	copied       = 1 << 63  // in a table's entry: the refcount is 1
	qcow2Header  = 112      // bytes
)

// qcow2MaxSize is what the largest L1 table covers.
func qcow2MaxSize(cluster int64) int64 {
	return min(maxL1Bytes/entrySize*(cluster/entrySize)*cluster, maxSize)
}

// qcow2 is where everything of a QCOW2 file is. All counts are of clusters.
type qcow2 struct {
	cluster   int64 // bytes
	size      int64 // of the disk, bytes
	extents   []extent
	blocks    int64 // with data
	tables    int64 // L2
	l1Entries int64
	l1        int64
	refBlocks int64
	refTable  int64
}

func newQCOW2(raw image, cluster int64) (image, error) {
	extents, size, err := scan(raw, int(cluster))
	if err != nil {
		return nil, err
	}
	q := planQCOW2(cluster, size, extents)
	return func(w io.WriterAt) (int64, error) {
		_, err := appendTo(w, func(w io.Writer) error {
			if err := q.writeTables(w); err != nil {
				return err
			}
			return replay(raw, int(cluster), extents, func(b []byte) error {
				_, err := w.Write(b)
				return err
			})
		})
		return q.total() * cluster, err // the disk's last cluster may be shorter than the file's
	}, nil
}

func planQCOW2(cluster, size int64, extents []extent) *qcow2 {
	perTable := cluster / entrySize
	q := &qcow2{cluster: cluster, size: size, extents: extents}
	q.l1Entries = roundUp(size, cluster*perTable) / (cluster * perTable)
	q.l1 = roundUp(q.l1Entries*entrySize, cluster) / cluster
	last := int64(-1)
	for _, e := range extents {
		first, end := e.first/perTable, (e.first+e.count-1)/perTable
		q.blocks += e.count
		q.tables += end - max(first, last+1) + 1
		last = end
	}
	for { // refcounts are counted too
		refBlocks := roundUp(q.total(), cluster/refcountSize) / (cluster / refcountSize)
		refTable := roundUp(refBlocks*entrySize, cluster) / cluster
		if refBlocks == q.refBlocks && refTable == q.refTable {
			return q
		}
		q.refBlocks, q.refTable = refBlocks, refTable
	}
}

// total is the file's length.
func (q *qcow2) total() int64 {
	return 1 + q.refTable + q.refBlocks + q.l1 + q.tables + q.blocks
}

// writeTables writes all that comes before the data.
func (q *qcow2) writeTables(w io.Writer) error {
	for _, write := range []func(io.Writer) error{q.writeHeader, q.writeRefcounts, q.writeL1, q.writeL2} {
		if err := write(w); err != nil {
			return err
		}
	}
	return nil
}

func (q *qcow2) writeHeader(w io.Writer) error {
	b := make([]byte, q.cluster)
	copy(b, qcow2Magic)
	be.PutUint32(b[4:], 3) // version
	// 8: no backing file (8 bytes its place, 4 its name's length)
	be.PutUint32(b[20:], uint32(bits.TrailingZeros64(uint64(q.cluster))))
	be.PutUint64(b[24:], uint64(q.size))
	// 32: not encrypted (4 bytes)
	be.PutUint32(b[36:], uint32(q.l1Entries))
	be.PutUint64(b[40:], uint64((1+q.refTable+q.refBlocks)*q.cluster)) // L1 table
	be.PutUint64(b[48:], uint64(q.cluster))                            // refcount table
	be.PutUint32(b[56:], uint32(q.refTable))
	// 60: no snapshots (4 bytes their number, 8 their place)
	// 72: no incompatible, compatible or autoclear features (8 bytes each)
	be.PutUint32(b[96:], 4) // a refcount has 1<<4 bits
	be.PutUint32(b[100:], qcow2Header)
	// 104: compression type zlib, were there something compressed (1 byte); 112: the end of extensions (8 bytes)
	_, err := w.Write(b)
	return err
}

func (q *qcow2) writeRefcounts(w io.Writer) error {
	b := make([]byte, q.refTable*q.cluster)
	for i := range q.refBlocks {
		be.PutUint64(b[i*entrySize:], uint64((1+q.refTable+i)*q.cluster))
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	b = make([]byte, q.cluster)
	for i := range b {
		b[i] = byte(i % refcountSize) // 0x0001
	}
	perBlock := q.cluster / refcountSize
	for left := q.total(); left > 0; left -= perBlock {
		if left < perBlock {
			clear(b[left*refcountSize:])
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func (q *qcow2) writeL1(w io.Writer) error {
	b := make([]byte, q.l1*q.cluster)
	perTable, last, at := q.cluster/entrySize, int64(-1), 1+q.refTable+q.refBlocks+q.l1
	for _, e := range q.extents {
		for i := max(e.first/perTable, last+1); i <= (e.first+e.count-1)/perTable; i++ {
			be.PutUint64(b[i*entrySize:], uint64(at*q.cluster)|copied)
			last = i
			at++
		}
	}
	_, err := w.Write(b)
	return err
}

func (q *qcow2) writeL2(w io.Writer) error {
	b := make([]byte, q.cluster)
	perTable, table, at := q.cluster/entrySize, int64(-1), q.total()-q.blocks
	for _, e := range q.extents {
		for i := e.first; i < e.first+e.count; i++ {
			if i/perTable != table {
				if table >= 0 {
					if _, err := w.Write(b); err != nil {
						return err
					}
					clear(b)
				}
				table = i / perTable
			}
			be.PutUint64(b[i%perTable*entrySize:], uint64(at*q.cluster)|copied)
			at++
		}
	}
	if table < 0 {
		return nil
	}
	_, err := w.Write(b)
	return err
}
