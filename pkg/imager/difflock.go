package imager

import (
	"fmt"
	"maps"
	"slices"

	"github.com/talosmith/talosmith/pkg/inspect"
	"github.com/talosmith/talosmith/pkg/profile"
)

// DiffLocks compares what two locks pin.
func DiffLocks(from, to *profile.Lock) *inspect.Differences {
	d := inspect.NewDifferences()
	talos := func(l *profile.Lock) []inspect.Item { return []inspect.Item{{Name: "version", Value: l.Talos}} }
	d.Add(inspect.Compare("Talos", talos(from), talos(to)))
	s := inspect.Compare("pins", pinItems(from), pinItems(to))
	d.Add(s)
	d.Add(inspect.Compare("architectures", archItems(from, to), archItems(to, from)))
	said := map[string][]string{}
	for _, c := range s.Changes {
		name := c.Name
		if c.Change == inspect.Changed {
			a, _ := from.Find(c.Name)
			b, _ := to.Find(c.Name)
			if a.Digest != b.Digest {
				name = fmt.Sprintf("%s (%s)", c.Name, newVersion(a.Version, b.Version))
			} else {
				name = c.Name + " (the same content)"
			}
		}
		said[c.Change] = append(said[c.Change], name)
	}
	if names := said[inspect.Removed]; len(names) > 0 {
		d.Summary = append(d.Summary, "this removes "+few(names))
	}
	if from.Talos != to.Talos {
		d.Summary = append(d.Summary, fmt.Sprintf("this changes Talos: %s → %s", from.Talos, to.Talos))
	}
	if names := said[inspect.Added]; len(names) > 0 {
		d.Summary = append(d.Summary, "this adds "+few(names))
	}
	if names := said[inspect.Changed]; len(names) > 0 {
		d.Summary = append(d.Summary, "this changes "+few(names))
	}
	if len(d.Summary) == 0 && !d.Same {
		d.Summary = append(d.Summary, "this changes architectures")
	}
	return d
}

func pinItems(l *profile.Lock) (list []inspect.Item) {
	for _, p := range l.Pins {
		value := p.Reference + ", " + p.Digest + ", from " + p.From
		if p.Version != "" {
			value = p.Version + ", " + value
		}
		if p.Verified {
			value += ", verified"
		}
		list = append(list, inspect.Item{Name: p.Name, Value: value})
	}
	return list
}

// archItems are the images of pins that both have.
func archItems(l, other *profile.Lock) (list []inspect.Item) {
	for _, p := range l.Pins {
		if _, both := other.Find(p.Name); !both {
			continue
		}
		for _, arch := range slices.Sorted(maps.Keys(p.Architectures)) {
			a := p.Architectures[arch]
			value := a.Digest + ", " + inspect.Bytes(a.Size)
			if reference, digest, _ := p.For(arch); reference != p.Reference || digest != p.Digest {
				value += ", " + reference + ", " + digest
			}
			list = append(list, inspect.Item{Name: p.Name + " " + arch, Value: value})
		}
	}
	return list
}
