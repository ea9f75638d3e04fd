package imager_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/inspect"
	"github.com/talosmith/talosmith/pkg/profile"
)

const before = `
talos {
  version = "v1.13.8"
}
image "metal" {
  architectures = ["amd64", "arm64"]
  extensions    = ["siderolabs/ucode", "siderolabs/tiny", "siderolabs/more"]
  kernel_args   = ["console=ttyS9", "quiet"]
  output "iso" {}
  output "disk" {}
}
image "old" {
  extensions = ["siderolabs/tiny"]
  output "uki" {}
}
`

const after = `
talos {
  version = "v1.13.9"
}
image "metal" {
  architectures = ["amd64", "arm64"]
  extensions    = ["siderolabs/ucode", "siderolabs/more", "siderolabs/new"]
  kernel_args   = ["console=ttyS8", "debug"]
  output "disk" {
    size = "9GiB"
  }
  output "installer" {}
}
image "cloud" {
  platform = "aws"
  output "disk" {}
}
`

func TestDiffPlans(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.extension("more:1", map[string]string{"usr/local/more": "1"})
	w.release("v1.13.8")
	delete(w.digests, "more:1")
	w.extension("more:2", map[string]string{"usr/local/more": strings.Repeat("0123456789abcdef", 1000)})
	w.extension("new:1", map[string]string{"usr/local/new": "1"})
	w.release("v1.13.9")
	r := w.run()
	a, b := r.describe(before, r.src, nil), r.describe(after, r.src, nil)

	d := imager.DiffPlans(a, b)
	want := []string{
		"this removes the image old amd64",
		"this removes siderolabs/tiny from metal amd64, metal arm64",
		"this removes metal-amd64.iso, metal-arm64.iso",
		"this changes Talos: v1.13.8 → v1.13.9",
		"this adds siderolabs/new to metal amd64, metal arm64",
		"this changes siderolabs/more (1 → 2) in metal amd64, metal arm64",
		"this changes kernel arguments (console, quiet, debug) of metal amd64, metal arm64",
		"this adds metal-amd64-installer.tar, metal-arm64-installer.tar",
		"this adds the image cloud amd64",
		"this changes outputs of metal amd64, metal arm64",
	}
	if d.Same || !slices.Equal(d.Summary, want) {
		t.Errorf("summary\n%s", strings.Join(d.Summary, "\n"))
	}
	sections := map[string][]inspect.Change{}
	for _, s := range d.Sections {
		sections[s.Name] = s.Changes
	}
	both := "metal amd64, metal arm64"
	if c := sections["images"]; !slices.Equal(c, []inspect.Change{
		{Change: "removed", Name: "old amd64", From: "metal; siderolabs/tiny; uki"}, {Change: "added", Name: "cloud amd64", To: "aws; disk"},
	}) {
		t.Errorf("images %+v", c)
	}
	if c := sections["extensions of "+both]; len(c) != 3 || c[0] != (inspect.Change{Change: "removed", Name: "siderolabs/tiny", From: "1.0.0, " + w.digests["tiny:1.0.0"]}) ||
		c[1].Change != "changed" || c[1].To != "2, "+w.digests["more:2"] || c[2].Name != "siderolabs/new" {
		t.Errorf("extensions %+v", c)
	}
	if c := sections["kernel arguments of "+both]; !slices.Equal(c, []inspect.Change{
		{Change: "changed", Name: "console", From: "ttyS9", To: "ttyS8"}, {Change: "removed", Name: "quiet"}, {Change: "added", Name: "debug"},
	}) {
		t.Errorf("kernel arguments %+v", c)
	}
	if c := sections["outputs of metal amd64"]; len(c) != 3 || c[1].Name != "metal-amd64.raw.zst" || !strings.Contains(c[1].From, "4.1 GiB") || !strings.Contains(c[1].To, "9.0 GiB") {
		t.Errorf("outputs %+v", c)
	}
	if c := sections["sizes of extensions of "+both]; len(c) != 2 || c[0].Name != "siderolabs/more" || c[0].From == c[0].To || c[1].Name != "all" {
		t.Errorf("sizes %+v", sections)
	}
	if c := sections["Talos"]; !slices.Equal(c, []inspect.Change{{Change: "changed", Name: "version", From: "v1.13.8", To: "v1.13.9"}}) {
		t.Errorf("Talos %+v", c)
	}

	same := imager.DiffPlans(a, r.describe(before, r.src, nil))
	if text, err := json.Marshal(same); err != nil || string(text) != `{"same":true,"summary":[],"sections":[]}` {
		t.Errorf("%s, %v", text, err)
	}
	back := imager.DiffPlans(b, a)
	if back.Summary[1] != "this removes siderolabs/new from "+both {
		t.Errorf("the other way round: %q", back.Summary)
	}
	first := imager.DiffPlans(&imager.Description{}, a)
	if want := []string{"this adds the images metal amd64, metal arm64, old amd64"}; !slices.Equal(first.Summary, want) {
		t.Errorf("from nothing: %q", first.Summary)
	}
}

// TestDiffPlansOrder: the order of extensions is that of layers, and what is pinned anew is not the same.
func TestDiffPlansOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1.13.9")
	r := w.run()
	lock, err := r.lock(twoArchitectures, nil)
	w.check(err)
	plan := func(text string, lock *profile.Lock) *imager.Description { return r.describe(text, r.src, lock) }
	turned := strings.Replace(twoArchitectures, `"siderolabs/ucode", "siderolabs/tiny"`, `"siderolabs/tiny", "siderolabs/ucode"`, 1)
	d := imager.DiffPlans(plan(twoArchitectures, lock), plan(turned, lock))
	if want := []string{"this changes the order of extensions in metal amd64, metal arm64"}; !slices.Equal(d.Summary, want) {
		t.Errorf("%q", d.Summary)
	}
	w.extension("tiny:1.0.0", map[string]string{"usr/local/share/tiny": "moved"})
	w.release("v1.13.9")
	moved, err := w.run().lock(twoArchitectures, nil)
	w.check(err)
	for name, d := range map[string]*inspect.Differences{
		"plans": imager.DiffPlans(plan(twoArchitectures, lock), plan(twoArchitectures, moved)), "locks": imager.DiffLocks(lock, moved),
	} {
		if len(d.Summary) != 1 || !strings.HasPrefix(d.Summary[0], "this changes siderolabs/tiny (the same version, other content)") &&
			d.Summary[0] != "this changes siderolabs/tiny (the same version, other content), talos/extensions (other content)" {
			t.Errorf("%s: %q", name, d.Summary)
		}
	}
}

func TestDiffLocks(t *testing.T) {
	t.Parallel()
	arch := func(n int64) map[string]profile.PinnedArchitecture {
		return map[string]profile.PinnedArchitecture{"amd64": {Digest: "sha256:m", Size: n << 10}}
	}
	a := profile.NewLock("v1.13.8", []profile.Pin{
		{Name: "siderolabs/iscsi-tools", Version: "v0.1.6", Reference: "r/iscsi-tools:v0.1.6", Digest: "sha256:1", From: "catalogue v1.13.8", Architectures: arch(1)},
		{Name: "siderolabs/gvisor", Version: "1", Reference: "r/gvisor:1", Digest: "sha256:2", From: "catalogue v1.13.8", Architectures: arch(1)},
		{Name: "talos/imager", Reference: "r/imager:v1.13.8", Digest: "sha256:3", From: "talos v1.13.8", Architectures: arch(1)},
	})
	b := profile.NewLock("v1.13.9", []profile.Pin{
		{Name: "siderolabs/gvisor", Version: "2", Reference: "r/gvisor:2", Digest: "sha256:4", From: "catalogue v1.13.9", Architectures: arch(2)},
		{Name: "extension.own", Version: "1", Reference: "directory own", Digest: "sha256:6", From: "extensions.hcl", Architectures: arch(1)},
		{Name: "talos/imager", Reference: "r/imager:v1.13.9", Digest: "sha256:3", From: "talos v1.13.9", Architectures: arch(1)},
	})
	d := imager.DiffLocks(a, b)
	want := []string{
		"this removes siderolabs/iscsi-tools", "this changes Talos: v1.13.8 → v1.13.9", "this adds extension.own",
		"this changes siderolabs/gvisor (1 → 2), talos/imager (the same content)",
	}
	if d.Same || !slices.Equal(d.Summary, want) {
		t.Errorf("%q", d.Summary)
	}
	var names []string
	for _, s := range d.Sections {
		for _, c := range s.Changes {
			names = append(names, s.Name+": "+c.Change+" "+c.Name)
		}
	}
	if got, want := strings.Join(names, ", "), "Talos: changed version, pins: changed siderolabs/gvisor, pins: removed siderolabs/iscsi-tools, pins: changed talos/imager, "+
		"pins: added extension.own, architectures: changed siderolabs/gvisor amd64"; got != want {
		t.Errorf("sections %s", got)
	}
	if d := imager.DiffLocks(a, a); !d.Same || len(d.Summary) > 0 {
		t.Errorf("%+v", d)
	}
	c := profile.NewLock(a.Talos, slices.Clone(a.Pins))
	c.Pins[0].Architectures = arch(3)
	if d := imager.DiffLocks(a, c); d.Same || !slices.Equal(d.Summary, []string{"this changes architectures"}) {
		t.Errorf("%+v", d)
	}
}
