// Package imager makes Talos boot assets of a profile.
//
//	profile ──Resolve──► Resolution (everything named, by digest) ──Plan──► Graph (steps) ──Build──► files and manifest.json
//
// [Resolve] does all the looking up, [Plan] no I/O at all, [Build] runs in the store what is not there yet and composes each
// artefact straight into its file: an initramfs is never written before the UKI that holds it, nor the UKI before the ESP. One
// file each says how an artefact is composed: initramfs.go, uki.go, iso.go, disk.go, installer.go.
//
// The order in which bytes move, and so the order of the steps:
//
//	imager image ─► assets (kernel, initramfs, stub, boot loaders) ─► base (its facts) ─► rootfs ─► modules of the base
//	extension ─► pack (its tree) ─► info, squashfs, microcode, firmware, modules
//	all modules ─► modules.dep
//	overlay ─► pack (its tree) ─► profile; options and install, which run its installer
package imager

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/overlay"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/talos"
)

// Resolution is a profile with everything that it names found: digests, no contents.
type Resolution struct {
	Profile *profile.Profile
	// Imager is the image that the boot assets of every architecture come from; nil where the profile gives files instead.
	Imager *source.Artifact
	// Targets are the profile's images, once for each architecture.
	Targets []Target
	// Found are all names that were looked up.
	Found []Found
	// Missed says of what could be left out why it is.
	Missed []error
	// Runner is the request's.
	Runner overlay.Runner
}

// Target is an image for one architecture.
type Target struct {
	Image *profile.Image
	Arch  string
	Facts talos.Facts
	// Extensions in the profile's order.
	Extensions []Extension
	// Overlay is nil for a machine that needs none.
	Overlay *Overlay
	// BaseFiles are the profile's in place of the imager image's; nil for none.
	BaseFiles *source.Artifact
	// ImageCache is what an ISO or a disk has of container images; nil for none.
	ImageCache *source.Artifact
	// Installer is the image that installers are built upon; nil where the image has no such output.
	Installer *source.Artifact
	// Schematic is what is told of the image in it; nil for nothing.
	Schematic *ImageSchematic
}

// Name says which target it is, for people.
func (t Target) Name() string { return t.Image.Name + " " + t.Arch }

// Extension is one that was found.
type Extension struct {
	profile.ExtensionRef
	Artifact *source.Artifact
	// From tells where the name was found: "catalogue", or the profile's line.
	From string
	// Entry is the catalogue's, as far as the catalogue was read.
	Entry talos.Entry
}

// Options of a build.
type Options struct {
	Out     string          // the folder of the artefacts
	Store   *store.Store    // where steps keep what they make
	Sources *source.Sources // where layers come from
	// Epoch is every timestamp that is not an input's own; nil: the time of init in the base initramfs.
	Epoch *time.Time
	// Verify writes every artefact again, and compares; it goes with the store's.
	Verify bool
	// Tool is this program's version, for the manifest.
	Tool string
	// Report is told what the preflight finds, once; nil: nobody.
	Report func(hcl.Diagnostics)
	// Note is told what a user should know, a sentence each; nil: nobody.
	Note func(string)
	// Writing is told how far the artefacts are that are being written, by several goroutines; nil: nobody.
	Writing func(Writing)
	// Done is told of each artefact once it is there, and whether it was written now; nil: nobody.
	Done func(a Artefact, fresh bool)
}

// Writing is an artefact that is being written, or that could not be.
type Writing struct {
	File        string
	Done, Total int64 // bytes; no total where it is not known yet
	Failed      bool
}

func (o Options) writing(w Writing) {
	if o.Writing != nil {
		o.Writing(w)
	}
}

func (o Options) note(format string, args ...any) {
	if o.Note != nil {
		o.Note(fmt.Sprintf(format, args...))
	}
}

// cancelled is the context's error, for loops that do no I/O with it.
func cancelled(ctx context.Context) error { return context.Cause(ctx) }
