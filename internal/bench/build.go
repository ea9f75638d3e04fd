package bench

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"regexp"
)

// build is a run of this binary as users have it.
type build struct {
	target  string // default: "all"
	profile string // default: the bench's
	out     string // default: "out" of the bench's folder
	mirrors string // default: the release's
	cache   string // default: "cache" of the bench's folder
	env     []string
}

// process of a build.
func (b *bench) process(o build) process {
	o.target, o.profile = cmp.Or(o.target, "all"), cmp.Or(o.profile, b.profile())
	o.out, o.mirrors = cmp.Or(o.out, b.path("out")), cmp.Or(o.mirrors, b.release.address)
	env := append([]string{
		"TALOSMITH_CACHE=" + cmp.Or(o.cache, b.path("cache")), "TALOSMITH_MIRRORS=" + o.mirrors, "TMPDIR=" + b.path("tmp"), "NO_COLOR=1",
	}, o.env...)
	return process{
		env: env, args: []string{b.self, o.target, "-profile=" + o.profile, "-out=" + o.out},
		inside: []string{cmp.Or(o.cache, b.path("cache")), o.out},
	}
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
	if err := remove(b.path("cache", "store"), cmp.Or(o.out, b.path("out"))); err != nil {
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

// Lines that a build prints: of each squashfs image that it makes, of each step that compresses. What it fetches has another word
// before the size.
var (
	squashfsStep = regexp.MustCompile(`(?m)^squashfs +\S+: \d`)
	compressStep = regexp.MustCompile(`(?m)^(squashfs|firmware|index) +\S+: \d`)
)

// steps counts the steps of a kind that a build ran.
func (o outcome) steps(kind *regexp.Regexp) float64 {
	return float64(len(kind.FindAllString(o.stderr, -1)))
}
