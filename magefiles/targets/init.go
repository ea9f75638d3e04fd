package targets

import (
	"context"

	"github.com/talosmith/talosmith/internal/cli"
)

// Init writes a first extensions.hcl, magefile, go.mod, .gitignore and CI job into this folder, and replaces nothing: -talos=VERSION, -platform=NAME, -extensions=NAME,NAME.
func Init(_ context.Context, talos, platform, extensions *string) error {
	return cli.Init(cli.InitOptions{Talos: value(talos), Platform: value(platform), Extensions: value(extensions)})
}
