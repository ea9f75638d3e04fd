package squashfs

import "math"

// entry is one of a directory that is being written.
type entry struct {
	name   string
	inode  uint64 // reference
	number uint32
	typ    uint16 // basic
}

// listing says where a directory's entries are.
type listing struct {
	start   uint64 // reference
	size    int64
	index   []byte
	indexes int
}

// writeListing writes the entries of a directory, which are in order of their names, to the directory table. Wherever the
// listing enters a further metadata block, a run begins and gets an entry in the index, so that the kernel has to uncompress
// one block to find a name.
func writeListing(m *metaWriter, entries []entry) (listing, error) {
	l := listing{start: m.ref()}
	block := refBlock(l.start)
	for len(entries) > 0 {
		at := m.ref()
		run := entries[:runLength(entries, refOffset(at))]
		entries = entries[len(run):]
		if refBlock(at) != block && l.indexes < math.MaxUint16 { // a directory of more than 500 MB is searched from there on
			block = refBlock(at)
			l.index = encode(l.index, dirIndex{uint32(l.size), uint32(block), uint32(len(run[0].name) - 1)})
			l.index = append(l.index, run[0].name...)
			l.indexes++
		}
		p := encodeRun(run)
		l.size += int64(len(p))
		if err := m.write(p); err != nil {
			return l, err
		}
	}
	return l, nil
}

// runLength says how many entries can follow one header that is at an offset of a metadata block: those whose inodes start in
// the same metadata block, have near numbers, and that start in this block themselves.
func runLength(entries []entry, at int) int {
	at += dirHeaderSize
	for i, e := range entries {
		delta := int64(e.number) - int64(entries[0].number)
		if i == maxDirRun || refBlock(e.inode) != refBlock(entries[0].inode) || delta != int64(int16(delta)) ||
			i > 0 && at >= metaBlockSize {
			return i
		}
		at += dirEntrySize + len(e.name)
	}
	return len(entries)
}

func encodeRun(run []entry) []byte {
	p := encode(nil, dirHeader{uint32(len(run) - 1), uint32(refBlock(run[0].inode)), run[0].number})
	for _, e := range run {
		p = encode(p, dirEntry{uint16(refOffset(e.inode)), int16(e.number - run[0].number), e.typ, uint16(len(e.name) - 1)})
		p = append(p, e.name...)
	}
	return p
}
