package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/inspect"
)

const pinned = `{"version": 1, "talos": "v1.13.9", "pins": [
  {"name": "siderolabs/gvisor", "version": "1", "reference": "r/gvisor:1", "digest": "sha256:1", "from": "catalogue v1.13.9", "verified": false, "architectures": {}}
]}`

// TestDiffProfilesAndLocks compares what needs no network, by name.
func TestDiffProfilesAndLocks(t *testing.T) {
	t.Parallel()
	bare := strings.Replace(planned, `["siderolabs/gvisor", "siderolabs/iscsi-tools"]`, "[]", 1)
	o, _, _ := at(t, map[string]string{
		"a.hcl": bare, "b/metal.hcl": strings.Replace(bare, "ttyS1", "ttyS2", 1), "broken.hcl": "oops {}", "a.lock.json": pinned,
		"b.lock.json": strings.Replace(pinned, "siderolabs/gvisor", "siderolabs/crun", 1), "line": "talos.platform=metal", "[b]*?/x": "",
	})
	dir := filepath.Dir(o.Profile)
	for _, c := range []struct {
		from, to string
		code     int
		want     string // how the output begins, or what the error has
	}{
		{"a.hcl", "a.hcl", 0, "the same\n"},
		{"a.hcl", "b", 1, "this changes kernel arguments (console) of metal amd64\n\nkernel arguments of metal amd64 (1)\n  ~ console  ttyS1 → ttyS2\n"},
		{"b", "b/metal.hcl", 0, "the same\n"},
		{"a.lock.json", "a.lock.json", 0, "the same\n"},
		{"a.lock.json", "b.lock.json", 1, "this removes siderolabs/gvisor\nthis adds siderolabs/crun\n\npins (2)\n"},
		{"a.hcl", "a.lock.json", 2, "a.hcl is a profile, " + filepath.Join(dir, "a.lock.json") + " is a lock: there is nothing in common"},
		{"line", "a.hcl", 2, "line is an artefact, "},
		{"a.hcl", "broken.hcl", 2, ErrShown.Error()},
		{"a.hcl", "missing.hcl", 2, ErrShown.Error()},
		{"a.lock.json", "missing.lock.json", 2, "there is no such lock"},
		{"[b]*?", "a.hcl", 2, "is an artefact"}, // no pattern
	} {
		var stdout, stderr bytes.Buffer
		err := Diff(t.Context(), filepath.Join(dir, c.from), filepath.Join(dir, c.to), InspectOptions{Env: o.Env, Stdout: &stdout, Stderr: &stderr})
		code := 0
		if exit := (ExitError{}); errors.As(err, &exit) {
			code = exit.Code
		}
		got := stdout.String()
		if c.code == 2 {
			got = err.Error()
		}
		if code != c.code || c.code < 2 && !strings.HasPrefix(got, c.want) || !strings.Contains(got, c.want) {
			t.Errorf("%s and %s: exit code %d, %v, printed\n%s", c.from, c.to, code, err, got)
		}
		if c.code == 2 && stdout.Len() > 0 {
			t.Errorf("%s and %s: printed %s", c.from, c.to, stdout.String())
		}
	}
}

func TestWriteDifferences(t *testing.T) {
	t.Parallel()
	d := inspect.NewDifferences()
	d.Summary = []string{"this removes x"}
	d.Add(inspect.DiffSection{Name: "extensions", Changes: []inspect.Change{{Change: inspect.Removed, Name: "x"}, {Change: inspect.Added, Name: "y"}, {Change: inspect.Changed, Name: "z"}}})
	var colored, text bytes.Buffer
	if err := errors.Join(writeDifferences(&colored, d, true), writeDifferences(&text, d, false)); err != nil {
		t.Fatal(err)
	}
	if want := "\x1b[1mthis removes x\x1b[0m\n\n\x1b[1mextensions (3)\x1b[0m\n\x1b[31m  - x"; !strings.HasPrefix(colored.String(), want) {
		t.Errorf("%q", colored.String())
	}
	if want := "this removes x\n\nextensions (3)\n  - x\n  + y\n  ~ z   → \n"; text.String() != want {
		t.Errorf("%q", text.String())
	}
	b, err := json.Marshal(d)
	if err != nil || !strings.HasPrefix(string(b), `{"same":false,"summary":["this removes x"],"sections":[{"name":"extensions","changes":[`) {
		t.Errorf("%s, %v", b, err)
	}
}
