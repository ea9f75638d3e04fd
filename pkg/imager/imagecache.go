package imager

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/ext4"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// An image cache is an OCI image whose one layer has container images: siderolabs/talos pkg/imager/cache.
const (
	cacheManifests = "manifests"
	isoImageCache  = "imagecache" // where an ISO has it
)

// hasImageCache tells whether an output has a place for one.
func hasImageCache(o profile.Output) bool { return o.Kind == talos.KindISO || o.Kind == talos.KindDisk }

// imageCache finds the image cache of a target.
func (r *resolver) imageCache(t *Target) {
	if t.Image.ImageCache == "" {
		return
	}
	r.work.Go(func() error {
		ref := source.Ref{OCILayout: t.Image.ImageCache}
		a, err := r.resolve(r.ctx, "image_cache/"+portable(ref, r.p.Dir), ref, t.Arch, "profile")
		if err != nil {
			r.report(hcl.DiagError, t.Image.At("image_cache"), "Image cache not found", "%v.", err)
		}
		t.ImageCache = a
		return nil
	})
}

// imageCacheStep unpacks an image cache.
func imageCacheStep(src *source.Sources, a *source.Artifact) *store.Step {
	if a == nil {
		return nil
	}
	return &store.Step{
		Name: "imagecache", Label: a.Ref.String(), Params: []any{source.Version, digests(a)},
		Run: func(ctx context.Context, out store.Output, _ []tree.Blob) error {
			return withSpool(src, func(spool source.Spool) error {
				t, err := src.Tree(ctx, a, nil, spool)
				if err != nil {
					return err
				}
				if n, ok := t.Lookup(cacheManifests); !ok || !n.Mode.IsDir() {
					return errors.New("it has no folder " + cacheManifests + ": it is no image cache; `talosctl images cache-create` makes one")
				}
				_, err = source.WritePack(out, t)
				return err
			})
		},
	}
}

// imageCacheNodes are the files of the image cache in a folder, all of the epoch.
func (t *target) imageCacheNodes(ctx context.Context, dir string) ([]tree.Node, error) {
	if t.ImageCache == nil {
		return nil, nil
	}
	files, err := t.cache.open(ctx, t.o.Store, t.ImageCache)
	if err != nil {
		return nil, fmt.Errorf("image cache: %w", err)
	}
	var nodes []tree.Node
	for n := range files.All() {
		n.Path, n.ModTime = path.Join(dir, n.Path), t.epoch
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// imageCacheRecipe says what the image cache is; nothing where there is none.
func (t *target) imageCacheRecipe(ctx context.Context) (recipe, error) {
	if t.ImageCache == nil {
		return nil, nil
	}
	r, err := t.o.Store.Resolve(ctx, t.ImageCache)
	return recipe{"imagecache", r.Digest}, err
}

// imageCachePartition is the partition for the image cache, and its files; nil where there is none. It is a fifth larger than they are,
// in full MiB: siderolabs/talos pkg/imager/out.go (calculateDirectorySizeWithOverhead); or what their file system takes.
func (t *target) imageCachePartition(ctx context.Context) ([]talos.Partition, *tree.Tree, error) {
	nodes, err := t.imageCacheNodes(ctx, "")
	if err != nil || nodes == nil {
		return nil, nil, err
	}
	files, err := tree.New(nodes)
	if err != nil {
		return nil, nil, err
	}
	least, err := ext4.MinSize(files, t.imageCacheOptions(0))
	if err != nil {
		return nil, nil, fmt.Errorf("image cache: %w", err)
	}
	total := contentSize(files)
	size := roundUp(max(least, total+total*20/100), talos.MiB)
	return []talos.Partition{{Label: talos.LabelIMAGECACHE, Type: talos.TypeLinux, Size: size}}, files, nil
}

func (t *target) imageCacheOptions(size int64) ext4.Options {
	return ext4.Options{Size: size, Label: talos.LabelIMAGECACHE, UUID: talos.GUID(talos.LabelIMAGECACHE), ModTime: t.epoch}
}
