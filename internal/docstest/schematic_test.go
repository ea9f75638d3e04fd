package docstest

import (
	"testing"

	"github.com/talosmith/talosmith/pkg/migrate"
)

// TestImported: docs/schematics.md shows what `mage import` makes of the schematic that it shows.
func TestImported(t *testing.T) {
	t.Parallel()
	shown := map[string]string{}
	for _, p := range pages(t) {
		for _, f := range p.fences {
			if p.name == "docs/schematics.md" && shown[f.language+f.file] == "" {
				shown[f.language+f.file] = f.code
			}
		}
	}
	got, err := migrate.File([]byte(shown["ymlschematic.yaml"]), migrate.Options{})
	if err != nil || string(got) != shown["hcl"] {
		t.Errorf("%v\n%s", err, got)
	}
}
