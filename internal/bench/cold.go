package bench

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// cold compares a build from nothing. The disk is what `output "disk" {}` gives: raw, compressed with zstd.
func (b *bench) cold(ctx context.Context) (table, error) {
	in, err := b.lay(ctx)
	if err != nil {
		return table{}, err
	}
	t, err := b.fromNothing(ctx, in, build{}, referenceDisk)
	b.warm = err == nil
	return t, err
}

// raw is cold with the repository's own disk: of 8 GiB, not compressed.
func (b *bench) raw(ctx context.Context) (table, error) {
	in, err := b.lay(ctx)
	if err != nil {
		return table{}, err
	}
	file, err := b.rawProfile("raw")
	if err != nil {
		return table{}, err
	}
	t, err := b.fromNothing(ctx, in, build{profile: file, out: b.path("raw", "out")}, referenceRawDisk)
	if err != nil {
		return t, err
	}
	hash := hashTime(rawDiskSize)
	for _, r := range slices.Clone(t.rows) {
		if r.unit(1) == seconds(1) {
			t.add(r.measure+", without the disk's SHA-256", r.unit, r.ours-hash, r.reference, none)
		}
	}
	t.note("The SHA-256 of 8 GiB takes %s here, one block of 64 bytes after another on one processor.", seconds(hash))
	b.warm = false
	return t, remove(b.path("raw"))
}

// rawProfile is a variant with the repository's own disk.
func (b *bench) rawProfile(name string) (string, error) {
	return b.variant(name, append([]string{defaultDisk, rawDisk}, withInitramfs...)...)
}

// fromNothing compares a build with an empty store with what the programs need for the same.
func (b *bench) fromNothing(ctx context.Context, in *inputs, what build, disk referenceOutput) (table, error) {
	ours, err := b.makeCold(ctx, what)
	if err != nil {
		return table{}, err
	}
	if steps := ours.steps(squashfsStep); int(steps) < len(in.Names) {
		return table{}, fmt.Errorf("a cold build of %d extensions says that it made %.0f squashfs images: its lines are read wrong", len(in.Names), steps)
	}
	segments, err := b.appended(in, what.out)
	if err != nil {
		return table{}, err
	}
	r, err := b.runReference(ctx, in, disk)
	if err != nil {
		return table{}, err
	}
	t := table{title: fmt.Sprintf("initramfs, ISO, disk (%s), installer with %d extensions of %s; sources are local, the store is empty", disk.name, len(in.Names), size(in.size()))}
	t.add("each program once: wall time", seconds, ours.wall, r.once.wall, ratioAtMost(1.0/3))
	t.add("each program once: CPU time", seconds, ours.cpu, r.once.cpu, none)
	t.add("each output in turn: wall time", seconds, ours.wall, r.all.wall, ratioAtMost(0.1))
	t.add("each output in turn: CPU time", seconds, ours.cpu, r.all.cpu, ratioAtMost(0.1))
	t.add("peak memory", size, float64(ours.peak), float64(r.all.peak), atMost(400<<20))
	t.add("disk space beside the store and the output", size, float64(ours.elsewhere), 0, atMost(0))
	t.add("appended segments", size, segments, r.segment, ratioAtMost(1.08))
	var of []string
	for _, s := range r.stages {
		of = append(of, fmt.Sprintf("%s %d×: %s, CPU %s", s.name, s.times, seconds(s.wall), seconds(s.cpu)))
	}
	t.note("Reference, all of it: %s.", strings.Join(of, "; "))
	t.note("Ours includes unpacking images, modules.dep, GRUB and the SHA-256 of every artefact, which the reference does without.")
	return t, nil
}

// hashTime is what the SHA-256 of some bytes takes on this machine, in seconds of CPU time, going by fewer.
func hashTime(bytes float64) float64 {
	zeros, times := make([]byte, 1<<20), 256
	h, before := sha256.New(), ownTime()
	for range times {
		h.Write(zeros)
	}
	return (ownTime() - before) * bytes / float64(len(zeros)*times)
}
