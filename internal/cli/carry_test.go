package cli

import (
	"strings"
	"testing"
)

// TestShowMirror: what is printed is what the profile lacks.
func TestShowMirror(t *testing.T) {
	t.Parallel()
	const base = "https://registry.corp/talos"
	for _, c := range []struct{ block, want string }{
		{"", "\nadd to PROFILE:\n\nregistry \"ghcr.io\" {\n  mirrors = [\"" + base + "\"]\n}\n"},
		{"registry \"ghcr.io\" {\n  mirrors = [\"https://other.test\"]\n}\n", "\nadd to registry \"ghcr.io\", PROFILE:1,1-19:\n\n  mirrors = [\"" + base + "\"]\n"},
		{"registry \"ghcr.io\" {\n  mirrors = [\"" + base + "\"]\n}\n", "\nregistry \"ghcr.io\" has this mirror: PROFILE:1,1-19\n"},
	} {
		o, stdout, stderr := at(t, map[string]string{"extensions.hcl": c.block + small, "motd/x": ""})
		s, err := load(o)
		if err != nil {
			t.Fatalf("%v\n%s", err, stderr)
		}
		s.showMirror([]string{"ghcr.io"}, base)
		want := strings.ReplaceAll(c.want, "PROFILE", o.Profile) + "\non this machine alone:  TALOSMITH_MIRRORS=ghcr.io=" + base + "\n"
		if stdout.String() != want {
			t.Errorf("printed\n%s, want\n%s", stdout, want)
		}
	}
}
