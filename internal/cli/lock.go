package cli

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/profile"
)

// locked tells whether a missing or stale lock is an error: as the flag says, else in CI.
func (s *Session) locked() bool {
	if s.o.Locked != nil {
		return *s.o.Locked
	}
	ci, _ := s.o.Env("CI")
	return ci == "true"
}

// lockPath is where the lock lies.
func (s *Session) lockPath() string {
	if s.o.Lock != "" {
		return s.o.Lock
	}
	return s.Profile.LockPath()
}

// checkLock says what a build does that its lock does not cover, and refuses it where that is asked for.
func (s *Session) checkLock(lock *profile.Lock, res *imager.Resolution) error {
	stale := res.Stale()
	switch {
	case lock == nil && s.locked():
		return fmt.Errorf("%s is missing: run %s and commit it, or build with -locked=false", s.lockPath(), s.o.mage("lock"))
	case lock == nil:
		s.print.note(fmt.Sprintf("no %s: names and tags were looked up anew; %s pins them", filepath.Base(s.lockPath()), s.o.mage("lock")))
	case len(stale) > 0 && s.locked():
		return fmt.Errorf("%s does not match the profile: run %s and commit it:\n  %s", s.lockPath(), s.o.mage("lock"), strings.Join(stale, "\n  "))
	case len(stale) > 0:
		s.print.note(fmt.Sprintf("%s does not match the profile, %s mends it:\n  %s", s.lockPath(), s.o.mage("lock"), strings.Join(stale, "\n  ")))
	}
	return nil
}

// Lock pins what the profile names. Pins that hold stay; update names those that move: "all", an extension, or "" for none.
func (s *Session) Lock(ctx context.Context, update string) error {
	old, err := profile.ReadLock(s.lockPath())
	if err != nil {
		return err
	}
	found := update == "" || update == "all"
	keep := old.Without(func(p profile.Pin) bool {
		moves := update == "all" || p.Name == update
		found = found || moves
		return moves
	})
	if !found && old == nil {
		return fmt.Errorf("-update=%s: there is no %s yet: %s makes it", update, s.lockPath(), s.o.mage("lock"))
	}
	if !found {
		return fmt.Errorf("-update=%s: %s pins no such name; it has %s", update, s.lockPath(), strings.Join(pinNames(old), ", "))
	}
	lock, err := s.makeLock(ctx, keep)
	if err != nil {
		return err
	}
	changed := lockChanges(old, lock)
	for _, c := range changed {
		fmt.Fprintln(s.o.Stdout, c)
	}
	if update == "" && bundleFile(s.o.Env) == "" { // in a bundle, no tag moves
		if err := s.reportMoved(ctx, lock); err != nil {
			return err
		}
	}
	if len(changed) == 0 {
		fmt.Fprintf(s.o.Stdout, "%s: unchanged, %d pins\n", s.lockPath(), len(lock.Pins))
		return nil
	}
	return lock.Write(s.lockPath())
}

func (s *Session) makeLock(ctx context.Context, keep *profile.Lock) (*profile.Lock, error) {
	g, _, err := s.resolve(ctx, imager.Request{Lock: keep})
	if err != nil {
		return nil, err
	}
	return imager.MakeLock(ctx, g, s.store)
}

// FreshLock pins what names stand for now, whatever they were pinned to before.
func (s *Session) FreshLock(ctx context.Context) error {
	lock, err := s.makeLock(ctx, nil)
	if err != nil {
		return err
	}
	return lock.Write(s.lockPath())
}

// reportMoved tells of tags that stand for something else than what is pinned. They are not followed.
func (s *Session) reportMoved(ctx context.Context, lock *profile.Lock) error {
	g, _, err := s.resolve(ctx, imager.Request{})
	if err != nil {
		return err
	}
	reported := map[string]bool{}
	for _, f := range g.Found {
		p, ok := lock.Find(f.Name)
		if reference, digest, _ := p.For(f.Arch); ok && digest != f.Artifact.Index && !reported[f.Name] {
			reported[f.Name] = true
			s.print.note(fmt.Sprintf("%s: %s is %s now, %s stays locked; %s follows", f.Name, reference, f.Artifact.Index, digest, s.o.mage("lock", "-update="+f.Name)))
		}
	}
	return nil
}

// CheckLock compares the lock with the profile. It prints what does not match; then the error is ErrShown.
func (s *Session) CheckLock(ctx context.Context) error {
	old, err := profile.ReadLock(s.lockPath())
	if err != nil {
		return err
	}
	if old == nil {
		return fmt.Errorf("%s is missing: run %s and commit it", s.lockPath(), s.o.mage("lock"))
	}
	g, _, err := s.resolve(ctx, imager.Request{Lock: old})
	if err != nil {
		return err
	}
	wrong := mismatches(old, g.Resolution)
	for _, w := range wrong {
		fmt.Fprintln(s.o.Stdout, w)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s does not match the profile: run %s: %w", s.lockPath(), s.o.mage("lock"), ErrShown)
	}
	fmt.Fprintf(s.o.Stdout, "%s matches the profile: %d pins\n", s.lockPath(), len(old.Pins))
	return nil
}

// mismatches are all that a lock has otherwise than the profile.
func mismatches(lock *profile.Lock, res *imager.Resolution) []string {
	wrong := res.Stale()
	needed := map[string]bool{}
	for _, f := range res.Found {
		needed[f.Name] = true
	}
	for _, p := range lock.Pins {
		if !needed[p.Name] {
			wrong = append(wrong, p.Name+": the profile does not name it")
		}
	}
	return wrong
}

func pinNames(l *profile.Lock) (names []string) {
	if l == nil {
		return nil
	}
	for _, p := range l.Pins {
		names = append(names, p.Name)
	}
	return names
}

// lockChanges says what a new lock changes, a line each.
func lockChanges(old, lock *profile.Lock) (lines []string) {
	for _, p := range lock.Pins {
		before, ok := old.Find(p.Name)
		switch {
		case !ok:
			lines = append(lines, "added    "+pinText(p.Name, p))
		case before.Digest != p.Digest || before.Version != p.Version || before.Reference != p.Reference:
			lines = append(lines, "moved    "+pinText(p.Name, before)+" -> "+pinText("", p))
		case !maps.Equal(before.Architectures, p.Architectures) || before.From != p.From:
			lines = append(lines, fmt.Sprintf("changed  %s", p.Name))
		}
	}
	if old != nil {
		for _, p := range old.Pins {
			if _, ok := lock.Find(p.Name); !ok {
				lines = append(lines, fmt.Sprintf("removed  %s", p.Name))
			}
		}
	}
	return lines
}

// pinText is a name with what it is pinned to; Talos's own images have no version beside their tag.
func pinText(name string, p profile.Pin) string {
	return strings.Join(slices.DeleteFunc([]string{name, p.Version, p.Digest}, func(s string) bool { return s == "" }), " ")
}
