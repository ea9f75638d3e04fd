package targets

import (
	"context"

	"github.com/magefile/mage/mg"

	"github.com/talosmith/talosmith/internal/cli"
)

// Extension has the targets for writing extensions: mage extension:new and so on.
type Extension mg.Namespace

// New writes a first extension into extensions/NAME, and says how to declare it.
func (Extension) New(_ context.Context, name string, profile *string) error {
	return cli.NewExtension(cli.Options{Profile: value(profile)}, name)
}

// Check looks into an extension: one of the profile, a path, or an image in a registry. -talos=VERSION and -arch=ARCH say for what.
func (Extension) Check(ctx context.Context, extension string, profile, talos, arch *string) error {
	return cli.CheckExtension(ctx, cli.Options{Profile: value(profile)}, extension, value(talos), value(arch))
}

// Build makes the image of an extension of the profile, for both architectures or that of -arch, and writes it into the folder -out.
func (Extension) Build(ctx context.Context, name string, profile, out, arch *string) error {
	return cli.BuildExtension(ctx, cli.Options{Profile: value(profile), Out: value(out)}, name, value(arch))
}

// Push uploads the image of an extension of the profile to its tag.
func (Extension) Push(ctx context.Context, name string, profile, arch *string) error {
	return cli.PushExtension(ctx, cli.Options{Profile: value(profile)}, name, value(arch))
}
