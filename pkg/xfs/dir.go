package xfs

import (
	"cmp"
	"math/bits"
	"slices"
)

const (
	// A directory's file has three parts, so that each can grow: data, hashes from 32 GiB on, free space from 64 GiB on.
	hashStart = 32 << 30 / blockSize
	freeStart = 64 << 30 / blockSize

	magicDirBlock = 0x58444233 // XDB3
	magicDirData  = 0x58444433 // XDD3
	magicDirFree  = 0x58444633 // XDF3
	magicHashOne  = 0x3df1     // the only block of hashes
	magicHashes   = 0x3dff     // one of many
	magicHashNode = 0x3ebe     // above them
	dirHead       = 64         // bytes, of any of these
	dirDataCRC    = 4
	dirHashCRC    = 12
	hashEntry     = 8
	blockTail     = 8
	hashesInBlock = (blockSize - dirHead) / hashEntry
	freesInBlock  = (blockSize - dirHead) / 2
	freeTag       = 0xffff // in the place of an inode number: a gap
)

// The forms of a directory, by size.
const (
	dirShort  = iota // in the inode
	dirBlock         // one block with everything
	dirHashed        // data blocks, one block of hashes
	dirTree          // data blocks, a tree of hashes, blocks of free space
)

// dirShape is what the names of a directory make of it.
type dirShape struct {
	form   int
	data   int64   // blocks
	hashes []int64 // blocks of hashes by level but the root, the leaves first
	frees  int64   // blocks
}

// shapeOf finds the first form that holds the entries.
func shapeOf(entries []entry) dirShape {
	short := 2 + 4
	for _, e := range entries {
		short += 1 + 2 + len(e.name) + 1 + 4
	}
	if short <= literalSize {
		return dirShape{form: dirShort}
	}
	var data, end int64 = 1, 0
	for _, e := range placeEntries(entries) {
		data, end = e.block+1, e.offset+entrySize(e.name)
	}
	count := int64(len(entries)) + 2
	if data == 1 && end+count*hashEntry+blockTail <= blockSize {
		return dirShape{form: dirBlock, data: 1}
	}
	if dirHead+count*hashEntry+2*data+4 <= blockSize {
		return dirShape{form: dirHashed, data: data}
	}
	s := dirShape{form: dirTree, data: data, frees: parts(data, freesInBlock)}
	for n := parts(count, hashesInBlock); n > 1; n = parts(n, hashesInBlock) {
		s.hashes = append(s.hashes, n)
	}
	return s
}

// needs are the blocks of the three parts.
func (s dirShape) needs() []extent {
	if s.form == dirShort {
		return nil
	}
	hashes := int64(1) // the root, which may be a leaf
	if s.form == dirBlock {
		hashes = 0
	}
	for _, n := range s.hashes {
		hashes += n
	}
	return []extent{{at: 0, count: s.data}, {at: hashStart, count: hashes}, {at: freeStart, count: s.frees}}
}

// entrySize is the room that an entry takes in a data block: inode, length, name, type, own offset, in whole 8 bytes.
func entrySize(name string) int64 { return entrySizeOf(int64(len(name))) }

func entrySizeOf(name int64) int64 { return (8 + 1 + name + 1 + 2 + 7) / 8 * 8 }

// placed is an entry in a data block.
type placed struct {
	entry
	block, offset int64
}

// address is how hashes point to an entry.
func (p placed) address() uint32 { return uint32((p.block*blockSize + p.offset) / 8) }

// placeEntries puts the entries one after another, "." and ".." first (their inodes are not known here).
func placeEntries(entries []entry) []placed {
	out := make([]placed, 0, len(entries)+2)
	block, offset := int64(0), int64(dirHead)
	put := func(e entry) {
		if offset+entrySize(e.name) > blockSize {
			block, offset = block+1, dirHead
		}
		out = append(out, placed{e, block, offset})
		offset += entrySize(e.name)
	}
	put(entry{name: "."})
	put(entry{name: ".."})
	for _, e := range entries {
		put(e)
	}
	return out
}

// shortDir returns a directory that its inode holds. Entries have the offset that they would have in a block.
func (in *inode) shortDir() []byte {
	b := []byte{byte(len(in.entries)), 0} // 0: none has an inode number of 64 bits
	b = be.AppendUint32(b, uint32(in.parent.number))
	for _, e := range placeEntries(in.entries)[2:] {
		b = append(b, byte(len(e.name)))
		b = be.AppendUint16(b, uint16(e.offset))
		b = append(b, e.name...)
		b = append(b, typeOf(e.Mode))
		b = be.AppendUint32(b, uint32(e.number))
	}
	return b
}

// hashName is XFS's hash of a name.
func hashName(name string) (hash uint32) {
	for ; len(name) >= 4; name = name[4:] {
		hash = uint32(name[0])<<21 ^ uint32(name[1])<<14 ^ uint32(name[2])<<7 ^ uint32(name[3]) ^ bits.RotateLeft32(hash, 28)
	}
	switch len(name) {
	case 3:
		return uint32(name[0])<<14 ^ uint32(name[1])<<7 ^ uint32(name[2]) ^ bits.RotateLeft32(hash, 21)
	case 2:
		return uint32(name[0])<<7 ^ uint32(name[1]) ^ bits.RotateLeft32(hash, 14)
	case 1:
		return uint32(name[0]) ^ bits.RotateLeft32(hash, 7)
	}
	return hash
}

// hashed is an entry of the hashes.
type hashed struct{ hash, address uint32 }

func hashesOf(entries []placed) []hashed {
	out := make([]hashed, len(entries))
	for i, e := range entries {
		out[i] = hashed{hashName(e.name), e.address()}
	}
	slices.SortFunc(out, func(a, b hashed) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.address, b.address))
	})
	return out
}

func putHashes(b []byte, hashes []hashed) {
	for i, h := range hashes {
		be.PutUint32(b[i*hashEntry:], h.hash)
		be.PutUint32(b[i*hashEntry+4:], h.address)
	}
}

// dirWriter makes the blocks of one directory.
type dirWriter struct {
	img *Image
	in  *inode
	// put writes a block at a place in the directory's file. The places ascend.
	put func(at int64, b []byte) error
}

// sector of a block of the directory's file.
func (w dirWriter) sector(at int64) uint64 {
	for _, e := range w.in.extents {
		if at >= e.at && at < e.at+e.count {
			return sector(e.block + at - e.at)
		}
	}
	panic("xfs: directory block without a place")
}

func (w dirWriter) write() error {
	entries := placeEntries(w.in.entries)
	entries[0].inode, entries[1].inode = w.in, w.in.parent
	hashes := hashesOf(entries)
	if w.in.dir.form == dirBlock {
		b, _ := w.data(0, entries, blockSize-blockTail-len(entries)*hashEntry)
		be.PutUint32(b, magicDirBlock)
		putHashes(b[blockSize-blockTail-len(entries)*hashEntry:], hashes)
		be.PutUint32(b[blockSize-blockTail:], uint32(len(entries)))
		seal(b, dirDataCRC)
		return w.put(0, b)
	}
	free := make([]uint16, w.in.dir.data) // the longest gap in each data block
	for block := range w.in.dir.data {
		n := 0
		for n < len(entries) && entries[n].block == block {
			n++
		}
		var b []byte
		b, free[block] = w.data(block, entries[:n], blockSize)
		entries = entries[n:]
		if err := w.put(block, b); err != nil {
			return err
		}
	}
	if w.in.dir.form == dirHashed {
		b := w.hashBlock(magicHashOne, hashStart, 0, 0, len(hashes))
		putHashes(b[dirHead:], hashes)
		for i, n := range free {
			be.PutUint16(b[blockSize-4-2*(len(free)-i):], n)
		}
		be.PutUint32(b[blockSize-4:], uint32(len(free)))
		seal(b, dirHashCRC)
		return w.put(hashStart, b)
	}
	if err := w.tree(hashes); err != nil {
		return err
	}
	return w.frees(free)
}

// data returns a data block whose entries may take the bytes up to end, and the length of the gap behind them.
func (w dirWriter) data(block int64, entries []placed, end int) (b []byte, gap uint16) {
	b = make([]byte, blockSize)
	be.PutUint32(b, magicDirData)
	be.PutUint64(b[8:], w.sector(block))
	copy(b[24:], w.img.o.UUID[:])
	be.PutUint64(b[40:], w.in.number)
	offset := dirHead
	for _, e := range entries {
		offset = int(e.offset)
		be.PutUint64(b[offset:], e.number)
		b[offset+8] = byte(len(e.name))
		n := copy(b[offset+9:], e.name)
		b[offset+9+n] = typeOf(e.Mode)
		next := offset + int(entrySize(e.name))
		be.PutUint16(b[next-2:], uint16(offset))
		offset = next
	}
	if gap = uint16(end - offset); gap > 0 {
		be.PutUint16(b[offset:], freeTag)
		be.PutUint16(b[offset+2:], gap)
		be.PutUint16(b[end-2:], uint16(offset))
		be.PutUint16(b[48:], uint16(offset)) // the first of the three longest gaps
		be.PutUint16(b[50:], gap)
	}
	seal(b, dirDataCRC)
	return b, gap
}

// hashBlock returns a block of hashes or one above them, without its entries and checksum.
func (w dirWriter) hashBlock(magic uint16, at int64, left, right uint32, count int) []byte {
	b := make([]byte, blockSize)
	be.PutUint32(b[0:], right)
	be.PutUint32(b[4:], left)
	be.PutUint16(b[8:], magic)
	be.PutUint64(b[16:], w.sector(at))
	copy(b[32:], w.img.o.UUID[:])
	be.PutUint64(b[48:], w.in.number)
	be.PutUint16(b[56:], uint16(count))
	return b
}

// tree writes the tree of hashes: the root, the leaves, the levels between.
func (w dirWriter) tree(hashes []hashed) error {
	var blocks [][]byte
	at := int64(hashStart) + 1
	below := hashes // of a level: the greatest hash and the place of each block
	for level, n := range w.in.dir.hashes {
		var next []hashed
		for i := range n {
			part := below[share(int64(len(below)), n, i):share(int64(len(below)), n, i+1)]
			var left, right uint32
			if i > 0 {
				left = uint32(at - 1)
			}
			if i < n-1 {
				right = uint32(at + 1)
			}
			blocks = append(blocks, w.treeBlock(level, at, left, right, part))
			next = append(next, hashed{part[len(part)-1].hash, uint32(at)})
			at++
		}
		below = next
	}
	if err := w.put(hashStart, w.treeBlock(len(w.in.dir.hashes), hashStart, 0, 0, below)); err != nil {
		return err
	}
	for i, b := range blocks {
		if err := w.put(hashStart+1+int64(i), b); err != nil {
			return err
		}
	}
	return nil
}

func (w dirWriter) treeBlock(level int, at int64, left, right uint32, entries []hashed) []byte {
	magic := uint16(magicHashes)
	if level > 0 {
		magic = magicHashNode
	}
	b := w.hashBlock(magic, at, left, right, len(entries))
	if level > 0 {
		be.PutUint16(b[58:], uint16(level))
	}
	putHashes(b[dirHead:], entries)
	seal(b, dirHashCRC)
	return b
}

// frees writes the index of free space.
func (w dirWriter) frees(free []uint16) error {
	for i := range w.in.dir.frees {
		part := free[i*freesInBlock : min(int64(len(free)), (i+1)*freesInBlock)]
		b := make([]byte, blockSize)
		be.PutUint32(b[0:], magicDirFree)
		be.PutUint64(b[8:], w.sector(freeStart+i))
		copy(b[24:], w.img.o.UUID[:])
		be.PutUint64(b[40:], w.in.number)
		be.PutUint32(b[48:], uint32(i*freesInBlock)) // the first data block of these
		be.PutUint32(b[52:], uint32(len(part)))
		be.PutUint32(b[56:], uint32(len(part))) // all of them are there
		for j, n := range part {
			be.PutUint16(b[dirHead+2*j:], n)
		}
		seal(b, dirDataCRC)
		if err := w.put(freeStart+i, b); err != nil {
			return err
		}
	}
	return nil
}
