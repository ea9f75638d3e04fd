package bench

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// cold compares a build from nothing.
func (b *bench) cold(ctx context.Context) (table, error) {
	if err := b.lay(ctx); err != nil {
		return table{}, err
	}
	ours, err := b.makeCold(ctx, build{})
	if err != nil {
		return table{}, err
	}
	b.warm = true
	if steps := ours.steps(squashfsStep); int(steps) < len(b.inputs.Names) {
		return table{}, fmt.Errorf("a cold build of %d extensions says that it made %.0f squashfs images: its lines are read wrong", len(b.inputs.Names), steps)
	}
	segments, err := b.appended()
	if err != nil {
		return table{}, err
	}
	r, err := b.runReference(ctx)
	if err != nil {
		return table{}, err
	}
	t := table{title: fmt.Sprintf("cold: initramfs, ISO, disk, installer with %d extensions; sources are local, the store is empty", len(b.inputs.Names))}
	t.add("each program once: wall time", seconds, ours.wall, r.once.wall, ratioAtMost(1.0/3))
	t.add("each program once: CPU time", seconds, ours.cpu, r.once.cpu, none)
	t.add("each output in turn: wall time", seconds, ours.wall, r.all.wall, ratioAtMost(0.1))
	t.add("each output in turn: CPU time", seconds, ours.cpu, r.all.cpu, ratioAtMost(0.1))
	t.add("peak memory", size, float64(ours.peak), float64(r.all.peak), atMost(400<<20))
	t.add("appended segments", size, segments, r.segment, ratioAtMost(1.08))
	var of []string
	for _, s := range r.stages {
		of = append(of, fmt.Sprintf("%s %d×: %s, CPU %s", s.name, s.times, seconds(s.wall), seconds(s.cpu)))
	}
	t.note("Reference, all of it: %s.", strings.Join(of, "; "))
	hash := hashTime(8 << 30)
	t.note("Ours includes unpacking images, modules.dep, GRUB and the SHA-256 of every artefact, which the reference does without. That of a disk of 8 GiB takes")
	t.note("%s of CPU time here, one block of 64 bytes after another on one processor; without it ours would be %.3f of the CPU time of each output in turn.",
		seconds(hash), (ours.cpu-hash)/r.all.cpu)
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

// appended is the size of what the initramfs has behind the base.
func (b *bench) appended() (float64, error) {
	names, err := filepath.Glob(b.path("out", "*-initramfs.xz"))
	if err != nil || len(names) != 1 {
		return 0, errors.Join(err, fmt.Errorf("want one initramfs in %s, have %d", b.path("out"), len(names)))
	}
	all, err := fileSize(names[0])
	if err != nil {
		return 0, err
	}
	base, err := fileSize(b.path("in", "base"))
	if err != nil {
		return 0, err
	}
	early, err := archiveSize(b.path("in", "early"))
	return all - base - early, err
}

// archiveSize is about what a plain archive of a folder takes: its members' headers are small.
func archiveSize(dir string) (sum float64, err error) {
	err = filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var n float64
			n, err = fileSize(name)
			sum += n
		}
		return err
	})
	return sum, err
}
