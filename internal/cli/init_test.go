package cli

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
)

func TestInit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		o      InitOptions
		config string // of git
		want   func(*profile.Profile) bool
	}{
		{InitOptions{}, "", func(p *profile.Profile) bool {
			return p.Talos.Version == talos.Stable() && p.Images[0].Name == "metal" && len(p.Images[0].Extensions) == 0 && p.Images[0].Outputs[0].Kind == talos.KindISO
		}},
		{InitOptions{Talos: "1.12.1", Platform: "aws", Extensions: "gvisor, siderolabs/i915,siderolabs/gvisor,"}, "url = https://gitlab.corp/x.git", func(p *profile.Profile) bool {
			return p.Talos.Version.String() == "v1.12.1" && p.Images[0].Platform == "aws" && len(p.Images[0].Extensions) == 2 &&
				p.Images[0].Extensions[0].Name == "siderolabs/gvisor" && p.Images[0].Outputs[0].Kind == talos.KindDisk
		}},
	} {
		o, stdout, _ := at(t, map[string]string{".git/config": c.config})
		c.o.Options, c.o.Dir = o, filepath.Dir(o.Profile)
		if err := Init(c.o); err != nil {
			t.Fatal(err)
		}
		p, diags := profile.Load(o.Profile, profile.Options{})
		if len(diags) > 0 || !c.want(p) {
			t.Errorf("%v, %+v", diags, p)
		}
		if changed, _, _ := profile.Format(o.Profile, true); len(changed) > 0 {
			t.Error("the profile is not in the canonical style")
		}
		job, other := ".github/workflows/talos.yml", ".gitlab-ci.yml"
		if c.config != "" {
			job, other = other, job
		}
		if _, err := os.Stat(filepath.Join(c.o.Dir, other)); err == nil {
			t.Errorf("%s is there, too", other)
		}
		want := []string{".gitignore", "extensions.hcl", "go.mod", "magefiles/magefile.go", job}
		if got := files(t, c.o.Dir); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("files %q", got)
		}
		if !strings.Contains(stdout.String(), "\nNext:\n  go mod tidy\n") {
			t.Errorf("printed\n%s", stdout)
		}
	}
}

// files are those of a folder, but git's.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == ".git" {
			return fs.SkipDir
		}
		if err == nil && !d.IsDir() {
			name, err = filepath.Rel(dir, name)
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// TestInitReplacesNothing: each file that is there stays, byte for byte.
func TestInitReplacesNothing(t *testing.T) {
	t.Parallel()
	there := map[string]string{
		"extensions.hcl": "mine", "magefiles/magefile.go": "mine", "go.mod": "module mine\n", ".gitignore": "mine", ".github/workflows/talos.yml": "mine",
	}
	printed := initAgain(t, there)
	if want := "\nNext:\n  add to magefiles/magefile.go, in the import block:\n    //mage:import\n    _ \"github.com/talosmith/talosmith/magefiles/targets\"\n" +
		"  echo /out/ >> .gitignore\n  go get -tool github.com/magefile/mage\n  go mod tidy\n"; !strings.Contains(printed, want) {
		t.Errorf("printed\n%s", printed)
	}
	// Elsewhere than init would have it.
	printed = initAgain(t, map[string]string{
		"extensions.hcl": "mine", "magefile.go": "mine", "go.mod": "module mine\n\ntool github.com/magefile/mage\n", ".gitignore": "/out", ".gitlab-ci.yml": "mine",
	})
	if !strings.Contains(printed, "\nNext:\n  add to magefile.go, in the import block:\n") || !strings.HasSuffix(printed, "docs/ci.md to .gitlab-ci.yml\n") {
		t.Errorf("printed\n%s", printed)
	}
}

// initAgain runs init where everything is there already, and returns what it prints.
func initAgain(t *testing.T, there map[string]string) string {
	t.Helper()
	o, stdout, _ := at(t, there)
	dir := filepath.Dir(o.Profile)
	if err := Init(InitOptions{Options: o, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	for name, content := range there {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != content {
			t.Errorf("%s is now %q, %v", name, b, err)
		}
	}
	if got := files(t, dir); len(got) != len(there) {
		t.Errorf("files %q", got)
	}
	if strings.Count(stdout.String(), "stays") != 5 {
		t.Errorf("printed\n%s", stdout)
	}
	return stdout.String()
}

// TestInitVersions: what init writes asks for no other Go than this module does, and CI has it.
func TestInitVersions(t *testing.T) {
	t.Parallel()
	own, err := os.ReadFile("../../go.mod")
	if err != nil || !strings.Contains(string(own), "\ngo "+goVersion+"\n") || !strings.Contains(goMod("x"), "\ngo "+goVersion+"\n") {
		t.Errorf("%v: go.mod does not say go %s", err, goVersion)
	}
	if minor := goVersion[:strings.LastIndexByte(goVersion, '.')]; !strings.Contains(gitlabJob, "\nimage: golang:"+minor+"\n") {
		t.Errorf("the job of GitLab is not run by Go %s", minor)
	}
}

func TestInitRefuses(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]InitOptions{
		`did you mean "metal"?`:             {Platform: "mettal"},
		"write it like v1.13.9":             {Talos: "latest"},
		"is the oldest version":             {Talos: "v1.4.0"},
		"is the newest known":               {Talos: "v1.99.0"},
		"it came with Talos v1.":            {Talos: "v1.5.0", Platform: "akamai"},
		`extension "a\"b"`:                  {Extensions: `gvisor,a"b`},
		`is called "siderolabs/i915" since`: {Extensions: "gvisor,i915-ucode"},
		"It came with Talos v1.14.0":        {Talos: "v1.13.0", Extensions: "hyperv-guest-agent"},
		`extension "ghcr.io/siderolabs/x"`:  {Extensions: "ghcr.io/siderolabs/x"},
	} {
		o, _, _ := at(t, nil)
		c.Options, c.Dir = o, filepath.Dir(o.Profile)
		if err := Init(c); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "v0.0.0") {
			t.Errorf("error %v, want %q", err, want)
		}
		if got := files(t, c.Dir); len(got) > 0 {
			t.Errorf("%s: left %q", want, got)
		}
	}
}
