package xfs

// inodeTreeBlocks is the number of blocks besides the root that the inode tree has for so many chunks.
func inodeTreeBlocks(chunks int64) (blocks int64) {
	for _, n := range inodeTreeLevels(chunks) {
		blocks += n
	}
	return blocks
}

// inodeTreeLevels are the numbers of blocks of each level but the root, leaves first.
func inodeTreeLevels(chunks int64) (levels []int64) {
	for n := parts(chunks, inodesInLeaf); n > 1; n = parts(n, childrenInNode) {
		levels = append(levels, n)
	}
	return levels
}

// inodeTree returns the root block of the inode tree, which is the last block of the group's head, and the number of levels.
func (img *Image) inodeTree(gr group) (root []byte, levels int) {
	sizes, block := inodeTreeLevels(gr.chunkCount()), gr.start+img.g.roots()+2
	if len(sizes) == 0 {
		return img.treeBlock(gr, magicInodeTree, block, 0, int(gr.chunkCount()), null, null, gr.chunkRecords(0, gr.chunkCount())), 1
	}
	below := img.inodeTreeChildren(gr, len(sizes)-1)
	return img.treeBlock(gr, magicInodeTree, block, len(sizes), len(below), null, null, nodeBody(below)), len(sizes) + 1
}

// child is what a node says of a block below.
type child struct{ key, block uint32 }

// nodeBody are the keys and, behind the room for all of them, the blocks.
func nodeBody(children []child) []byte {
	b := make([]byte, childrenInNode*8)
	for i, c := range children {
		be.PutUint32(b[4*i:], c.key)
		be.PutUint32(b[4*(childrenInNode+i):], c.block)
	}
	return b
}

// share is the first of n things that the i-th of parts gets: they share evenly.
func share(n, parts, i int64) int64 { return n * i / parts }

// inodeTreeChildren describes the blocks of a level.
func (img *Image) inodeTreeChildren(gr group, level int) (children []child) {
	sizes := inodeTreeLevels(gr.chunkCount())
	start := gr.inodeTree.block
	for _, n := range sizes[:level] {
		start += n
	}
	for i := range sizes[level] {
		first := i // in units of the level below, then of the next, …
		for l := level; l >= 0; l-- {
			under := gr.chunkCount()
			if l > 0 {
				under = sizes[l-1]
			}
			first = share(under, sizes[l], first)
		}
		children = append(children, child{gr.chunkInode(first), uint32(start + i - gr.start)})
	}
	return children
}

// inodeTreeBody returns all blocks but the root, as gr.inodeTree has them.
func (img *Image) inodeTreeBody(gr group) (b []byte) {
	sizes := inodeTreeLevels(gr.chunkCount())
	block := gr.inodeTree.block
	for level, size := range sizes {
		for i := range size {
			left, right := uint32(null), uint32(null)
			if i > 0 {
				left = uint32(block - 1 - gr.start)
			}
			if i < size-1 {
				right = uint32(block + 1 - gr.start)
			}
			if level == 0 {
				from, to := share(gr.chunkCount(), size, i), share(gr.chunkCount(), size, i+1)
				b = append(b, img.treeBlock(gr, magicInodeTree, block, 0, int(to-from), left, right, gr.chunkRecords(from, to))...)
			} else {
				below := img.inodeTreeChildren(gr, level-1)
				from, to := share(sizes[level-1], size, i), share(sizes[level-1], size, i+1)
				b = append(b, img.treeBlock(gr, magicInodeTree, block, level, int(to-from), left, right, nodeBody(below[from:to]))...)
			}
			block++
		}
	}
	return b
}

// chunkInode is the number in its group of a chunk's first inode.
func (gr group) chunkInode(chunk int64) uint32 {
	return uint32((gr.chunks - gr.start + chunk*chunkBlocks) * inodesPerBlock)
}

// chunkRecords are the records of chunks: the first inode, how many are free, and which.
func (gr group) chunkRecords(from, to int64) (b []byte) {
	for i := from; i < to; i++ {
		used := min(int64(len(gr.inodes))-i*inodesPerChunk, inodesPerChunk)
		b = be.AppendUint32(b, gr.chunkInode(i))
		b = be.AppendUint32(b, uint32(inodesPerChunk-used))
		b = be.AppendUint64(b, ^uint64(0)<<used)
	}
	return b
}
