//go:build !linux

package confine

import (
	"context"
	"fmt"
	"runtime"

	"github.com/talosmith/talosmith/pkg/overlay"
)

type way struct{}

// Arch says that nothing can be run.
func (r *Runner) Arch() (string, error) {
	return "", fmt.Errorf("it is a Linux program, and this machine is %s/%s: build on Linux, or in a container or a virtual machine with it", runtime.GOOS, runtime.GOARCH)
}

// Run runs nothing.
func (r *Runner) Run(context.Context, overlay.Command) ([]byte, error) {
	_, err := r.Arch()
	return nil, err
}
