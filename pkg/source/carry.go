package source

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Named is an artifact to carry elsewhere, and what it is called there: an image's reference, a file's path.
type Named struct {
	Name     string
	Artifact *Artifact
}

// WriteBundle writes images, tarballs and layouts as one OCI layout in a tar, which [Options].Bundle reads. The same artifacts in the
// same order give the same bytes. What is written has gone through the cache, or comes from the bundle that is read from.
func (s *Sources) WriteBundle(ctx context.Context, w io.Writer, all []Named) error {
	c := &cargo{s: s, ctx: ctx, seen: map[string]bool{}, tops: map[string]bool{}}
	for _, n := range all {
		if err := c.add(n); err != nil {
			return fmt.Errorf("bundle %s: %w", n.Name, err)
		}
	}
	if err := c.fetch(); err != nil {
		return err
	}
	return c.write(w)
}

// cargo is what goes into a bundle: descriptors of images, and every blob once.
type cargo struct {
	s     *Sources
	ctx   context.Context
	index v1.IndexManifest
	tops  map[string]bool // names with digests that the index has
	blobs []cargoBlob
	seen  map[string]bool // by digest
}

// cargoBlob is a blob and how to get it.
type cargoBlob struct {
	digest string
	size   int64
	open   func(context.Context) (tree.Blob, error)
}

func (c *cargo) add(n Named) error {
	a := n.Artifact
	switch {
	case a.Ref.Image != "":
		return c.image(n)
	case a.Ref.OCILayout != "" || a.Ref.Tarball != "":
		return c.file(n)
	}
	return fmt.Errorf("%s is neither an image nor an archive of one", a.Ref)
}

// image adds all that is behind an image's digest.
func (c *cargo) image(n Named) error {
	d, err := name.NewDigest(n.Artifact.Reference)
	if err != nil {
		return err
	}
	docs := c.s.documents(d.Context())
	v := &visitor{docs: docs, lim: c.s.lim}
	top, err := v.visit(c.ctx, n.Artifact.Index, 0)
	if err != nil {
		return err
	}
	for _, b := range v.found {
		c.blob(b.Digest.String(), b.Size, func(ctx context.Context) (tree.Blob, error) {
			return c.s.blob(ctx, d.Context(), b.Digest.String(), b.Size)
		})
	}
	c.top(n, top, nil)
	return nil
}

// file adds what an archive or a layout has for one architecture.
func (c *cargo) file(n Named) error {
	a := n.Artifact
	manifest, config, err := c.s.fileManifest(c.ctx, a)
	if err != nil {
		return err
	}
	for _, raw := range [][]byte{manifest, config} {
		c.blob(digestOf(raw), int64(len(raw)), func(context.Context) (tree.Blob, error) { return tree.Bytes(raw), nil })
	}
	for i, l := range a.Layers {
		c.blob(l.Digest, l.Size, func(ctx context.Context) (tree.Blob, error) { return c.s.Layer(ctx, a, i) })
	}
	media, err := mediaType(manifest)
	if err != nil {
		return err
	}
	c.top(n, v1.Descriptor{MediaType: media, Size: int64(len(manifest)), Digest: hashed(digestOf(manifest)),
		Platform: &v1.Platform{OS: "linux", Architecture: a.Arch}}, map[string]string{pinAnnotation: a.Manifest})
	return nil
}

func (c *cargo) blob(digest string, size int64, open func(context.Context) (tree.Blob, error)) {
	if !c.seen[digest] {
		c.seen[digest] = true
		c.blobs = append(c.blobs, cargoBlob{digest, size, open})
	}
}

func (c *cargo) top(n Named, d v1.Descriptor, annotations map[string]string) {
	if key := n.Name + " " + d.Digest.String(); !c.tops[key] {
		c.tops[key] = true
		d.Annotations = map[string]string{refAnnotation: n.Name}
		for k, v := range annotations {
			d.Annotations[k] = v
		}
		c.index.Manifests = append(c.index.Manifests, d)
	}
}

// fetch gets everything into the cache, several blobs at once.
func (c *cargo) fetch() error {
	g, ctx := errgroup.WithContext(c.ctx)
	g.SetLimit(3)
	for _, b := range c.blobs {
		g.Go(func() error {
			_, err := b.open(ctx)
			return err
		})
	}
	return g.Wait()
}

func (c *cargo) write(w io.Writer) error {
	c.index.SchemaVersion, c.index.MediaType = 2, types.OCIImageIndex
	index, err := json.Marshal(c.index)
	if err != nil {
		return err
	}
	if len(index) > maxDocument {
		return fmt.Errorf("the index of %d images has %d bytes, limit %d", len(c.index.Manifests), len(index), maxDocument)
	}
	tw := tar.NewWriter(w)
	member := func(name string, b tree.Blob, digest string) error {
		err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: b.Size()})
		if err == nil {
			err = copyChecked(c.ctx, tw, b, digest)
		}
		return err
	}
	for _, doc := range []struct{ name, content string }{{"oci-layout", layoutVersion}, {"index.json", string(index)}} {
		if err := member(doc.name, tree.String(doc.content), digestOf([]byte(doc.content))); err != nil {
			return err
		}
	}
	for _, b := range c.blobs {
		content, err := b.open(c.ctx)
		if err == nil {
			err = member("blobs/sha256/"+strings.TrimPrefix(b.digest, "sha256:"), content, b.digest)
		}
		if errors.Is(err, ErrDigest) && c.s.bundle == nil {
			return errors.Join(fmt.Errorf("the cache's blob is damaged, and dropped now: %w: run it again", err), os.Remove(c.s.blobFile(b.digest)))
		}
		if err != nil {
			return err
		}
	}
	return tw.Close()
}

// maxBlobs is how many an image can have, all platforms together.
const maxBlobs = 10_000

// visitor collects the blobs of an image with all of its platforms, each once: a manifest before what it names.
type visitor struct {
	docs  documents
	lim   Limits
	found []v1.Descriptor
	seen  map[v1.Hash]v1.Descriptor
}

// visit collects what is behind a manifest or an index, and describes it.
func (v *visitor) visit(ctx context.Context, digest string, depth int) (v1.Descriptor, error) {
	if d, ok := v.seen[hashed(digest)]; ok {
		return d, nil
	}
	if depth > maxNesting {
		return v1.Descriptor{}, fmt.Errorf("more than %d indexes in one another", maxNesting)
	}
	raw, err := v.docs.document(ctx, "manifests", digest)
	if err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{Size: int64(len(raw)), Digest: hashed(digest)}
	if d.MediaType, err = mediaType(raw); err == nil {
		err = v.add(d)
	}
	if err == nil && d.MediaType.IsIndex() {
		err = v.children(ctx, raw, depth)
	} else if err == nil {
		err = v.image(raw)
	}
	if err != nil {
		return d, fmt.Errorf("manifest %s: %w", digest, err)
	}
	return d, nil
}

func (v *visitor) children(ctx context.Context, raw []byte, depth int) error {
	index, err := parseIndex(raw)
	if err != nil {
		return err
	}
	for _, m := range index.Manifests {
		d, err := v.visit(ctx, m.Digest.String(), depth+1)
		if err == nil && d.Size != m.Size {
			err = fmt.Errorf("%s has %d bytes, the index says %d", m.Digest, d.Size, m.Size)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *visitor) image(raw []byte) error {
	m, err := parseManifest(raw)
	if err != nil {
		return err
	}
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if !d.MediaType.IsDistributable() {
			continue // Windows's own layers lie elsewhere, and may not be copied
		}
		if err := v.add(d); err != nil {
			return err
		}
	}
	return nil
}

func (v *visitor) add(d v1.Descriptor) error {
	if err := checkDigest(d.Digest.String()); err != nil {
		return err
	}
	if d.Size < 0 || d.Size > v.lim.Bytes {
		return fmt.Errorf("%s: size %d, limit 0 to %d", d.Digest, d.Size, v.lim.Bytes)
	}
	if v.seen == nil {
		v.seen = map[v1.Hash]v1.Descriptor{}
	}
	if _, twice := v.seen[d.Digest]; twice {
		return nil
	}
	if len(v.found) == maxBlobs {
		return fmt.Errorf("more than %d blobs", maxBlobs)
	}
	v.seen[d.Digest] = d
	v.found = append(v.found, d)
	return nil
}

// mediaType is what a manifest or an index says that it is, or what it must be.
func mediaType(raw []byte) (types.MediaType, error) {
	index, err := parseIndex(raw)
	if err != nil {
		return "", err
	}
	if index != nil {
		if index.MediaType == "" {
			return types.OCIImageIndex, nil
		}
		return index.MediaType, nil
	}
	m, err := parseManifest(raw)
	if err != nil {
		return "", err
	}
	if m.MediaType == "" {
		return types.OCIManifestSchema1, nil
	}
	return m.MediaType, nil
}

func hashed(digest string) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: strings.TrimPrefix(digest, "sha256:")}
}

// fileManifest returns the manifest and the config of an archive or a layout. What has none gets one: see [bundle.made].
func (s *Sources) fileManifest(ctx context.Context, a *Artifact) (manifest, config []byte, err error) {
	if s.bundle != nil {
		top, err := s.bundle.top(a.Manifest)
		if err != nil {
			return nil, nil, err
		}
		if top != "" {
			return withConfig(ctx, s.bundle, top)
		}
	}
	var docs documents
	if a.Ref.OCILayout != "" {
		file, _ := SplitSelector(a.Ref.OCILayout)
		if docs, _, err = s.openLayout(ctx, file); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", file, err)
		}
		return withConfig(ctx, docs, a.Manifest)
	}
	file := a.Ref.Tarball
	m, err := readMembers(ctx, file, s.lim)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	if m.isLayout() {
		return withConfig(ctx, m, a.Manifest)
	}
	made := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	config, made.Config.MediaType = []byte("{}"), emptyConfig
	if a.Config != nil {
		images := m.saved()
		if len(images) != 1 {
			return nil, nil, fmt.Errorf("%s is not what it was when it was resolved", file)
		}
		config, made.Config.MediaType = m.docs[m.file(images[0].Config)], types.OCIConfigJSON
		if digestOf(config) != a.Manifest {
			return nil, nil, fmt.Errorf("%s is not what it was when it was resolved: %w", file, ErrDigest)
		}
	}
	made.Config.Digest, made.Config.Size = hashed(digestOf(config)), int64(len(config))
	for _, l := range a.Layers {
		made.Layers = append(made.Layers, v1.Descriptor{MediaType: types.MediaType(l.MediaType), Size: l.Size, Digest: hashed(l.Digest),
			Annotations: map[string]string{diffAnnotation: l.DiffID}})
	}
	manifest, err = json.Marshal(made)
	return manifest, config, err
}

// emptyConfig is the config of a manifest that is no image's: https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md#guidance-for-an-empty-descriptor
const emptyConfig = "application/vnd.oci.empty.v1+json"

func withConfig(ctx context.Context, docs documents, digest string) (manifest, config []byte, err error) {
	if manifest, err = docs.document(ctx, "manifests", digest); err != nil {
		return nil, nil, err
	}
	m, err := parseManifest(manifest)
	if err != nil {
		return nil, nil, err
	}
	config, err = docs.document(ctx, "blobs", m.Config.Digest.String())
	return manifest, bytes.Clone(config), err
}
