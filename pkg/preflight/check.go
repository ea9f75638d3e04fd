package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/talos"
)

// Target is an image for one architecture, with all that is known of what goes into it.
type Target struct {
	Facts talos.Facts
	// Base is Talos's root file system; nil where no extension needs it to be looked at.
	Base *Contents
	// Kernel is what the base has for modules.
	Kernel Kernel
	// Extensions in the order of their layers.
	Extensions []Extension
	// Override are absolute paths where a later extension may replace what an earlier one has.
	Override []string
	// SignedModules: the kernel refuses modules that are not signed by its own key.
	SignedModules bool
	// Sizes are nil where nothing is made that has one.
	Sizes *Sizes
	// Outputs are what is made.
	Outputs []Output
}

// Extension is what is known of one.
type Extension struct {
	// Name in the profile.
	Name string
	// Official: a digest-pinned image of the catalogue.
	Official bool
	// Findings are what [extension.Extension.Check] said.
	Findings []extension.Finding
	// Contents are nil for one that can't be used.
	Contents *Contents
	Modules  Modules
}

// Output is something to be made.
type Output struct {
	Kind talos.Kind
	// Bootloader of a disk.
	Bootloader talos.Bootloader
}

// Check finds everything at once: by what it is about, errors first.
func Check(t Target) []Finding {
	c := &checker{Target: t, root: merge(t.Base, t.Extensions), views: map[string]*view{}, specs: map[string]*extension.Service{}}
	for _, e := range t.Extensions {
		if e.Contents == nil {
			continue
		}
		for i := range e.Contents.Services {
			c.specs[e.Contents.Services[i].Name] = &e.Contents.Services[i] // of one name, that of the upper layer
		}
	}
	c.contents()
	c.conflicts()
	for i, e := range t.Extensions {
		if e.Contents == nil {
			continue
		}
		c.programs(i)
		c.services(i)
		c.links(i)
	}
	c.twins()
	if c.root.tired() {
		c.image(extension.Warning, CodeLibrary, "thousands of programs, or links that lead in circles", "not every program, link and mount was looked at: there are too many")
	}
	c.modules()
	c.sizes()
	return t.judged(c.found)
}

type checker struct {
	Target
	root  *merged
	views map[string]*view              // by the service's name; "" is the machine's
	specs map[string]*extension.Service // by name
	found []Finding
}

// add reports something about an extension.
func (c *checker) add(ext int, s extension.Severity, code, path, detail, format string, args ...any) {
	f := Finding{Of: OfExtension, Index: ext}
	f.Severity, f.Code, f.Path, f.Detail, f.Summary = s, code, path, detail, fmt.Sprintf(format, args...)
	c.found = append(c.found, f)
}

// image reports something about the whole.
func (c *checker) image(s extension.Severity, code, detail, format string, args ...any) {
	f := Finding{Of: OfImage}
	f.Severity, f.Code, f.Detail, f.Summary = s, code, detail, fmt.Sprintf(format, args...)
	c.found = append(c.found, f)
}

// atHand are what one extension by itself can't know: here it is looked for in all layers.
var atHand = []string{extension.CodeLinkDangling, extension.CodeServiceMissing}

func (c *checker) contents() {
	for i, e := range c.Extensions {
		for _, f := range e.Findings {
			if e.Contents != nil && slices.Contains(atHand, f.Code) {
				continue
			}
			c.found = append(c.found, Finding{Finding: f, Of: OfExtension, Index: i})
		}
	}
}

func (c *checker) conflicts() {
	var named []extension.Named
	var places []int
	for i, e := range c.Extensions {
		if e.Contents == nil {
			continue
		}
		n := extension.Named{Name: e.Name, Files: make([]extension.Entry, len(e.Contents.Files))}
		for j, f := range e.Contents.Files {
			n.Files[j] = f.Entry
		}
		named, places = append(named, n), append(places, i)
	}
	all := extension.Conflicts(named, c.Facts, nil)
	used := make([]bool, len(c.Override))
	for _, f := range all {
		if i := slices.IndexFunc(c.Override, func(o string) bool { return within(f.Path, relative(o)) }); i >= 0 {
			used[i] = true
			continue
		}
		c.found = append(c.found, Finding{Finding: f.Finding, Of: OfExtension, Index: places[f.Above], other: places[f.Below], conflict: true})
	}
	for i, ok := range used {
		if !ok {
			f := Finding{Of: OfOverride, Index: i}
			f.Severity, f.Code, f.Path = extension.Warning, CodeOverride, strings.TrimPrefix(c.Override[i], "/")
			f.Summary, f.Detail = "no two extensions have different files there", "leave it out: it would hide a conflict that comes later"
			c.found = append(c.found, f)
		}
	}
}

// view is what processes see that start from a path of the machine's root; service is theirs, if they have one.
func (c *checker) view(p string) (v *view, service *extension.Service) {
	name, ok := containerOf(p)
	if !ok {
		name = ""
	}
	service = c.specs[name]
	if v := c.views[name]; v != nil {
		return v, service
	}
	switch {
	case service != nil:
		v = c.root.container(*service)
	case ok: // a root without a specification
		v = c.root.container(extension.Service{Name: name})
	default:
		v = c.root.machine()
	}
	c.views[name] = v
	return v, service
}
