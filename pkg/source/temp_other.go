//go:build !linux

package source

import (
	"errors"
	"os"
)

// nameless is for Linux.
func nameless(string) (*os.File, error) { return nil, errors.ErrUnsupported }
