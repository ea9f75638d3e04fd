package fat

import "fmt"

const (
	sectorSize  = 512   // the default, in which mkfs.fat's limits are counted
	entrySize   = 32    // of a directory
	numFATs     = 2     // copies
	rootCluster = 2     // the first cluster that there is
	minClusters = 65525 // fewer make a FAT16 to strict readers, whatever the boot sector says
	maxClusters = 0x0ffffff5
	maxSectors  = 1<<32 - 1
	maxSector   = 4096     // bytes, of what is written
	maxCluster  = 64 << 10 // bytes: more is not read everywhere
	mib         = 1 << 20
)

// geometry is where the parts of a FAT32 file system lie. Unless it says otherwise, the unit is the sector.
type geometry struct {
	sector          int64 // bytes
	sectors         int64 // in all; what the container has beyond is not used
	perTrack, heads int64 // of a disk that never was
	perCluster      int64
	reserved        int64 // before the first FAT
	fatLength       int64 // of one FAT
	clusters        int64 // in the data area, the first is number 2
}

// cylinders are the limits up to which mkfs.fat takes a number of sectors a track and heads, from the SD card specification. They are
// counted in sectors, whatever the size of one: here in bytes of sectors of 512.
var cylinders = []struct{ upTo, perTrack, heads int64 }{
	{32 * mib, 32, 4},
	{128 * mib, 32, 8},
	{256 * mib, 32, 16},
	{504 * mib, 63, 16},
	{1008 * mib, 63, 32},
	{2016 * mib, 63, 64},
	{4032 * mib, 63, 128},
	{maxSectors * sectorSize, 63, 255},
}

// clusterSizes are the limits up to which mkfs.fat takes a number of sectors for a cluster, counted in the same way.
var clusterSizes = []struct{ upTo, sectors int64 }{
	{260 * mib, 1},
	{8192 * mib, 8},
	{16384 * mib, 16},
	{32768 * mib, 32},
	{maxSectors * sectorSize, 64},
}

// newGeometry lays out a container of size bytes as mkfs.fat does. A perCluster of 0 is chosen by size. The data area starts at
// a multiple of align bytes; only the number of reserved sectors differs from mkfs.fat's for that.
func newGeometry(size, sector, perCluster, align int64) (geometry, error) {
	if size <= 0 || size%sector != 0 || size > maxSectors*sector {
		return geometry{}, fmt.Errorf("size of %d bytes: not a multiple of %d from %d to %d", size, sector, sector, maxSectors*sector)
	}
	g := geometry{sector: sector}
	counted := size / sector * sectorSize
	for _, c := range cylinders {
		if g.perTrack, g.heads = c.perTrack, c.heads; counted <= c.upTo {
			break
		}
	}
	g.perCluster = perCluster
	for _, c := range clusterSizes {
		if g.perCluster > 0 {
			break
		}
		if counted <= c.upTo {
			g.perCluster = c.sectors
		}
	}
	g.sectors = size / sector / g.perTrack * g.perTrack // whole tracks, for DOS and mtools
	g.reserved = roundUp(32, g.perCluster)
	// The FAT has room for a few clusters more than are left beside it.
	data := g.sectors - g.reserved
	clusters := (data*sector + numFATs*8) / (g.perCluster*sector + numFATs*4)
	g.fatLength = roundUp(((clusters+2)*4+sector-1)/sector, g.perCluster)
	g.reserved += roundUp(g.dataStart(), align/sector) - g.dataStart()
	g.clusters = (g.sectors - g.dataStart()) / g.perCluster
	return g, nil
}

// check refuses what is no FAT32.
func (g geometry) check() error {
	if g.clusters < minClusters {
		return fmt.Errorf("%d clusters of %d bytes: FAT32 has at least %d", max(g.clusters, 0), g.clusterSize(), minClusters)
	}
	if g.clusterSize() > maxCluster {
		return fmt.Errorf("clusters of %d bytes: FAT32 has them of at most %d", g.clusterSize(), maxCluster)
	}
	if g.clusters > maxClusters {
		return fmt.Errorf("%d clusters of %d bytes: FAT32 has at most %d; take more sectors per cluster", g.clusters, g.clusterSize(), maxClusters)
	}
	return nil
}

// dataStart is the sector of cluster 2.
func (g geometry) dataStart() int64 { return g.reserved + numFATs*g.fatLength }

// clusterSize in bytes.
func (g geometry) clusterSize() int64 { return g.perCluster * g.sector }

// offset of a cluster in bytes.
func (g geometry) offset(cluster uint32) int64 {
	return (g.dataStart() + int64(cluster-rootCluster)*g.perCluster) * g.sector
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }
