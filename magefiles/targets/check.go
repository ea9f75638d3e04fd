package targets

import (
	"context"
	"errors"

	"github.com/talosmith/talosmith/internal/cli"
)

// Check looks for everything in the profile's images that would not work, and shows what each extension costs. -path=DIR looks at the
// extension in a directory instead, alone on the profile's Talos; -arch=ARCH says for what (amd64).
func Check(ctx context.Context, profile, image, path, arch *string) error {
	if path == nil && arch != nil {
		return errors.New("check: -arch is for the extension that -path names; an image has the architectures that the profile gives it")
	}
	return flags{profile: profile, image: image}.session(func(s *cli.Session) error {
		if path != nil {
			return s.CheckDirectory(ctx, *path, value(arch))
		}
		return s.Check(ctx)
	})
}
