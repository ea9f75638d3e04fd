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
		out := filepath.Join(dir, what.name)
		args := append([]string{"build", "-trimpath", "-buildvcs=false", "-o", out}, what.args...)
		cmd := exec.CommandContext(ctx, "go", append(args, "github.com/talosmith/talosmith/internal/sandbox/"+what.name)...)
		cmd.Env = append(withoutGo(os.Environ()), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0")
		if b, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go build %s: %w: %s", what.name, err, b)
		}
		var err error
		if *what.to, err = tree.File(out); err != nil {
			return nil, err
		}
	}
	return &p, nil
}

// withoutGo drops what would change the programs.
func withoutGo(env []string) []string {
	return slices.DeleteFunc(env, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"GOFLAGS", "GOOS", "GOARCH", "GOAMD64", "GOARM64", "GOEXPERIMENT", "GOFIPS140", "CGO_ENABLED"}, name)
	})
}
