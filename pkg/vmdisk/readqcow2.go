package vmdisk

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

const (
	featureDirty       = 1 << 0 // refcounts may be wrong, which a reader does not mind
	featureCompression = 1 << 3 // of another type than zlib
	zeroCluster        = 1 << 0 // in an entry of version 3
	packedCluster      = 1 << 62
	offsetBits         = 1<<56 - 1<<9 // of an entry
)

// qcow2Reader finds clusters.
type qcow2Reader struct {
	f           file
	version     uint32
	clusterBits uint
	l1          int64 // offset
	l1Entries   int64
	l1Page      table
	l2Page      table
}

func openQCOW2(f file) (*Reader, error) {
	b := make([]byte, 72)
	if err := f.read(b, 0); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	q := &qcow2Reader{f: f, version: be.Uint32(b[4:]), clusterBits: uint(be.Uint32(b[20:])), l1Entries: int64(be.Uint32(b[36:]))}
	q.l1Page, q.l2Page = table{f: f, at: -1}, table{f: f, at: -1}
	size, l1 := be.Uint64(b[24:]), be.Uint64(b[40:])
	switch {
	case q.version != 2 && q.version != 3:
		return nil, fmt.Errorf("header: version %d: only 2 and 3 are known", q.version)
	case be.Uint64(b[8:]) != 0:
		return nil, fmt.Errorf("header: the disk needs a backing file, which is not supported")
	case q.clusterBits < 9 || q.clusterBits > 21:
		return nil, fmt.Errorf("header: clusters of 1<<%d bytes: they have from 1<<9 to 1<<21", q.clusterBits)
	case size > maxRead:
		return nil, fmt.Errorf("header: a disk of %d bytes: more than %d are not supported", size, int64(maxRead))
	case be.Uint32(b[32:]) != 0:
		return nil, fmt.Errorf("header: encrypted (method %d), which is not supported", be.Uint32(b[32:]))
	case l1 > uint64(f.size):
		return nil, fmt.Errorf("header: L1 table at byte %d of %d: %w", l1, f.size, errBeyond)
	}
	q.l1 = int64(l1)
	cluster := int64(1) << q.clusterBits
	if covered := q.l1Entries << (2*q.clusterBits - 3); int64(size) > covered {
		return nil, fmt.Errorf("header: a disk of %d bytes with an L1 table for %d", size, covered)
	}
	unpack, err := q.unpacker()
	if err != nil {
		return nil, err
	}
	disk := &blocks{f: f, size: int64(size), block: cluster, find: q.find, unpack: unpack}
	return &Reader{Size: disk.size, ClusterSize: cluster, layout: disk}, nil
}

// maxRead is the size of the largest disk that is read: offsets are far from overflow.
const maxRead = 1 << 52

// maxZstdWindow is what level 19 of zstd asks for at most.
const maxZstdWindow = 8 * mib

// unpacker says how clusters are compressed, from the fields that only version 3 has.
func (q *qcow2Reader) unpacker() (unpack, error) {
	if q.version == 2 {
		return inflater(), nil
	}
	b := make([]byte, 105)
	if err := q.f.read(b, 0); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	features := be.Uint64(b[72:])
	if more := features &^ (featureDirty | featureCompression); more != 0 {
		return nil, fmt.Errorf("header: incompatible features %#x are not supported", more)
	}
	if features&featureCompression == 0 {
		return inflater(), nil
	}
	if be.Uint32(b[100:]) < 105 || b[104] != 1 {
		return nil, fmt.Errorf("header: compression of type %d: only zlib (0) and zstd (1) are known", b[104])
	}
	return unzstder()
}

func (q *qcow2Reader) find(index int64) (piece, error) {
	perTable := q.clusterBits - 3 // bits
	b, err := q.l1Page.entry(q.l1+index>>perTable*entrySize, entrySize)
	if err != nil {
		return piece{}, fmt.Errorf("L1 table: %w", err)
	}
	l2 := int64(be.Uint64(b) & offsetBits)
	if l2 == 0 {
		return piece{zero: true}, nil
	}
	if b, err = q.l2Page.entry(l2+index&(1<<perTable-1)*entrySize, entrySize); err != nil {
		return piece{}, fmt.Errorf("L2 table: %w", err)
	}
	entry := be.Uint64(b)
	at := int64(entry & offsetBits)
	switch {
	case entry&packedCluster != 0:
		return q.packed(entry)
	case at == 0 || q.version > 2 && entry&zeroCluster != 0:
		return piece{zero: true}, nil
	}
	return piece{at: at}, nil
}

// packed reads an entry of a compressed cluster: below bit 62, the number of sectors that it goes on into, and its offset. The
// last sector may end behind the file.
func (q *qcow2Reader) packed(entry uint64) (piece, error) {
	split := 62 - (q.clusterBits - 8)
	at := int64(entry & (1<<split - 1))
	sectors := int64(entry & (packedCluster - 1) >> split)
	if at >= q.f.size {
		return piece{}, fmt.Errorf("compressed cluster at byte %d of %d: %w", at, q.f.size, errBeyond)
	}
	return piece{at: at, length: min((sectors+1)*sector-at%sector, q.f.size-at)}, nil
}

// inflater reads no more than the cluster: what follows in the last sector is of others.
func inflater() unpack {
	r := flate.NewReader(nil)
	return func(dst, packed []byte, need int64) error {
		if err := r.(flate.Resetter).Reset(bytes.NewReader(packed), nil); err != nil {
			return err
		}
		_, err := io.ReadFull(r, dst[:need])
		return err
	}
}

func unzstder() (unpack, error) {
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
	return func(dst, packed []byte, need int64) error {
		if err := r.Reset(bytes.NewReader(packed)); err != nil {
			return err
		}
		_, err := io.ReadFull(r, dst[:need])
		return err
	}, err
}
