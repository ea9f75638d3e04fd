package bench

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/talosmith/talosmith/pkg/talos"
)

// build is a run of this binary as users have it.
type build struct {
	target  string // default: "all"
	profile string // default: the bench's
	out     string // default: "out" of the bench's folder
	mirrors string // default: the release's
}

func (b *bench) environment(mirrors string) []string {
	return []string{"TALOSMITH_CACHE=" + b.path("cache"), "TALOSMITH_MIRRORS=" + mirrors, "TMPDIR=" + b.path("tmp"), "NO_COLOR=1"}
}

// process of a build.
func (b *bench) process(o build) process {
	o.target, o.profile = cmp.Or(o.target, "all"), cmp.Or(o.profile, b.profile())
	o.out, o.mirrors = cmp.Or(o.out, b.path("out")), cmp.Or(o.mirrors, b.release.mirrors)
	return process{env: b.environment(o.mirrors), args: []string{b.self, o.target, "-profile=" + o.profile, "-out=" + o.out}}
}

// make builds once. What it leaves in the folder for temporary files is an error.
func (b *bench) make(ctx context.Context, o build) (outcome, error) {
	result, err := b.process(o).run(ctx)
	if err != nil {
		return result, err
	}
	b.peak = max(b.peak, result.peak)
	left, err := os.ReadDir(b.path("tmp"))
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("the build left %s in the folder for temporary files", left[0].Name())
	}
	return result, err
}

// makeCold builds with nothing but what was downloaded before.
func (b *bench) makeCold(ctx context.Context, o build) (outcome, error) {
	if err := remove(b.path("cache", "store"), b.path("out")); err != nil {
		return outcome{}, err
	}
	return b.make(ctx, o)
}

// makeWarm makes sure that the profile was built.
func (b *bench) makeWarm(ctx context.Context) error {
	if b.warm {
		return nil
	}
	_, err := b.make(ctx, build{})
	b.warm = err == nil
	return err
}

// squashfsStep is the line that a build prints of each image that it makes.
var squashfsStep = regexp.MustCompile(`(?m)^squashfs\s`)

// squashfsSteps counts the images that a build made.
func (o outcome) squashfsSteps() float64 {
	return float64(len(squashfsStep.FindAllString(o.stderr, -1)))
}

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
	if steps := ours.squashfsSteps(); int(steps) < len(b.inputs.Names) {
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
	t.note("Ours includes unpacking images, modules.dep, GRUB and the SHA-256 of every artefact, which the reference does without. That of a disk of 8 GiB takes %s of CPU time here.",
		seconds(hashTime(8<<30)))
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

// unchanged measures builds that have nothing to do.
func (b *bench) unchanged(ctx context.Context) (table, error) {
	t := table{title: "unchanged: all outputs are there"}
	if err := b.makeWarm(ctx); err != nil {
		return t, err
	}
	compiled, err := median(ctx, 5, b.process(build{}))
	if err != nil {
		return t, err
	}
	mage := b.process(build{})
	mage.args = append([]string{look("go"), "tool", "mage"}, mage.args[1:]...)
	if _, err := mage.run(ctx); err != nil { // compiles
		return t, err
	}
	all, err := median(ctx, 3, mage)
	if err != nil {
		return t, err
	}
	demo := process{args: []string{look("go"), "tool", "mage", "demo"}}
	demo.env = append(demo.env, "TALOSMITH_CACHE="+b.Cache, "TALOSMITH_DEBIAN_MIRROR="+b.Mirror)
	if _, err := demo.run(ctx); err != nil {
		return t, err
	}
	again, err := median(ctx, 3, demo)
	if err != nil {
		return t, err
	}
	t.add("a compiled binary: wall time", seconds, compiled.wall, 0, atMost(0.3))
	t.add("a compiled binary: CPU time", seconds, compiled.cpu, 0, none)
	t.add("a compiled binary: peak memory", size, float64(compiled.peak), 0, atMost(400<<20))
	t.add("go tool mage all: wall time", seconds, all.wall, 0, atMost(1.2))
	t.add("go tool mage demo: wall time", seconds, again.wall, 0, atMost(3))
	return t, nil
}

// changed measures builds after a change.
func (b *bench) changed(ctx context.Context) (table, error) {
	t := table{title: "changed"}
	if err := b.makeWarm(ctx); err != nil {
		return t, err
	}
	for _, measure := range []func(context.Context, *table) error{b.smallChange, b.patchRelease, b.twentyImages} {
		if err := measure(ctx, &t); err != nil {
			return t, err
		}
	}
	return t, nil
}

// smallChange changes the text of the profile's own extension.
func (b *bench) smallChange(ctx context.Context, t *table) error {
	nothing, err := median(ctx, 3, b.process(build{}))
	if err != nil {
		return err
	}
	text := b.path("profile", examples, "motd", "rootfs", "usr", "local", "share", "motd", "motd")
	if err := os.WriteFile(text, []byte("Another text.\n"), 0o644); err != nil {
		return err
	}
	o, err := b.make(ctx, build{})
	if err != nil {
		return err
	}
	if err := os.WriteFile(text, []byte("Yet another text.\n"), 0o644); err != nil {
		return err
	}
	iso, err := b.make(ctx, build{target: "iso"})
	if err != nil {
		return err
	}
	t.add("one small extension: wall time", seconds, o.wall, 0, atMost(1.5+nothing.wall))
	t.add("one small extension, the ISO alone: wall time", seconds, iso.wall, 0, none)
	t.add("one small extension: squashfs images made", count, o.squashfsSteps(), 0, atMost(1))
	t.add("one small extension: peak memory", size, float64(o.peak), 0, atMost(400<<20))
	return nil
}

// patchRelease builds with the Talos release before.
func (b *bench) patchRelease(ctx context.Context, t *table) error {
	v, err := talos.ParseVersion(b.version)
	if err != nil {
		return err
	}
	if v.Patch == 0 {
		return fmt.Errorf("%s: Talos %s has no earlier patch release to change from", b.Profile, b.version)
	}
	v.Patch--
	release, err := b.serve(ctx, v.String())
	if err != nil {
		return err
	}
	err = b.otherRelease(ctx, t, release, v.String())
	return errors.Join(err, release.close())
}

func (b *bench) otherRelease(ctx context.Context, t *table, release *server, version string) error {
	file, err := b.variant("patch", `"`+b.version+`"`, `"`+version+`"`)
	if err != nil {
		return err
	}
	o, err := b.make(ctx, build{profile: file, out: b.path("patch", "out"), mirrors: release.mirrors})
	if err != nil {
		return err
	}
	t.add("Talos patch release: squashfs images made", count, o.squashfsSteps(), 0, atMost(0))
	t.add("Talos patch release: wall time", seconds, o.wall, 0, none)
	t.add("Talos patch release: peak memory", size, float64(o.peak), 0, atMost(400<<20))
	return remove(b.path("patch"))
}

// fanOut is how many images share sharedExtensions.
const fanOut = 20

var sharedExtensions = []string{"siderolabs/gvisor", "siderolabs/tailscale", "siderolabs/crun", "siderolabs/fuse3", "siderolabs/realtek-firmware"}

// twentyImages builds the initramfs of images that have the same extensions in different orders, so that none is like another.
func (b *bench) twentyImages(ctx context.Context, t *table) error {
	var text strings.Builder
	fmt.Fprintf(&text, "talos {\n  version = %q\n}\n", b.version)
	for n := range fanOut {
		fmt.Fprintf(&text, "image \"i%d\" {\n  extensions = [\"%s\"]\n  output \"initramfs\" {}\n}\n", n, strings.Join(permutation(sharedExtensions, n), `", "`))
	}
	dir := b.path("twenty")
	o := build{profile: filepath.Join(dir, "extensions.hcl"), out: filepath.Join(dir, "out")}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(o.profile, []byte(text.String()), 0o644); err != nil {
		return err
	}
	first, err := b.makeCold(ctx, o)
	if err != nil {
		return err
	}
	if err := remove(o.out); err != nil {
		return err
	}
	second, err := b.make(ctx, o)
	if err != nil {
		return err
	}
	t.add(fmt.Sprintf("%d images of %d extensions: squashfs images made", fanOut, len(sharedExtensions)), count, first.squashfsSteps()+second.squashfsSteps(), 0, atMost(float64(len(sharedExtensions))))
	t.add(fmt.Sprintf("%d images: wall time of each further initramfs", fanOut), seconds, second.wall/fanOut, 0, atMost(1))
	t.add(fmt.Sprintf("%d images: peak memory", fanOut), size, float64(max(first.peak, second.peak)), 0, atMost(400<<20))
	b.warm = false
	return remove(dir)
}

// permutation returns the n-th order of some things.
func permutation(all []string, n int) []string {
	rest := append([]string{}, all...)
	var order []string
	for len(rest) > 0 {
		i := n % len(rest)
		n /= len(rest)
		order = append(order, rest[i])
		rest = append(rest[:i], rest[i+1:]...)
	}
	return order
}
