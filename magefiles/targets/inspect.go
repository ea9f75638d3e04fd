package targets

import (
	"context"

	"github.com/talosmith/talosmith/internal/cli"
)

// Inspect tells what a boot artefact is made of, a file or a registry reference: -json; -files lists all files of all layers; -extract=DIR writes the parts out.
func Inspect(ctx context.Context, artefact string, json, files *bool, extract, arch *string) error {
	return cli.Inspect(ctx, artefact, cli.InspectOptions{JSON: isSet(json), Files: isSet(files), Extract: value(extract), Arch: value(arch)})
}

// Diff compares two boot artefacts down to the files in their layers, two profiles, or two locks (-json): exit code 0 for the same, 1 for different, 2 if that is not known.
func Diff(ctx context.Context, from, to string, json *bool, arch *string) error {
	return cli.Diff(ctx, from, to, cli.InspectOptions{JSON: isSet(json), Arch: value(arch)})
}

func isSet(flag *bool) bool { return flag != nil && *flag }
