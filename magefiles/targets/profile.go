package targets

import (
	"context"

	"github.com/talosmith/talosmith/internal/cli"
)

// Validate checks the profile and the extensions that lie beside it. It needs no network.
func Validate(ctx context.Context, profile *string) error {
	return cli.Validate(ctx, cli.Options{Profile: value(profile)})
}

// Fmt brings the profile into the canonical style and lists what it changed; with -check it changes nothing, and fails where something would.
func Fmt(ctx context.Context, profile *string, check *bool) error {
	return cli.Format(cli.Options{Profile: value(profile)}, isSet(check))
}

// Extensions lists the official extensions of the profile's Talos version: all, or with -find=WORD those with the word in their name or description.
func Extensions(ctx context.Context, profile, find *string) error {
	return cli.Extensions(ctx, cli.Options{Profile: value(profile)}, value(find))
}
