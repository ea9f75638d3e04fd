package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talosmith/talosmith/pkg/profile"
)

// TestLockChanges: whatever differs is told, since a lock of which nothing is told is not written.
func TestLockChanges(t *testing.T) {
	t.Parallel()
	pin := func(change func(*profile.Pin)) *profile.Lock {
		p := profile.Pin{Name: "a", Version: "1", Reference: "r", Digest: "d", From: "f", Architectures: map[string]profile.PinnedArchitecture{
			"amd64": {Digest: "d", Size: 1}, "arm64": {Index: "e", Digest: "e", Size: 2},
		}}
		change(&p)
		return profile.NewLock("v1.13.9", []profile.Pin{p})
	}
	old := pin(func(*profile.Pin) {})
	for _, c := range []struct {
		want   []string
		change func(*profile.Pin)
	}{
		{nil, func(*profile.Pin) {}},
		{[]string{"moved    a 1 d -> 1 x"}, func(p *profile.Pin) { p.Digest = "x" }},
		{[]string{"moved    a 1 d -> 2 d"}, func(p *profile.Pin) { p.Version = "2" }},
		{[]string{"changed  a"}, func(p *profile.Pin) { p.From = "g" }},
		{[]string{"changed  a"}, func(p *profile.Pin) { delete(p.Architectures, "arm64") }},
		{[]string{"changed  a"}, func(p *profile.Pin) {
			p.Architectures["arm64"] = profile.PinnedArchitecture{Index: "x", Digest: "x", Size: 2}
		}},
	} {
		if diff := cmp.Diff(c.want, lockChanges(old, pin(c.change))); diff != "" {
			t.Error(diff)
		}
	}
	if diff := cmp.Diff([]string{"added    a 1 d"}, lockChanges(nil, old)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"removed  a"}, lockChanges(old, profile.NewLock("v1.13.9", nil))); diff != "" {
		t.Error(diff)
	}
}

// TestUpdateWithoutLock: there is nothing to move.
func TestUpdateWithoutLock(t *testing.T) {
	t.Parallel()
	o, _, _ := at(t, map[string]string{"extensions.hcl": oneExtension})
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Lock(t.Context(), "siderolabs/gvisor"); err == nil || !strings.Contains(err.Error(), "extensions.lock.json yet: `mage lock` makes it") {
		t.Errorf("error %v", err)
	}
}
