package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
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
		goCommand(t, dir, "tool", "mage", "-compile", path)
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
func goCommand(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %q: %v\n%s", args, err, out)
	}
	return string(out)
}
