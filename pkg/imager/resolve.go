package imager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/hcl/v2"
	"golang.org/x/sync/errgroup"

	"github.com/talosmith/talosmith/pkg/overlay"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/talos"
)

// Request says what of a profile is wanted.
type Request struct {
	// Image is one image's name; empty: all.
	Image string
	// Arch is one architecture; empty: all that an image is for.
	Arch string
	// Kinds of outputs; nil: every declared one.
	Kinds []talos.Kind
	// Undeclared: the kinds are wanted of every image, whether it declares them or not.
	Undeclared bool
	// ExtensionsOnly leaves out the images of Talos itself: enough for Describe.
	ExtensionsOnly bool
	// Patience is how long is looked for what a plan is of use without: the images of Talos itself, and the catalogue where the lock pins
	// all. What is not found then is no error, but left out and noted. 0: all must be there.
	Patience time.Duration
	// Lock pins names to digests; nil pins none. What it does not pin, or not any more, is looked up.
	Lock *profile.Lock
	// Runner runs the installers of overlays; nil: nobody does.
	Runner overlay.Runner
}

// outputs are those of an image that a request is about.
func (r Request) outputs(img *profile.Image) []profile.Output {
	if r.Kinds == nil {
		return withParts(img.Outputs)
	}
	var all []profile.Output
	for _, kind := range r.Kinds {
		declared := false
		for _, o := range img.Outputs {
			if o.Kind == kind {
				all, declared = append(all, o), true
			}
		}
		if r.Undeclared && !declared {
			all = append(all, profile.Output{Kind: kind, Place: img.Place})
		}
	}
	return withParts(all)
}

// lookups is how many look-ups run at once.
const lookups = 8

// Resolve finds everything that a request needs of a profile: what is behind names and tags, by digest. Nothing is downloaded but
// manifests, configs and the catalogues of extensions and overlays. The diagnostics have everything that is not there.
func Resolve(ctx context.Context, p *profile.Profile, req Request, src *source.Sources) (*Resolution, []Job, hcl.Diagnostics) {
	r := &resolver{ctx: ctx, p: p, src: src, lock: req.Lock, patience: req.Patience, res: &Resolution{Profile: p, Runner: req.Runner}}
	if req.Runner == nil {
		r.res.Runner = noRunner{}
	}
	jobs := r.targets(req)
	if r.diags.HasErrors() {
		return nil, nil, r.diags
	}
	r.work.SetLimit(lookups)
	r.bases(jobs, !req.ExtensionsOnly)
	catalogue, overlays := r.catalogue(), r.overlayCatalogue()
	for i := range r.res.Targets {
		installer := !req.ExtensionsOnly && slices.ContainsFunc(jobs, func(j Job) bool { return j.Target == i && j.Output.Kind == talos.KindInstaller })
		r.target(&r.res.Targets[i], catalogue, installer)
		r.overlay(&r.res.Targets[i], overlays, installer)
	}
	for i := range r.res.Targets {
		if !req.ExtensionsOnly && slices.ContainsFunc(jobs, func(j Job) bool { return j.Target == i && hasImageCache(j.Output) }) {
			r.imageCache(&r.res.Targets[i])
		}
	}
	_ = r.work.Wait() // what went wrong is in diags
	r.res.sortFound()
	return r.res, jobs, inOrder(r.diags)
}

type resolver struct {
	ctx      context.Context
	p        *profile.Profile
	src      *source.Sources
	lock     *profile.Lock
	patience time.Duration
	res      *Resolution
	work     errgroup.Group

	mu    sync.Mutex
	diags hcl.Diagnostics
}

func (r *resolver) report(severity hcl.DiagnosticSeverity, at hcl.Range, summary, detail string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := &hcl.Diagnostic{Severity: severity, Summary: summary, Detail: fmt.Sprintf(detail, args...), Subject: at.Ptr()}
	for _, have := range r.diags { // one look-up can serve several images
		if have.Summary == d.Summary && have.Detail == d.Detail && *have.Subject == *d.Subject {
			return
		}
	}
	r.diags = append(r.diags, d)
}

// selected are the images that a name stands for; all, if it is empty.
func (r *resolver) selected(name string) (images []*profile.Image) {
	var names []string
	for _, img := range r.p.Images {
		names = append(names, img.Name)
		if name == "" || img.Name == name || img.Label == name {
			images = append(images, img)
		}
	}
	if len(images) == 0 {
		r.report(hcl.DiagError, r.p.Talos.Range, "Unknown image", "The profile has no image %q; it has %s.%s", name,
			strings.Join(names, ", "), didYouMean(talos.Nearest(name, names, 1)))
	}
	return images
}

// targets chooses what the request is about.
func (r *resolver) targets(req Request) (jobs []Job) {
	images := r.selected(req.Image)
	for _, img := range images {
		outputs := req.outputs(img)
		if len(outputs) == 0 {
			continue
		}
		embedded := r.embedded(img)
		for _, arch := range img.Architectures {
			if req.Arch != "" && arch != req.Arch {
				continue
			}
			facts, err := r.p.Facts(img.Platform, arch)
			if err != nil { // the profile was checked with the same
				r.report(hcl.DiagError, img.Range, "No such target", "%v.", err)
				continue
			}
			r.res.Targets = append(r.res.Targets, Target{Image: img, Arch: arch, Facts: facts, Schematic: embedded})
			for _, o := range outputs {
				jobs = append(jobs, Job{Target: len(r.res.Targets) - 1, Output: o})
			}
		}
	}
	if len(images) > 0 && len(jobs) == 0 {
		r.noSuchOutput(req, images)
	}
	return jobs
}

// noSuchOutput says which images declare what was asked of others, if any do.
func (r *resolver) noSuchOutput(req Request, images []*profile.Image) {
	kind, who, where := req.Kinds[0], "No image declares an output", "an image block"
	if req.Image != "" {
		who, where = fmt.Sprintf("The image %q declares no output", req.Image), "its block"
	}
	var others []string
	for _, img := range r.p.Images {
		if len(req.outputs(img)) > 0 {
			others = append(others, img.Name)
		}
	}
	have := ""
	if len(others) > 0 {
		have = "; those that do: " + strings.Join(others, ", ")
	}
	r.report(hcl.DiagError, images[0].Range, "No such output", "%s %q%s. Add this line to %s:\n\n  output %[2]q {}\n", who, kind, have, where)
}

// why says why an extension is not in a catalogue, or what could be meant.
func why(name string, v talos.Version, c *talos.Catalogue) string {
	if reason := talos.WhyAbsent(name, v); reason != "" {
		return " " + reason
	}
	return didYouMean(c.Nearest(name, 3))
}

func didYouMean(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf(" Did you mean %q?", strings.Join(names, `", "`))
}

// resolve looks a name up, by its pin where it has one. What it finds is noted for a lock.
func (r *resolver) resolve(ctx context.Context, name string, ref source.Ref, arch, from string) (*source.Artifact, error) {
	f := Found{Name: name, Arch: arch, Reference: portable(ref, r.p.Dir), From: from, ref: ref}
	pin, pinned := r.lock.Find(name)
	reference, digest, _ := pin.For(arch)
	if pinned {
		f.Stale = stale(pin, f)
		if f.Stale == "" && ref.Image != "" {
			ref.Image = reference + "@" + digest
		}
	} else if r.lock != nil {
		f.Stale = "it is not in the lock"
	}
	var a *source.Artifact
	var err error
	if pinned && f.Stale == "" {
		f.Reference = reference
		a, err = r.src.Bundled(ctx, ref, arch, source.Pin{Index: digest, Manifest: pin.Architectures[arch].Digest})
	}
	if a == nil && err == nil {
		a, err = r.src.Resolve(ctx, ref, arch)
	}
	if err != nil {
		return nil, err
	}
	f.Artifact = a
	if pinned && f.Stale == "" && digest != a.Index { // a file or directory: there is nothing else to take
		f.Stale = fmt.Sprintf("its content has changed: %s is locked, %s is there", digest, a.Index)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.res.Found = append(r.res.Found, f)
	return a, nil
}

// portable is a reference as a lock has it: without a digest, and files relative to the profile.
func portable(ref source.Ref, dir string) string {
	for _, name := range []*string{&ref.Path, &ref.Tarball, &ref.OCILayout} {
		if rel, err := filepath.Rel(dir, *name); *name != "" && err == nil {
			*name = filepath.ToSlash(rel)
		}
	}
	if ref.Image != "" {
		image, _, _ := strings.Cut(ref.Image, "@")
		return image
	}
	return ref.String()
}

// talosImage looks up an image that Talos consists of: the release's, or the base's. With patience, one that is not found is left out.
func (r *resolver) talosImage(name, arch, missing string) *source.Artifact {
	ctx, cancel := r.patient()
	defer cancel()
	ref := r.p.BaseImage(name)
	a, err := r.resolve(ctx, talosName(name), source.Ref{Image: ref}, arch, "talos "+ref[strings.LastIndex(ref, ":")+1:])
	switch {
	case err == nil:
	case r.patience > 0:
		r.missed(err)
	default:
		r.report(hcl.DiagError, r.p.Talos.At("version"), missing, "%v.", err)
	}
	return a
}

// talosName is what a lock calls an image of Talos itself.
func talosName(image string) string { return "talos/" + image }

func (r *resolver) patient() (context.Context, context.CancelFunc) {
	if r.patience == 0 {
		return r.ctx, func() {}
	}
	return context.WithTimeout(r.ctx, r.patience)
}

func (r *resolver) missed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.res.Missed = append(r.res.Missed, err)
}

// releaseImage looks up an image that only a release has.
func (r *resolver) releaseImage(ctx context.Context, name string) (*source.Artifact, error) {
	version := r.p.Talos.Version.String()
	return r.resolve(ctx, talosName(name), source.Ref{Image: r.p.Talos.Registry + "/" + name + ":" + version}, talos.AMD64, "talos "+version)
}

// catalogue finds the catalogue of official extensions, if any image has some, and reads it, if the lock does not pin them all.
func (r *resolver) catalogue() *talos.Catalogue {
	var official, unpinned *profile.ExtensionRef
	from := "catalogue " + r.p.Talos.Version.String()
	for _, t := range r.res.Targets {
		for i, e := range t.Image.Extensions {
			if e.Declared != nil {
				continue
			}
			official = &t.Image.Extensions[i]
			if pin, ok := r.lock.Find(e.Name); !ok || !r.mayKeep(pin, from) {
				unpinned = official
			}
		}
	}
	if official == nil {
		return nil
	}
	ctx, cancel := r.ctx, func() {}
	if unpinned == nil {
		ctx, cancel = r.patient()
	}
	defer cancel()
	a, err := r.releaseImage(ctx, talos.ExtensionsImage)
	var c *talos.Catalogue
	if err == nil && (unpinned != nil || r.patience > 0) {
		c, err = readCatalogue(ctx, r.src, a)
	}
	switch {
	case err == nil:
	case unpinned == nil && r.patience > 0:
		r.missed(err)
	default:
		r.report(hcl.DiagError, official.Range, "Catalogue of extensions not found", "%v.", err)
	}
	return c
}

// ReadCatalogue reads the catalogue of official extensions of a Talos release.
func ReadCatalogue(ctx context.Context, t profile.Talos, src *source.Sources) (*talos.Catalogue, error) {
	a, err := src.Resolve(ctx, source.Ref{Image: t.Registry + "/" + talos.ExtensionsImage + ":" + t.Version.String()}, talos.AMD64)
	if err != nil {
		return nil, err
	}
	return readCatalogue(ctx, src, a)
}

func readCatalogue(ctx context.Context, src *source.Sources, a *source.Artifact) (c *talos.Catalogue, err error) {
	err = withSpool(src, func(spool source.Spool) error {
		files, err := src.Tree(ctx, a, func(p string) bool { return p == talos.CatalogueDigests || p == talos.CatalogueDescriptions }, spool)
		if err != nil {
			return err
		}
		digests, err := files.ReadSmall(talos.CatalogueDigests, talos.MaxCatalogueFile)
		if err != nil {
			return fmt.Errorf("catalogue %s: %w", a.Ref, err)
		}
		descriptions, err := files.ReadSmall(talos.CatalogueDescriptions, talos.MaxCatalogueFile)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if c, err = talos.ParseCatalogue(digests, descriptions); err != nil {
			return fmt.Errorf("catalogue %s: %w", a.Ref, err)
		}
		return nil
	})
	return c, err
}

// target finds the extensions of a target, and the base of its installer.
func (r *resolver) target(t *Target, catalogue *talos.Catalogue, installer bool) {
	t.Extensions = make([]Extension, len(t.Image.Extensions))
	for i, e := range t.Image.Extensions {
		ref, from, ok := r.locate(e, t.Arch, catalogue)
		if !ok {
			continue
		}
		r.work.Go(func() error {
			a, err := r.resolve(r.ctx, lockName(e), ref, t.Arch, from)
			if err != nil {
				at := e.Range
				if e.Declared != nil { // what is to be mended stands there
					at = e.Declared.Range
				}
				r.report(hcl.DiagError, at, "Extension not found", "%v.", err)
				return nil
			}
			t.Extensions[i] = Extension{ExtensionRef: e, Artifact: a, From: from}
			if catalogue != nil && e.Declared == nil {
				t.Extensions[i].Entry, _, _ = catalogue.Find(e.Name)
			}
			return nil
		})
	}
	if !installer {
		return
	}
	r.work.Go(func() error {
		t.Installer = r.talosImage(t.Facts.InstallerBase, t.Arch, "Installer base not found")
		return nil
	})
}

// locate says where an extension lies. Official ones are named by digest in the catalogue; the host and namespace are the profile's.
func (r *resolver) locate(e profile.ExtensionRef, arch string, catalogue *talos.Catalogue) (ref source.Ref, from string, ok bool) {
	if e.Declared != nil {
		ref, err := Ref(e.Declared, arch)
		if err != nil {
			r.report(hcl.DiagError, e.Declared.Range, "Extension not found", "%v.", err)
			return ref, "", false
		}
		return ref, filepath.Base(e.Declared.Range.Filename), true
	}
	from = "catalogue " + r.p.Talos.Version.String()
	if pin, ok := r.lock.Find(e.Name); ok && r.mayKeep(pin, from) {
		return source.Ref{Image: pin.Reference}, pin.From, true
	}
	if catalogue == nil {
		return ref, "", false
	}
	entry, alias, ok := catalogue.Find(e.Name)
	if !ok {
		r.report(hcl.DiagError, e.Range, "Unknown extension", "The catalogue of Talos %s has no extension %q.%s `go tool mage extensions` lists all.",
			r.p.Talos.Version, e.Name, why(e.Name, r.p.Talos.Version, catalogue))
		return ref, "", false
	}
	if alias != "" {
		r.report(hcl.DiagWarning, e.Range, "Renamed extension", "The extension %q is called %q in Talos %s; that one is used. Write the new name.", alias, entry.Name, r.p.Talos.Version)
	}
	return source.Ref{Image: fmt.Sprintf("%s/%s:%s@%s", r.p.Talos.Registry, entry.Image(), entry.Tag, entry.Digest)}, from, true
}
