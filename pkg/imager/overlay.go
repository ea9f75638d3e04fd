package imager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/overlay"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// Overlay is one that was found.
type Overlay struct {
	*profile.Overlay
	// From tells where it was found: "overlays v1.13.9", or the profile's file.
	From string
	// Variants are the image's, by architecture. That of the machine that builds is run and gives disks their firmware; that of the
	// target is in installer images.
	Variants map[string]*source.Artifact
}

// wantsOverlay tells whether an output has anything of an overlay: its kernel arguments, if nothing else.
func wantsOverlay(o profile.Output) bool {
	return o.Kind != talos.KindKernel && o.Kind != talos.KindInitramfs
}

// overlaySteps are those of a target with an overlay. What the machine that builds would have to run is nil where it can't.
type overlaySteps struct {
	Pack    *store.Step // for the machine that builds
	Profile *store.Step // what the imager's profile says
	Options *store.Step // what the installer says
	Target  *store.Step // for the target; nil where there is no variant
	why     error       // why there is no Pack
	arch    string      // of the machine that builds
	src     *source.Sources
}

func planOverlay(src *source.Sources, r overlay.Runner, t Target) *overlaySteps {
	o := t.Overlay
	if o == nil {
		return nil
	}
	s := &overlaySteps{src: src}
	packs := map[string]*store.Step{}
	for arch, a := range o.Variants {
		packs[arch] = overlayStep(src, o, a)
	}
	s.Target = packs[t.Arch]
	if s.arch, s.why = r.Arch(); s.why != nil {
		return s
	}
	if s.Pack = packs[s.arch]; s.Pack == nil {
		s.why = fmt.Errorf("it has none for this machine's architecture, %s: build on a machine of one of its own", s.arch)
		return s
	}
	s.Profile = &store.Step{
		Name: "overlay-profile", Label: s.Pack.Label, Inputs: []*store.Step{s.Pack}, Params: []any{overlay.Version, source.Version, o.Name},
		Run: func(ctx context.Context, out store.Output, in []tree.Blob) error {
			return withPack(ctx, in[0], func(files *tree.Tree) error {
				var p overlay.Profile
				name := overlay.ProfilePath(o.Name)
				if n, ok := files.Lookup(name); ok && n.Mode.IsRegular() {
					text, err := tree.ReadSmall(n.Content, overlay.MaxProfile)
					if err == nil {
						p, err = overlay.ParseProfile(text)
					}
					if err != nil {
						return fmt.Errorf("%s: %w", name, err)
					}
				}
				return writeJSON(out, p)
			})
		},
	}
	s.Options = s.runStep("overlay-options", o, nil, func(ctx context.Context, out store.Output, in string, files *tree.Tree) error {
		options, err := overlay.GetOptions(ctx, r, in, files, o.Name, o.Options)
		if err != nil {
			return err
		}
		return writeJSON(out, options)
	})
	return s
}

// install is the step of what the installer does to a disk of a size in bytes, as a tree pack: see [overlay.Effects].
func (s *overlaySteps) install(o *Overlay, r overlay.Runner, size int64) *store.Step {
	return s.runStep("overlay-install", o, size, func(ctx context.Context, out store.Output, in string, files *tree.Tree) error {
		return overlay.Install(ctx, r, in, files, o.Name, o.Options, size, func(e overlay.Effects) error {
			t, err := e.Tree()
			if err != nil {
				return err
			}
			_, err = source.WritePack(out, t)
			return err
		})
	})
}

// runStep is a step that runs the installer, in a folder that it is told. All else that it is given is part of its key.
func (s *overlaySteps) runStep(name string, o *Overlay, given any, run func(ctx context.Context, out store.Output, in string, files *tree.Tree) error) *store.Step {
	options, errOptions := overlay.ExtraOptions(o.Options)
	return &store.Step{
		Name: name, Label: s.Pack.Label, Inputs: []*store.Step{s.Pack}, Params: []any{overlay.Version, source.Version, s.arch, o.Name, string(options), given},
		Run: func(ctx context.Context, out store.Output, in []tree.Blob) error {
			if errOptions != nil {
				return errOptions
			}
			dir, err := s.src.TempDir()
			if err != nil {
				return err
			}
			return withPack(ctx, in[0], func(files *tree.Tree) error { return run(ctx, out, dir, files) })
		},
	}
}

// overlayStep takes a board's files out of an overlay's image, as a tree pack.
func overlayStep(src *source.Sources, o *Overlay, a *source.Artifact) *store.Step {
	return &store.Step{
		Name: "overlay", Label: o.Name + " " + a.Arch, Params: []any{source.Version, overlay.Version, digests(a), o.Name},
		Run: func(ctx context.Context, out store.Output, _ []tree.Blob) error {
			return withSpool(src, func(spool source.Spool) error {
				t, err := src.Tree(ctx, a, overlay.Keep(o.Name), spool)
				if err != nil {
					return err
				}
				if n, ok := t.Lookup(overlay.InstallerPath(o.Name)); !ok || !n.Mode.IsRegular() {
					return noInstaller(ctx, src, o, a, spool)
				}
				_, err = source.WritePack(out, t)
				return err
			})
		},
	}
}

// noInstaller says which boards an image is for, to whoever asked for another.
func noInstaller(ctx context.Context, src *source.Sources, o *Overlay, a *source.Artifact, spool source.Spool) error {
	t, err := src.Tree(ctx, a, func(p string) bool { return strings.HasPrefix(p, overlay.Installers+"/") }, spool)
	if err != nil {
		return err
	}
	var names []string
	for n := range t.Children(overlay.Installers) {
		names = append(names, n.Name())
	}
	if len(names) == 0 {
		return fmt.Errorf("%s has nothing in %s/: it is no overlay", a.Ref, overlay.Installers)
	}
	return fmt.Errorf("%s has no %s: it is for %s.%s", a.Ref, overlay.InstallerPath(o.Name), strings.Join(names, ", "), didYouMean(talos.Nearest(o.Name, names, 1)))
}

// refuseOverlay says why an image's overlay can't be run, if it must be; nil where it can, or needs not.
func (t targetSteps) refuseOverlay(outputs []profile.Output) *hcl.Diagnostic {
	o := t.Target.Overlay
	if o == nil || !slices.ContainsFunc(outputs, wantsOverlay) {
		return nil
	}
	program := fmt.Sprintf("The overlay %q has an installer, %s of %s, a program made by others", o.Name, overlay.InstallerPath(o.Name), o.reference())
	const why = "Only it knows the board's kernel arguments, and it puts the firmware onto disks"
	switch {
	case !o.Run:
		return &hcl.Diagnostic{Severity: hcl.DiagError, Subject: o.At("run").Ptr(), Summary: "Overlay not allowed to run", Detail: fmt.Sprintf(
			"%s. %s, so nothing is built of the image %q without running it on this machine: in a directory of its own that is removed again, and without the network where the system allows that. Write run = true to let it.",
			program, why, t.Image.Name)}
	case t.Overlay.why != nil:
		return &hcl.Diagnostic{Severity: hcl.DiagError, Subject: o.Range.Ptr(), Summary: "Overlay not runnable here", Detail: fmt.Sprintf(
			"%s. %s, so it has to run for the image %q, but %v.", program, why, t.Image.Name, t.Overlay.why)}
	}
	return nil
}

// reference is what an overlay is found by, with its digest.
func (o *Overlay) reference() string {
	for _, arch := range talos.Architectures() {
		if a := o.Variants[arch]; a != nil {
			if a.Reference != "" {
				return a.Reference
			}
			return fmt.Sprintf("%s (%s)", a.Ref, a.Index)
		}
	}
	return "an image that is not there"
}

// digest is that of the image, whatever the architecture.
func (o *Overlay) digest() string {
	for _, arch := range talos.Architectures() {
		if a := o.Variants[arch]; a != nil {
			return a.Index
		}
	}
	return ""
}

// noRunner stands where nobody runs anything.
type noRunner struct{}

var errNoRunner = errors.New("nothing is run here")

func (noRunner) Arch() (string, error) { return "", errNoRunner }
func (noRunner) Run(context.Context, overlay.Command) ([]byte, error) {
	return nil, errNoRunner
}

// overlayWork is what a target at work knows of its overlay.
type overlayWork struct {
	profile overlay.Profile
	options overlay.Options
	image   openPack // of the target's variant

	mu       sync.Mutex
	installs map[int64]*openPack // by the disk's size
}

// startOverlay asks the overlay what it says, if anybody wants to know.
func (t *target) startOverlay(ctx context.Context, outputs []profile.Output) error {
	if t.Overlay == nil || !slices.ContainsFunc(outputs, wantsOverlay) {
		return nil
	}
	w := &overlayWork{installs: map[int64]*openPack{}}
	err := t.load(ctx, t.Overlay.Profile, &w.profile)
	if err == nil {
		err = t.load(ctx, t.Overlay.Options, &w.options)
	}
	if err != nil {
		return fmt.Errorf("image %s: %w", t.Name(), err)
	}
	for _, name := range w.profile.Ignored {
		t.o.note("image %s: %s of the overlay %s customizes %s, which is left to your profile", t.Name(), overlay.ProfilePath(t.Target.Overlay.Name), t.Target.Overlay.Name, name)
	}
	t.overlay = w
	return nil
}

// overlayArgs are the kernel arguments that the overlay has.
func (t *target) overlayArgs() []string {
	if t.overlay == nil {
		return nil
	}
	return t.overlay.options.KernelArgs
}

// installStep is the step of what the overlay's installer does to a disk.
func (t *target) installStep(ctx context.Context, out profile.Output) (step *store.Step, size int64, err error) {
	size = t.diskSize(out)
	if out.Size == 0 {
		more, _, err := t.imageCachePartition(ctx)
		if err != nil {
			return nil, 0, err
		}
		for _, part := range more {
			size += part.Size
		}
	}
	return t.Overlay.install(t.Target.Overlay, t.runner, size), size, nil
}

// effects are what the overlay's installer does to a disk.
func (t *target) effects(ctx context.Context, out profile.Output) (overlay.Effects, error) {
	step, size, err := t.installStep(ctx, out)
	if err != nil {
		return overlay.Effects{}, err
	}
	t.overlay.mu.Lock()
	p := t.overlay.installs[size]
	if p == nil {
		p = &openPack{}
		t.overlay.installs[size] = p
	}
	t.overlay.mu.Unlock()
	files, err := p.open(ctx, t.o.Store, step)
	if err != nil {
		return overlay.Effects{}, err
	}
	return overlay.ReadEffects(files)
}

func (w *overlayWork) close() error {
	if w == nil {
		return nil
	}
	errs := []error{w.image.close()}
	for _, p := range w.installs {
		errs = append(errs, p.close())
	}
	return errors.Join(errs...)
}
