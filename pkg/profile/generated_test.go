package profile

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/tooltest"
)

// TestGenerated compares what editors and people use with the table.
func TestGenerated(t *testing.T) {
	t.Parallel()
	golden(t, "../../docs/profile.schema.json", Schema())
	golden(t, "../../docs/profile.md", Reference())
}

// TestExamples: the examples of the reference page, put together, are a profile without mistakes.
func TestExamples(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var all strings.Builder
	for _, spec := range fileSpec.blocks {
		all.WriteString(spec.example)
	}
	for name, content := range map[string]string{
		"extensions.hcl": all.String(), "corp.pem": "", "examples/motd/manifest.yaml": "", "bin/agent-amd64": "",
		"build/vmlinuz-amd64": "", "build/vmlinuz-arm64": "", "build/initramfs-amd64.xz": "", "build/initramfs-arm64.xz": "",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	load(t, filepath.Join(dir, "extensions.hcl"), Options{})
	if changed, _, _ := Format(dir, true); len(changed) > 0 {
		t.Error("they are not in canonical style")
	}
}

// TestSchema asks a validator: good profiles fit the schema, bad ones don't.
func TestSchema(t *testing.T) {
	t.Parallel()
	tool := tooltest.Need(t, "jsonschema")
	dir := t.TempDir()
	const language = "testdata/good/language.hcl.json"
	args, want := []string{"--output", "pretty", "-i", language}, map[string]bool{language: true}
	for _, c := range []struct {
		name, profile string
		good          bool
	}{
		{"empty", `{}`, true},
		{"unknown", `{"image": {"metal": {"platfrom": "metal"}}}`, false},
		{"type", `{"image": {"metal": {"extensions": "siderolabs/gvisor"}}}`, false},
		{"template", `{"image": {"metal": {"extensions": "${local.x}"}}}`, true},
		{"platform", `{"image": {"metal": {"platform": "mettal"}}}`, false},
		{"output", `{"image": {"metal": {"output": {"iso": {"size": "8GiB"}}}}}`, false},
		{"size", `{"image": {"metal": {"output": {"disk": {"size": "8GB"}}}}}`, false},
		{"number", `{"image": {"metal": {"output": {"disk": {"size": 8589934592}}}}}`, true},
		{"kind", `{"image": {"metal": {"output": {"isso": {}}}}}`, false},
		{"name", `{"image": {".metal": {}}}`, false},
		{"argument", `{"image": {"metal": {"kernel_args": ["a b"]}}}`, false},
		{"required", `{"talos": {}}`, false},
		{"files", `{"extension": {"x": {"files": {"/usr/local/x": {"source": "x", "mode": "0755"}}, "service": {"x": {"entrypoint": "/x"}}}}}`, true},
		{"file", `{"extension": {"x": {"files": {"/usr/local/x": {"sorce": "x"}}}}}`, false},
		{"mode", `{"extension": {"x": {"files": {"/usr/local/x": {"content": "x", "mode": "0777"}}}}}`, false},
		{"relative", `{"extension": {"x": {"files": {"usr/local/x": {"content": "x"}}}}}`, false},
		{"computed", `{"extension": {"x": {"files": {"${local.dir}/x": {"content": "x", "mode": "${local.mode}"}}}}}`, true},
		{"mount", `{"extension": {"x": {"service": {"x": {"entrypoint": "/x", "mounts": [{"source": "/dev"}]}}}}}`, false},
		{"option", `{"extension": {"x": {"service": {"x": {"entrypoint": "/x", "mounts": [{"source": "/dev", "destination": "/dev", "options": ["rbind,ro"]}]}}}}}`, false},
		{"network", `{"extension": {"x": {"service": {"x": {"entrypoint": "/x", "depends": [{"network": ["adresses"]}]}}}}}`, false},
		{"long", `{"locals": {"` + strings.Repeat("a", maxName+1) + `": 1}}`, false},
		{"depends", `{"extension": {"x": {"service": {"x": {"entrypoint": "/x", "depends": [{"tme": true}]}}}}}`, false},
	} {
		file := filepath.Join(dir, c.name+".json")
		if err := os.WriteFile(file, []byte(c.profile), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-i", file)
		want[file] = c.good
	}
	out, _ := exec.Command(tool, append(args, "../../docs/profile.schema.json")...).CombinedOutput() // fails, as bad ones are among them
	for file, good := range want {
		if got := strings.Contains(string(out), "===[SUCCESS]===("+file+")==="); got != good {
			t.Errorf("%s fits the schema: %t, want %t\n%s", filepath.Base(file), got, good, out)
		}
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
		return name
	}
	const ugly = "talos {\nversion=\"v1.13.9\" # here\nregistry   = \"ghcr.io/siderolabs\"\n}\n"
	const neat = "talos {\n  version  = \"v1.13.9\" # here\n  registry = \"ghcr.io/siderolabs\"\n}\n"
	a, b, c := write("a.hcl", ugly), write("b.hcl.json", `{"locals":{"b":1,"a":[]}}`), write("c.hcl", neat)
	read := func(name string) string {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	changed, _, diags := Format(dir, true)
	if len(diags) > 0 || len(changed) != 2 || read(a) != ugly {
		t.Errorf("check: changed %q, %v, a.hcl is now %q", changed, diags, read(a))
	}
	if _, _, diags = Format(dir, false); len(diags) > 0 {
		t.Fatal(diags)
	}
	if read(a) != neat || read(b) != "{\n  \"locals\": {\n    \"b\": 1,\n    \"a\": []\n  }\n}\n" || read(c) != neat {
		t.Errorf("got %q, %q, %q", read(a), read(b), read(c))
	}
	if st, err := os.Stat(a); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode: %v, %v", st.Mode(), err)
	}
	if changed, _, _ = Format(dir, true); len(changed) > 0 {
		t.Errorf("formatting again changes %q", changed)
	}

	write("a.hcl", ugly)
	write("d.hcl", "talos {")
	changed, files, diags := Format(dir, false)
	if !diags.HasErrors() || changed != nil || read(a) != ugly || string(files[filepath.Join(dir, "d.hcl")].Bytes) != "talos {" {
		t.Errorf("with a syntax error: %q, %v, a.hcl is now %q", changed, diags, read(a))
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 4 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
