package imager

import (
	"context"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/errdoc"
	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// Validate checks those extensions of the profile's images that lie on this machine as plain files: directories, and what is written in the
// profile; and whether there is a schematic where one is to be embedded. It needs no network.
func Validate(ctx context.Context, p *profile.Profile) hcl.Diagnostics {
	r := &resolver{ctx: ctx, p: p, src: source.New(source.Options{})}
	seen := map[*profile.Extension][]string{}
	for _, img := range p.Images {
		r.embedded(img)
		for _, arch := range img.Architectures {
			facts, err := p.Facts(img.Platform, arch)
			if err != nil {
				r.report(hcl.DiagError, img.Range, "No such target", "%v.", err)
				continue
			}
			for _, ref := range img.Extensions {
				e := ref.Declared
				if e == nil || slices.Contains(seen[e], arch) {
					continue
				}
				seen[e] = append(seen[e], arch)
				if s := e.For(arch); s != nil && s.Local() {
					r.validate(e, s, facts)
				}
			}
		}
	}
	return r.diags
}

func (r *resolver) validate(e *profile.Extension, s *profile.Source, f talos.Facts) {
	ref, err := Ref(e, f.Arch)
	c := &Checked{}
	if err == nil {
		c, err = CheckExtension(r.ctx, r.src, ref, f)
	}
	if err != nil {
		r.report(hcl.DiagError, e.Range, "Bad extension", "%v.", err)
		return
	}
	for _, finding := range c.Findings {
		severity := hcl.DiagError
		if finding.Severity == extension.Warning {
			severity = hcl.DiagWarning
		}
		r.report(severity, placeOf(finding, e, s), errdoc.CheckPrefix+finding.Code, "%s.", finding.Text())
	}
}

// placeOf is where the profile says what a finding is about.
func placeOf(f extension.Finding, e *profile.Extension, s *profile.Source) hcl.Range {
	for _, file := range s.Files {
		if strings.HasPrefix(file.Path+"/", "/"+f.Path+"/") && f.Path != "" && f.Path != tree.Root {
			return file.Range
		}
	}
	for _, service := range s.Services {
		if f.Path == extension.ServicePath(service.Name) {
			return service.Range
		}
	}
	return e.Range
}
