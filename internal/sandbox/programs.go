package sandbox

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/tree"
)

// programs are ours, compiled for the release's machine.
type programs struct{ init, service, installer tree.Blob }

func buildPrograms(ctx context.Context, arch, dir string) (*programs, error) {
	var p programs
	for _, what := range []struct {
		name string
		to   *tree.Blob
		args []string
	}{
		{"init", &p.init, []string{"-ldflags=-s -w"}},
		{"service", &p.service, nil}, // as big as extension services are
		{"installer", &p.installer, []string{"-ldflags=-s -w"}},
	} {
		var err error
		if *what.to, err = compile(ctx, what.name, dir, arch, what.args...); err != nil {
			return nil, err
		}
	}
	return &p, nil
}

// Board compiles the installer of the stand-in's overlay into a directory, for an architecture.
func Board(ctx context.Context, dir, arch string) (tree.Blob, error) {
	return compile(ctx, "board", dir, arch, "-ldflags=-s -w")
}

// compile compiles a program of a folder beside this file, static.
func compile(ctx context.Context, name, dir, arch string, more ...string) (tree.Blob, error) {
	out := filepath.Join(dir, name+"-"+arch)
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-o", out}, more...)
	cmd := exec.CommandContext(ctx, "go", append(args, "github.com/talosmith/talosmith/internal/sandbox/"+name)...)
	cmd.Env = append(withoutGo(os.Environ()), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build %s: %w: %s", name, err, b)
	}
	return tree.File(out)
}

// withoutGo drops what would change the programs.
func withoutGo(env []string) []string {
	return slices.DeleteFunc(env, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"GOFLAGS", "GOOS", "GOARCH", "GOAMD64", "GOARM64", "GOEXPERIMENT", "GOFIPS140", "CGO_ENABLED"}, name)
	})
}
