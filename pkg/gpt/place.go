package gpt

import "fmt"

// Place gives the partitions their sectors: one after another on a disk of size bytes, the first at FirstUsable, each at a multiple
// of 1 MiB. Sizes are in bytes, one for each partition; the last may be 0 for all that is left, in whole MiB.
func (t Table) Place(size int64, sizes []int64) (Table, error) {
	t, err := t.withDefaults(size)
	if err != nil {
		return t, fmt.Errorf("place partitions: %w", err)
	}
	if len(sizes) != len(t.Partitions) {
		return t, fmt.Errorf("place partitions: %d sizes for %d partitions", len(sizes), len(t.Partitions))
	}
	sector, unit := uint64(t.SectorSize), mib/uint64(t.SectorSize)
	free := (t.FirstUsable + unit - 1) / unit * unit
	placed := make([]Partition, len(sizes))
	for i, p := range t.Partitions {
		p.First = free
		switch n := sizes[i]; {
		case n == 0 && i == len(sizes)-1:
			free = max((t.LastUsable+1)/unit*unit, free+unit)
			p.Last = free - 1
		case n <= 0 || n%int64(sector) != 0 || n > maxDisk:
			return t, fmt.Errorf("place partition %d (%s): size of %d bytes: not a multiple of %d from there to %d", i+1, p.Name, n, sector, int64(maxDisk))
		default:
			p.Last = free + uint64(n)/sector - 1
			free = (p.Last + unit) / unit * unit
		}
		placed[i] = p
	}
	t.Partitions = placed
	if free > maxDisk/sector {
		return t, fmt.Errorf("place partitions: together more than %d bytes", int64(maxDisk))
	}
	if n := len(placed); n > 0 && placed[n-1].Last > t.LastUsable {
		least := int64(placed[n-1].Last+1+t.entrySectors()+1) * int64(sector)
		return t, fmt.Errorf("place partitions: a disk of %d bytes is too small: the least size is %d (%d MiB)", size, least, (least+mib-1)/mib)
	}
	return t, nil
}
