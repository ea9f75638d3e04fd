package profile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/profile"
)

// TestLockPath: two profiles in one directory have a lock each.
func TestLockPath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, want := range map[string]string{
		"extensions.hcl": "extensions.lock.json", "extensions.hcl.json": "extensions.lock.json", "edge.hcl": "edge.lock.json", "edge.json": "edge.lock.json",
		"a.b.hcl": "a.b.lock.json", "plain": "plain.lock.json", "": "extensions.lock.json",
	} {
		name := filepath.Join(dir, name)
		if _, err := os.Stat(name); err != nil {
			if err := os.WriteFile(name, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p, _ := profile.Load(name, profile.Options{})
		if got := p.LockPath(); got != filepath.Join(dir, want) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// TestNoProfile: what is not there is most often misspelled; where there is nothing yet, a first profile can be written.
func TestNoProfile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	refused := func(want string) {
		t.Helper()
		_, diags := profile.Load(filepath.Join(dir, "extension.hcl"), profile.Options{})
		if len(diags) != 1 || !strings.Contains(diags[0].Detail, want) {
			t.Errorf("%v, want %q", diags, want)
		}
	}
	refused("`go tool mage init` writes a first one")
	there := filepath.Join(dir, "extensions.hcl")
	if err := os.WriteFile(there, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	refused(fmt.Sprintf("Did you mean %q? -profile=PATH", there))
}

// TestDiagnosticsWithoutPlace: what no file has, such as an extension that a flag names, is shown without a line.
func TestDiagnosticsWithoutPlace(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	err := profile.WriteDiagnostics(&b, nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Extension not found", Detail: "There is none.", Subject: &hcl.Range{}}}, 0, false)
	if want := "Error: Extension not found\n\nThere is none.\nhttps://"; err != nil || !strings.HasPrefix(b.String(), want) {
		t.Errorf("%v: %s", err, b.String())
	}
}
