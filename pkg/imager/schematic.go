package imager

import (
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/schematic"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// ImageSchematic is the Image Factory's schematic of an image. It can hold secrets.
type ImageSchematic struct {
	Image string
	// Text is the canonical YAML, and ID its hash.
	Text, ID string
}

func newSchematic(p *profile.Profile, img *profile.Image) (*ImageSchematic, []schematic.Unsaid, error) {
	s, unsaid := schematic.Of(p, img)
	text, err := s.Encode()
	if err != nil {
		return nil, nil, err
	}
	id, err := s.ID()
	return &ImageSchematic{img.Name, string(text), id}, unsaid, err
}

// Schematics returns those of a profile's images, or of the one that a name stands for. What no schematic can say is a diagnostic at its place.
func Schematics(p *profile.Profile, name string) ([]*ImageSchematic, hcl.Diagnostics, error) {
	r := &resolver{p: p}
	var all []*ImageSchematic
	for _, img := range r.selected(name) {
		s, unsaid, err := newSchematic(p, img)
		if err != nil {
			return nil, nil, err
		}
		for _, u := range unsaid {
			r.report(hcl.DiagError, u.Range, "Not a schematic", "%s", u.Text)
		}
		all = append(all, s)
	}
	return all, r.diags, nil
}

// embedded is the schematic that an image is to hold, if it is to. What it can't say is one diagnostic, at the attribute that asks for it.
func (r *resolver) embedded(img *profile.Image) *ImageSchematic {
	if !r.p.Talos.EmbedSchematic {
		return nil
	}
	at := r.p.Talos.At("embed_schematic")
	s, unsaid, err := newSchematic(r.p, img)
	if err != nil {
		r.report(hcl.DiagError, at, "Not a schematic", "%v.", err)
	}
	var lines []string
	for _, u := range unsaid {
		lines = append(lines, "  "+u.Place()+": "+u.Text)
	}
	if len(lines) > 0 {
		r.report(hcl.DiagError, at, "Not a schematic", "The image %q has what no schematic of the Image Factory can say, so none can be embedded. Remove that, or embed_schematic:\n%s",
			img.Name, strings.Join(lines, "\n"))
	}
	return s
}

// virtual is the extension by which Talos and Omni tell what an image was made of.
func (s *ImageSchematic) virtual(f talos.Facts) virtual {
	v := virtual{Metadata: extension.SchematicManifest(s.ID, s.Text).Metadata}
	if !f.Overlays { // upstream: Talos before them has no extraInfo
		v.ExtraInfo = ""
	}
	v.nodes = []tree.Node{{Path: extension.SchematicFile(s.ID), Mode: 0o644, Content: tree.Zeros(0)}}
	return v
}
