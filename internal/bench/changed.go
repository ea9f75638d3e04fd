package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/talosmith/talosmith/pkg/talos"
)

// unchanged measures builds that have nothing to do. The demo's is the repository's own, in out/demo.
func (b *bench) unchanged(ctx context.Context) (table, error) {
	t := table{title: "unchanged: all outputs are there"}
	if err := b.makeWarm(ctx); err != nil {
		return t, err
	}
	compiled, err := median(ctx, 5, b.process(build{}))
	if err != nil {
		return t, err
	}
	command := look("go")
	if command == "" {
		return t, errors.New("the go command is not on PATH: it runs `go tool mage`, which is to be measured")
	}
	mage := b.process(build{})
	mage.args = append([]string{command, "tool", "mage"}, mage.args[1:]...)
	if _, err := mage.run(ctx); err != nil { // compiles
		return t, err
	}
	all, err := median(ctx, 3, mage)
	if err != nil {
		return t, err
	}
	demo := process{args: []string{command, "tool", "mage", "demo"}}
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
	for _, measure := range []func(context.Context, *table) error{b.smallChange, b.smallChangeRaw, b.patchRelease, b.twentyImages} {
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
	o, err := b.afterChange(ctx, "profile", "Another text.\n", build{})
	if err != nil {
		return err
	}
	iso, err := b.afterChange(ctx, "profile", "Yet another text.\n", build{target: "iso"})
	if err != nil {
		return err
	}
	t.add("one small extension: wall time", seconds, o.wall, 0, atMost(1.5+nothing.wall))
	t.add("one small extension, the ISO alone: wall time", seconds, iso.wall, 0, none)
	t.add("one small extension: squashfs images made", count, o.steps(squashfsStep), 0, atMost(1))
	t.add("one small extension: peak memory", size, float64(o.peak), 0, atMost(400<<20))
	return nil
}

// smallChangeRaw is smallChange with the repository's own disk: of 8 GiB, not compressed.
func (b *bench) smallChangeRaw(ctx context.Context, t *table) error {
	file, err := b.rawProfile("raw")
	if err != nil {
		return err
	}
	what := build{profile: file, out: b.path("raw", "out")}
	if _, err := b.make(ctx, what); err != nil {
		return err
	}
	nothing, err := median(ctx, 3, b.process(what))
	if err != nil {
		return err
	}
	o, err := b.afterChange(ctx, "raw", "Text for a raw disk.\n", what)
	if err != nil {
		return err
	}
	t.add("one small extension, raw disk of 8 GiB: wall time", seconds, o.wall, 0, atMost(1.5+nothing.wall))
	t.note("One small extension, raw disk: %s of the wall time is the SHA-256 of 8 GiB, nearly all of which come after what changed.", seconds(hashTime(rawDiskSize)))
	return remove(b.path("raw"))
}

// afterChange changes the text in the own extension of a variant, and builds.
func (b *bench) afterChange(ctx context.Context, variant, text string, what build) (outcome, error) {
	file := b.path(variant, examples, "motd", "rootfs", "usr", "local", "share", "motd", "motd")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return outcome{}, err
	}
	return b.make(ctx, what)
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
	o, err := b.make(ctx, build{profile: file, out: b.path("patch", "out"), mirrors: release.address})
	if err != nil {
		return err
	}
	t.add("Talos patch release: squashfs images made", count, o.steps(squashfsStep), 0, atMost(0))
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
	t.add(fmt.Sprintf("%d images of %d extensions: squashfs images made", fanOut, len(sharedExtensions)), count, first.steps(squashfsStep)+second.steps(squashfsStep), 0, atMost(float64(len(sharedExtensions))))
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
