package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// at writes files into a folder, and returns options of a run there, with what it prints.
func at(t *testing.T, files map[string]string) (o Options, stdout, stderr *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	env := map[string]string{"TALOSMITH_CACHE": filepath.Join(dir, "cache"), "TALOSMITH_MIRRORS": ""}
	return Options{
		Profile: filepath.Join(dir, "extensions.hcl"), Out: filepath.Join(dir, "out"), Stdout: stdout, Stderr: stderr,
		Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	}, stdout, stderr
}

const small = `talos {
  version = "v1.13.9"
}

extension "motd" {
  path = "motd"
}

extension "agent" {
  version = "1.4.0"
  files = {
    "/usr/local/bin/agent" = { content = "x", mode = "0755" }
  }
  service "agent" {
    entrypoint = "/usr/local/bin/agent"
  }
}

image "metal" {
  architectures = ["amd64", "arm64"]
  extensions    = ["siderolabs/gvisor", "siderolabs/i915-ucode", extension.motd, extension.agent]
  output "iso" {}
  output "uki" {}
}
`

const motd = "version: v1alpha1\nmetadata:\n  name: motd\n  version: 1.0.0\n"

func TestValidate(t *testing.T) {
	t.Parallel()
	o, stdout, stderr := at(t, map[string]string{"extensions.hcl": small, "motd/manifest.yaml": motd, "motd/rootfs/usr/local/share/motd": "hello"})
	if err := Validate(t.Context(), o); err != nil || stderr.Len() > 0 {
		t.Errorf("%v\n%s", err, stderr)
	}
	if want := o.Profile + " is valid: Talos v1.13.9; 2 declared extensions; 4 outputs of metal\n"; stdout.String() != want {
		t.Errorf("printed %q", stdout)
	}
}

// TestValidateLooksIntoExtensions: what is wrong with extensions on the disk is shown at the line that names it.
func TestValidateLooksIntoExtensions(t *testing.T) {
	t.Parallel()
	profile := strings.NewReplacer(`"/usr/local/bin/agent" =`, `"/opt/agent" =`, `path = "motd"`, `path = "m*"`).Replace(small)
	o, stdout, stderr := at(t, map[string]string{
		"extensions.hcl": profile, "motd/manifest.yaml": motd, "motd/rootfs/etc/motd": "hello", "motd/rootfs/usr/local/etc/containers/x.yaml": "name: X\n",
	})
	err := Validate(t.Context(), o)
	if !errors.Is(err, ErrShown) || stdout.Len() > 0 {
		t.Errorf("%v, printed %q", err, stdout)
	}
	for _, want := range []string{
		"Error: Extension check: path\n\n  on " + o.Profile + " line 5, in extension \"motd\"", `"/etc/motd": path is not allowed`,
		"Error: Extension check: service-name", "line 12, in extension \"agent\":\n  12:     \"/opt/agent\" =", "Warning: Extension check: service-missing",
		"line 14, in extension \"agent\":\n  14:   service \"agent\"",
	} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("missing %q in\n%s", want, stderr)
		}
	}
	if n := strings.Count(stderr.String(), "/etc/motd"); n != 1 {
		t.Errorf("said %d times, for two architectures", n)
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	o, stdout, _ := at(t, map[string]string{"extensions.hcl": strings.ReplaceAll(small, "  path", "path")})
	if err := Format(o, true); err == nil || !strings.Contains(err.Error(), "1 file not in the canonical style: run `go tool mage fmt -profile="+o.Profile+"`") {
		t.Error(err)
	}
	if err := Format(o, false); err != nil {
		t.Error(err)
	}
	if err := Format(o, true); err != nil {
		t.Error(err)
	}
	if want := strings.Repeat(o.Profile+"\n", 2); stdout.String() != want {
		t.Errorf("printed %q", stdout)
	}
	o, _, stderr := at(t, map[string]string{"extensions.hcl": "talos {"})
	if err := Format(o, false); !errors.Is(err, ErrShown) || !strings.Contains(stderr.String(), "line 1") {
		t.Errorf("%v\n%s", err, stderr)
	}
}

// TestMageCommand: what a message tells to run can be pasted into a shell, and is about the same profile.
func TestMageCommand(t *testing.T) {
	t.Parallel()
	for profile, want := range map[string]string{
		"": "`go tool mage lock`", "extensions.hcl": "`go tool mage lock`", "clusters/a.hcl": "`go tool mage lock -profile=clusters/a.hcl`",
		"mein Cluster": "`go tool mage lock '-profile=mein Cluster'`",
	} {
		if got := (Options{Profile: profile}).mage("lock"); got != want {
			t.Errorf("%q: %s, want %s", profile, got, want)
		}
	}
}
