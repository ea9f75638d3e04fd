package targets

import (
	"context"

	"github.com/talosmith/talosmith/internal/cli"
)

// Schematic prints the Image Factory's schematic of each image and its ID, without the network: -image=NAME for one, -id for the ID alone.
func Schematic(profile, image *string, id *bool) error {
	return cli.Schematic(cli.Options{Profile: value(profile), Image: value(image)}, isSet(id))
}

// Import prints the profile that says what an imager profile or a Factory's schematic does, a file or a schematic's ID: -talos=VERSION, -platform=NAME.
func Import(ctx context.Context, from string, talos, platform *string) error {
	return cli.Import(ctx, cli.ImportOptions{Talos: value(talos), Platform: value(platform)}, from)
}
