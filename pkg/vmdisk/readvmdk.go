package vmdisk

import (
	"bytes"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/zlib"
)

const (
	flagCompressed = 1 << 16
	flagMarkers    = 1 << 17
	minGrain       = 8    // sectors
	maxGrain       = 4096 // sectors: 2 MiB
	maxGrainTable  = 4096 // entries
	markerEntries  = 4    // bytes of an entry of grain directory and tables
)

// vmdkReader finds grains.
type vmdkReader struct {
	f             file
	grain         int64 // sectors
	perTable      int64
	directory     int64 // offset
	directoryPage table
	tablePage     table
}

func openVMDK(f file) (*Reader, error) {
	b := make([]byte, sector)
	if err := f.read(b, 0); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if le.Uint64(b[56:]) == atEnd {
		if err := f.read(b, f.size-2*sector); err != nil {
			return nil, fmt.Errorf("footer: %w", err)
		}
		if string(b[:4]) != vmdkMagic || le.Uint64(b[56:]) == atEnd {
			return nil, fmt.Errorf("footer: it is missing: the file has been cut off or has something behind its end")
		}
	}
	flags, capacity, directory := le.Uint32(b[8:]), le.Uint64(b[12:]), le.Uint64(b[56:])
	grainSectors, perTable := le.Uint64(b[20:]), le.Uint32(b[44:])
	switch {
	case le.Uint32(b[4:]) < 1 || le.Uint32(b[4:]) > 3:
		return nil, fmt.Errorf("header: version %d: only 1 to 3 are known", le.Uint32(b[4:]))
	case flags&flagCompressed == 0 || flags&flagMarkers == 0 || le.Uint16(b[77:]) != 1:
		return nil, fmt.Errorf("header: not stream-optimised (flags %#x, compression %d): no other VMDK is supported", flags, le.Uint16(b[77:]))
	case capacity > maxRead/sector:
		return nil, fmt.Errorf("header: a disk of %d sectors: more than %d are not supported", capacity, int64(maxRead/sector))
	case grainSectors < minGrain || grainSectors > maxGrain || bits.OnesCount64(grainSectors) != 1:
		return nil, fmt.Errorf("header: grains of %d sectors: they have a power of two from %d to %d", grainSectors, minGrain, maxGrain)
	case perTable < 1 || perTable > maxGrainTable:
		return nil, fmt.Errorf("header: grain tables of %d entries: they have from 1 to %d", perTable, maxGrainTable)
	case directory > uint64(f.size/sector):
		return nil, fmt.Errorf("header: grain directory in sector %d of a file of %d bytes: %w", directory, f.size, errBeyond)
	}
	v := &vmdkReader{f: f, grain: int64(grainSectors), perTable: int64(perTable), directory: int64(directory) * sector}
	v.directoryPage, v.tablePage = table{f: f, at: -1}, table{f: f, at: -1}
	disk := &blocks{f: f, size: int64(capacity) * sector, block: v.grain * sector, find: v.find, unpack: inflateGrain}
	return &Reader{Size: disk.size, layout: disk}, nil
}

func (v *vmdkReader) find(index int64) (piece, error) {
	b, err := v.directoryPage.entry(v.directory+index/v.perTable*markerEntries, markerEntries)
	if err != nil {
		return piece{}, fmt.Errorf("grain directory: %w", err)
	}
	grainTable := int64(le.Uint32(b)) * sector
	if grainTable == 0 {
		return piece{zero: true}, nil
	}
	if b, err = v.tablePage.entry(grainTable+index%v.perTable*markerEntries, markerEntries); err != nil {
		return piece{}, fmt.Errorf("grain table: %w", err)
	}
	at := int64(le.Uint32(b)) * sector
	if at <= sector { // sector 1 stands for zeros; sector 0 for none
		return piece{zero: true}, nil
	}
	return v.grainAt(index, at)
}

// grainAt reads the head of a grain.
func (v *vmdkReader) grainAt(index, at int64) (piece, error) {
	b := make([]byte, grainHead)
	if err := v.f.read(b, at); err != nil {
		return piece{}, fmt.Errorf("grain: %w", err)
	}
	length := int64(le.Uint32(b[8:]))
	if got, want := le.Uint64(b), uint64(index*v.grain); got != want {
		return piece{}, fmt.Errorf("grain at byte %d: it is of sector %d, not %d", at, got, want)
	}
	if most := 2 * v.grain * sector; length == 0 || length > most {
		return piece{}, fmt.Errorf("grain at byte %d: %d compressed bytes: there are from 1 to %d", at, length, most)
	}
	return piece{at: at + grainHead, length: length}, nil
}

// inflateGrain unpacks a grain, all of it, for the checksum at its end.
func inflateGrain(dst, packed []byte, need int64) error {
	r, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	whole, err := io.ReadAll(io.LimitReader(r, int64(len(dst))+1))
	switch {
	case err != nil:
		return err
	case len(whole) > len(dst):
		return fmt.Errorf("more than %d bytes", len(dst))
	case int64(len(whole)) < need:
		return fmt.Errorf("%d of %d bytes", len(whole), need)
	}
	clear(dst[copy(dst, whole):]) // some writers cut off the disk's last grain
	return nil
}
