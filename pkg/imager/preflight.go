package imager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"golang.org/x/sync/errgroup"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/preflight"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/talos"
)

// PreflightError says that images would not work. Nothing was composed.
type PreflightError struct{ Diags hcl.Diagnostics }

func (e *PreflightError) Error() string {
	var all []string
	for _, d := range e.Diags {
		if d.Severity == hcl.DiagError {
			all = append(all, d.Error())
		}
	}
	return "preflight: " + strings.Join(all, "\n")
}

// Report is what [Check] finds.
type Report struct {
	Diags hcl.Diagnostics
	// Targets that were looked at, in the order of the graph.
	Targets []TargetReport
}

// TargetReport is what an image for one architecture costs.
type TargetReport struct {
	Target
	// Sizes are nil where nothing is made that has one.
	Sizes *preflight.Sizes
	Fits  []preflight.Fit
}

// Check looks for everything that would not work, and makes no artefact.
func Check(ctx context.Context, g *Graph, jobs []Job, o Options) (*Report, error) {
	c := &check{o: o, jobs: jobs, all: true}
	_, err := c.run(ctx, g)
	r := &Report{Diags: c.diags}
	for _, t := range c.targets {
		one := TargetReport{Target: t.Target, Sizes: t.known.Sizes}
		if one.Sizes != nil {
			one.Fits = one.Sizes.Fits(t.Facts, t.known.Outputs)
		}
		r.Targets = append(r.Targets, one)
	}
	return r, err
}

// check is a preflight of several targets.
type check struct {
	o    Options
	jobs []Job
	// all: sizes are looked at even if there are errors without, so that what is dear is done for nothing.
	all bool

	targets []checked // in the order of the graph
	diags   hcl.Diagnostics
}

// checked is a target with what is known and was found of it.
type checked struct {
	*target
	known preflight.Target
	found []preflight.Finding
}

// run starts every target that a job is about and looks at it. What is wrong is in diags; the error is about what could not be looked at.
func (c *check) run(ctx context.Context, g *Graph) (map[int]*target, error) {
	all := make([]checked, len(g.Targets))
	errs := make([]error, len(g.Targets))
	work := new(errgroup.Group)
	var refused hcl.Diagnostics
	for i, steps := range g.Targets {
		outputs := outputsOf(c.jobs, i)
		if len(outputs) == 0 {
			continue
		}
		if d := steps.refuseOverlay(outputs); d != nil {
			refused = append(refused, d)
			continue
		}
		work.Go(func() error {
			t, err := newTarget(ctx, steps, c.o)
			if err == nil {
				err = t.startOverlay(ctx, outputs)
			}
			if err != nil {
				errs[i] = err
				return nil
			}
			all[i].target = t
			if err := all[i].look(ctx, outputs, c.all); err != nil {
				errs[i] = fmt.Errorf("image %s: %w", t.Name(), err)
			}
			return nil
		})
	}
	_ = work.Wait() // errors are in errs
	targets := map[int]*target{}
	for i, one := range all {
		if one.target != nil {
			targets[i] = one.target
			c.targets = append(c.targets, one)
		}
	}
	c.diags = inOrder(append(diagnose(c.targets), refused...))
	return targets, errors.Join(errs...)
}

// look finds out what there is, and what is wrong with it.
func (c *checked) look(ctx context.Context, outputs []profile.Output, all bool) error {
	if err := c.learn(ctx, outputs); err != nil {
		return err
	}
	c.found = preflight.Check(c.known)
	hasErrors := slices.ContainsFunc(c.found, func(f preflight.Finding) bool { return f.Severity == extension.Error })
	unusable := slices.ContainsFunc(c.infos, func(i extensionInfo) bool { return i.Unusable })
	if unusable || hasErrors && !all || len(c.infos) == 0 || !slices.ContainsFunc(outputs, hasInitramfs) {
		return nil
	}
	if err := c.weigh(ctx); err != nil {
		return err
	}
	c.found = preflight.Check(c.known)
	return nil
}

func hasInitramfs(o profile.Output) bool {
	return o.Kind != talos.KindKernel && o.Kind != talos.KindCmdline
}

// learn reads what the steps have kept of the base and of the extensions.
func (c *checked) learn(ctx context.Context, outputs []profile.Output) error {
	k := &c.known
	k.Facts = c.Facts
	for _, p := range c.Image.Override {
		k.Override = append(k.Override, p.Value)
	}
	for _, o := range outputs {
		k.Outputs = append(k.Outputs, preflight.Output{Kind: o.Kind, Bootloader: c.bootloader(o)})
	}
	line, err := c.cmdline(profile.Output{Kind: talos.KindDisk})
	if err != nil {
		line = talos.Cmdline{} // reported with the arguments
	}
	k.SignedModules = preflight.SignedModules(c.Facts, line)
	k.Extensions = make([]preflight.Extension, len(c.infos))
	g, ctx := errgroup.WithContext(ctx)
	modules, usable := false, false
	for i, info := range c.infos {
		e, of := &k.Extensions[i], c.Target.Extensions[i]
		*e = preflight.Extension{Name: of.Name, Official: of.Declared == nil, Findings: info.Findings}
		if info.Unusable {
			continue
		}
		usable = true
		g.Go(func() error { return c.load(ctx, c.Extensions[i].Contents, &e.Contents) })
		if !info.Modules {
			continue
		}
		modules = true
		g.Go(func() error {
			scan, err := c.readScan(ctx, c.Extensions[i].Modules)
			e.Modules = preflight.Modules{Releases: scan.releases(), Scanned: scan.Modules, Bad: scan.Bad}
			return err
		})
	}
	if modules {
		g.Go(func() error { return c.learnKernel(ctx) })
	}
	if usable {
		g.Go(func() error {
			base := &baseContents{}
			err := c.load(ctx, c.BaseContents, base)
			k.Base = &base.Contents
			return err
		})
	}
	return g.Wait()
}

func (c *checked) learnKernel(ctx context.Context) error {
	scan, err := c.readScan(ctx, c.BaseModules)
	if err != nil {
		return err
	}
	k := &c.known.Kernel
	k.Release, k.Modules, k.Builtins = scan.Release, scan.Modules, scan.Builtins
	return c.load(ctx, c.KernelExports, &k.Exports)
}

// load reads what a step has put out as JSON.
func (t *target) load(ctx context.Context, st *store.Step, v any) error {
	b, err := t.o.Store.Build(ctx, st)
	if err != nil {
		return err
	}
	return readJSON(b, v)
}

// weigh finds out how large everything is that goes into the initramfs.
func (c *checked) weigh(ctx context.Context) error {
	base := baseContents{}
	if err := c.load(ctx, c.BaseContents, &base); err != nil {
		return err
	}
	s := &preflight.Sizes{
		Kernel: c.facts.Kernel, Initramfs: c.facts.Initramfs, SDBoot: c.facts.SDBoot, Stub: base.Stub, Unpacked: base.Unpacked,
		Extensions: make([]preflight.Cost, len(c.infos)),
	}
	g, ctx := errgroup.WithContext(ctx)
	add := func(wanted bool, st *store.Step, to ...*int64) {
		if !wanted {
			return
		}
		g.Go(func() error {
			r, err := c.o.Store.Resolve(ctx, st)
			for _, n := range to {
				*n = r.Size
			}
			return err
		})
	}
	amd := make([]int64, len(c.infos))
	for i, info := range c.infos {
		cost, steps := &s.Extensions[i], c.Extensions[i]
		cost.Unpacked = info.FirmwareSize
		add(true, steps.Squashfs, &cost.Layer)
		add(info.Firmware, steps.Firmware, &cost.Firmware)
		add(info.Intel, steps.Intel, &cost.Microcode)
		add(info.AMD, steps.AMD, &amd[i])
	}
	noIndex := slices.ContainsFunc(c.found, func(f preflight.Finding) bool { // there can be none
		return f.Code == preflight.CodeKernelRelease || f.Code == preflight.CodeModule
	})
	if dep := c.modulesDep(c.infos); dep != nil && !noIndex {
		add(true, dep, &s.ModulesDep)
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, n := range amd {
		s.Extensions[i].Microcode += n
	}
	c.known.Sizes = s
	return nil
}
