package talos

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/blang/semver/v4"
)

// Version is a Talos release. It is comparable with ==; its zero value is no version.
type Version struct {
	Major, Minor, Patch uint64
	// Pre is the pre-release without its hyphen ("beta.1"), or empty.
	Pre string
}

// maxVersionLen is the length that an image's tag can have (OCI distribution specification).
const maxVersionLen = 128

// The versions that have rows here: from oldest on, up to any patch of newest.
var (
	oldest = Version{Major: 1, Minor: 5}
	newest = Version{Major: 1, Minor: 14}
)

// Stable is the newest stable release that was there when these rows were written: what a new profile names.
func Stable() Version { return Version{Major: 1, Minor: 13, Patch: 9} }

var (
	// ErrVersionOld is wrapped by what is said of versions before 1.5.
	ErrVersionOld = errors.New("not supported")
	// ErrVersionUnknown is wrapped by what is said of versions newer than the newest known minor release.
	ErrVersionUnknown = errors.New("not known yet")
)

// ParseVersion reads "v1.13.9", "1.13.9" or "v1.14.0-beta.1".
func ParseVersion(s string) (Version, error) {
	if len(s) > maxVersionLen {
		return Version{}, fmt.Errorf("parse Talos version: %d bytes, but an image's tag has at most %d", len(s), maxVersionLen)
	}
	v, err := semver.Parse(strings.TrimPrefix(s, "v"))
	if err != nil {
		return Version{}, fmt.Errorf("parse Talos version %q: %w; write it like v1.13.9", s, err)
	}
	if len(v.Build) > 0 {
		return Version{}, fmt.Errorf("parse Talos version %q: build metadata (\"+\") can't be part of an image's tag", s)
	}
	pre := make([]string, len(v.Pre))
	for i, p := range v.Pre {
		pre[i] = p.String()
	}
	return Version{v.Major, v.Minor, v.Patch, strings.Join(pre, ".")}, nil
}

// String returns the form that tags and file names have: "v1.13.9".
func (v Version) String() string {
	s := fmt.Sprintf("v%d.%d.%d", v.Major, v.Minor, v.Patch)
	if v.Pre != "" {
		s += "-" + v.Pre
	}
	return s
}

// Core returns the version without its pre-release.
func (v Version) Core() Version {
	v.Pre = ""
	return v
}

// CompareCore compares as Talos's rules do: a pre-release counts as its release.
func (v Version) CompareCore(o Version) int {
	return cmp.Or(cmp.Compare(v.Major, o.Major), cmp.Compare(v.Minor, o.Minor), cmp.Compare(v.Patch, o.Patch))
}

// Compare compares in full: a pre-release comes before its release (semver.org, point 11).
func (v Version) Compare(o Version) int {
	return cmp.Or(v.CompareCore(o), comparePre(v.Pre, o.Pre))
}

func comparePre(a, b string) int {
	if a == b {
		return 0
	}
	if a == "" || b == "" { // a release comes after all of its pre-releases
		return cmp.Compare(len(b), len(a))
	}
	x, errX := semver.Parse("0.0.0-" + a)
	y, errY := semver.Parse("0.0.0-" + b)
	if errX != nil || errY != nil { // only of a Version that ParseVersion didn't make
		return strings.Compare(a, b)
	}
	return x.Compare(y)
}

// Known says whether this package has the version's rules: nil from 1.5 to any patch of 1.14; else an error that wraps
// [ErrVersionOld] or [ErrVersionUnknown] and says what to do.
func (v Version) Known() error {
	switch {
	case v.CompareCore(oldest) < 0:
		return fmt.Errorf("talos %s: %w: %d.%d is the oldest version that can be built", v, ErrVersionOld, oldest.Major, oldest.Minor)
	case v.newer():
		return fmt.Errorf("talos %s: %w: %d.%d is the newest known; to build it with the rules of %[3]d.%[4]d, write talos { allow_unknown = true }",
			v, ErrVersionUnknown, newest.Major, newest.Minor)
	}
	return nil
}

func (v Version) newer() bool {
	return cmp.Or(cmp.Compare(v.Major, newest.Major), cmp.Compare(v.Minor, newest.Minor)) > 0
}
