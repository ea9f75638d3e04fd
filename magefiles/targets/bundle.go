package targets

import (
	"context"

	"github.com/talosmith/talosmith/internal/cli"
)

// Bundle writes all images that the lock names into one file, from which TALOSMITH_FROM=FILE builds without the network.
func Bundle(ctx context.Context, file string, profile *string) error {
	return flags{profile: profile}.session(func(s *cli.Session) error { return s.Bundle(ctx, file) })
}

// Mirror copies all images that the lock names into a registry, HOST or HOST/NAMESPACE, and prints how the profile uses it.
func Mirror(ctx context.Context, registry string, profile *string) error {
	return flags{profile: profile}.session(func(s *cli.Session) error { return s.Mirror(ctx, registry) })
}
