package targets

import (
	"context"

	"github.com/talosmith/talosmith/internal/cli"
)

// Plan shows what a build would make, and where every kernel argument and extension comes from; -json for programs.
func Plan(ctx context.Context, profile, image *string, json *bool) error {
	return flags{profile: profile, image: image}.session(func(s *cli.Session) error {
		return s.Plan(ctx, json != nil && *json)
	})
}
