package imager

import (
	"context"
	"slices"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/talos"
)

// Outlook is what a build would come to on this machine: which steps are done already, what would be downloaded, and what is known of
// sizes from what is there. Steps that nobody can know to be needed yet are not in it: whether an extension has firmware, microcode or
// modules is known once it was unpacked and looked into.
type Outlook struct {
	WorkDescription
	targets []targetOutlook // in the order of the graph
}

// targetOutlook is that of one target. What is nil is not known.
type targetOutlook struct {
	steps             []StepDescription
	imager, installer *int64 // bytes to download
	// What stored steps say.
	base       *baseFacts
	contents   *baseContents
	extensions []extensionOutlook
	modulesDep *int64 // bytes; 0 where no extension has modules
	overlay    *overlayWork
}

type extensionOutlook struct {
	info     *extensionInfo
	scan     *moduleScan // of one with modules
	layer    *int64      // bytes
	firmware *int64
	intel    *int64
	amd      *int64
}

// microcode is that of both kinds.
func (e extensionOutlook) microcode() *int64 {
	if e.intel == nil || e.amd == nil {
		return nil
	}
	return new(*e.intel + *e.amd)
}

// Look says what a build of jobs would come to. It runs nothing, and asks nobody but the profile's shared store. Images of Talos itself may
// be missing in the resolution: then what depends on them is not known.
func Look(ctx context.Context, r *Resolution, jobs []Job, o Options) (*Outlook, error) {
	l := &looker{o: o, forecast: o.Store.Forecast(), counted: map[string]bool{}, missing: map[string]int64{}}
	known := r.Imager != nil || !r.needsImager(jobs)
	if !known { // a stand-in, so that there are steps
		again := *r
		again.Imager = &source.Artifact{Ref: source.Ref{Image: r.Profile.BaseImage(talos.ImagerImage)}}
		r = &again
	}
	l.Download = new(int64(0))
	for i, t := range Plan(r, o.Sources, o.Epoch).Targets {
		one, err := l.target(ctx, t, outputsOf(jobs, i), r.Imager, known)
		if err != nil {
			return nil, err
		}
		l.targets = append(l.targets, one)
	}
	for _, size := range l.missing {
		if l.Download != nil {
			*l.Download += size
		}
	}
	return &l.Outlook, nil
}

// looker looks at one target after another. What several have in common counts once.
type looker struct {
	Outlook
	o        Options
	forecast *store.Forecast
	counted  map[string]bool  // steps
	missing  map[string]int64 // bytes to download, by digest
}

func (l *looker) target(ctx context.Context, t targetSteps, outputs []profile.Output, imager *source.Artifact, known bool) (targetOutlook, error) {
	v := targetOutlook{extensions: make([]extensionOutlook, len(t.Extensions))}
	w := &wanted{l: l, t: t, imager: imager}
	w.json(ctx, t.Base, &v.base)
	if slices.ContainsFunc(outputs, func(o profile.Output) bool { return o.Kind != talos.KindCmdline && o.Kind != talos.KindPXE }) {
		w.build(ctx, t.Assets)
	}
	if t.ImageCache != nil && slices.ContainsFunc(outputs, hasImageCache) {
		w.build(ctx, t.ImageCache)
	}
	v.overlay = w.overlay(ctx, outputs)
	usable, modules := false, false
	infos := make([]extensionInfo, len(t.Extensions))
	for i, e := range t.Extensions {
		x := &v.extensions[i]
		w.json(ctx, e.Info, &x.info)
		if x.info != nil && x.info.Unusable {
			continue
		}
		usable = true
		w.build(ctx, e.Contents)
		if x.info != nil && x.info.Modules {
			infos[i], modules = *x.info, true
			if p := w.build(ctx, e.Modules); p != nil && p.Content != nil {
				x.scan = new(moduleScan)
				w.err = x.scan.load(ctx, p.Content)
			}
		}
		if slices.ContainsFunc(outputs, hasInitramfs) {
			w.sizes(ctx, e, x)
		}
	}
	if usable {
		w.json(ctx, t.BaseContents, &v.contents)
	}
	if modules {
		w.build(ctx, t.BaseModules)
		w.build(ctx, t.KernelExports)
	}
	if slices.ContainsFunc(outputs, hasInitramfs) {
		v.modulesDep = w.modulesDep(ctx, v.extensions, infos)
	}
	if w.err != nil {
		return v, w.err
	}
	l.list(&v, w, outputs, known)
	return v, nil
}

// wanted are the steps of a target that a build wants; its first error stays.
type wanted struct {
	l      *looker
	t      targetSteps
	imager *source.Artifact // nil: not needed
	steps  []*store.Step
	err    error
}

// build wants what a step makes. It is nil after an error.
func (w *wanted) build(ctx context.Context, st *store.Step) *store.Prospect {
	if w.err != nil {
		return nil
	}
	p, err := w.l.forecast.Build(ctx, st)
	if err != nil {
		w.err = err
		return nil
	}
	w.steps = append(w.steps, st)
	return p
}

// json wants what a step writes as JSON, and reads it where it is there.
func (w *wanted) json(ctx context.Context, st *store.Step, v any) {
	if p := w.build(ctx, st); p != nil && p.Content != nil {
		w.err = readJSON(p.Content, v)
	}
}

// size wants what a step makes, and says how large it is; nil where nobody knows.
func (w *wanted) size(ctx context.Context, st *store.Step) *int64 {
	if p := w.build(ctx, st); p != nil && p.Digest != "" {
		return &p.Size
	}
	return nil
}

// sizes wants what an initramfs has of an extension.
func (w *wanted) sizes(ctx context.Context, e extensionSteps, x *extensionOutlook) {
	x.layer = w.size(ctx, e.Squashfs)
	if x.info == nil {
		return
	}
	for _, part := range []struct {
		has  bool
		step *store.Step
		to   **int64
	}{{x.info.Firmware, e.Firmware, &x.firmware}, {x.info.Intel, e.Intel, &x.intel}, {x.info.AMD, e.AMD, &x.amd}} {
		if *part.to = new(int64(0)); part.has {
			*part.to = w.size(ctx, part.step)
		}
	}
}

// modulesDep wants the layer of indexes, where an extension has modules; nil where nobody knows.
func (w *wanted) modulesDep(ctx context.Context, extensions []extensionOutlook, infos []extensionInfo) *int64 {
	if dep := w.t.modulesDep(infos); dep != nil {
		return w.size(ctx, dep)
	}
	if slices.ContainsFunc(extensions, func(x extensionOutlook) bool { return x.info == nil }) {
		return nil
	}
	return new(int64(0))
}

// list describes the steps of a target, each behind what it depends on, and says what is downloaded of the images of Talos itself.
func (l *looker) list(v *targetOutlook, w *wanted, outputs []profile.Output, known bool) {
	from := map[*store.Step]*source.Artifact{w.t.Assets: w.imager}
	for i, e := range w.t.Extensions {
		from[e.Pack] = w.t.Target.Extensions[i].Artifact
	}
	if s := w.t.Overlay; s != nil {
		from[s.Pack], from[s.Target] = w.t.Target.Overlay.Variants[s.arch], w.t.Target.Overlay.Variants[w.t.Arch]
	}
	listed := map[*store.Step]bool{}
	var list func(*store.Step)
	list = func(st *store.Step) {
		if listed[st] {
			return
		}
		listed[st] = true
		for _, in := range st.Inputs {
			list(in)
		}
		p, _ := l.forecast.Of(st)
		d := StepDescription{Name: st.Name, Of: st.Label}
		if known || !dependsOn(st, w.t.Assets) {
			d.State, d.Download = new(stateNames[p.State]), new(l.fetched(p, from[st]))
			if p.Digest != "" {
				d.Size = &p.Size
			}
		} else if st == w.t.Assets {
			l.Download = nil
		}
		if st == w.t.Assets {
			v.imager = d.Download
		}
		l.count(p, d.State)
		v.steps = append(v.steps, d)
	}
	for _, st := range w.steps {
		list(st)
	}
	if slices.ContainsFunc(outputs, func(o profile.Output) bool { return o.Kind == talos.KindInstaller }) {
		if w.t.Installer == nil {
			l.Download = nil
		} else {
			v.installer = new(l.layers(withoutAssets(w.t.Installer)))
		}
	}
}

// What a step's state is called.
const (
	StateStored = "stored" // its output is there, or nothing needs it
	StateToDo   = "todo"
	StateShared = "shared" // it is in the profile's store, and downloaded from there
)

var stateNames = map[store.State]string{store.Stored: StateStored, store.Running: StateToDo, store.Fetching: StateShared}

// count counts a step once, whatever needs it.
func (l *looker) count(p *store.Prospect, state *string) {
	if l.counted[p.ID] {
		return
	}
	l.counted[p.ID] = true
	switch {
	case state == nil:
		l.Unknown++
	case p.State == store.Stored:
		l.Stored++
	case p.State == store.Fetching:
		l.Shared++
	default:
		l.ToDo++
	}
}

// fetched is what a step downloads, in bytes: the layers that it unpacks, or its output.
func (l *looker) fetched(p *store.Prospect, from *source.Artifact) int64 {
	switch {
	case p.State == store.Fetching:
		l.missing[string(p.Digest)] = p.Size
		return p.Size
	case p.State == store.Running && from != nil:
		return l.layers(from)
	}
	return 0
}

// layers is what is to be downloaded of an image, in bytes.
func (l *looker) layers(a *source.Artifact) (size int64) {
	for _, layer := range l.o.Sources.Missing(a) {
		l.missing[layer.Digest] = layer.Size
		size += layer.Size
	}
	return size
}

func dependsOn(st, on *store.Step) bool {
	return st == on || slices.ContainsFunc(st.Inputs, func(in *store.Step) bool { return dependsOn(in, on) })
}
