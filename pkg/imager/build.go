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

// maker says how an artefact of one kind is made: what it depends on, and how it is written. write returns the size in bytes.
type maker struct {
	recipe func(*target, context.Context, profile.Output) (recipe, error)
	write  func(*target, context.Context, io.WriterAt, profile.Output) (int64, error)
}

var makers = map[talos.Kind]maker{
	talos.KindISO:       {(*target).isoRecipe, (*target).writeISO},
	talos.KindDisk:      {(*target).diskRecipe, (*target).writeDisk},
	talos.KindInstaller: {(*target).installerRecipe, (*target).writeInstaller},
	talos.KindUKI: {
		func(t *target, ctx context.Context, _ profile.Output) (recipe, error) {
			return t.ukiRecipe(ctx, talos.KindUKI)
		},
		func(t *target, ctx context.Context, w io.WriterAt, _ profile.Output) (int64, error) {
			image, _, err := t.uki(ctx, talos.KindUKI)
			if err != nil {
				return 0, err
			}
			return tree.CopyAt(w, 0, image.Blob)
		},
	},
	talos.KindInitramfs: {
		func(t *target, ctx context.Context, _ profile.Output) (recipe, error) { return t.initramfsRecipe(ctx) },
		func(t *target, ctx context.Context, w io.WriterAt, _ profile.Output) (int64, error) {
			b, err := t.initramfs(ctx)
			if err != nil {
				return 0, err
			}
			return tree.CopyAt(w, 0, b)
		},
	},
	talos.KindKernel: {
		func(t *target, ctx context.Context, _ profile.Output) (recipe, error) {
			r, err := t.o.Store.Resolve(ctx, t.Assets)
			return recipe{"kernel", r.Digest, t.Facts.Kernel}, err
		},
		func(t *target, ctx context.Context, w io.WriterAt, _ profile.Output) (int64, error) {
			b, err := t.asset(ctx, t.Facts.Kernel)
			if err != nil {
				return 0, err
			}
			return tree.CopyAt(w, 0, b)
		},
	},
	talos.KindCmdline: {
		func(t *target, _ context.Context, _ profile.Output) (recipe, error) {
			c, err := t.cmdline(talos.KindCmdline)
			return recipe{"cmdline", c.String()}, err
		},
		func(t *target, _ context.Context, w io.WriterAt, _ profile.Output) (int64, error) {
			c, err := t.cmdline(talos.KindCmdline)
			if err != nil {
				return 0, err
			}
			return tree.CopyAt(w, 0, tree.String(c.String()))
		},
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
	for _, j := range jobs {
		work.Go(func() error {
			a, fresh, err := targets[j.Target].make(ctx, j.Output, before)
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
	targets := map[int]*target{}
	var mu sync.Mutex
	var errs []error
	var work sync.WaitGroup
	seen := map[int]bool{}
	for _, j := range jobs {
		if seen[j.Target] {
			continue
		}
		seen[j.Target] = true
		work.Go(func() {
			t, err := newTarget(ctx, g.Targets[j.Target], o)
			if err == nil {
				err = t.extensionErrors()
			}
			mu.Lock()
			defer mu.Unlock()
			targets[j.Target] = t
			errs = append(errs, err)
		})
	}
	work.Wait()
	return targets, errors.Join(errs...)
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
	key, err := r.id()
	if err != nil {
		return a, false, err
	}
	file := t.Image.FileName(out, t.Arch)
	if a, same := before.unchanged(t.o.Out, file, key); same {
		return a, false, nil
	}
	if a, err = t.describe(out, file, key); err != nil {
		return a, false, err
	}
	w, err := createOut(ctx, filepath.Join(t.o.Out, file))
	if err != nil {
		return a, false, err
	}
	a.Size, err = m.write(t, ctx, w, out)
	if err != nil {
		return a, false, errors.Join(fmt.Errorf("write %s: %w", w.name, err), w.discard())
	}
	a.SHA256, a.Modified, err = w.commit(a.Size)
	return a, true, err
}

// describe says of an artefact what is known before it is written.
func (t *target) describe(out profile.Output, file, key string) (Artefact, error) {
	cmdline, err := t.cmdline(out.Kind)
	if err != nil {
		return Artefact{}, err
	}
	a := Artefact{
		File: file, Kind: out.Kind, Image: t.Image.Name, Architecture: t.Arch, Platform: t.Facts.Platform.Name,
		Talos: t.Facts.Version.String(), Kernel: t.facts.Release, Cmdline: cmdline.String(), Key: key,
	}
	if out.Kind == talos.KindInstaller {
		a.Tag = tagOf(t.Target, out)
	}
	if out.Kind == talos.KindKernel || out.Kind == talos.KindCmdline {
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

// record brings the folder's manifest up to date.
func record(ctx context.Context, built []Artefact, o Options) (*Manifest, error) {
	unlock, err := o.Store.Lock(context.WithoutCancel(ctx), "out "+o.Out)
	if err != nil {
		return nil, err
	}
	m, err := ReadManifest(o.Out)
	if err == nil {
		m.Tool = o.Tool
		m = m.update(o.Out, built)
		err = m.write(o.Out)
	}
	return m, errors.Join(err, unlock())
}
