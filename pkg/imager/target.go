package imager

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/tree"
)

// target is a target at work: what its steps have said, and what artefacts are composed of.
type target struct {
	targetSteps
	o      Options
	facts  baseFacts
	kernel string // release
	infos  []extensionInfo
	layers []layer // of the initramfs, the lowest first
	epoch  time.Time

	boot, cache openPack     // boot assets, image cache
	overlay     *overlayWork // nil where there is none, or nothing wants it

	noSplash sync.Once
}

// layer is a squashfs image in the initramfs.
type layer struct {
	extension.Layer
	step    *store.Step
	content tree.Blob // in place of a step
}

// layerSuffix follows a layer's ID in its file name.
const layerSuffix = ".sqsh"

// layerID is how Talos calls the layer of the i-th extension.
func layerID(i int) string { return strconv.Itoa(i) }

// newTarget runs the steps that say what there is.
func newTarget(ctx context.Context, s targetSteps, o Options) (*target, error) {
	t := &target{targetSteps: s, o: o, infos: make([]extensionInfo, len(s.Extensions))}
	g, gctx := errgroup.WithContext(ctx)
	load := func(st *store.Step, v any) {
		g.Go(func() error {
			b, err := o.Store.Build(gctx, st)
			if err != nil {
				return err
			}
			return readJSON(b, v)
		})
	}
	load(s.Base, &t.facts)
	for i, e := range s.Extensions {
		load(e.Info, &t.infos[i])
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("image %s: %w", s.Name(), err)
	}
	if t.kernel = t.facts.Release; t.kernel == "" { // as an arm64 kernel's file says none
		base, err := o.Store.Build(ctx, s.BaseContents)
		var c baseContents
		if err == nil {
			err = readJSON(base, &c)
		}
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", s.Name(), err)
		}
		t.kernel = c.Release
	}
	t.epoch = time.Unix(t.facts.Epoch, 0)
	if o.Epoch != nil {
		t.epoch = *o.Epoch
	}
	for i, e := range s.Extensions {
		t.layers = append(t.layers, layer{Layer: extension.Layer{Image: layerID(i) + layerSuffix, Metadata: t.infos[i].Manifest.Metadata}, step: e.Squashfs})
	}
	for i, v := range s.virtuals() {
		content, err := v.squashfs(s.Effort.squashfs(s.Facts), t.epoch)
		if err != nil {
			return nil, fmt.Errorf("image %s: extension %s: %w", s.Name(), v.Name, err)
		}
		t.layers = append(t.layers, layer{Layer: extension.Layer{Image: layerID(len(s.Extensions)+i) + layerSuffix, Metadata: v.Metadata}, content: content})
	}
	if dep := s.modulesDep(t.infos); dep != nil {
		scan, err := t.readScan(ctx, s.BaseModules)
		if err == nil && scan.Release == "" {
			err = fmt.Errorf("the base has no kernel modules in /%s, extensions have", t.Facts.Modules())
		}
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", s.Name(), err)
		}
		t.layers = append(t.layers, layer{Layer: extension.Layer{Image: "modules.dep" + layerSuffix, Metadata: extension.ModulesDepManifest(scan.Release).Metadata}, step: dep})
	}
	return t, nil
}

// openPack is a step's tree, which is opened when something is composed of it, and can be read until close.
type openPack struct {
	mu   sync.Mutex
	tree *tree.Tree
	file *os.File
}

func (p *openPack) open(ctx context.Context, s *store.Store, step *store.Step) (*tree.Tree, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tree != nil {
		return p.tree, nil
	}
	b, err := s.Build(ctx, step)
	if err != nil {
		return nil, err
	}
	name, _ := tree.HostPath(b)
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	t, err := source.OpenPack(f, b.Size())
	if err != nil { // another artefact may ask again
		return nil, errors.Join(inStore(b, err), f.Close())
	}
	p.tree, p.file = t, f
	return t, nil
}

func (p *openPack) close() error {
	if p.file == nil {
		return nil
	}
	return p.file.Close()
}

// assets are the boot assets.
func (t *target) assets(ctx context.Context) (*tree.Tree, error) {
	return t.boot.open(ctx, t.o.Store, t.Assets)
}

// asset returns one of the boot assets.
func (t *target) asset(ctx context.Context, path string) (tree.Blob, error) {
	assets, err := t.assets(ctx)
	if err != nil {
		return nil, err
	}
	n, ok := assets.Lookup(path)
	if !ok || n.Content == nil {
		return nil, fmt.Errorf("the imager image %s has no %s", t.Boot, path)
	}
	return n.Content, nil
}

func (t *target) close() error {
	return errors.Join(t.boot.close(), t.cache.close(), t.overlay.close())
}

// recipe says what something composed depends on: anything that its bytes could change with.
type recipe []any

// id is the recipe's SHA-256, as hexadecimal digits.
func (r recipe) id() (string, error) {
	b, err := json.Marshal([]any(r))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// digestsOf resolves steps, side by side.
func (t *target) digestsOf(ctx context.Context, steps []*store.Step) ([]store.Digest, error) {
	all := make([]store.Digest, len(steps))
	g, ctx := errgroup.WithContext(ctx)
	for i, st := range steps {
		g.Go(func() error {
			r, err := t.o.Store.Resolve(ctx, st)
			all[i] = r.Digest
			return err
		})
	}
	return all, g.Wait()
}
