package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/profile"
)

// Validate checks the profile and the extensions that lie beside it, without the network, and says what it would build.
func Validate(ctx context.Context, o Options) error {
	s, err := load(o)
	if err != nil {
		return err
	}
	if err := s.show(imager.Validate(ctx, s.Profile)); err != nil {
		return err
	}
	var images []string
	outputs := 0
	for _, img := range s.Profile.Images {
		images = append(images, img.Name)
		outputs += len(img.Outputs) * len(img.Architectures)
	}
	fmt.Fprintf(s.o.Stdout, "%s is valid: Talos %s; %s; %s of %s\n", s.o.Profile, s.Profile.Talos.Version,
		count(len(s.Profile.Extensions), "declared extension"), count(outputs, "output"), few(images))
	return nil
}

// Format brings the profile into the canonical style, or, if check is set, says which files aren't.
func Format(o Options, check bool) error {
	s := &Session{o: o.withDefaults()}
	s.print = newPrinter(s.o)
	changed, files, diags := profile.Format(s.o.Profile, check)
	s.Profile = &profile.Profile{Files: files}
	for _, name := range changed {
		fmt.Fprintln(s.o.Stdout, name)
	}
	if err := s.show(diags); err != nil {
		return err
	}
	if check && len(changed) > 0 {
		return fmt.Errorf("%s not in the canonical style: run %s", count(len(changed), "file"), s.o.mage("fmt"))
	}
	return nil
}

// count writes a number with its noun.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// few lists names, but not too many.
func few(names []string) string {
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}
