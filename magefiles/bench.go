//go:build mage

package main

import (
	"context"
	"os"

	"github.com/talosmith/talosmith/internal/bench"
	"github.com/talosmith/talosmith/internal/cli"
)

// Bench measures builds beside the programs that the official imager calls, and prints the ratios that are to be reached; -only=squashfs, effort, cold, raw, large, unchanged, changed, shared, formats or memory.
func Bench(ctx context.Context, only *string) error {
	cache, err := cli.CacheDir(os.LookupEnv)
	if err != nil {
		return err
	}
	return bench.Run(ctx, bench.Options{
		Only: or(only, ""), Profile: "extensions.hcl", Cache: cache, Mirror: os.Getenv("TALOSMITH_DEBIAN_MIRROR"), Out: os.Stdout, Log: os.Stderr,
	})
}
