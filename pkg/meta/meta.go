// Package meta writes and reads Talos's META partition: a few values that a node keeps between installations.
//
// Byte map of the partition, 1 MiB, numbers big-endian:
//
//	0        a block of 256 KiB
//	262144   the same block again
//	524288   zeros; the last 1024 bytes belong to an older format (syslinux's ADV)
//
// A block:
//
//	0        u32 magic 0x5a4b3c2d
//	4        entries: u32 key, u32 length in bytes, the value; key 0 ends them
//	262108   SHA-256 of the block with these 32 bytes zero
//	262140   u32 magic 0xa5b4c3d2
//
// A partition of zeros has no values. Source: internal/pkg/meta/internal/adv/talos in
// https://github.com/siderolabs/talos/tree/v1.13.9.
//
// # Not supported
//
// The older format.
package meta

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Version is part of the keys of what is stored: raise it when the bytes change.
const Version = "1"

// Size of the partition in bytes.
const Size = 1 << 20

const (
	blockSize  = 256 << 10
	copies     = 2
	magicStart = 0x5a4b3c2d
	magicEnd   = 0xa5b4c3d2
	entryHead  = 8 // bytes before an entry's value

	entriesAt = 4
	sumAt     = 262108
	endAt     = 262140
)

// Room is the number of bytes that all entries may take: 8 and the value's for each.
const Room = sumAt - entriesAt

// Value of the store.
type Value struct {
	Key   uint8 // 1 to 255
	Value string
}

var be = binary.BigEndian

// Write returns the partition with values, by key. It refuses key 0, which would end the list, and a key given twice.
func Write(values []Value) ([]byte, error) {
	image := make([]byte, Size)
	if len(values) == 0 {
		return image, nil
	}
	block := image[:blockSize]
	be.PutUint32(block, magicStart)
	at, last := entriesAt, uint8(0)
	for _, v := range slices.SortedStableFunc(slices.Values(values), func(a, b Value) int { return int(a.Key) - int(b.Key) }) {
		switch {
		case v.Key == 0:
			return nil, errors.New("write META: key 0: it would end the list; use 1 to 255")
		case v.Key == last:
			return nil, fmt.Errorf("write META: key %d is given twice", v.Key)
		case len(v.Value) > sumAt-at-entryHead:
			return nil, fmt.Errorf("write META: key %d: %d bytes; of the %d for all entries %d are left", v.Key, entryHead+len(v.Value), Room, sumAt-at)
		}
		last = v.Key
		be.PutUint32(block[at:], uint32(v.Key))
		be.PutUint32(block[at+4:], uint32(len(v.Value)))
		at += entryHead + copy(block[at+entryHead:], v.Value)
	}
	be.PutUint32(block[endAt:], magicEnd)
	sum := sha256.Sum256(block)
	copy(block[sumAt:], sum[:])
	copy(image[blockSize:], block)
	return image, nil
}

// Read reads the values of a partition, by key. Where the first block is damaged, the second is taken; of a key that is there
// twice, the last value.
func Read(r io.ReaderAt) ([]Value, error) {
	var errs []error
	for i := range copies {
		values, err := readBlock(io.NewSectionReader(r, int64(i)*blockSize, blockSize))
		if err == nil {
			return values, nil
		}
		errs = append(errs, fmt.Errorf("block %d: %w", i+1, err))
	}
	return nil, fmt.Errorf("read META: %w", errors.Join(errs...))
}

func readBlock(r io.Reader) ([]Value, error) {
	block := make([]byte, blockSize)
	if _, err := io.ReadFull(r, block); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if len(bytes.TrimLeft(block, "\x00")) == 0 {
		return nil, nil
	}
	if start, end := be.Uint32(block), be.Uint32(block[endAt:]); start != magicStart || end != magicEnd {
		return nil, fmt.Errorf("starts with %#08x and ends with %#08x, not with %#x and %#x", start, end, magicStart, uint32(magicEnd))
	}
	sum := [sha256.Size]byte(block[sumAt:endAt])
	clear(block[sumAt:endAt])
	if sha256.Sum256(block) != sum {
		return nil, errors.New("the checksum is wrong")
	}
	found := map[uint8]string{}
	for b := block[entriesAt:sumAt]; len(b) >= entryHead; {
		key, size := be.Uint32(b), be.Uint32(b[4:])
		b = b[entryHead:]
		switch {
		case key == 0:
			b = nil
			continue
		case key > 255:
			return nil, fmt.Errorf("key %d: Talos knows 1 to 255", key)
		case int64(size) > int64(len(b)):
			return nil, fmt.Errorf("key %d: its %d bytes end behind the entries", key, size)
		}
		found[uint8(key)] = string(b[:size])
		b = b[size:]
	}
	var values []Value
	for _, key := range slices.Sorted(maps.Keys(found)) {
		values = append(values, Value{key, found[key]})
	}
	return values, nil
}
