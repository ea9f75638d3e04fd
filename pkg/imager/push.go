package imager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// Pushed is an installer image that is in its registry now.
type Pushed struct {
	Image, Talos, Tag, Digest string
}

// Push makes the installer images of jobs and uploads them to the tags that the profile gives: an index where there are several
// architectures.
func Push(ctx context.Context, g *Graph, jobs []Job, o Options) (pushed []Pushed, err error) {
	groups := installerGroups(g, jobs)
	for _, same := range groups { // before anything is made, or pushed
		if t, out := g.Targets[same[0].Target], same[0].Output; out.Tag == "" || strings.HasPrefix(out.Tag, localHost) {
			err = errors.Join(err, fmt.Errorf("image %s: %s: nowhere to push to: add a tag to the output \"installer\", such as tag = \"registry.example.com/talos/installer:%s-%[1]s\"",
				t.Image.Name, out.Range, t.Facts.Version))
		}
	}
	if err != nil {
		return nil, err
	}
	targets, err := startTargets(ctx, g, jobs, o)
	defer func() {
		for _, t := range targets {
			err = errors.Join(err, t.close())
		}
	}()
	if err != nil {
		return nil, err
	}
	for _, same := range groups {
		first := targets[same[0].Target]
		tag := same[0].Output.Tag
		var images []*ociImage
		for _, j := range same {
			img, err := targets[j.Target].installer(ctx, j.Output)
			if err != nil {
				return pushed, err
			}
			images = append(images, img)
		}
		p := Pushed{Image: first.Image.Name, Talos: first.Facts.Version.String(), Tag: tag}
		if p.Digest, err = push(ctx, o, tag, images); err != nil {
			return pushed, err // which names the tag
		}
		pushed = append(pushed, p)
	}
	return pushed, nil
}

func push(ctx context.Context, o Options, tag string, images []*ociImage) (string, error) {
	first, err := images[0].image()
	if err != nil {
		return "", err
	}
	if len(images) == 1 {
		return o.Sources.Push(ctx, tag, first)
	}
	index, err := newIndex(images)
	if err != nil {
		return "", err
	}
	return o.Sources.Push(ctx, tag, index)
}

// installerGroups are the jobs that make installers, those of one output's architectures together.
func installerGroups(g *Graph, jobs []Job) (groups [][]Job) {
	for _, j := range jobs {
		if j.Output.Kind != talos.KindInstaller {
			continue
		}
		i := slices.IndexFunc(groups, func(have []Job) bool {
			return g.Targets[have[0].Target].Image == g.Targets[j.Target].Image && have[0].Output.Range == j.Output.Range
		})
		if i < 0 {
			groups = append(groups, []Job{j})
		} else {
			groups[i] = append(groups[i], j)
		}
	}
	return groups
}

// image is the image as go-containerregistry wants it for an upload.
func (i *ociImage) image() (v1.Image, error) { return partial.CompressedToImage(uploadable{i}) }

type uploadable struct{ *ociImage }

func (u uploadable) MediaType() (types.MediaType, error) { return u.manifest.Descriptor.MediaType, nil }
func (u uploadable) RawManifest() ([]byte, error)        { return tree.ReadAll(u.manifest.Blob) }
func (u uploadable) RawConfigFile() ([]byte, error)      { return tree.ReadAll(u.config.Blob) }

func (u uploadable) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, l := range append(slices.Clip(u.layers), u.config) {
		if l.Descriptor.Digest == h {
			return layerBlob{l}, nil
		}
	}
	return nil, fmt.Errorf("no layer %s", h)
}

type layerBlob struct{ b blob }

func (l layerBlob) Digest() (v1.Hash, error)             { return l.b.Descriptor.Digest, nil }
func (l layerBlob) Size() (int64, error)                 { return l.b.Descriptor.Size, nil }
func (l layerBlob) MediaType() (types.MediaType, error)  { return l.b.Descriptor.MediaType, nil }
func (l layerBlob) Compressed() (io.ReadCloser, error)   { return l.b.Open() }
func (l layerBlob) Uncompressed() (io.ReadCloser, error) { return l.b.Open() } // never asked for in an upload

// ociIndex is an index of one image for several architectures.
type ociIndex struct {
	blob
	images []*ociImage
}

func newIndex(images []*ociImage) (*ociIndex, error) {
	m := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for _, img := range images {
		m.Manifests = append(m.Manifests, img.manifest.Descriptor)
	}
	text, err := json.Marshal(m)
	return &ociIndex{newBlob(types.OCIImageIndex, text), images}, err
}

func (x *ociIndex) MediaType() (types.MediaType, error) { return x.Descriptor.MediaType, nil }
func (x *ociIndex) Digest() (v1.Hash, error)            { return x.Descriptor.Digest, nil }
func (x *ociIndex) Size() (int64, error)                { return x.Descriptor.Size, nil }
func (x *ociIndex) RawManifest() ([]byte, error)        { return tree.ReadAll(x.Blob) }

func (x *ociIndex) IndexManifest() (*v1.IndexManifest, error) {
	text, err := x.RawManifest()
	if err != nil {
		return nil, err
	}
	m := new(v1.IndexManifest)
	return m, json.Unmarshal(text, m)
}

func (x *ociIndex) Image(h v1.Hash) (v1.Image, error) {
	for _, img := range x.images {
		if img.manifest.Descriptor.Digest == h {
			return img.image()
		}
	}
	return nil, fmt.Errorf("no image %s", h)
}

func (x *ociIndex) ImageIndex(h v1.Hash) (v1.ImageIndex, error) {
	return nil, fmt.Errorf("no index %s", h)
}
