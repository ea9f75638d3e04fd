package docstest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/profile"
)

// TestProfiles loads every profile of every page, and looks at its style. Parts of one get what they lack: the Talos version, an image, files.
func TestProfiles(t *testing.T) {
	t.Parallel()
	n := 0
	for _, p := range pages(t) {
		for _, f := range p.fences {
			if f.language != "hcl" {
				continue
			}
			n++
			name := filepath.Join(t.TempDir(), "extensions.hcl")
			if err := os.WriteFile(name, []byte(f.code), 0o644); err != nil {
				t.Fatal(err)
			}
			if changed, _, diags := profile.Format(name, true); len(changed) > 0 || len(diags) > 0 {
				t.Errorf("%s:%d: not in the canonical style, %v", p.name, f.line, diags)
			}
			if said := loadPart(t, name, f.code); said != "" {
				t.Errorf("%s:%d: %s", p.name, f.line, said)
			}
		}
	}
	if n < 10 {
		t.Errorf("found %d profiles only", n)
	}
}

// What a diagnostic says that a part of a profile lacks, and how it is added.
var (
	noTalos     = "does not say which Talos"
	noImage     = "no image that could be built"
	noExtension = regexp.MustCompile(`declares no (?:extension "|extension\.)([A-Za-z0-9_-]+)`)
	noVariable  = regexp.MustCompile(`There is no variable "([a-z_]+)"`)
	noPath      = regexp.MustCompile(`(?:There is no |can't read )(\S+?)(?:\. Paths are|: no such file)`)
)

// loadPart loads a part of a profile, adding what it lacks, and returns what is wrong with it.
func loadPart(t *testing.T, name, text string) string {
	t.Helper()
	for range 10 {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		p, diags := profile.Load(name, profile.Options{})
		if len(diags) == 0 {
			return ""
		}
		before := text
		for _, d := range diags {
			text = completed(t, name, text, d)
		}
		if missing := noPath.FindStringSubmatch(diags.Error()); text == before && missing == nil {
			var b bytes.Buffer
			if err := profile.WriteDiagnostics(&b, p.Files, diags, 0, false); err != nil {
				t.Fatal(err)
			}
			return b.String()
		}
	}
	return "it still lacks something after ten rounds"
}

func completed(t *testing.T, name, text string, d *hcl.Diagnostic) string {
	t.Helper()
	once := func(s string) string {
		if strings.Contains(text, s) {
			return text
		}
		return text + s
	}
	if m := noExtension.FindStringSubmatch(d.Detail); m != nil {
		return once(fmt.Sprintf("extension %q {\n  path = \".\"\n}\n", m[1]))
	}
	if m := noVariable.FindStringSubmatch(d.Detail); m != nil {
		return once(fmt.Sprintf("variable %q {\n  default = \"x\"\n}\n", m[1]))
	}
	if m := noPath.FindStringSubmatch(d.Detail); m != nil {
		file := filepath.FromSlash(m[1])
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(name), file)
		}
		makePath(t, file, regexp.MustCompile(`(?:path|image_cache|oci_layout)\s*=\s*"`+regexp.QuoteMeta(strings.TrimPrefix(m[1], filepath.Dir(name)+"/"))+`"`).MatchString(text))
		return text
	}
	switch {
	case strings.Contains(d.Detail, noTalos):
		return once("talos {\n  version = \"v1.13.9\"\n}\n")
	case strings.Contains(d.Detail, noImage):
		return once("image \"placeholder\" {\n  output \"iso\" {}\n}\n")
	}
	return text
}

// makePath makes a placeholder.
func makePath(t *testing.T, name string, isDir bool) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(name), 0o755)
	if err == nil && isDir {
		err = os.MkdirAll(name, 0o755)
	} else if err == nil {
		err = os.WriteFile(name, []byte("version: v1alpha1\n"), 0o644) // a machine configuration, for those who look
	}
	if err != nil {
		t.Fatal(err)
	}
}
