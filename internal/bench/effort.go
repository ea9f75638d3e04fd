package bench

import (
	"context"
	"fmt"

	"github.com/talosmith/talosmith/pkg/profile"
)

// efforts with how large what is appended may become, as a part of what the programs make.
var efforts = []struct {
	name string
	most goal
}{
	{profile.EffortFast, none},
	{profile.EffortBalanced, ratioAtMost(1.08)},
	{profile.EffortSmall, ratioAtMost(1.05)},
}

// effort compares what the efforts of a profile take and give. The base's parts are there already: the rest is compressing, mostly.
func (b *bench) effort(ctx context.Context) (table, error) {
	in, err := b.lay(ctx)
	if err != nil {
		return table{}, err
	}
	r := &reference{}
	if err := b.reference(ctx, r, in, "initramfs", nil); err != nil {
		return table{}, err
	}
	t := table{title: fmt.Sprintf("effort: an initramfs with %d extensions of %s; sources are local, the store is empty", len(in.Names), size(in.size()))}
	for _, e := range efforts {
		file, err := b.variant("effort-"+e.name, "talos {\n", fmt.Sprintf("talos {\n  effort = %q\n", e.name))
		if err != nil {
			return t, err
		}
		o := build{target: "initramfs", profile: file, out: b.path("effort-"+e.name, "out")}
		var least outcome
		for n := range 3 {
			got, err := b.makeCold(ctx, o)
			if err != nil {
				return t, err
			}
			if n == 0 || got.cpu < least.cpu {
				least = got
			}
		}
		segments, err := b.appended(in, o.out)
		if err != nil {
			return t, err
		}
		t.add(e.name+": appended segments", size, segments, r.segment, e.most)
		t.add(e.name+": CPU time", seconds, least.cpu, r.all.cpu, none)
		t.add(e.name+": wall time", seconds, least.wall, r.all.wall, none)
		t.add(e.name+": peak memory", size, float64(least.peak), float64(r.all.peak), atMost(400<<20))
	}
	b.warm = false
	t.note("Times are those of the fastest of three builds, with everything else that an initramfs takes: unpacking images, reading kernel modules, modules.dep.")
	return t, nil
}
