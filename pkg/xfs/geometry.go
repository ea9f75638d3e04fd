package xfs

import (
	"fmt"
	"math/bits"
)

const (
	mib        = 1 << 20
	blockSize  = 4096
	sectorSize = 512  // the default, and what places are counted in whatever a sector has
	longSector = 4096 // bytes
	inodeSize  = 512

	// Least is the least size of a file system that mkfs.xfs makes and the kernel's developers support.
	Least = 300 * mib
	// Most is the greatest size that is supported here.
	Most = 16 << 40

	maxGroup    = 1<<28 - 1            // blocks of a group: less than 1 TiB
	minGroup    = 16 * mib / blockSize // a shorter rest makes no group
	spareBlocks = 4                    // in the AGFL
	minLog      = 64 * mib / blockSize
	maxLog      = 521728 // blocks: a little less than 2 GiB
)

// geometry is how a container is divided. Unless it says otherwise, the unit is the block.
type geometry struct {
	sector    int64 // bytes
	blocks    int64
	group     int64 // length of a group; the last may be shorter
	groups    int64
	groupLog  uint // bits for a block in a group
	logLength int64
}

// newGeometry divides a container as mkfs.xfs does.
func newGeometry(size, sector int64) (geometry, error) {
	if size < Least || size > Most || size%blockSize != 0 {
		return geometry{}, fmt.Errorf("size of %d bytes: not a multiple of %d from %d (300 MiB) to %d (16 TiB)", size, blockSize, int64(Least), int64(Most))
	}
	g := geometry{sector: sector, blocks: size / blockSize}
	g.group = min((g.blocks+3)/4, maxGroup)
	if rest := g.blocks % g.group; rest < minGroup {
		g.blocks -= rest
	}
	g.groups = (g.blocks + g.group - 1) / g.group
	g.groupLog = uint(bits.Len64(uint64(g.group - 1)))
	g.logLength = min(max(g.blocks/2048, minLog), maxLog)
	return g, nil
}

// groupHead is the length of a group's start: four headers, a sector each, and the roots of three trees.
func (g geometry) groupHead() int64 { return g.roots() + 3 }

// roots is the first of a group's blocks behind the headers: the tree of free space by place, by length, and that of inodes.
func (g geometry) roots() int64 { return (4*g.sector + blockSize - 1) / blockSize }

// length of a group.
func (g geometry) length(group int64) int64 { return min(g.group, g.blocks-group*g.group) }

// logGroup is the one that has the log.
func (g geometry) logGroup() int64 { return g.groups / 2 }

// spare is the first of the AGFL's blocks, in the group.
func (g geometry) spare(group int64) int64 {
	if group == g.logGroup() {
		return g.groupHead() + g.logLength
	}
	return g.groupHead()
}

// fsBlock is how a block is written on disk: its group and its number there. In memory, blocks are counted through.
func (g geometry) fsBlock(block int64) uint64 {
	return uint64(block/g.group)<<g.groupLog | uint64(block%g.group)
}

// sector is how a block of metadata names its own place: in sectors from the start.
func sector(block int64) uint64 { return uint64(block) * (blockSize / sectorSize) }

// inodeNumber of the inode with an index in a chunk that starts at a block.
func (g geometry) inodeNumber(block int64, index int) uint64 {
	return g.fsBlock(block)*inodesPerBlock + uint64(index)
}
