//go:build !linux

package overlay

import "os"

// nextData is where the next data of a file may begin: anywhere.
func nextData(_ *os.File, at, _ int64) (int64, error) { return at, nil }
