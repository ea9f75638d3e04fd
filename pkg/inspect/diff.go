package inspect

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Differences are what two things of a kind differ in: artefacts, plans, locks.
type Differences struct {
	Same     bool          `json:"same"`
	Summary  []string      `json:"summary"` // a sentence each, what counts most first
	Sections []DiffSection `json:"sections"`
}

// NewDifferences are none yet.
func NewDifferences() *Differences {
	return &Differences{Same: true, Summary: []string{}, Sections: []DiffSection{}}
}

// Add adds a section that has changes.
func (d *Differences) Add(s DiffSection) {
	if len(s.Changes) > 0 {
		d.Same, d.Sections = false, append(d.Sections, s)
	}
}

// DiffSection is one aspect: "extensions", "kernel arguments", "files of gvisor". One without changes is left out.
type DiffSection struct {
	Name    string   `json:"name"`
	Changes []Change `json:"changes"`
}

// The ways in which a named thing changes.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
	Moved   = "moved" // the same things in another order
)

// Change is of one named thing.
type Change struct {
	Change string `json:"change"`
	Name   string `json:"name"`
	From   string `json:"from"`
	To     string `json:"to"`
}

// Item is a named thing. Its value is what is compared, and shown.
type Item struct{ Name, Value string }

// Compare compares the named things of a section. Several of one name are one, with all their values in order.
func Compare(section string, from, to []Item) DiffSection {
	s := DiffSection{Name: section}
	a, b := group(from), group(to)
	for _, name := range a.names {
		switch values, ok := b.values[name]; {
		case !ok:
			s.Changes = append(s.Changes, Change{Removed, name, strings.Join(a.values[name], " "), ""})
		case !slices.Equal(values, a.values[name]):
			s.Changes = append(s.Changes, Change{Changed, name, strings.Join(a.values[name], " "), strings.Join(values, " ")})
		}
	}
	for _, name := range b.names {
		if _, ok := a.values[name]; !ok {
			s.Changes = append(s.Changes, Change{Added, name, "", strings.Join(b.values[name], " ")})
		}
	}
	return s
}

// CompareOrdered is [Compare] where the order counts, too: what is in both but in another one is a change.
func CompareOrdered(section string, from, to []Item) DiffSection {
	s := Compare(section, from, to)
	a, b := group(from), group(to)
	if x, y := a.common(b), b.common(a); !slices.Equal(x, y) {
		s.Changes = append(s.Changes, Change{Moved, "order", strings.Join(x, " "), strings.Join(y, " ")})
	}
	return s
}

// grouped are items by name, the names in order of their first item.
type grouped struct {
	names  []string
	values map[string][]string
}

func group(items []Item) grouped {
	g := grouped{values: make(map[string][]string, len(items))}
	for _, i := range items {
		if _, ok := g.values[i.Name]; !ok {
			g.names = append(g.names, i.Name)
		}
		g.values[i.Name] = append(g.values[i.Name], i.Value)
	}
	return g
}

// common are the names that are in the other, too.
func (g grouped) common(other grouped) []string {
	return slices.DeleteFunc(slices.Clone(g.names), func(name string) bool {
		_, ok := other.values[name]
		return !ok
	})
}

// WriteText writes the differences for people: what counts first, then "-" removed, "+" added, "~" changed, "↕" in another order.
func (d *Differences) WriteText(w io.Writer) error {
	t := newTable(w)
	if d.Same {
		t.print("the same")
	}
	for _, line := range d.Summary {
		t.print(line)
	}
	for _, s := range d.Sections {
		t.head(fmt.Sprintf("%s (%d)", s.Name, len(s.Changes)))
		for _, c := range s.Changes {
			from, to := Shorten(c.From), Shorten(c.To)
			switch c.Change {
			case Removed:
				t.row("- "+c.Name, from)
			case Added:
				t.row("+ "+c.Name, to)
			case Moved:
				t.row("↕ "+c.Name, from+" → "+to)
			default:
				t.row("~ "+c.Name, from+" → "+to)
			}
		}
	}
	return t.flush()
}

var longHash = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// Shorten leaves of each SHA-256 what tells it from others.
func Shorten(s string) string {
	return longHash.ReplaceAllStringFunc(s, func(h string) string { return h[:12] })
}
