package ext4

import "fmt"

const (
	mib           = 1 << 20
	blockSize     = 4096
	sectorSize    = 512 // in which an inode counts its blocks
	inodeSize     = 256
	groupBlocks   = 8 * blockSize // as many as a block has bits
	descriptor    = 64            // bytes
	inodesInBlock = blockSize / inodeSize
	maxInodes     = 8 * blockSize // of a group
	spaceOfInode  = 4             // blocks for which there is an inode, as with mkfs.ext4
	minFree       = 50            // blocks besides its head that the last group has, as with mkfs.ext4

	// Least is the least size of a file system.
	Least = mib
	// Most is the greatest size that is supported here: the superblock's copies have 16 bits for their group.
	Most = 8 << 40
)

// geometry is how a container is divided. The unit is the block.
type geometry struct {
	blocks      int64
	groups      int64
	inodes      int64 // of a group
	descriptors int64 // blocks of all groups' descriptors
}

// newGeometry divides a container that has to have so many inodes.
func newGeometry(size, inodes int64) (geometry, error) {
	if size < Least || size > Most || size%blockSize != 0 {
		return geometry{}, fmt.Errorf("size of %d bytes: not a multiple of %d from %d (1 MiB) to %d (8 TiB)", size, blockSize, int64(Least), int64(Most))
	}
	g := geometry{blocks: size / blockSize}
	for {
		g.groups = parts(g.blocks, groupBlocks)
		g.descriptors = parts(g.groups*descriptor, blockSize)
		g.inodes = g.inodesFor(inodes)
		last := g.groups - 1
		rest := g.length(last) - g.head(last)
		if g.inodes > maxInodes || last == 0 && rest < 0 {
			return geometry{}, fmt.Errorf("%w for %d inodes", errNoSpace, inodes)
		}
		if last == 0 || rest >= minFree {
			return g, nil
		}
		g.blocks = last * groupBlocks
	}
}

// inodesFor is the number of inodes of a group. It only falls as the number of groups rises, so that more space always holds more.
func (g geometry) inodesFor(all int64) int64 {
	if g.groups == 1 {
		return parts(max(g.blocks/spaceOfInode, all), inodesInBlock) * inodesInBlock
	}
	n := int64(groupBlocks / spaceOfInode)
	for n*g.groups < all {
		n *= 2
	}
	return n
}

// length of a group.
func (g geometry) length(group int64) int64 { return min(groupBlocks, g.blocks-group*groupBlocks) }

// table is the number of blocks of a group's inodes.
func (g geometry) table() int64 { return g.inodes / inodesInBlock }

// head is the number of blocks of a group that are no file's.
func (g geometry) head(group int64) int64 { return g.bitmaps(group) + 2 + g.table() }

// bitmaps is the block in a group where its bitmaps are.
func (g geometry) bitmaps(group int64) int64 {
	if hasSuper(group) {
		return 1 + g.descriptors
	}
	return 0
}

// hasSuper tells whether a group has a copy of the superblock and the descriptors.
func hasSuper(group int64) bool {
	if group <= 1 {
		return true
	}
	for _, base := range []int64{3, 5, 7} {
		n := base
		for n < group {
			n *= base
		}
		if n == group {
			return true
		}
	}
	return false
}

// parts is the number of pieces of at most size that n makes.
func parts(n, size int64) int64 { return (n + size - 1) / size }
