package targets

import (
	"context"

	"github.com/talosmith/talosmith/internal/cli"
)

// Plan shows what a build would make, where all of it comes from, and what is still to do; -json for programs. -diff=REV tells what changes since a git revision, -markdown is a comment on a pull request.
func Plan(ctx context.Context, profile, image *string, json *bool, diff *string, markdown *bool) error {
	return flags{profile: profile, image: image}.session(func(s *cli.Session) error {
		return s.Plan(ctx, cli.PlanOptions{JSON: isSet(json), Diff: value(diff), Markdown: isSet(markdown)})
	})
}
