package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
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
	if diff := cmp.Diff([]string{"added    talos/imager d"}, lockChanges(nil, profile.NewLock("v1.13.9", []profile.Pin{{Name: "talos/imager", Digest: "d"}}))); diff != "" {
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
	if err := s.Lock(t.Context(), "siderolabs/gvisor"); err == nil || !strings.Contains(err.Error(), "extensions.lock.json yet: "+o.mage("lock")+" makes it") {
		t.Errorf("error %v", err)
	}
}

const movingProfile = `talos {
  version = "v1.13.9"
}

extension "agent" {
  image = "ghcr.io/siderolabs/agent:1"
}

image "metal" {
  extensions = ["siderolabs/gvisor", extension.agent]
  output "initramfs" {}
}
`

// lockCommand is a profile, a registry, and what users do with them.
type lockCommand struct {
	*release
	o              Options
	stdout, stderr *bytes.Buffer
}

// call runs something, and returns what it prints.
func (c *lockCommand) call(do func(*Session) error) (stdout, stderr string, err error) {
	c.t.Helper()
	c.stdout.Reset()
	c.stderr.Reset()
	s, err := Open(c.o)
	c.check(err)
	err = do(s)
	c.check(s.Close())
	return c.stdout.String(), c.stderr.String(), err
}

func (c *lockCommand) lock(update string) (stdout, stderr string) {
	c.t.Helper()
	stdout, stderr, err := c.call(func(s *Session) error { return s.Lock(c.t.Context(), update) })
	if err != nil {
		c.t.Fatal(err, stderr)
	}
	return stdout, stderr
}

// TestLockAndMovingTags does what `mage lock` and builds do while the tags of a registry move.
func TestLockAndMovingTags(t *testing.T) {
	t.Parallel()
	r := serveRelease(t)
	agent := func(content string) string {
		return r.image("agent:1", map[string]string{"manifest.yaml": "version: v1alpha1\nmetadata:\n  name: agent\n  version: 1.4.0\n", "rootfs/usr/local/agent": content})
	}
	first := agent("one")
	r.publish("v1.13.9", "gvisor:20260101.0 [core] x")
	o, stdout, stderr := at(t, map[string]string{"extensions.hcl": movingProfile})
	o.Mirrors = []source.Mirror{r.mirror()}
	c := &lockCommand{r, o, stdout, stderr}
	wants := func(what, got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("%s: no %q in\n%s", what, want, got)
		}
	}
	env := o.Env
	inCI := func(name string) (string, bool) {
		if name == "CI" {
			return "true", true
		}
		return env(name)
	}
	build := func(s *Session) error {
		_, err := s.Build(t.Context(), imager.Request{})
		return err
	}
	refused := func(what, want string) {
		t.Helper()
		for _, how := range []Options{{Locked: new(true)}, {Env: inCI}} {
			c.o = o
			c.o.Locked = how.Locked
			if how.Env != nil {
				c.o.Env = how.Env
			}
			if _, _, err := c.call(build); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want %q", what, err, want)
			}
		}
		c.o = o
	}
	// checked is `mage lock -check`.
	checked := func() (string, error) {
		t.Helper()
		out, _, err := c.call(func(s *Session) error { return s.CheckLock(t.Context()) })
		return out, err
	}

	// Without a lock a build says that it looks everything up; where it has to be locked, it is refused. So is a check of the lock.
	refused("no lock", "extensions.lock.json is missing: run "+o.mage("lock")+" and commit it, or build with -locked=false")
	for _, locked := range []Options{{Env: env}, {Env: inCI, Locked: new(false)}} {
		c.o.Env, c.o.Locked = locked.Env, locked.Locked
		_, said, _ := c.call(build) // in vain: the release has nothing to boot
		wants("no lock", said, "note: no extensions.lock.json: names and tags were looked up anew; "+o.mage("lock")+" pins them")
	}
	c.o = o
	if _, err := checked(); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("no lock to check: %v", err)
	}

	out, _ := c.lock("")
	wants("the first lock", out, "added    extension.agent 1.4.0 "+first+"\nadded    siderolabs/gvisor 20260101.0 sha256:")
	name := filepath.Join(filepath.Dir(o.Profile), profile.LockName)
	text, err := os.ReadFile(name)
	r.check(err)
	if out, _ := c.lock(""); out != name+": unchanged, 4 pins\n" {
		t.Errorf("locked again: %s", out)
	}
	if out, err := checked(); err != nil || out != name+" matches the profile: 4 pins\n" {
		t.Errorf("checked: %s, %v", out, err)
	}

	// A tag moves. That is reported, not followed; the build does not even notice.
	second := agent("two")
	out, said := c.lock("")
	wants("a moved tag", out, "unchanged, 4 pins")
	wants("a moved tag", said, "note: extension.agent: ghcr.io/siderolabs/agent:1 is "+second+" now, "+first+" stays locked; "+o.mage("lock", "-update=extension.agent")+" follows")
	if again, err := os.ReadFile(name); err != nil || !bytes.Equal(again, text) {
		t.Errorf("the lock has changed:\n%s%v", again, err)
	}
	if out, err := checked(); err != nil {
		t.Errorf("checked: %s, %v", out, err)
	}
	if _, said, _ := c.call(build); strings.Contains(said, "lock") {
		t.Errorf("a build with a lock says %s", said)
	}

	// One pin is to follow, then all.
	if out, _ := c.lock("extension.agent"); out != "moved    extension.agent 1.4.0 "+first+" -> 1.4.0 "+second+"\n" {
		t.Errorf("one pin: %s", out)
	}
	third := agent("three")
	r.publish("v1.13.9", "gvisor:20260202.0 [core] x", "crun:1.21 [core] y")
	out, _ = c.lock("all")
	wants("all pins", out, "moved    extension.agent 1.4.0 "+second+" -> 1.4.0 "+third+"\n")
	wants("all pins", out, "moved    siderolabs/gvisor 20260101.0 sha256:")
	if _, _, err := c.call(func(s *Session) error { return s.Lock(t.Context(), "gvisor") }); err == nil ||
		!strings.Contains(err.Error(), "-update=gvisor: "+name+" pins no such name; it has extension.agent, siderolabs/gvisor, talos/extensions, talos/imager") {
		t.Errorf("an unknown pin: %v", err)
	}

	// The profile changes.
	r.check(os.WriteFile(o.Profile, []byte(strings.Replace(movingProfile, `"siderolabs/gvisor"`, `"siderolabs/crun"`, 1)), 0o600))
	out, err = checked()
	if want := "siderolabs/crun (amd64): it is not in the lock\nsiderolabs/gvisor: the profile does not name it\n"; err == nil || out != want {
		t.Errorf("checked: %v, printed\n%s", err, out)
	}
	refused("another profile", "does not match the profile: run "+o.mage("lock")+" and commit it:\n  siderolabs/crun (amd64): it is not in the lock")
	_, said, _ = c.call(build)
	wants("another profile", said, "extensions.lock.json does not match the profile, "+o.mage("lock")+" mends it:\n  siderolabs/crun (amd64): it is not in the lock")
}
