package ext4

import (
	"errors"
	"fmt"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Entries implements [tree.Volume]. What an index adds looks like entries for nothing.
func (v *volume) Entries(dir uint32, found func(name string, number uint32) error) error {
	in, err := v.readInode(dir)
	if err != nil {
		return err
	}
	extents, err := v.readExtents(in)
	if err != nil {
		return err
	}
	b := make([]byte, v.block)
	for _, e := range extents {
		for at := int64(0); at < e.Size && e.At+at < in.size; at += v.block {
			if v.dirBlocks++; v.dirBlocks > maxDirBlocks {
				return fmt.Errorf("not supported: more than %d directory blocks", maxDirBlocks)
			}
			err := tree.ReadFull(v.r, b, e.Off+at)
			if err == nil && v.checksums {
				err = checkDirBlock(b, in, e.At+at)
			}
			if err == nil {
				err = readDirBlock(b, found)
			}
			if err != nil {
				return fmt.Errorf("block at byte %d: %w", e.Off+at, err)
			}
		}
	}
	return nil
}

// checkDirBlock looks at the checksum of the block at a byte of a directory. Blocks of an index have theirs elsewhere; nothing is read
// from them.
func checkDirBlock(b []byte, in *rawInode, at int64) error {
	node := le.Uint32(b) == 0 && int(le.Uint16(b[4:])) == len(b) // which looks like one entry for nothing
	if in.flags&flagIndex != 0 && (at == 0 || node) {
		return nil
	}
	tail := b[len(b)-dirTail:]
	if le.Uint32(tail) != 0 || le.Uint16(tail[4:]) != dirTail || tail[6] != 0 || tail[7] != tailType {
		return errors.New("there is no checksum")
	}
	if le.Uint32(tail[8:]) != crc(in.seed, b[:len(b)-dirTail]) {
		return errors.New("the checksum is wrong")
	}
	return nil
}

// readDirBlock reads the entries of a block.
func readDirBlock(b []byte, found func(name string, number uint32) error) error {
	for block := len(b); len(b) > 0; {
		if len(b) < entryHead {
			return fmt.Errorf("%d bytes are no entry", len(b))
		}
		number, size, name := le.Uint32(b), int(le.Uint16(b[4:])), int(b[6])
		if block == 64<<10 && (size == 0 || size == 65535) { // what 16 bits cannot say
			size = block
		}
		switch {
		case size < entryHead || size%4 != 0 || size > len(b):
			return fmt.Errorf("an entry of %d bytes in %d", size, len(b))
		case number != 0 && (name == 0 || name > size-entryHead):
			return fmt.Errorf("a name of %d bytes in an entry of %d", name, size)
		}
		if name := string(b[entryHead:][:min(name, size-entryHead)]); number != 0 && name != "." && name != ".." {
			if err := found(name, number); err != nil {
				return err
			}
		}
		b = b[size:]
	}
	return nil
}
