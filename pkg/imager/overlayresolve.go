package imager

// Overlays are found as extensions are: official ones by their board, in the release's catalogue of overlays.

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/talos"
)

// overlayLockName is what a lock calls an image's overlay.
func overlayLockName(img *profile.Image) string {
	if isOfficial(img.Overlay) {
		return "overlay/" + img.Overlay.Name
	}
	return "overlay." + img.Name
}

func ownRef(o *profile.Overlay) source.Ref {
	return source.Ref{Image: o.Image, Path: o.Path, Tarball: o.Tarball, OCILayout: o.OCILayout}
}

func isOfficial(o *profile.Overlay) bool { return ownRef(o) == source.Ref{} }

func (r *resolver) overlayOrigin() string { return "overlays " + r.p.Talos.Version.String() }

// overlayCatalogue finds the catalogue of official overlays, if any image has one, and reads it, if the lock does not pin them all.
func (r *resolver) overlayCatalogue() *talos.OverlayCatalogue {
	var official, unpinned *profile.Overlay
	for _, t := range r.res.Targets {
		if o := t.Image.Overlay; o != nil && isOfficial(o) {
			official = o
			if pin, ok := r.lock.Find(overlayLockName(t.Image)); !ok || !r.mayKeep(pin, r.overlayOrigin()) {
				unpinned = o
			}
		}
	}
	if official == nil {
		return nil
	}
	a, err := r.releaseImage(r.ctx, talos.OverlaysImage)
	var c *talos.OverlayCatalogue
	if err == nil && unpinned != nil {
		c, err = readOverlays(r.ctx, r.src, a)
	}
	if err != nil {
		r.report(hcl.DiagError, official.Range, "Catalogue of overlays not found", "%v.", err)
	}
	return c
}

func readOverlays(ctx context.Context, src *source.Sources, a *source.Artifact) (c *talos.OverlayCatalogue, err error) {
	err = withSpool(src, func(spool source.Spool) error {
		files, err := src.Tree(ctx, a, func(p string) bool { return p == talos.CatalogueOverlays }, spool)
		if err != nil {
			return err
		}
		list, err := files.ReadSmall(talos.CatalogueOverlays, talos.MaxCatalogueFile)
		if err == nil {
			c, err = talos.ParseOverlays(list)
		}
		if err != nil {
			return fmt.Errorf("catalogue %s: %w", a.Ref, err)
		}
		return nil
	})
	return c, err
}

// overlay finds the overlay of a target, for every architecture that it has: which of them is run is a matter of the machine that builds,
// and a lock is for all machines.
func (r *resolver) overlay(t *Target, c *talos.OverlayCatalogue, installer bool) {
	o := t.Image.Overlay
	if o == nil {
		return
	}
	ref, from, ok := r.locateOverlay(t.Image, c)
	if !ok {
		return
	}
	t.Overlay = &Overlay{Overlay: o, From: from, Variants: map[string]*source.Artifact{}}
	r.work.Go(func() error {
		var errs []error
		for _, arch := range talos.Architectures() {
			a, err := r.resolve(r.ctx, overlayLockName(t.Image), ref, arch, from)
			if err != nil {
				errs = append(errs, err)
				if arch == t.Arch && installer {
					r.report(hcl.DiagError, o.Range, "Overlay not found", "The installer image needs its variant for %s: %v.", arch, err)
				}
				continue
			}
			t.Overlay.Variants[arch] = a
		}
		if len(t.Overlay.Variants) == 0 {
			r.report(hcl.DiagError, o.Range, "Overlay not found", "%v.", errs[0])
		}
		return nil
	})
}

// locateOverlay says where an overlay lies; the host and namespace of an official one are the profile's.
func (r *resolver) locateOverlay(img *profile.Image, c *talos.OverlayCatalogue) (ref source.Ref, from string, ok bool) {
	o := img.Overlay
	if !isOfficial(o) {
		return ownRef(o), path.Base(o.Range.Filename), true
	}
	if pin, ok := r.lock.Find(overlayLockName(img)); ok && r.mayKeep(pin, r.overlayOrigin()) {
		return source.Ref{Image: pin.Reference}, pin.From, true
	}
	if c == nil {
		return ref, "", false
	}
	e, ok := c.Find(o.Name)
	if !ok {
		var names []string
		for _, e := range c.All() {
			names = append(names, e.Board)
		}
		r.report(hcl.DiagError, o.At("name"), "Unknown overlay", "The catalogue of Talos %s has no overlay %q.%s It has %s. One of your own has \"image\", \"path\", \"tarball\" or \"oci_layout\".",
			r.p.Talos.Version, o.Name, didYouMean(c.Nearest(o.Name, 3)), strings.Join(names, ", "))
		return ref, "", false
	}
	return source.Ref{Image: fmt.Sprintf("%s/%s:%s@%s", r.p.Talos.Registry, e.Image(), e.Tag, e.Digest)}, r.overlayOrigin(), true
}
