package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
)

// bundleFile is the file that images are read from in place of registries; empty: there is none.
func bundleFile(env func(string) (string, bool)) string {
	name, _ := env("TALOSMITH_FROM")
	return name
}

// Bundle writes everything that the lock names, and that doesn't lie in the repository, into one file.
func (s *Session) Bundle(ctx context.Context, name string) error {
	ctx, stop := stoppable(ctx)
	defer stop()
	res, err := s.pinned(ctx)
	if err != nil {
		return err
	}
	b, err := imager.WriteBundle(ctx, res, s.sources, name)
	s.print.end()
	if err != nil {
		return s.ended(ctx, err)
	}
	fmt.Fprintf(s.o.Stdout, "%s  %s  sha256:%s  %s\n", name, amount(b.Size), b.SHA256, count(b.Images, "image"))
	return nil
}

// Mirror copies the images that the lock names into a registry, and prints what the profile says to use it.
func (s *Session) Mirror(ctx context.Context, registry string) error {
	res, err := s.pinned(ctx)
	if err != nil {
		return err
	}
	var hosts []string
	base, err := imager.Mirror(ctx, res, s.sources, registry, func(c source.Copied) {
		s.print.copied(c)
		if !slices.Contains(hosts, c.Host) {
			hosts = append(hosts, c.Host)
		}
	})
	s.print.end()
	if err != nil {
		return s.ended(ctx, err)
	}
	slices.Sort(hosts)
	s.showMirror(hosts, base)
	return nil
}

// showMirror says how a profile uses a mirror.
func (s *Session) showMirror(hosts []string, base string) {
	var mirrors []string
	for _, host := range hosts {
		mirrors = append(mirrors, host+"="+base)
		i := slices.IndexFunc(s.Profile.Registries, func(r *profile.Registry) bool { return r.Host == host })
		switch {
		case i < 0:
			fmt.Fprintf(s.o.Stdout, "\nadd to %s:\n\nregistry %q {\n  mirrors = [%q]\n}\n", s.o.Profile, host, base)
		case slices.ContainsFunc(s.Profile.Registries[i].Mirrors, func(m profile.Text) bool { return m.Value == base }):
			fmt.Fprintf(s.o.Stdout, "\nregistry %q has this mirror: %s\n", host, s.Profile.Registries[i].Range)
		default:
			fmt.Fprintf(s.o.Stdout, "\nadd to registry %q, %s:\n\n  mirrors = [%q]\n", host, s.Profile.Registries[i].Range, base)
		}
	}
	if len(mirrors) > 0 {
		fmt.Fprintf(s.o.Stdout, "\non this machine alone:  TALOSMITH_MIRRORS=%s\n", strings.Join(mirrors, ","))
	}
}

// pinned resolves the profile by its lock, which has to fit it.
func (s *Session) pinned(ctx context.Context) (*imager.Resolution, error) {
	lock, err := profile.ReadLock(s.lockPath())
	if err != nil {
		return nil, err
	}
	if lock == nil {
		return nil, fmt.Errorf("%s is missing, which names what to take: run %s and commit it", s.lockPath(), s.o.mage("lock"))
	}
	g, _, err := s.resolve(ctx, imager.Request{Lock: lock})
	if err != nil {
		return nil, err
	}
	if wrong := mismatches(lock, g.Resolution); len(wrong) > 0 {
		return nil, fmt.Errorf("%s does not match the profile: run %s and commit it:\n  %s", s.lockPath(), s.o.mage("lock"), strings.Join(wrong, "\n  "))
	}
	return g.Resolution, nil
}
