package targets

import (
	"context"

	"github.com/talosmith/talosmith/internal/cli"
)

// Lock pins everything that the profile names to digests, in a file beside it, extensions.lock.json: -update=all or -update=NAME moves pins, -check compares only.
func Lock(ctx context.Context, profile, update *string, check *bool) error {
	return flags{profile: profile}.session(func(s *cli.Session) error {
		if check != nil && *check {
			return s.CheckLock(ctx)
		}
		return s.Lock(ctx, value(update))
	})
}
