package imager_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/imager"
)

// TestReadManifest: what cannot be a manifest is refused with what to do, and is not read to no end.
func TestReadManifest(t *testing.T) {
	for name, c := range map[string]struct {
		make func(string) error
		want string // "" for an empty manifest
	}{
		"none":     {func(string) error { return nil }, ""},
		"garbage":  {func(f string) error { return os.WriteFile(f, []byte("garbage"), 0o600) }, "remove it"},
		"a list":   {func(f string) error { return os.WriteFile(f, []byte("[]"), 0o600) }, "remove it"},
		"huge":     {func(f string) error { return os.Truncate(f, 1<<40) }, "more than 67108864: remove it"},
		"a folder": {func(f string) error { return os.Mkdir(f, 0o700) }, "not a regular file: remove it"},
		"endless":  {func(f string) error { return os.Symlink("/dev/zero", f) }, "not a regular file: remove it"},
		"newer":    {func(f string) error { return os.WriteFile(f, []byte(`{"schema": 9, "artefacts": null}`), 0o600) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, imager.ManifestName)
			if name == "huge" {
				if err := os.WriteFile(file, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.make(file); err != nil {
				t.Fatal(err)
			}
			m, err := imager.ReadManifest(dir)
			switch {
			case c.want == "" && (err != nil || len(m.Artefacts) > 0):
				t.Errorf("%+v, %v", m, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v", err)
			}
		})
	}
}
