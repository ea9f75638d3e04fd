package cli

import (
	"path/filepath"
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

// TestBadBundle: a file that can't be read is told of once, not for each image.
func TestBadBundle(t *testing.T) {
	t.Parallel()
	o, stdout, stderr := at(t, map[string]string{"extensions.hcl": oneExtension, "notes.tar": "no tar"})
	inner := o.Env
	for name, want := range map[string]string{"none.tar": "none.tar: no such file", "notes.tar": "notes.tar: after byte 0:"} {
		o.Env = func(v string) (string, bool) {
			if v == "TALOSMITH_FROM" {
				return filepath.Join(filepath.Dir(o.Profile), name), true
			}
			return inner(v)
		}
		_, err := Open(o)
		if err == nil || !strings.HasPrefix(err.Error(), "TALOSMITH_FROM: bundle ") || !strings.Contains(err.Error(), want) || stdout.Len()+stderr.Len() > 0 {
			t.Errorf("error %v, want %q; printed %q%q", err, want, stdout, stderr)
		}
	}
}
