package vmdisk

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Reader is the raw disk in a file of another format.
type Reader struct {
	Format Format
	// Size of the disk in bytes.
	Size int64
	// ClusterSize of QCOW2, in bytes.
	ClusterSize int64
	layout
}

// ErrFormat is the error of [NewReader] for what is none of its formats; a raw disk is not told from other files.
var ErrFormat = errors.New("neither QCOW2 nor VHD, VMDK or OVA")

// layout reads from a disk, at offsets that the disk has.
type layout interface {
	readAt(p []byte, off int64) error
}

// NewReader finds out the format of a file of size bytes.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	f := file{r, size}
	for _, format := range []struct {
		format Format
		offset int64 // of the magic
		magic  string
		open   func(file) (*Reader, error)
	}{
		{QCOW2, 0, qcow2Magic, openQCOW2},
		{VMDK, 0, vmdkMagic, openVMDK},
		{OVA, 257, "ustar", openOVA},
		{VHD, size - sector, vhdMagic, openVHD},
	} {
		magic := make([]byte, len(format.magic))
		if err := f.read(magic, format.offset); err != nil {
			if errors.Is(err, errBeyond) {
				continue
			}
			return nil, fmt.Errorf("read disk: %w", err)
		}
		if string(magic) != format.magic {
			continue
		}
		d, err := format.open(f)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", format.format, err)
		}
		d.Format = format.format
		return d, nil
	}
	return nil, fmt.Errorf("read disk: %w", ErrFormat)
}

// ReadAt implements [io.ReaderAt]. It may be called by several goroutines.
func (d *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s: negative offset %d", d.Format, off)
	}
	n := int(min(int64(len(p)), max(0, d.Size-off)))
	if n > 0 {
		if err := d.readAt(p[:n], off); err != nil {
			return 0, fmt.Errorf("read %s: %w", d.Format, err)
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// file is what a disk is in. Its size bounds all that is read, and all that is believed.
type file struct {
	r    io.ReaderAt
	size int64
}

var errBeyond = errors.New("beyond the end of the file")

func (f file) read(p []byte, off int64) error {
	if off < 0 || off > f.size || int64(len(p)) > f.size-off {
		return fmt.Errorf("%d bytes at byte %d of %d: %w", len(p), off, f.size, errBeyond)
	}
	return tree.ReadFull(f.r, p, off)
}

// plain is a disk that lies in the file as it is.
type plain struct{ file }

func (p plain) readAt(b []byte, off int64) error { return p.read(b, off) }

// table reads numbers of a table; it keeps the page that was read last.
type table struct {
	f    file
	at   int64 // of page, -1 without one
	page [4096]byte
}

// entry returns the bytes of an entry at an offset of the file, which is a multiple of the entry's size.
func (t *table) entry(off int64, size int) ([]byte, error) {
	const pageSize = int64(len(t.page))
	if off%int64(size) != 0 {
		return nil, fmt.Errorf("table entry at byte %d: not a multiple of its size, %d", off, size)
	}
	if off < 0 || off > t.f.size-int64(size) {
		return nil, fmt.Errorf("table entry at byte %d of %d: %w", off, t.f.size, errBeyond)
	}
	if at := off / pageSize * pageSize; at != t.at {
		t.at = -1
		n := min(pageSize, t.f.size-at)
		if err := t.f.read(t.page[:n], at); err != nil {
			return nil, err
		}
		t.at = at
	}
	return t.page[off-t.at:][:size], nil
}

// piece is where a block of a disk is: nowhere (zeros), somewhere in the file, or there in length bytes that must be unpacked.
type piece struct {
	at     int64
	length int64 // 0 when not packed
	zero   bool
}

// unpack fills dst, at least its first need bytes. The disk's last block may have no more.
type unpack func(dst, packed []byte, need int64) error

// blocks is a disk that is kept in blocks.
type blocks struct {
	f     file
	size  int64 // of the disk
	block int64
	find  func(index int64) (piece, error)
	unpack

	mu     sync.Mutex
	index  int64 // of the block in unpacked, -1 without one
	packed []byte
	whole  []byte
}

func (b *blocks) readAt(p []byte, off int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(p) > 0 {
		index, within := off/b.block, off%b.block
		n := min(int64(len(p)), b.block-within)
		if err := b.readBlock(p[:n], index, within); err != nil {
			return fmt.Errorf("block %d of %d bytes: %w", index, b.block, err)
		}
		p, off = p[n:], off+n
	}
	return nil
}

func (b *blocks) readBlock(p []byte, index, within int64) error {
	at, err := b.find(index)
	switch {
	case err != nil:
		return err
	case at.zero:
		clear(p)
		return nil
	case at.length == 0:
		return b.f.read(p, at.at+within)
	}
	if b.index != index || b.whole == nil {
		if err := b.unpackBlock(at, index); err != nil {
			b.index = -1
			return err
		}
		b.index = index
	}
	copy(p, b.whole[within:])
	return nil
}

func (b *blocks) unpackBlock(at piece, index int64) error {
	if b.whole == nil {
		b.whole = make([]byte, b.block)
	}
	if int64(cap(b.packed)) < at.length {
		b.packed = make([]byte, at.length)
	}
	packed := b.packed[:at.length]
	if err := b.f.read(packed, at.at); err != nil {
		return err
	}
	if err := b.unpack(b.whole, packed, min(b.block, b.size-index*b.block)); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	return nil
}

func openVHD(f file) (*Reader, error) {
	b := make([]byte, sector)
	if err := f.read(b, f.size-sector); err != nil {
		return nil, err
	}
	if got, want := be.Uint32(b[64:]), vhdChecksum(b); got != want {
		return nil, fmt.Errorf("footer: checksum is %08x, not %08x", got, want)
	}
	if kind := be.Uint32(b[60:]); kind != vhdFixed {
		return nil, fmt.Errorf("footer: disk of type %d: only fixed disks (%d) are supported", kind, vhdFixed)
	}
	if size := be.Uint64(b[48:]); size != uint64(f.size-sector) {
		return nil, fmt.Errorf("footer: a disk of %d bytes in a file of %d", size, f.size)
	}
	return &Reader{Size: f.size - sector, layout: plain{f}}, nil
}

// maxMembers is how many members of an OVA are looked at.
const maxMembers = 100

// openOVA opens the first VMDK of an archive.
func openOVA(f file) (*Reader, error) {
	s := io.NewSectionReader(f.r, 0, f.size)
	t := tar.NewReader(s)
	for range maxMembers {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		at, err := s.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		magic := make([]byte, len(vmdkMagic))
		if _, err := io.ReadFull(t, magic); err != nil || !bytes.Equal(magic, []byte(vmdkMagic)) {
			continue
		}
		if h.Typeflag != tar.TypeReg || h.Size > f.size-at {
			return nil, fmt.Errorf("member %.100q: not a plain file within the archive", h.Name)
		}
		return openVMDK(file{io.NewSectionReader(f.r, at, h.Size), h.Size})
	}
	return nil, fmt.Errorf("no VMDK among its first %d members", maxMembers)
}
