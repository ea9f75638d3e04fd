package imager_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/profile"
)

const locked = `
talos {
  version = "v1.13.9"
  %s
}
extension "own" {
  path = "own"
}
image "metal" {
  extensions = ["siderolabs/tiny", "siderolabs/ucode", extension.own]
  output "initramfs" {}
}
`

// lock makes a lock of a profile, keeping what keep pins.
func (r *run) lock(text string, keep *profile.Lock) (*profile.Lock, error) {
	r.t.Helper()
	res, _, diags := imager.Resolve(r.t.Context(), r.profile(text), imager.Request{Lock: keep}, r.src)
	if diags.HasErrors() {
		return nil, diags
	}
	return imager.MakeLock(r.t.Context(), imager.Plan(res, r.src, nil), r.store)
}

func (w *world) own(text string) {
	w.t.Helper()
	dir := filepath.Join(w.dir, "own")
	w.check(os.MkdirAll(filepath.Join(dir, "rootfs", "usr", "local"), 0o700))
	w.check(os.WriteFile(filepath.Join(dir, "manifest.yaml"), []byte(manifest("own", "3")), 0o600))
	w.check(os.WriteFile(filepath.Join(dir, "rootfs", "usr", "local", "own"), []byte(text), 0o600))
}

func TestLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1.13.8", "v1.13.9")
	w.own("one")
	text := fmt.Sprintf(locked, "")
	lock, err := w.run().lock(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(w.dir, profile.LockName)
	w.check(lock.Write(name))
	if lock, err = profile.ReadLock(name); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range lock.Pins {
		names = append(names, p.Name+" "+p.Version)
	}
	if got, want := strings.Join(names, ", "), "extension.own 3, siderolabs/tiny 1.0.0, siderolabs/ucode 2, talos/extensions , talos/imager "; got != want {
		t.Errorf("pins %q", got)
	}
	if pin, _ := lock.Find("siderolabs/tiny"); pin.Digest != w.digests["tiny:1.0.0"] || pin.Reference != "ghcr.io/siderolabs/tiny:1.0.0" || pin.From != "catalogue v1.13.9" ||
		pin.Architectures["amd64"].Size == 0 || pin.Verified {
		t.Errorf("pin %+v", pin)
	}
	if pin, _ := lock.Find("extension.own"); pin.Reference != "directory own" {
		t.Errorf("pin %+v", pin)
	}

	// The catalogue and the tag move: who has the lock does not notice.
	before := w.digests["tiny:1.0.0"]
	w.extension("tiny:1.0.0", map[string]string{"usr/local/share/tiny": "moved"})
	w.release("v1.13.9")
	res, _, diags := imager.Resolve(t.Context(), w.run().profile(text), imager.Request{Lock: lock}, w.run().src)
	if diags.HasErrors() || len(res.Stale()) != 0 {
		t.Fatalf("stale %q, %v", res.Stale(), diags)
	}
	if got := res.Targets[0].Extensions[0].Artifact.Index; got != before {
		t.Errorf("took %s, locked is %s", got, before)
	}
	again, err := w.run().lock(text, lock)
	if err != nil {
		t.Fatal(err)
	}
	w.check(again.Write(name + ".again"))
	if a, b := mustRead(t, name), mustRead(t, name+".again"); !bytes.Equal(a, b) {
		t.Errorf("locking again changes the file:\n%s", b)
	}
	moved, err := w.run().lock(text, lock.Without(func(p profile.Pin) bool { return p.Name != "extension.own" }))
	if err != nil {
		t.Fatal(err)
	}
	if pin, _ := moved.Find("siderolabs/tiny"); pin.Digest == before {
		t.Error("an updated pin did not move")
	}

	// With everything local, the network is not needed.
	w.registry.Close()
	r := w.run()
	if _, err := r.tryLocked(text, lock); err != nil {
		t.Errorf("without the network: %v", err)
	}

	// A directory that changes is said to have.
	w.own("two")
	res, _, _ = imager.Resolve(t.Context(), r.profile(text), imager.Request{Lock: lock}, r.src)
	if s := res.Stale(); len(s) != 1 || !strings.Contains(s[0], "extension.own (amd64): its content has changed") {
		t.Errorf("stale %q", s)
	}
}

// TestLockOfArchitectures: an extension that is something else on each architecture is pinned for each.
func TestLockOfArchitectures(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1.13.9")
	for _, arch := range []string{"amd64", "arm64"} {
		w.publish("agent-"+arch+":1", func(string) map[string]string {
			return map[string]string{"manifest.yaml": manifest("image", "1"), "rootfs/usr/local/image": arch}
		})
	}
	r := w.run()
	r.agents("amd64")
	text := strings.Replace(authored, "extension.agent]", "extension.agent, extension.image]", 1) +
		"extension \"image\" {\n  image = \"ghcr.io/siderolabs/agent-${arch}:1\"\n}\n"
	lock, err := r.lock(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	pin, _ := lock.Find("extension.image")
	if reference, digest, ok := pin.For("arm64"); !ok || reference != "ghcr.io/siderolabs/agent-arm64:1" || digest == pin.Digest {
		t.Errorf("pin %+v", pin)
	}
	res, _, diags := imager.Resolve(t.Context(), r.profile(text), imager.Request{Lock: lock}, w.run().src)
	if diags.HasErrors() || len(res.Stale()) > 0 {
		t.Errorf("stale %q, %v", res.Stale(), diags)
	}
	r.check(os.WriteFile(filepath.Join(r.dir, "bin", "agent-arm64"), []byte("changed"), 0o755))
	res, _, _ = imager.Resolve(t.Context(), r.profile(text), imager.Request{Lock: lock}, w.run().src)
	if s := res.Stale(); len(s) != 1 || !strings.Contains(s[0], "extension.agent (arm64): its content has changed") {
		t.Errorf("stale %q", s)
	}
}

func (r *run) tryLocked(text string, lock *profile.Lock) (*imager.Manifest, error) {
	r.t.Helper()
	res, jobs, diags := imager.Resolve(r.t.Context(), r.profile(text), imager.Request{Lock: lock, Runner: r.runner}, r.src)
	if diags.HasErrors() {
		return nil, diags
	}
	return imager.Build(r.t.Context(), imager.Plan(res, r.src, nil), jobs, imager.Options{Out: r.out(), Store: r.store, Sources: r.src})
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestMixedReleases updates one pin to another release.
func TestMixedReleases(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1.13.8", "v1.13.9")
	w.own("one")
	old, err := w.run().lock(strings.ReplaceAll(fmt.Sprintf(locked, ""), "v1.13.9", "v1.13.8"), nil)
	if err != nil {
		t.Fatal(err)
	}
	part := old.Without(func(p profile.Pin) bool { return p.Name == "siderolabs/tiny" })
	mixed, err := w.run().lock(fmt.Sprintf(locked, "allow_mixed_releases = true"), part)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"siderolabs/tiny": "catalogue v1.13.9", "siderolabs/ucode": "catalogue v1.13.8"} {
		if pin, _ := mixed.Find(name); pin.From != want {
			t.Errorf("%s is from %q, want %q", name, pin.From, want)
		}
	}
	// Without leave, the pins of the other release are not kept, and are said to be stale.
	res, _, diags := imager.Resolve(t.Context(), w.run().profile(fmt.Sprintf(locked, "")), imager.Request{Lock: mixed}, w.run().src)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if s := strings.Join(res.Stale(), "; "); !strings.Contains(s, "siderolabs/ucode (amd64): it comes from catalogue v1.13.9, the lock has it from catalogue v1.13.8") {
		t.Errorf("stale %q", s)
	}
}

func TestBadLocks(t *testing.T) {
	name := filepath.Join(t.TempDir(), profile.LockName)
	for text, want := range map[string]string{
		"":                                 "EOF",
		"{\"version\": 2}":                 "its form is version 2",
		"{\"version\": 1}\n>>>>>>> theirs": "something follows its end",
		"{\"version\": 1, \"extra\": 1}":   "unknown field",
		"{\"version\": 1, \"pins\": [{}]}": "incomplete",
		"{\"version\": 1, \"pins\": [{\"name\":\"a\",\"reference\":\"b\",\"digest\":\"c\"},{\"name\":\"a\",\"reference\":\"b\",\"digest\":\"c\"}]}": "twice",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := profile.ReadLock(name); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "remove it and run `go tool mage lock`") {
			t.Errorf("%q: error %v, want one with %q", text, err, want)
		}
	}
}
