package imager

import (
	"time"

	"github.com/talosmith/talosmith/pkg/overlay"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/store"
)

// Graph is all the steps of a build, and for which target they are. Equal steps of several targets run once.
type Graph struct {
	*Resolution
	Targets []targetSteps
}

// targetSteps are what the artefacts of a target are composed of.
type targetSteps struct {
	Target
	Boot base
	// What the base says; see assets.go, modules.go and contents.go.
	Assets, Base, Rootfs, BaseModules, BaseContents, KernelExports *store.Step
	Extensions                                                     []extensionSteps
	ImageCache                                                     *store.Step // nil for none
	Overlay                                                        *overlaySteps
	runner                                                         overlay.Runner
	Effort                                                         effort
}

// Plan says which steps a build has. It does no I/O.
func Plan(r *Resolution, src *source.Sources, epoch *time.Time) *Graph {
	g := &Graph{Resolution: r}
	for _, t := range r.Targets {
		b := base{r.Imager, t.BaseFiles}
		s := targetSteps{Target: t, Boot: b, Assets: assetsStep(src, b, t.Facts), Effort: effortOf(r.Profile)}
		s.Base = baseStep(s.Assets, t.Facts)
		s.Rootfs = rootfsStep(s.Assets, t.Facts)
		s.BaseModules = baseModulesStep(s.Rootfs, t.Facts)
		s.BaseContents = baseContentsStep(s.Assets, s.Rootfs, t.Facts)
		s.KernelExports = kernelExportsStep(s.Assets, t.Facts)
		s.ImageCache = imageCacheStep(src, t.ImageCache)
		s.Overlay, s.runner = planOverlay(src, r.Runner, t), r.Runner
		for _, e := range t.Extensions {
			s.Extensions = append(s.Extensions, planExtension(src, e, t.Facts, s.Base, epoch, s.Effort))
		}
		g.Targets = append(g.Targets, s)
	}
	return g
}

// modulesDep is the step of the layer with all modules' indexes, for extensions of which some have modules.
func (t targetSteps) modulesDep(infos []extensionInfo) *store.Step {
	var scans []*store.Step
	for i, info := range infos {
		if info.Modules {
			scans = append(scans, t.Extensions[i].Modules)
		}
	}
	if len(scans) == 0 {
		return nil
	}
	return modulesDepStep(t.BaseModules, scans, t.Facts, t.Effort)
}
