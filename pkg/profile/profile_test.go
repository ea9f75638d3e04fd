package profile

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares with a file, or rewrites it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update rewrites it); got:\n%s", name, got)
	}
}

// environment is what tests have for one: bad profiles say in a first line what they need of it ("# env: name=value").
func environment(source []byte) func(string) (string, bool) {
	vars := map[string]string{}
	for line := range strings.Lines(string(source)) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "# env: "); ok {
			name, value, _ := strings.Cut(text, "=")
			vars[name] = value
		}
	}
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

// TestDiagnostics loads every profile of testdata/bad: what is said of it stands beside it.
func TestDiagnostics(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/bad/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if ext := filepath.Ext(name); ext != ".hcl" && ext != ".json" {
			continue
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			source, err := os.ReadFile(name)
			if err != nil && !strings.Contains(name, "directory") {
				t.Fatal(err)
			}
			p, diags := Load(name, Options{Env: environment(source)})
			if len(diags) == 0 {
				t.Fatal("nothing is wrong with it")
			}
			golden(t, name+".txt", printed(t, p, diags))
		})
	}
}

// printed is what a user sees, with the exact range first.
func printed(t *testing.T, p *Profile, diags hcl.Diagnostics) []byte {
	t.Helper()
	var b bytes.Buffer
	for i, d := range diags {
		if i > 0 {
			b.WriteString("\n")
		}
		if d.Subject != nil {
			b.WriteString(d.Subject.String() + "\n")
		}
		if err := WriteDiagnostics(&b, p.Files, hcl.Diagnostics{d}, 100, false); err != nil {
			t.Fatal(err)
		}
		b.Truncate(len(bytes.TrimRight(b.Bytes(), "\n")))
		b.WriteString("\n")
	}
	return b.Bytes()
}

func load(t *testing.T, name string, o Options) *Profile {
	t.Helper()
	p, diags := Load(name, o)
	if len(diags) > 0 {
		t.Fatalf("%s", printed(t, p, diags))
	}
	return p
}

func TestIssue(t *testing.T) {
	t.Parallel()
	p := load(t, "testdata/good/issue.hcl", Options{})
	t.Logf("%+v", p.Images[0])
}
