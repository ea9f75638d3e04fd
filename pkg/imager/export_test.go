package imager

import (
	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/preflight"
)

// Stored is the gzip stream that does not compress.
type Stored = stored

// TagOf makes a tag of a version.
var TagOf = tagOf

// Diagnose says what a preflight would of a resolution's first target, of which this is known.
func Diagnose(r *Resolution, known preflight.Target) hcl.Diagnostics {
	t := &target{targetSteps: targetSteps{Target: r.Targets[0]}}
	known.Facts = t.Facts
	return diagnose([]checked{{target: t, known: known, found: preflight.Check(known)}})
}
