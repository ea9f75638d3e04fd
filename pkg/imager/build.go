package imager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// maker says how an artefact of one kind is made: what it depends on, and how it is written.
type maker struct {
	recipe func(*target, context.Context, profile.Output) (recipe, error)
	write  func(*target, context.Context, io.WriterAt, profile.Output) (written, error)
}

// written says what an artefact has become.
type written struct {
	size   int64  // bytes
	digest string // of an image's manifest or index
}

// whole writes a blob that is the artefact.
func whole(make func(*target, context.Context, profile.Output) (tree.Blob, error)) func(*target, context.Context, io.WriterAt, profile.Output) (written, error) {
	return func(t *target, ctx context.Context, w io.WriterAt, out profile.Output) (written, error) {
		b, err := make(t, ctx, out)
		if err != nil {
			return written{}, err
		}
		announce(w, b.Size())
		n, err := tree.CopyAt(w, 0, b)
		return written{size: n}, err
	}
}

var makers = map[talos.Kind]maker{
	talos.KindISO:       {(*target).isoRecipe, (*target).writeISO},
	talos.KindDisk:      {(*target).diskRecipe, (*target).writeDisk},
	talos.KindInstaller: {(*target).installerRecipe, (*target).writeInstaller},
	talos.KindUKI: {
		(*target).ukiRecipe,
		whole(func(t *target, ctx context.Context, out profile.Output) (tree.Blob, error) {
			image, _, err := t.uki(ctx, out)
			if err != nil {
				return nil, err
			}
			return image.Blob, nil
		}),
	},
	talos.KindInitramfs: {
		func(t *target, ctx context.Context, _ profile.Output) (recipe, error) { return t.initramfsRecipe(ctx) },
		whole(func(t *target, ctx context.Context, _ profile.Output) (tree.Blob, error) { return t.initramfs(ctx) }),
	},
	talos.KindKernel: {
		func(t *target, ctx context.Context, _ profile.Output) (recipe, error) {
			r, err := t.o.Store.Resolve(ctx, t.Assets)
			return recipe{"kernel", r.Digest, t.Facts.Kernel}, err
		},
		whole(func(t *target, ctx context.Context, _ profile.Output) (tree.Blob, error) {
			return t.asset(ctx, t.Facts.Kernel)
		}),
	},
	talos.KindPXE: {(*target).pxeRecipe, whole((*target).pxe)},
	talos.KindCmdline: {
		func(t *target, _ context.Context, out profile.Output) (recipe, error) {
			c, err := t.cmdline(out)
			return recipe{"cmdline", c.String()}, err
		},
		whole(func(t *target, _ context.Context, out profile.Output) (tree.Blob, error) {
			c, err := t.cmdline(out)
			return tree.String(c.String()), err
		}),
	},
}

// Job is an artefact to make: an output of one of a graph's targets.
type Job struct {
	Target int
	Output profile.Output
}

// Build makes artefacts. What is in the output folder already, made of the same things, stays. All of a build's artefacts are tried;
// each appears complete or not at all.
func Build(ctx context.Context, g *Graph, jobs []Job, o Options) (*Manifest, error) {
	unlock, err := prepareOut(ctx, o)
	if err != nil {
		return nil, err
	}
	before, err := ReadManifest(o.Out)
	if err := errors.Join(err, unlock()); err != nil {
		return nil, err
	}
	targets, err := startTargets(ctx, g, jobs, o)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var built []Artefact
	var errs []error
	work := new(errgroup.Group)
	work.SetLimit(runtime.GOMAXPROCS(0))
	try := func(make func() (Artefact, bool, error)) {
		work.Go(func() error {
			a, fresh, err := make()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = appendNew(errs, err)
				return nil
			}
			built = append(built, a)
			if o.Done != nil {
				o.Done(a, fresh)
			}
			return nil
		})
	}
	for _, j := range jobs {
		try(func() (Artefact, bool, error) { return targets[j.Target].make(ctx, j.Output, before) })
	}
	for _, group := range installerGroups(g, jobs) {
		if len(group) > 1 {
			try(func() (Artefact, bool, error) { return makeIndex(ctx, targets, group, before) })
		}
	}
	_ = work.Wait() // errors are in errs, all of them
	for _, t := range targets {
		errs = append(errs, t.close())
	}
	m, err := record(ctx, built, o)
	return m, errors.Join(append(errs, err)...)
}

// appendNew adds an error unless it has been said: a step that several artefacts want fails for each.
func appendNew(errs []error, err error) []error {
	for _, have := range errs {
		if have.Error() == err.Error() {
			return errs
		}
	}
	return append(errs, err)
}

// startTargets runs what has to be known before anything is composed, and refuses what would not work.
func startTargets(ctx context.Context, g *Graph, jobs []Job, o Options) (map[int]*target, error) {
	c := &check{o: o, jobs: jobs}
	targets, err := c.run(ctx, g)
	if o.Report != nil && len(c.diags) > 0 {
		o.Report(c.diags)
	}
	if c.diags.HasErrors() {
		err = errors.Join(&PreflightError{c.diags}, err)
	}
	return targets, err
}

// make writes one artefact, unless it is there.
func (t *target) make(ctx context.Context, out profile.Output, before *Manifest) (a Artefact, fresh bool, err error) {
	m, ok := makers[out.Kind]
	if !ok {
		return a, false, fmt.Errorf("image %s: nobody makes an output %q", t.Name(), out.Kind)
	}
	r, err := m.recipe(t, ctx, out)
	if err != nil {
		return a, false, err
	}
	if a, err = t.describe(out); err != nil {
		return a, false, err
	}
	return t.o.produce(ctx, a, r, before, func(w io.WriterAt) (written, error) { return m.write(t, ctx, w, out) })
}

// makeIndex writes the installer image of several architectures.
func makeIndex(ctx context.Context, targets map[int]*target, group []Job, before *Manifest) (a Artefact, fresh bool, err error) {
	r := recipe{"index"}
	var first *target
	for _, j := range group {
		t := targets[j.Target]
		if first == nil {
			first = t
		}
		one, err := t.installerRecipe(ctx, j.Output)
		if err != nil {
			return a, false, err
		}
		r = append(r, one)
	}
	out := group[0].Output
	if a, err = first.describe(out); err != nil {
		return a, false, err
	}
	a.File, a.Architecture, a.Kernel, a.Cmdline, a.Extensions = first.Image.IndexName(out), "", "", "", nil
	return first.o.produce(ctx, a, r, before, func(w io.WriterAt) (written, error) {
		var images []*ociImage
		for _, j := range group {
			img, err := targets[j.Target].installer(ctx, j.Output)
			if err != nil {
				return written{}, err
			}
			images = append(images, img)
		}
		index, err := newIndex(images)
		if err != nil {
			return written{}, err
		}
		return writeArchive(w, images, index.blob, out.Tag)
	})
}

// produce writes an artefact in one pass, unless it is there, made of the same things.
func (o Options) produce(ctx context.Context, a Artefact, r recipe, before *Manifest, write func(io.WriterAt) (written, error)) (_ Artefact, fresh bool, err error) {
	if a.Key, err = r.id(); err != nil {
		return a, false, err
	}
	have, unchanged := before.unchanged(o.Out, a.File, a.Key)
	if unchanged && !o.Verify {
		return have, false, nil
	}
	defer func() {
		if err != nil {
			o.writing(Writing{File: a.File, Failed: true})
		}
	}()
	w, err := createOut(ctx, filepath.Join(o.Out, a.File))
	if err != nil {
		return a, false, err
	}
	w.report = func(done, total int64) { o.writing(Writing{File: a.File, Done: done, Total: total}) }
	is, err := write(w)
	if err == nil && unchanged {
		unchanged, err = o.sameBytes(have, w, is.size)
	}
	if err == nil && unchanged {
		return have, false, w.discard()
	}
	if err != nil {
		return a, false, errors.Join(fmt.Errorf("write %s: %w", w.name, err), w.discard())
	}
	a.Size, a.Digest = is.size, is.digest
	a.SHA256, a.Modified, err = w.commit(is.size)
	return a, true, err
}

// sameBytes tells whether an artefact that is there has the bytes that were written now, and notes where it has others.
func (o Options) sameBytes(have Artefact, w *outFile, size int64) (bool, error) {
	sum, err := w.end(size)
	if err != nil {
		return false, err
	}
	there, err := tree.File(w.name)
	if err != nil {
		return false, err
	}
	at, same, err := tree.FirstDifference(there, tree.Section(w.f, 0, size))
	if err == nil && !same {
		o.note("verify: %s was not what its steps make, first at byte %d; it is replaced", w.name, at)
	}
	return same && have.SHA256 == sum, err
}

// describe says of an artefact what is known before it is written.
func (t *target) describe(out profile.Output) (Artefact, error) {
	cmdline, err := t.cmdline(out)
	if err != nil {
		return Artefact{}, err
	}
	a := Artefact{
		File: t.Image.FileName(out, t.Arch), Kind: out.Kind, Image: t.Image.Name, Architecture: t.Arch, Platform: t.Facts.Platform.Name,
		Talos: t.Facts.Tag, Kernel: t.kernel, Cmdline: cmdline.String(),
	}
	if out.Kind == talos.KindInstaller {
		a.Tag = out.Tag
	}
	switch o := t.Target.Overlay; {
	case o == nil:
	case wantsOverlay(out):
		a.Overlay = &ArtefactOverlay{o.Name, o.digest()}
	default:
		a.Cmdline = "" // it would lack the overlay's arguments where only this was built
	}
	if out.Kind == talos.KindKernel || out.Kind == talos.KindCmdline || out.Kind == talos.KindPXE {
		return a, nil
	}
	for i, l := range t.layers {
		e := ArtefactExtension{ID: strings.TrimSuffix(l.Image, layerSuffix), Name: l.Metadata.Name, Version: l.Metadata.Version}
		if i < len(t.Target.Extensions) {
			e.Digest = t.Target.Extensions[i].Artifact.Index
		}
		a.Extensions = append(a.Extensions, e)
	}
	return a, nil
}

// record brings the folder's manifest up to date. Where nothing was built and nothing is gone, it stays as it is, or missing.
func record(ctx context.Context, built []Artefact, o Options) (*Manifest, error) {
	unlock, err := lockOut(context.WithoutCancel(ctx), o)
	if err != nil {
		return nil, err
	}
	before, err := ReadManifest(o.Out)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	m := before.update(o.Out, built)
	if len(built) > 0 || len(m.Artefacts) < len(before.Artefacts) {
		m.Tool = o.Tool
		err = m.write(o.Out)
	}
	return m, errors.Join(err, unlock())
}
