package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/talosmith/talosmith/pkg/migrate"
	"github.com/talosmith/talosmith/pkg/schematic"
	"github.com/talosmith/talosmith/pkg/source"
)

// maxImport is the size of a file that is imported, in bytes.
const maxImport = 4 << 20

var schematicID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ImportOptions say what a file leaves open. Zero values are the defaults that the documentation gives.
type ImportOptions struct {
	Options
	Talos    string // version; the file's, or the newest stable one that is known
	Platform string // the file's, or "metal"
}

// Import prints the profile that says what an imager profile or a schematic does: a file's, or that of a schematic's ID, for which the
// Image Factory is asked.
func Import(ctx context.Context, o ImportOptions, from string) error {
	o.Options = o.withDefaults()
	m := migrate.Options{Talos: o.Talos, Platform: o.Platform}
	var text []byte
	var err error
	if _, statErr := os.Stat(from); schematicID.MatchString(from) && errors.Is(statErr, os.ErrNotExist) {
		text, err = importID(ctx, o.Options, from, m)
	} else {
		text, err = importFile(from, m)
	}
	if err != nil {
		return fmt.Errorf("import %s: %w", from, err)
	}
	_, err = o.Stdout.Write(text)
	return err
}

func importFile(name string, m migrate.Options) ([]byte, error) {
	st, err := os.Stat(name)
	switch {
	case errors.Is(err, os.ErrNotExist) && !strings.ContainsAny(name, `./\`):
		return nil, errors.New("neither a file nor a schematic's ID, which has 64 digits from 0 to f")
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxImport+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return migrate.File(text, m) // which refuses what is too large
}

// importID asks the Image Factory, and checks that the answer is what was asked for.
func importID(ctx context.Context, o Options, id string, m migrate.Options) ([]byte, error) {
	factory, ok := o.Env("TALOSMITH_FACTORY")
	if !ok || factory == "" {
		factory = source.Factory
	}
	file, err := source.Schematic(ctx, factory, id, o.log())
	if err != nil {
		if factory != source.Factory {
			err = fmt.Errorf("TALOSMITH_FACTORY: %w", err)
		}
		return nil, err
	}
	s, err := schematic.Parse(file)
	if err != nil {
		return nil, err
	}
	answered, err := s.ID()
	if err != nil {
		return nil, err
	}
	if answered != id {
		return nil, fmt.Errorf("%s answers with the schematic %s: it is another one, or its Factory writes schematics differently", factory, answered)
	}
	return migrate.Schematic(s, m)
}
