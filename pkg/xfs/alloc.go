package xfs

import (
	"errors"
	"fmt"

	"github.com/talosmith/talosmith/pkg/tree"
)

const (
	maxExtent      = 1<<21 - 1 // blocks
	inodesPerBlock = blockSize / inodeSize
	inodesPerChunk = 64
	chunkBlocks    = inodesPerChunk / inodesPerBlock
	chunkAlign     = 4 // blocks of which a chunk's place in its group is a multiple, as mkfs.xfs tells the kernel
)

// extent is a run of blocks.
type extent struct {
	at    int64 // in the file
	block int64 // from the start of the file system
	count int64
}

// inBytes are extents as writers know them.
func inBytes(extents []extent) []tree.Extent {
	all := make([]tree.Extent, len(extents))
	for i, e := range extents {
		all[i] = tree.Extent{At: e.at * blockSize, Off: e.block * blockSize, Size: e.count * blockSize}
	}
	return all
}

// group is an allocation group with what lies in it.
type group struct {
	index  int64
	start  int64 // block
	length int64
	// inodes of the group, the first of a chunk at each multiple of 64; the last chunk may be filled in part.
	inodes []*inode
	chunks int64 // the first block of the first chunk
	// inodeTree are the blocks of the inode tree besides its root, the leaves first.
	inodeTree extent
	gap       extent // left free before the chunks for their alignment
	free      []extent
}

// chunkCount is the number of chunks that the group has.
func (gr group) chunkCount() int64 {
	return (int64(len(gr.inodes)) + inodesPerChunk - 1) / inodesPerChunk
}

// placeInodes makes the groups, gives every inode its number, and returns what is free then, an extent for each group.
func (img *Image) placeInodes() (free []extent, err error) {
	g, rest := img.g, img.inodes
	img.groups = make([]group, g.groups)
	for i := range g.groups {
		gr := group{index: i, start: i * g.group, length: g.length(i)}
		first := g.spare(i) + spareBlocks // in the group
		chunks := (first + chunkAlign - 1) / chunkAlign * chunkAlign
		count := chunksIn(gr.length-chunks, parts(int64(len(rest)), inodesPerChunk))
		gr.inodes = rest[:min(int64(len(rest)), count*inodesPerChunk)]
		rest = rest[len(gr.inodes):]
		next := first
		if count > 0 {
			gr.gap = extent{block: gr.start + first, count: chunks - first}
			gr.chunks = gr.start + chunks
			gr.inodeTree = extent{block: gr.chunks + count*chunkBlocks, count: inodeTreeBlocks(count)}
			next = chunks + count*chunkBlocks + gr.inodeTree.count
		}
		for j, in := range gr.inodes {
			in.number = g.inodeNumber(gr.chunks, j)
			if in.number > 1<<32-1 {
				return nil, errors.New("too many files")
			}
		}
		img.groups[i] = gr
		free = append(free, extent{block: gr.start + next, count: gr.length - next})
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("no room for %d inodes", len(img.inodes))
	}
	return free, nil
}

// chunksIn is how many of the wanted chunks fit in so many blocks together with their tree.
func chunksIn(blocks, want int64) int64 {
	n := min(blocks/chunkBlocks, want)
	for n > 0 && n*chunkBlocks+inodeTreeBlocks(n) > blocks {
		n--
	}
	return n
}

// allocator gives out free blocks from the start.
type allocator struct {
	free []extent // of each group
	next int      // group
}

var errNoSpace = errors.New("no room")

// take gives blocks to a file that needs them at some places. A tree of extents follows its file.
func (a *allocator) take(needs []extent) (extents []extent, treeBlocks []int64, err error) {
	for _, n := range needs {
		if extents, err = a.append(extents, n); err != nil {
			return nil, nil, err
		}
	}
	if len(extents) <= extentsInInode {
		return extents, nil, nil
	}
	leaves, err := a.append(nil, extent{count: parts(int64(len(extents)), extentsInLeaf)})
	for _, e := range leaves {
		for i := range e.count {
			treeBlocks = append(treeBlocks, e.block+i)
		}
	}
	return extents, treeBlocks, err
}

func (a *allocator) append(extents []extent, n extent) ([]extent, error) {
	for n.count > 0 {
		if a.next == len(a.free) {
			return nil, errNoSpace
		}
		f := &a.free[a.next]
		count := min(n.count, f.count, maxExtent)
		if count == 0 {
			a.next++
			continue
		}
		extents = append(extents, extent{at: n.at, block: f.block, count: count})
		n.at, n.count = n.at+count, n.count-count
		f.block, f.count = f.block+count, f.count-count
	}
	return extents, nil
}

// parts is the number of pieces of at most size that n makes.
func parts(n, size int64) int64 { return (n + size - 1) / size }
