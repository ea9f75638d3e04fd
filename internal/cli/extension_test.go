package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const oneExtension = `talos {
  version = "v1.12.3"
}
image "metal" {
  output "iso" {}
}
`

// TestExtensionFromNewToBuild goes the way of a user: new, declare, check, build.
func TestExtensionFromNewToBuild(t *testing.T) {
	t.Parallel()
	o, stdout, stderr := at(t, map[string]string{"extensions.hcl": oneExtension})
	dir := filepath.Dir(o.Profile)
	if err := NewExtension(o, "hello"); err != nil {
		t.Fatal(err)
	}
	written, rest, ok := strings.Cut(stdout.String(), "\nDeclare it in "+o.Profile)
	if want := filepath.Join(dir, "extensions/hello/manifest.yaml") + "\n" + filepath.Join(dir, "extensions/hello/rootfs/usr/local/share/hello/hello.txt") + "\n"; !ok || written != want {
		t.Errorf("printed %q", stdout)
	}
	manifest, err := os.ReadFile(filepath.Join(dir, "extensions/hello/manifest.yaml"))
	if err != nil || !strings.Contains(string(manifest), "name: hello\n") || !strings.Contains(string(manifest), "version: '>= v1.12.0'") {
		t.Errorf("%s, %v", manifest, err)
	}
	if err := NewExtension(o, "hello"); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("again: %v", err)
	}

	// The block that it prints, as it is.
	_, block, _ := strings.Cut(rest, "extension \"hello\"")
	block, _, _ = strings.Cut("extension \"hello\""+block, "\nThen:")
	if err := os.WriteFile(o.Profile, []byte(oneExtension+block), 0o644); err != nil {
		t.Fatal(err)
	}
	stdout.Reset()
	for _, what := range []string{"hello", "extension.hello", filepath.Join(dir, "extensions/hello")} {
		if err := CheckExtension(t.Context(), o, what, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	if want := strings.Repeat("hello 0.1.0 for amd64, arm64 and Talos v1.12.3: nothing is wrong with it\n", 3); stdout.String() != want {
		t.Errorf("printed %q", stdout)
	}
	stdout.Reset()
	if err := BuildExtension(t.Context(), o, "hello", ""); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[2], filepath.Join(o.Out, "hello-extension.oci.tar")+"  ") || !strings.Contains(lines[2], "  sha256:") {
		t.Errorf("printed %q", stdout)
	}
	stdout.Reset()
	if err := CheckExtension(t.Context(), o, filepath.Join(o.Out, "hello-amd64-extension.tar"), "v1.13.9", ""); err != nil {
		t.Fatal(err)
	}
	if want := "hello 0.1.0 for amd64 and Talos v1.13.9: nothing is wrong with it\n"; stdout.String() != want || !strings.Contains(stderr.String(), "wanted linux/arm64") {
		t.Errorf("printed %q\n%s", stdout, stderr)
	}
	// What was built, as other profiles take it: an archive for each architecture, or one with both, chosen by its tag.
	other := o
	other.Profile = filepath.Join(dir, "other.hcl")
	const more = "extension \"each\" {\n  tarball = \"out/hello-*-extension.tar\"\n}\nextension \"both\" {\n  oci_layout = \"out/*.oci.tar:0.1.0\"\n}\n"
	if err := os.WriteFile(other.Profile, []byte(oneExtension+more), 0o644); err != nil {
		t.Fatal(err)
	}
	stdout.Reset()
	for _, what := range []string{"each", "both", filepath.Join(o.Out, "hello-extension.oci.tar"), filepath.Join(o.Out, "hello-extension.oci.tar:0.1.0")} {
		if err := CheckExtension(t.Context(), other, what, "", ""); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if want := strings.Repeat("hello 0.1.0 for amd64, arm64 and Talos v1.12.3: nothing is wrong with it\n", 4); stdout.String() != want {
		t.Errorf("printed %q", stdout)
	}
	if err := CheckExtension(t.Context(), o, "hello", "v1.11.9", "arm64"); err == nil || !strings.Contains(stdout.String(), "talos-version") {
		t.Errorf("for an older Talos: %v, %s", err, stdout)
	}
}

func TestExtensionMistakes(t *testing.T) {
	t.Parallel()
	o, _, _ := at(t, map[string]string{"extensions.hcl": oneExtension + "extension \"agent\" {\n  path = \".\"\n}\n", "none.hcl": oneExtension, "file": "", "extensions/there/manifest.yaml": ""})
	none := o
	none.Profile = filepath.Join(filepath.Dir(o.Profile), "none.hcl")
	for _, c := range []struct {
		err  error
		want string
	}{
		{NewExtension(o, "Hello"), "small letters"},
		{NewExtension(o, "../x"), "small letters"},
		{NewExtension(o, ""), "small letters"},
		{NewExtension(o, strings.Repeat("x", 101)), "at most 100"},
		{BuildExtension(t.Context(), o, "agnt", ""), "did you mean agent?"},
		{BuildExtension(t.Context(), o, "nothing", ""), "declares agent"},
		{BuildExtension(t.Context(), none, "agent", ""), "none at all: `go tool mage extension:new agent -profile=" + none.Profile + "` writes a first one"},
		{BuildExtension(t.Context(), none, "there", ""), `does not declare it: add extension "there" { path = "extensions/there" }`},
		{NewExtension(none, "there"), "is there already: declare it in " + none.Profile + ", or choose another name"},
		{BuildExtension(t.Context(), o, "agent", "amd46"), `did you mean "amd64"?`},
		{BuildExtension(t.Context(), o, "agent", ""), "extension manifest is missing"},
		{PushExtension(t.Context(), o, "agent", ""), "extension manifest is missing"},
		{CheckExtension(t.Context(), o, "nothing", "", ""), "declares no such extension (it has agent), there is no such path"},
		{CheckExtension(t.Context(), o, "./nothing", "", ""), "no such path"},
		{CheckExtension(t.Context(), o, "nothing:v1", "", ""), "no such path"},
		{CheckExtension(t.Context(), o, "agent", "", ""), "directory " + filepath.Dir(o.Profile) + ": load extension"},
		{CheckExtension(t.Context(), o, "agent", "1.2", ""), "write it like v1.13.9"},
		{CheckExtension(t.Context(), o, "agent", "v1.4.0", ""), "oldest"},
		{CheckExtension(t.Context(), o, "agent", "", "mips"), "architecture"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("error %v, want %q", c.err, c.want)
		}
	}
}

// TestCheckWithoutProfile: an extension can be looked into where there is no profile, unless one is named.
func TestCheckWithoutProfile(t *testing.T) {
	o, stdout, stderr := at(t, map[string]string{"motd/manifest.yaml": motd, "motd/rootfs/usr/local/share/motd": "hello"})
	t.Chdir(filepath.Dir(o.Profile))
	o.Profile = ""
	if err := CheckExtension(t.Context(), o, "motd", "", ""); err != nil || stderr.Len() > 0 || !strings.Contains(stdout.String(), "nothing is wrong") {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
	o.Profile = "extensions.hcl"
	if err := CheckExtension(t.Context(), o, "motd", "", ""); err == nil || !strings.Contains(stderr.String(), "There is no extensions.hcl") {
		t.Errorf("%v\n%s", err, stderr)
	}
}
