package cli

import (
	"fmt"

	"github.com/talosmith/talosmith/pkg/imager"
)

// Schematic prints the Image Factory's schematics of the profile's images, as YAML with their IDs in comments; or the IDs alone, with the
// images' names where there are several. It needs no network.
func Schematic(o Options, idOnly bool) error {
	s, err := load(o)
	if err != nil {
		return err
	}
	all, diags, err := imager.Schematics(s.Profile, s.o.Image)
	if err != nil {
		return err
	}
	if err := s.show(diags); err != nil {
		return err
	}
	for i, one := range all {
		switch {
		case idOnly && len(all) == 1:
			fmt.Fprintln(s.o.Stdout, one.ID)
		case idOnly:
			fmt.Fprintf(s.o.Stdout, "%s  %s\n", one.ID, one.Image)
		default:
			if i > 0 {
				fmt.Fprintln(s.o.Stdout, "---")
			}
			fmt.Fprintf(s.o.Stdout, "# image %s, schematic %s\n%s", one.Image, one.ID, one.Text)
		}
	}
	return nil
}
