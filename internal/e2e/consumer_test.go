package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/pkg/imager"
)

var theCommand struct {
	sync.Mutex
	path string
}

// command is the mage targets as a program, compiled once from a module of its own that imports them.
func command(t testing.TB) string {
	t.Helper()
	theCommand.Lock()
	defer theCommand.Unlock()
	if theCommand.path == "" {
		dir := filepath.Join(scratch, "machines")
		consumer(t, dir, "//mage:import")
		path := filepath.Join(scratch, "mage")
		goCommand(t, dir, nil, "tool", "mage", "-compile", path)
		theCommand.path = path
	}
	return theCommand.path
}

// consumer writes a module that has our targets.
func consumer(t testing.TB, dir, line string) {
	t.Helper()
	top := repository(t)
	write(t, filepath.Join(dir, "magefiles", "magefile.go"), strings.Join([]string{
		"//go:build mage", "", "package main", "", "import (", "\t" + line, "\t_ \"github.com/talosmith/talosmith/magefiles/targets\"", ")", "",
	}, "\n"))
	ours := read(t, filepath.Join(top, "go.mod"))
	goLine, mage := regexp.MustCompile(`(?m)^go \S+`).Find(ours), regexp.MustCompile(`github\.com/magefile/mage v\S+`).Find(ours)
	write(t, filepath.Join(dir, "go.mod"), fmt.Sprintf("module example.com/machines\n\n%s\n\nrequire (\n\tgithub.com/talosmith/talosmith v0.0.0\n\t%s // indirect\n)\n\n"+
		"replace github.com/talosmith/talosmith => %s\n\ntool github.com/magefile/mage\n", goLine, mage, top))
	write(t, filepath.Join(dir, "go.sum"), string(read(t, filepath.Join(top, "go.sum"))))
}

// goCommand runs go in a consumer's module. What it needs is in the module cache, since this repository needs it.
func goCommand(t testing.TB, dir string, env map[string]string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off", "CI=") // in CI, a build wants a lock
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestConsumer uses the targets from a module of its own, as they are and in a namespace, with its own profile and out/.
func TestConsumer(t *testing.T) {
	t.Parallel()
	b := build(t)
	release := sandboxtest.Open(t)
	for line, target := range map[string]string{"//mage:import": "iso", "//mage:import talos": "talos:iso"} {
		dir := t.TempDir()
		consumer(t, dir, line)
		small(t, dir, "mine")
		listed := goCommand(t, dir, nil, "tool", "mage", "-l")
		prefix := strings.TrimSuffix(target, "iso")
		for _, name := range []string{"all", "cmdline", "disk", "initramfs", "installer", "iso", "kernel", "push", "uki"} {
			if !regexp.MustCompile(`(?m)^  ` + prefix + name + ` +\S.*\.$`).MatchString(listed) {
				t.Errorf("%s: no sentence about %s:\n%s", line, prefix+name, listed)
			}
		}
		for _, name := range []string{"tools", "test", "demo", "bench", "lint", "vm"} {
			if regexp.MustCompile(`(?m)^  (talos:)?` + name + ` `).MatchString(listed) {
				t.Errorf("%s: a consumer has %s:\n%s", line, name, listed)
			}
		}
		said := goCommand(t, dir, b.env(release), "tool", "mage", target)
		if !strings.Contains(said, filepath.Join("out", "small-amd64.iso")) || !strings.Contains(said, "written") {
			t.Errorf("%s: %s", line, said)
		}
		if got := list(t, filepath.Join(dir, "out")); !slices.Equal(got, []string{"manifest.json", "small-amd64.iso"}) {
			t.Errorf("%s: files %q", line, got)
		}
		m, err := imager.ReadManifest(filepath.Join(dir, "out"))
		if err != nil || len(m.Artefacts) != 1 || !strings.HasSuffix(m.Artefacts[0].Cmdline, " mine") {
			t.Errorf("%s: %+v, %v", line, m, err)
		}
	}
}

// TestConsumerCompiles lists what a consumer compiles: nothing of the demo and the tests.
func TestConsumerCompiles(t *testing.T) {
	t.Parallel()
	deps := strings.Fields(goCommand(t, repository(t), nil, "list", "-deps", "./magefiles/targets"))
	if !slices.Contains(deps, "github.com/talosmith/talosmith/pkg/imager") {
		t.Fatalf("%q", deps)
	}
	for _, dep := range deps {
		for _, not := range []string{"internal/sandbox", "internal/vm", "internal/debian", "internal/tooltest", "internal/e2e"} {
			if strings.HasPrefix(dep, "github.com/talosmith/talosmith/"+not) || dep == "testing" {
				t.Errorf("a consumer compiles %s", dep)
			}
		}
	}
}
