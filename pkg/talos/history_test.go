package talos

import (
	"slices"
	"strings"
	"testing"
)

func TestWhyAbsent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, version, want string }{
		{"siderolabs/youki", "v1.10.0", "It came with Talos v1.10.1."},
		{"youki", "v1.9.9", "It came with Talos v1.10.1."},
		{"siderolabs/youki", "v1.10.1", ""},
		{"siderolabs/realtek-firmware", "v1.6.4", "It came with Talos v1.6.5."},
		{"siderolabs/realtek-firmware", "v1.7.0-alpha.0", ""},
		{"siderolabs/i915-ucode", "v1.13.9", `It is called "siderolabs/i915" since Talos v1.9.0.`},
		{"siderolabs/i915-ucode", "v1.8.3", ""},
		{"siderolabs/nvidia-fabricmanager", "v1.13.9", `It is called "siderolabs/nvidia-fabricmanager-lts" since Talos v1.8.0.`},
		{"siderolabs/amdgpu-firmware", "v1.5.0", "It came with Talos v1.6.0."},
		{"siderolabs/amdgpu-firmware", "v1.14.0", `It is called "siderolabs/amdgpu" since Talos v1.9.0.`},
		{"siderolabs/hyperv-guest-agent", "v1.13.9", "It came with Talos v1.14.0."},
		{"siderolabs/gvisor", "v1.13.9", ""},
		{"siderolabs/never", "v1.13.9", ""},
		{"", "v1.13.9", ""},
	} {
		v, err := ParseVersion(c.version)
		if err != nil {
			t.Fatal(err)
		}
		if got := WhyAbsent(c.name, v); got != c.want {
			t.Errorf("%s in %s: %q, want %q", c.name, c.version, got, c.want)
		}
	}
}

// TestHistory: each name appears once and vanishes once, later; releases are in order and known; what vanished and has a new name has it
// from then on.
func TestHistory(t *testing.T) {
	t.Parallel()
	for _, list := range [][]release{appeared, vanished} {
		seen := map[string]bool{}
		for i, r := range list {
			if r.version.Known() != nil || i > 0 && list[i-1].version.CompareCore(r.version) >= 0 {
				t.Errorf("%s: unknown or out of order", r.version)
			}
			names := strings.Fields(r.names)
			if !slices.IsSorted(names) {
				t.Errorf("%s: not sorted", r.version)
			}
			for _, n := range names {
				if seen[n] {
					t.Errorf("%s is there twice", n)
				}
				seen[n] = true
			}
		}
	}
	for _, r := range vanished {
		for n := range strings.FieldsSeq(r.names) {
			if since, ok := in(appeared, n); ok && since.CompareCore(r.version) >= 0 {
				t.Errorf("%s vanishes before it appears", n)
			}
			if !strings.Contains(WhyAbsent(n, r.version), "called") {
				t.Errorf("%s vanished in %s, and has no new name", n, r.version)
			}
		}
	}
	if all := Extensions(); len(all) != 79 || !slices.IsSorted(all) {
		t.Errorf("%d names", len(all))
	}
}
