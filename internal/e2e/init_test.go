package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestInit makes a repository out of nothing, and uses it as the printed steps say. What `go mod tidy` would download is this repository.
func TestInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	res := run{args: []string{"init", "-extensions=gvisor,siderolabs/tailscale"}, dir: dir}.must(t)
	if !strings.Contains(res.stdout, "go tool mage all") {
		t.Errorf("no next steps: %s", res)
	}
	useRepository(t, dir)
	if out := goCommand(t, dir, nil, "tool", "mage", "fmt", "-check", "validate"); !strings.Contains(out, "extensions.hcl is valid: Talos v1.13.9; 0 declared extensions; 2 outputs of metal") {
		t.Errorf("printed %q", out)
	}
	again := run{args: []string{"init", "-platform=aws"}, dir: dir}.must(t)
	if strings.Count(again.stdout, "stays") != 5 {
		t.Errorf("a second time: %s", again)
	}
}

const ownMagefile = `//go:build mage

package main

import (
	"fmt"
)

// Hello is a target that was there before.
func Hello() { fmt.Println("hello") }
`

// TestInitInto goes the same way in a repository that has a module, a magefile and a pipeline of its own.
func TestInitInto(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	goVersion := regexp.MustCompile(`(?m)^go .*$`).FindString(string(read(t, filepath.Join(repository(t), "go.mod"))))
	for name, content := range map[string]string{
		"go.mod": "module corp.example/machines\n\n" + goVersion + "\n", "magefile.go": ownMagefile, ".gitlab-ci.yml": "test:\n  script: [make]\n", ".gitignore": "*.o\n",
	} {
		write(t, filepath.Join(dir, name), content)
	}
	res := run{args: []string{"init"}, dir: dir}.must(t)
	_, steps, _ := strings.Cut(res.stdout, "Next:\n")
	for _, step := range []string{"echo /out/ >> .gitignore", "go get -tool github.com/magefile/mage", "_ \"github.com/talosmith/talosmith/magefiles/targets\"", "docs/ci.md to .gitlab-ci.yml"} {
		if !strings.Contains(steps, step) {
			t.Errorf("no step %q: %s", step, res)
		}
	}
	goCommand(t, dir, nil, "mod", "edit", "-tool=github.com/magefile/mage") // what `go get -tool` does, but for the download
	useRepository(t, dir)
	lines := regexp.MustCompile(`(?s)import block:\n(.*?"\n)`).FindStringSubmatch(steps)
	if lines == nil {
		t.Fatalf("nothing to import: %s", res)
	}
	write(t, filepath.Join(dir, "magefile.go"), strings.Replace(ownMagefile, "\"fmt\"\n", "\"fmt\"\n\n"+lines[1], 1))
	if out := goCommand(t, dir, nil, "tool", "mage", "hello", "validate"); !strings.Contains(out, "hello\n") || !strings.Contains(out, "extensions.hcl is valid") {
		t.Errorf("printed %q", out)
	}
}

// useRepository lets a module's talosmith be this repository.
func useRepository(t testing.TB, dir string) {
	t.Helper()
	top := repository(t)
	mage := regexp.MustCompile(`github\.com/magefile/mage v\S+`).FindString(string(read(t, filepath.Join(top, "go.mod"))))
	goCommand(t, dir, nil, "mod", "edit", "-require=github.com/talosmith/talosmith@v0.0.0", "-replace=github.com/talosmith/talosmith="+top,
		"-require="+strings.Replace(mage, " ", "@", 1))
	write(t, filepath.Join(dir, "go.sum"), string(read(t, filepath.Join(top, "go.sum"))))
}

// TestNamespaces: a consumer has the targets of a namespace, below its own where it imports them so.
func TestNamespaces(t *testing.T) {
	for line, want := range map[string]string{"//mage:import": "  extension:new ", "//mage:import talos": "  talos:extension:new "} {
		dir := t.TempDir()
		consumer(t, dir, line)
		if out := goCommand(t, dir, nil, "tool", "mage", "-l"); !strings.Contains(out, want) {
			t.Errorf("%s: no %q in\n%s", line, want, out)
		}
	}
}
