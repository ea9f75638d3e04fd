package cli

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"text/template"

	"github.com/talosmith/talosmith/pkg/talos"
)

// What init writes as it is, or as a template.
var (
	//go:embed init/magefile.go.txt
	firstMagefile string
	//go:embed init/extensions.hcl.txt
	firstProfile string
	//go:embed init/github.yml
	githubJob string
	//go:embed init/gitlab.yml
	gitlabJob string
)

const (
	targets   = module + "/magefiles/targets"
	mage      = "github.com/magefile/mage" // the module of the tool that runs targets
	goVersion = "1.26.6"                   // that go.mod of this module asks for: CI may have no newer one
)

const gitlabFile = ".gitlab-ci.yml"

// InitOptions say what a new profile has. Zero values are the defaults that the documentation gives.
type InitOptions struct {
	Options
	Dir        string // the repository; "."
	Talos      string // version; the newest stable one that is known
	Platform   string // "metal"
	Extensions string // names with commas between them, with or without "siderolabs/"; none
}

// Init writes what a repository needs to build its images. What is there already stays as it is.
func Init(o InitOptions) error {
	o.Options = o.withDefaults()
	profile, err := o.profile()
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	job := newFile{filepath.Join(".github", "workflows", "talos.yml"), githubJob}
	if usesGitLab(dir) {
		job = newFile{gitlabFile, gitlabJob}
	}
	var missing []newFile
	for _, f := range []newFile{
		{"extensions.hcl", profile}, {magefile(dir), firstMagefile}, {"go.mod", goMod(dir)},
		{".gitignore", "/out/\n"}, job,
	} {
		if _, err := os.Lstat(filepath.Join(dir, f.name)); err == nil {
			fmt.Fprintf(o.Stdout, "%s (was there already, and stays)\n", filepath.Join(o.Dir, f.name))
			continue
		}
		missing = append(missing, f)
	}
	if err := writeNew(o.Options, o.Dir, missing); err != nil {
		return err
	}
	fmt.Fprintf(o.Stdout, "\nNext:\n  %s\n", strings.Join(nextSteps(dir), "\n  "))
	return nil
}

// magefile is the file with mage's targets. A folder beside one that is there would hide it.
func magefile(dir string) string {
	const atTop = "magefile.go"
	if _, err := os.Stat(filepath.Join(dir, atTop)); err == nil {
		return atTop
	}
	return filepath.Join("magefiles", atTop)
}

// nextSteps are what a user does then.
func nextSteps(dir string) []string {
	steps := []string{"go mod tidy", "go tool mage extensions    # what could be added", "go tool mage lock          # pins all that the profile names", "go tool mage all"}
	lacks := func(name, text string) bool {
		b, err := os.ReadFile(filepath.Join(dir, name))
		return err == nil && !strings.Contains(string(b), text)
	}
	if lacks("go.mod", mage) {
		steps = append([]string{"go get -tool " + mage}, steps...)
	}
	if lacks(".gitignore", "out") {
		steps = append([]string{"echo /out/ >> .gitignore"}, steps...)
	}
	if file := magefile(dir); lacks(file, targets) {
		steps = append([]string{"add to " + file + ", in the import block:", "  //mage:import", "  _ \"" + targets + "\""}, steps...)
	}
	if lacks(gitlabFile, "go tool mage") {
		steps = append(steps, "add the jobs of https://github.com/talosmith/talosmith/blob/main/docs/ci.md to "+gitlabFile)
	}
	return steps
}

var officialName = regexp.MustCompile(`^[a-z0-9]+(?:[._-][a-z0-9]+)*$`)

// profile is a first extensions.hcl.
func (o InitOptions) profile() (string, error) {
	version := talos.Stable()
	var wrong error // with the version
	if o.Talos != "" {
		if version, wrong = talos.ParseVersion(o.Talos); wrong == nil {
			wrong = version.Known()
		}
	}
	errs := []error{wrong}
	p, err := talos.FindPlatform(cmp.Or(o.Platform, "metal"))
	if err == nil && wrong == nil && version.CompareCore(p.Since) < 0 {
		err = fmt.Errorf("platform %s: it came with Talos %s, later than %s", p.Name, p.Since, version)
	}
	errs = append(errs, err)
	var extensions []string
	for name := range strings.FieldsFuncSeq(o.Extensions, func(r rune) bool { return r == ',' || r == ' ' }) {
		short := strings.TrimPrefix(name, "siderolabs/")
		official := "siderolabs/" + short
		why := talos.WhyAbsent(official, version)
		switch {
		case !officialName.MatchString(short):
			errs = append(errs, fmt.Errorf("extension %q: not the name of an official one, such as siderolabs/gvisor", name))
		case wrong == nil && why != "":
			errs = append(errs, fmt.Errorf("extension %s: Talos %s has none of that name. %s", official, version, why))
		case !slices.Contains(extensions, official):
			extensions = append(extensions, official)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	var b strings.Builder
	err = template.Must(template.New("").Parse(firstProfile)).Execute(&b, map[string]any{
		"Version": version.String(), "Platform": p.Name, "Extensions": extensions,
	})
	return b.String(), err
}

// usesGitLab looks for a pipeline, and at where a repository is pushed to.
func usesGitLab(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, gitlabFile)); err == nil {
		return true
	}
	config, err := os.ReadFile(filepath.Join(dir, ".git", "config"))
	return err == nil && strings.Contains(string(config), "gitlab")
}

var notInModules = regexp.MustCompile(`[^a-z0-9.-]+`)

// goMod is a module with mage as a tool. The versions are those of this program, as far as it knows them; `go mod tidy` adds the others.
func goMod(dir string) string {
	name := strings.Trim(notInModules.ReplaceAllString(strings.ToLower(filepath.Base(dir)), "-"), "-.")
	if name == "" {
		name = "machines"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "module example.com/%s\n\ngo %s\n\ntool %s\n", name, goVersion, mage)
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return b.String()
	}
	for _, m := range info.Deps {
		if (m.Path == mage || m.Path == module) && m.Replace == nil && strings.HasPrefix(m.Version, "v") && m.Version != "v0.0.0" {
			fmt.Fprintf(&b, "\nrequire %s %s\n", m.Path, m.Version)
		}
	}
	return b.String()
}
