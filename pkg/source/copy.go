package source

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ggcr "github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Copied is an image that is in another registry now.
type Copied struct {
	Host   string // of the registry that the image's own reference names
	Name   string // in the other one
	Digest string
	There  bool // it was there before
}

// Copy copies images with all their platforms, and so by the same digests, into a registry: HOST or HOST/NAMESPACE, below which each has
// the repository and tag that it has at home. What is there is neither sent nor got. Done is told of each image. The
// base URL that is returned makes the registry a [Mirror].
func (s *Sources) Copy(ctx context.Context, to string, images []Named, done func(Copied)) (base string, err error) {
	host, namespace, _ := strings.Cut(strings.TrimSuffix(to, "/"), "/")
	registry, err := name.NewRegistry(host)
	if err == nil && namespace != "" {
		_, err = name.NewRepository("example.com/" + namespace)
	}
	if err != nil || host == "" || strings.Contains(to, "://") {
		return "", fmt.Errorf("copy to %q: want a registry as HOST or HOST/NAMESPACE", to)
	}
	targets, err := copyTargets(registry, namespace, images)
	if err != nil {
		return "", fmt.Errorf("copy to %s: %w", to, err)
	}
	if base, err = s.baseURL(ctx, registry, namespace); err != nil {
		return "", fmt.Errorf("copy to %s: %w", to, err)
	}
	for i, n := range images {
		c := Copied{Name: canonical(targets[i]), Digest: n.Artifact.Index}
		if c.Host, c.There, err = s.copyImage(ctx, n.Artifact, targets[i]); err != nil {
			return "", fmt.Errorf("copy %s to %s: %w", n.Name, c.Name, err)
		}
		done(c)
	}
	return base, nil
}

// CopyName is what an image is called in a bundle, and in other registries: by its tag, or by its digest if it is named without a tag.
func CopyName(image string) (string, error) {
	base, digest, byDigest := strings.Cut(image, "@")
	if _, err := name.NewTag(base, name.StrictValidation); byDigest && err != nil {
		base += "@" + digest
	}
	ref, err := name.ParseReference(base)
	if err != nil {
		return "", err
	}
	return canonical(ref), nil
}

// copyTargets are the references of the copies.
func copyTargets(registry name.Registry, namespace string, images []Named) ([]name.Reference, error) {
	var all []name.Reference
	taken := map[string]Named{}
	for _, n := range images {
		ref, err := name.ParseReference(n.Name)
		if err != nil {
			return nil, err
		}
		repo := registry.Repo(namespace, ref.Context().RepositoryStr())
		var target name.Reference = repo.Digest(ref.Identifier())
		if tag, ok := ref.(name.Tag); ok {
			target = repo.Tag(tag.TagStr())
		}
		if other, ok := taken[target.Name()]; ok && other.Artifact.Index != n.Artifact.Index {
			return nil, fmt.Errorf("%s and %s would both be %s there: name one of them by its digest in the profile", other.Name, n.Name, canonical(target))
		}
		taken[target.Name()] = n
		all = append(all, target)
	}
	return all, nil
}

// baseURL asks a registry which protocol it talks.
func (s *Sources) baseURL(ctx context.Context, registry name.Registry, namespace string) (string, error) {
	ep := endpoint{repo: registry.Repo(namespace), block: dockerName(registry.RegistryStr())}
	t, err := s.base(ep)
	if err != nil {
		return "", err
	}
	answer, err := transport.Ping(ctx, ep.registry(s), t)
	if err != nil {
		return "", explain(ep, err)
	}
	scheme := "https://"
	if answer.Insecure {
		scheme = "http://"
	}
	return strings.TrimSuffix(scheme+dockerName(registry.RegistryStr())+"/"+namespace, "/"), nil
}

// copyImage copies an image unless it is there.
func (s *Sources) copyImage(ctx context.Context, a *Artifact, target name.Reference) (host string, there bool, err error) {
	d, err := name.NewDigest(a.Reference)
	if err != nil {
		return "", false, err
	}
	host = dockerName(d.Context().RegistryStr())
	ep, ref := s.direct(target)
	options, err := s.uploading(ctx, ep)
	if err != nil {
		return "", false, err
	}
	if have, err := remote.Head(ref, options...); err == nil && have.Digest.String() == a.Index {
		return host, true, nil
	} // what is wrong, the upload tells better
	c := carried{s: s, ctx: ctx, repo: d.Context()}
	what, err := c.open(a.Index)
	if err == nil {
		_, err = s.upload(ctx, target, what)
	}
	return host, false, err
}

// carried is an image or an index as go-containerregistry wants it for an upload: read when it asks.
type carried struct {
	s     *Sources
	ctx   context.Context
	repo  name.Repository
	raw   []byte
	media types.MediaType
}

// open reads a manifest or an index.
func (c carried) open(digest string) (what remote.Taggable, err error) {
	if c.raw, err = c.s.documents(c.repo).document(c.ctx, "manifests", digest); err != nil {
		return nil, carriedError{err}
	}
	if c.media, err = mediaType(c.raw); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", digest, err)
	}
	if c.media.IsIndex() {
		return carriedIndex{c}, nil
	}
	m, err := parseManifest(c.raw)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", digest, err)
	}
	return ggcr.CompressedToImage(carriedImage{c, m})
}

func (c carried) MediaType() (types.MediaType, error) { return c.media, nil }
func (c carried) RawManifest() ([]byte, error)        { return c.raw, nil }
func (c carried) Digest() (v1.Hash, error)            { return hashed(digestOf(c.raw)), nil }
func (c carried) Size() (int64, error)                { return int64(len(c.raw)), nil }

type carriedIndex struct{ carried }

func (x carriedIndex) IndexManifest() (*v1.IndexManifest, error) { return parseIndex(x.raw) }

func (x carriedIndex) Image(h v1.Hash) (v1.Image, error) {
	what, err := x.open(h.String())
	if err != nil {
		return nil, err
	}
	if img, ok := what.(v1.Image); ok {
		return img, nil
	}
	return nil, fmt.Errorf("%s is an index, where an image should be", h)
}

func (x carriedIndex) ImageIndex(h v1.Hash) (v1.ImageIndex, error) {
	what, err := x.open(h.String())
	if err != nil {
		return nil, err
	}
	if index, ok := what.(v1.ImageIndex); ok {
		return index, nil
	}
	return nil, fmt.Errorf("%s is an image, where an index should be", h)
}

type carriedImage struct {
	carried
	manifest *v1.Manifest
}

func (i carriedImage) RawConfigFile() ([]byte, error) {
	b, err := carriedLayer{i.carried, i.manifest.Config}.blob()
	if err == nil && b.Size() > maxDocument {
		err = fmt.Errorf("config %s has %d bytes, limit %d", i.manifest.Config.Digest, b.Size(), maxDocument)
	}
	if err != nil {
		return nil, err
	}
	return tree.ReadAll(b)
}

func (i carriedImage) LayerByDigest(h v1.Hash) (ggcr.CompressedLayer, error) {
	for _, d := range append([]v1.Descriptor{i.manifest.Config}, i.manifest.Layers...) {
		if d.Digest == h {
			return carriedLayer{i.carried, d}, nil
		}
	}
	return nil, fmt.Errorf("no layer %s", h)
}

type carriedLayer struct {
	carried
	d v1.Descriptor
}

func (l carriedLayer) Digest() (v1.Hash, error)            { return l.d.Digest, nil }
func (l carriedLayer) Size() (int64, error)                { return l.d.Size, nil }
func (l carriedLayer) MediaType() (types.MediaType, error) { return l.d.MediaType, nil }

func (l carriedLayer) Compressed() (io.ReadCloser, error) {
	b, err := l.blob()
	if err != nil {
		return nil, err
	}
	return b.Open()
}

// carriedError is trouble where an upload's bytes come from, not where they go.
type carriedError struct{ error }

func (l carriedLayer) blob() (tree.Blob, error) {
	if err := (Layer{Digest: l.d.Digest.String(), DiffID: l.d.Digest.String(), Size: l.d.Size}).check(l.s.lim); err != nil {
		return nil, err
	}
	b, err := l.s.blob(l.ctx, l.repo, l.d.Digest.String(), l.d.Size)
	if err != nil {
		return nil, carriedError{err}
	}
	return b, nil
}
