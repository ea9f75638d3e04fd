package xfs

import (
	"errors"
	"fmt"

	"github.com/talosmith/talosmith/pkg/tree"
)

var errDir = errors.New("an entry does not fit its block")

// Entries implements [tree.Volume].
func (v *volume) Entries(dir uint64, found func(name string, number uint64) error) error {
	in, err := v.readInode(dir)
	if err != nil {
		return err
	}
	if in.form == formLocal {
		return readShortDir(in, found)
	}
	extents, err := v.readExtents(in)
	if err != nil {
		return err
	}
	for _, e := range extents {
		if e.At >= hashStart*blockSize {
			break // hashes and free space say nothing new
		}
		if e.At%v.dirBlock != 0 || e.Size%v.dirBlock != 0 {
			return errors.New("not supported: a directory block in pieces")
		}
		for at := int64(0); at < e.Size; at += v.dirBlock {
			if v.dirBlocks++; v.dirBlocks > maxDirBlocks {
				return fmt.Errorf("not supported: more than %d directory blocks", maxDirBlocks)
			}
			b := make([]byte, v.dirBlock)
			if err := tree.ReadFull(v.r, b, e.Off+at); err != nil {
				return err
			}
			if err := readDirBlock(b, in.number, found); err != nil {
				return fmt.Errorf("block at byte %d: %w", e.Off+at, err)
			}
		}
	}
	return nil
}

// readShortDir reads a directory that its inode holds.
func readShortDir(in *rawInode, found func(name string, number uint64) error) error {
	if in.size < 6 || in.size > int64(len(in.fork)) {
		return fmt.Errorf("%d bytes in an inode's %d", in.size, len(in.fork))
	}
	b := in.fork[:in.size]
	width, count := 4, int(b[0])
	if b[1] > 0 { // some inode number has more than 32 bits
		width = 8
	}
	b = b[min(2+width, len(b)):]
	for range count {
		if len(b) < 3 || len(b) < 3+int(b[0])+1+width {
			return errDir
		}
		name := string(b[3:][:b[0]])
		b = b[3+len(name)+1:]
		number := uint64(0)
		for _, c := range b[:width] {
			number = number<<8 | uint64(c)
		}
		if err := found(name, number); err != nil {
			return err
		}
		b = b[width:]
	}
	return nil
}

// readDirBlock reads the entries of a data block.
func readDirBlock(b []byte, owner uint64, found func(name string, number uint64) error) error {
	end := len(b)
	switch magic := be.Uint32(b); {
	case magic != magicDirData && magic != magicDirBlock || be.Uint64(b[40:]) != owner:
		return errors.New("is none of this directory")
	case !sealed(b, dirDataCRC):
		return errors.New("the checksum is wrong")
	case magic == magicDirBlock:
		count := int64(be.Uint32(b[end-blockTail:]))
		if count > int64(end-dirHead-blockTail)/hashEntry {
			return fmt.Errorf("%d hashes in %d bytes", count, end)
		}
		end -= blockTail + int(count)*hashEntry
	}
	for b = b[dirHead:end]; len(b) > 0; {
		if len(b) < 8 {
			return errDir
		}
		if be.Uint16(b) == freeTag {
			gap := int(be.Uint16(b[2:]))
			if gap < 8 || gap%8 != 0 || gap > len(b) {
				return fmt.Errorf("a gap of %d bytes in %d", gap, len(b))
			}
			b = b[gap:]
			continue
		}
		if len(b) < 12 || b[8] == 0 || int(entrySizeOf(int64(b[8]))) > len(b) {
			return errDir
		}
		if name := string(b[9:][:b[8]]); name != "." && name != ".." {
			if err := found(name, be.Uint64(b)); err != nil {
				return err
			}
		}
		b = b[entrySizeOf(int64(b[8])):]
	}
	return nil
}
