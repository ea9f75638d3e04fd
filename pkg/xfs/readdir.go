package xfs

import (
	"errors"
	"fmt"
)

// dirEntry is an entry as it is read.
type dirEntry struct {
	name   string
	number uint64
}

var errDir = errors.New("an entry does not fit its block")

// readDir returns the entries of a directory, without "." and "..".
func (v *volume) readDir(in *rawInode) (entries []dirEntry, err error) {
	if in.form == formLocal {
		return readShortDir(in)
	}
	extents, err := v.readExtents(in)
	if err != nil {
		return nil, err
	}
	for _, e := range extents {
		if e.at >= hashStart*blockSize {
			break // hashes and free space say nothing new
		}
		if e.at%v.dirBlock != 0 || e.size%v.dirBlock != 0 {
			return nil, errors.New("not supported: a directory block in pieces")
		}
		for at := int64(0); at < e.size; at += v.dirBlock {
			if v.dirBlocks++; v.dirBlocks > maxDirBlocks {
				return nil, fmt.Errorf("not supported: more than %d directory blocks", maxDirBlocks)
			}
			b := make([]byte, v.dirBlock)
			if err := v.readAt(b, e.off+at); err != nil {
				return nil, err
			}
			if entries, err = readDirBlock(entries, b, in.number); err != nil {
				return nil, fmt.Errorf("block at byte %d: %w", e.off+at, err)
			}
		}
	}
	return entries, nil
}

// readShortDir reads a directory that its inode holds.
func readShortDir(in *rawInode) (entries []dirEntry, err error) {
	if in.size < 6 || in.size > int64(len(in.fork)) {
		return nil, fmt.Errorf("%d bytes in an inode's %d", in.size, len(in.fork))
	}
	b := in.fork[:in.size]
	width, count := 4, int(b[0])
	if b[1] > 0 { // some inode number has more than 32 bits
		width = 8
	}
	b = b[min(2+width, len(b)):]
	for range count {
		if len(b) < 3 || len(b) < 3+int(b[0])+1+width {
			return nil, errDir
		}
		name := string(b[3:][:b[0]])
		b = b[3+len(name)+1:]
		number := uint64(0)
		for _, c := range b[:width] {
			number = number<<8 | uint64(c)
		}
		entries = append(entries, dirEntry{name, number})
		b = b[width:]
	}
	return entries, nil
}

// readDirBlock appends the entries of a data block.
func readDirBlock(entries []dirEntry, b []byte, owner uint64) ([]dirEntry, error) {
	end := len(b)
	switch magic := be.Uint32(b); {
	case magic != magicDirData && magic != magicDirBlock || be.Uint64(b[40:]) != owner:
		return nil, errors.New("is none of this directory")
	case !sealed(b, dirDataCRC):
		return nil, errors.New("the checksum is wrong")
	case magic == magicDirBlock:
		count := int64(be.Uint32(b[end-blockTail:]))
		if count > int64(end-dirHead-blockTail)/hashEntry {
			return nil, fmt.Errorf("%d hashes in %d bytes", count, end)
		}
		end -= blockTail + int(count)*hashEntry
	}
	for b = b[dirHead:end]; len(b) > 0; {
		if len(b) < 8 {
			return nil, errDir
		}
		if be.Uint16(b) == freeTag {
			gap := int(be.Uint16(b[2:]))
			if gap < 8 || gap%8 != 0 || gap > len(b) {
				return nil, fmt.Errorf("a gap of %d bytes in %d", gap, len(b))
			}
			b = b[gap:]
			continue
		}
		if len(b) < 12 || b[8] == 0 || int(entrySizeOf(int64(b[8]))) > len(b) {
			return nil, errDir
		}
		if name := string(b[9:][:b[8]]); name != "." && name != ".." {
			entries = append(entries, dirEntry{name, be.Uint64(b)})
		}
		b = b[entrySizeOf(int64(b[8])):]
	}
	return entries, nil
}
