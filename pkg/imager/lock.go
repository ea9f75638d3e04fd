package imager

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/store"
)

// Found is a name that was looked up for one architecture, for a lock.
type Found struct {
	Name      string // as [profile.Pin] has it
	Arch      string
	Reference string // without a digest; files relative to the profile
	From      string
	Artifact  *source.Artifact
	ref       source.Ref // as the profile or the catalogue names it
	// Stale says why the lock's pin, if there is a lock, does not hold.
	Stale string
}

// lockName is what a lock calls an extension.
func lockName(e profile.ExtensionRef) string {
	if e.Declared != nil {
		return "extension." + e.Name
	}
	return e.Name
}

// stale says why a pin does not stand for what the profile names; empty where it does.
func stale(pin profile.Pin, f Found) string {
	reference, _, ok := pin.For(f.Arch)
	switch {
	case !ok:
		return "the lock does not have it for " + f.Arch
	case reference != f.Reference && !fits(f.Reference, reference):
		return fmt.Sprintf("it is %q in the profile, %q in the lock", f.Reference, reference)
	case pin.From != f.From:
		return fmt.Sprintf("it comes from %s, the lock has it from %s", f.From, pin.From)
	}
	return ""
}

// fits tells whether a lock's reference is one that a pattern stands for. The profile has a pattern where no file fits it, but a bundle may.
func fits(pattern, reference string) bool {
	ok, err := path.Match(pattern, reference)
	return ok && err == nil
}

// mayKeep tells whether a pin of an official extension holds: it is of the profile's release, or releases may be mixed.
func (r *resolver) mayKeep(pin profile.Pin, from string) bool {
	return pin.From == from || r.p.Talos.AllowMixedReleases
}

// sortFound brings what was found, and what was not, into an order that does not depend on who answered first.
func (r *Resolution) sortFound() {
	slices.SortFunc(r.Missed, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	slices.SortFunc(r.Found, func(a, b Found) int {
		if n := strings.Compare(a.Name, b.Name); n != 0 {
			return n
		}
		return strings.Compare(a.Arch, b.Arch)
	})
	r.Found = slices.CompactFunc(r.Found, func(a, b Found) bool { return a.Name == b.Name && a.Arch == b.Arch })
}

// Stale are the names for which a lock does not hold, each with the reason; nil where it holds for all.
func (r *Resolution) Stale() (all []string) {
	for _, f := range r.Found {
		if f.Stale != "" {
			all = append(all, fmt.Sprintf("%s (%s): %s", f.Name, f.Arch, f.Stale))
		}
	}
	return all
}

// MakeLock pins everything that was found. The versions of extensions are those of their manifests, so they are downloaded.
func MakeLock(ctx context.Context, g *Graph, s *store.Store) (*profile.Lock, error) {
	versions := map[string]string{}
	for _, t := range g.Targets {
		for i, e := range t.Extensions {
			b, err := s.Build(ctx, e.Info)
			if err != nil {
				return nil, err
			}
			var info extensionInfo
			if err := readJSON(b, &info); err != nil {
				return nil, err
			}
			if info.Unusable {
				return nil, fmt.Errorf("extension %s: %s", t.Target.Extensions[i].Name, info.Findings[len(info.Findings)-1].Summary)
			}
			versions[lockName(t.Target.Extensions[i].ExtensionRef)] = info.Manifest.Metadata.Version
		}
	}
	pins := map[string]*profile.Pin{}
	for _, f := range g.Found {
		p := pins[f.Name]
		if p == nil {
			p = &profile.Pin{
				Name: f.Name, Version: versions[f.Name], Reference: f.Reference, Digest: f.Artifact.Index, From: f.From,
				Architectures: map[string]profile.PinnedArchitecture{},
			}
			pins[f.Name] = p
		}
		size := int64(0)
		for _, l := range f.Artifact.Layers {
			size += l.Size
		}
		a := profile.PinnedArchitecture{Digest: f.Artifact.Manifest, Size: size}
		if f.Reference != p.Reference {
			a.Reference = f.Reference
		}
		if f.Artifact.Index != p.Digest {
			a.Index = f.Artifact.Index
		}
		p.Architectures[f.Arch] = a
	}
	var all []profile.Pin
	for _, p := range pins {
		all = append(all, *p)
	}
	return profile.NewLock(g.Profile.Talos.Version.String(), all), nil
}
