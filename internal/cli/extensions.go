package cli

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
)

// Extensions lists the official extensions of the profile's Talos version; if find is not empty, those that have it in their name or
// description. What is known of other versions is said beside, and where there is none, what could be meant.
func Extensions(ctx context.Context, o Options, find string) error {
	s, err := load(o)
	if err != nil {
		return err
	}
	if _, err := s.connect(); err != nil {
		return err
	}
	c, err := imager.ReadCatalogue(ctx, s.Profile.Talos, s.sources)
	s.print.end()
	if err != nil {
		return err
	}
	listed := slices.DeleteFunc(c.All(), func(e talos.Entry) bool { return !contains(e.Name+" "+e.Description, find) })
	if len(listed) > 0 {
		if err := writeEntries(s.o.Stdout, listed, users(s.Profile, c), s.columns()); err != nil {
			return err
		}
	}
	version := s.Profile.Talos.Version
	notes := elsewhere(c, find, version)
	if len(listed) == 0 {
		return nothingFound(c, find, version, notes)
	}
	for _, n := range notes {
		fmt.Fprintln(s.o.Stderr, "note: "+n)
	}
	return nil
}

func contains(text, word string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(word))
}

// columns is the width of standard output where it is a terminal, else 0.
func (s *Session) columns() int {
	width, _ := terminalWidth(s.o.Stdout)
	return width
}

// writeEntries writes a table. On a terminal, descriptions end where it does.
func writeEntries(w io.Writer, entries []talos.Entry, users map[string][]string, width int) error {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tVERSION\tTIER\tUSED BY\tDESCRIPTION")
	for _, e := range entries {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", e.Name, e.Tag, e.Tier, few(users[e.Name]), firstLine(e))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		line = strings.TrimRight(line, " \n")
		if runes := []rune(line); width > 0 && len(runes) > width {
			line = string(runes[:width-1]) + "…"
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// users are the images that have each extension, by its name in the catalogue.
func users(p *profile.Profile, c *talos.Catalogue) map[string][]string {
	images := map[string][]string{}
	for _, img := range p.Images {
		for _, e := range img.Extensions {
			if entry, _, ok := c.Find(e.Name); ok && e.Declared == nil {
				images[entry.Name] = append(images[entry.Name], img.Name)
			}
		}
	}
	return images
}

// firstLine is the beginning of a description, without the tier.
func firstLine(e talos.Entry) string {
	text := strings.TrimSpace(strings.TrimPrefix(e.Description, "["+e.Tier+"]"))
	text, _, _ = strings.Cut(text, "\n")
	return strings.ReplaceAll(text, "\t", " ")
}

// elsewhere says what is known of names that are not in this catalogue, where the search is for one of them.
func elsewhere(c *talos.Catalogue, find string, v talos.Version) (notes []string) {
	if find == "" {
		return nil
	}
	for _, name := range talos.Extensions() {
		if has(c, name) || !contains(name, find) {
			continue
		}
		if why := talos.WhyAbsent(name, v); why != "" {
			notes = append(notes, name+": "+why)
		}
	}
	return notes
}

// has tells whether a catalogue has a name, not only a newer one for it.
func has(c *talos.Catalogue, name string) bool {
	_, alias, ok := c.Find(name)
	return ok && alias == ""
}

// nothingFound says what else could be meant: a name like it in this catalogue, else one of another version.
func nothingFound(c *talos.Catalogue, find string, v talos.Version, notes []string) error {
	if len(notes) == 0 {
		for _, name := range c.Nearest(find, 3) {
			notes = append(notes, "did you mean "+name+"?")
		}
	}
	if len(notes) == 0 {
		var absent []string // without the namespace, which would make all of them alike
		for _, name := range talos.Extensions() {
			if !has(c, name) && talos.WhyAbsent(name, v) != "" {
				absent = append(absent, path.Base(name))
			}
		}
		for _, name := range talos.Nearest(path.Base(find), absent, 1) {
			notes = append(notes, "did you mean siderolabs/"+name+"? "+talos.WhyAbsent(name, v))
		}
	}
	return fmt.Errorf("find %q: no official extension of Talos %s has it in its name or description\n  %s", find, v,
		strings.Join(append(notes, "`go tool mage extensions` lists all"), "\n  "))
}
