package talos

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// UnknownError says that a name is not one of a known set.
type UnknownError struct {
	// What kind of thing was named: "platform", "architecture".
	What, Name string
	// Known are all names; Nearest those that could have been meant, the likeliest first.
	Known, Nearest []string
}

func unknown(what, name string, known []string) *UnknownError {
	return &UnknownError{what, name, known, Nearest(name, known, 3)}
}

func (e *UnknownError) Error() string {
	s := fmt.Sprintf("unknown %s %q", e.What, cut(e.Name))
	if len(e.Nearest) > 0 {
		return s + fmt.Sprintf(": did you mean %q?", e.Nearest[0])
	}
	return s + ": must be one of " + strings.Join(e.Known, ", ")
}

// cut keeps a foreign name printable.
func cut(name string) string {
	const most = 100
	if len(name) > most {
		return name[:most] + "…"
	}
	return name
}

// Nearest returns up to n of the names that somebody who wrote name could have meant, the likeliest first: a few letters
// exchanged, or one a part of the other.
func Nearest(name string, names []string, n int) []string {
	const longest = 256 // the distance takes len×len steps
	if len(name) > longest {
		return nil
	}
	type match struct {
		name     string
		distance int
	}
	asked := strings.ToLower(name)
	var found []match
	for _, candidate := range names {
		if len(candidate) > longest {
			continue
		}
		low := strings.ToLower(candidate)
		d := levenshtein.Distance(asked, low, nil)
		part := len(asked) >= 3 && (strings.Contains(low, asked) || len(low) >= 3 && strings.Contains(asked, low))
		if d <= 1+max(len(asked), len(low))/4 || part {
			found = append(found, match{candidate, d})
		}
	}
	slices.SortFunc(found, func(a, b match) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})
	var best []string
	for _, m := range found[:min(n, len(found))] {
		best = append(best, m.name)
	}
	return best
}
