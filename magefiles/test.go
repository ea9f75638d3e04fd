//go:build mage

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/magefile/mage/mg"
	"github.com/magefile/mage/sh"

	"github.com/talosmith/talosmith/internal/tooltest"
)

// staticcheck by exact version, which go.mod does not need to know.
const staticcheck = "honnef.co/go/tools/cmd/staticcheck@v0.7.0"

// fuzzTime is how long each fuzz target runs.
const fuzzTime = "5s"

// Tools installs the Debian packages that tests use as oracles, with sudo where not root.
func Tools(ctx context.Context) error {
	packages := slices.Sorted(maps.Values(tooltest.Packages))
	packages = slices.Compact(append(packages, tooltest.More...))
	slices.Sort(packages)
	apt := []string{"apt-get"}
	if os.Geteuid() != 0 {
		apt = []string{"sudo", "apt-get"}
	}
	if _, err := exec.LookPath(apt[0]); err != nil {
		return fmt.Errorf("%s is missing: the tools are Debian packages; install these yourself: %s", apt[0], strings.Join(packages, " "))
	}
	env := map[string]string{"DEBIAN_FRONTEND": "noninteractive"}
	run := func(args ...string) error { return sh.RunWithV(env, apt[0], append(apt[1:], args...)...) }
	if err := run("update", "-q"); err != nil {
		return err
	}
	return run(append([]string{"install", "-q", "-y", "--no-install-recommends"}, packages...)...)
}

// Test runs the linters, every fuzz target for a few seconds, and every test; REQUIRE_TOOLS=1 makes a missing oracle a failure.
func Test(ctx context.Context) error {
	mg.SerialCtxDeps(ctx, Lint, fuzz)
	return sh.RunV("go", "test", "-timeout=60m", "./...")
}

// Lint checks formatting and runs go vet and staticcheck.
func Lint(ctx context.Context) error {
	unformatted, err := sh.Output("gofmt", "-l", ".")
	if err == nil && unformatted != "" {
		err = fmt.Errorf("run gofmt -w on:\n%s", unformatted)
	}
	for _, args := range [][]string{
		{"vet", "./..."}, {"vet", "-tags=mage", "./magefiles"},
		{"run", staticcheck, "./..."}, {"run", staticcheck, "-tags=mage", "./magefiles"},
	} {
		err = errors.Join(err, sh.RunV("go", args...))
	}
	return err
}

// fuzz runs each fuzz target for fuzzTime.
func fuzz(ctx context.Context) error {
	list, err := sh.Output("go", "list", "./...")
	if err != nil {
		return err
	}
	for _, pkg := range strings.Fields(list) {
		targets, err := sh.Output("go", "test", "-list", "^Fuzz", pkg)
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", pkg, err, targets)
		}
		for line := range strings.Lines(targets) {
			name := strings.TrimSpace(line)
			if !strings.HasPrefix(name, "Fuzz") {
				continue
			}
			args := []string{"test", "-run=^$", "-fuzz=^" + name + "$", "-fuzztime=" + fuzzTime, "-fuzzminimizetime=10x", pkg}
			out, err := sh.Output("go", args...)
			if err != nil && strings.Contains(out, "context deadline exceeded") && !strings.Contains(out, "Failing input") {
				out, err = sh.Output("go", args...) // Go's fuzzer now and then takes the end of its time for a failure: https://go.dev/issue/75804
			}
			if err != nil {
				return fmt.Errorf("fuzz %s %s: %w\n%s", pkg, name, err, out)
			}
			fmt.Printf("fuzzed  %s %s\n", pkg, name)
		}
	}
	return nil
}
