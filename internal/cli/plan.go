package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/profile"
)

// Plan shows what a build would make, as text or as JSON alone. An image without extensions needs no network.
func (s *Session) Plan(ctx context.Context, asJSON bool) error {
	lock, err := profile.ReadLock(s.lockPath())
	if err != nil {
		return err
	}
	res, jobs, diags := imager.Resolve(ctx, s.Profile, imager.Request{Image: s.o.Image, ExtensionsOnly: true, Lock: lock}, s.sources)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.show(diags); err != nil {
		return err
	}
	d, err := imager.Describe(res, jobs, lock)
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(s.o.Stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(d)
	}
	return planText(s.o.Stdout, d)
}

func planText(out io.Writer, d *imager.Description) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, img := range d.Images {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s  %s  Talos %s for %s\n", img.Name, img.Architecture, d.Talos, img.Platform)
		fmt.Fprintf(w, "\n  kernel argument\tfrom\n")
		for _, a := range img.Args {
			fmt.Fprintf(w, "  %s\t%s\n", a.Arg, a.Origin)
		}
		for _, a := range img.Removed {
			fmt.Fprintf(w, "  (%s)\t%s, removed by %s\n", a.Arg, a.Origin, a.By)
		}
		if len(img.Extensions) > 0 {
			fmt.Fprintf(w, "\n  ID\textension\tversion\tsize\tdigest\tfrom\n")
		}
		for _, e := range img.Extensions {
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s\n", e.ID, e.Name, known(e.Version), knownBytes(e.Size), short(e.Digest), e.From)
		}
		fmt.Fprintf(w, "\n  output\tfile\tsize\tboot loader\tpartitions\tadds\n")
		for _, o := range img.Outputs {
			var partitions, adds []string
			for _, p := range o.Partitions {
				partitions = append(partitions, p.Label+" "+knownBytes(p.Size))
			}
			for _, a := range o.Adds {
				adds = append(adds, a.Arg)
			}
			loader := "-"
			if o.Bootloader != nil {
				loader = string(*o.Bootloader)
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s\n", o.Kind, o.File, knownBytes(o.Size), loader, dash(strings.Join(partitions, ", ")), dash(strings.Join(adds, " ")))
		}
	}
	return w.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func known(s *string) string {
	if s == nil {
		return "?"
	}
	return *s
}

func knownBytes(n *int64) string {
	if n == nil {
		return "?"
	}
	return amount(*n)
}

// short is a digest that can be told from others at a glance.
func short(digest string) string {
	const digits = len("sha256:") + 12
	if len(digest) > digits {
		return digest[:digits]
	}
	return digest
}
