package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Artifact is a reference resolved for one architecture: everything by digest. It is plain data, and survives JSON.
//
// Of an archive without a manifest, Index and Manifest are the digest of what identifies it: the config of a `docker save` archive (its
// image ID), the file itself where it is a tar of a flattened tree.
type Artifact struct {
	Ref       Ref            `json:"ref"`                 // as it was asked for
	Arch      string         `json:"arch"`                // as it was asked for
	Reference string         `json:"reference,omitempty"` // of a registry's image: REPOSITORY@Index, never with a mirror's name
	Index     string         `json:"index"`               // digest behind the tag: of the index, or of the manifest where there is no index
	Manifest  string         `json:"manifest"`            // digest of this architecture's manifest
	Config    *v1.ConfigFile `json:"config,omitempty"`    // nil where there is none: a directory, a tar of a flattened tree
	Layers    []Layer        `json:"layers,omitempty"`    // the lowest first
	Dir       bool           `json:"dir,omitempty"`       // a directory or a tree in memory: no layers; Index and Manifest are [Digest] of its tree
}

// Layer is one layer of an image.
type Layer struct {
	Digest    string `json:"digest"`  // of the compressed bytes
	DiffID    string `json:"diff_id"` // digest of the uncompressed tar
	MediaType string `json:"media_type"`
	Size      int64  `json:"size"` // of the compressed bytes
}

// documents is where manifests, indexes and configs are read from by digest; what it returns fits the digest.
type documents interface {
	// document reads a manifest or an index (kind "manifests"), or a config (kind "blobs").
	document(ctx context.Context, kind, digest string) ([]byte, error)
}

const (
	maxNesting     = 4    // indexes in indexes
	maxDescriptors = 1000 // looked at for one image
)

// picker finds an architecture's manifest behind an index.
type picker struct {
	docs documents
	arch string
	seen int      // descriptors
	has  []string // platforms that are there
}

// artifact resolves the index or manifest with a digest.
func artifact(ctx context.Context, docs documents, digest, arch string, lim Limits) (*Artifact, error) {
	raw, err := docs.document(ctx, "manifests", digest)
	if err != nil {
		return nil, err
	}
	p := &picker{docs: docs, arch: arch}
	index, err := parseIndex(raw)
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", digest, err)
	}
	manifest := digest
	if index != nil {
		d, err := p.pick(ctx, index, 1)
		if err != nil {
			return nil, fmt.Errorf("index %s: %w", digest, err)
		}
		if d == nil {
			return nil, fmt.Errorf("no linux/%s in it; it has %s", arch, p.list())
		}
		manifest = d.Digest.String()
		if raw, err = docs.document(ctx, "manifests", manifest); err != nil {
			return nil, err
		}
	}
	a, err := imageArtifact(ctx, docs, raw, manifest, arch, index != nil, lim)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", manifest, err)
	}
	a.Index = digest
	return a, nil
}

func (p *picker) list() string {
	if len(p.has) == 0 {
		return "no image"
	}
	slices.Sort(p.has)
	return strings.Join(slices.Compact(p.has), ", ")
}

// pick returns the descriptor of the manifest for the architecture, or nil. One that says its platform goes before nested
// indexes and those whose config has to be looked at.
func (p *picker) pick(ctx context.Context, index *v1.IndexManifest, depth int) (*v1.Descriptor, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("more than %d indexes in one another", maxNesting)
	}
	if p.seen += len(index.Manifests); p.seen > maxDescriptors {
		return nil, fmt.Errorf("more than %d manifests", maxDescriptors)
	}
	var silent []*v1.Descriptor
	var best *v1.Descriptor
	for i := range index.Manifests {
		d := &index.Manifests[i]
		switch {
		case d.MediaType.IsIndex() || d.Platform == nil || d.Platform.OS == "" && d.Platform.Architecture == "":
			silent = append(silent, d)
		case d.Platform.OS == "unknown": // attestations of buildx
		default:
			p.has = append(p.has, d.Platform.String())
			if d.Platform.OS == "linux" && d.Platform.Architecture == p.arch && (best == nil || baseline(d.Platform) && !baseline(best.Platform)) {
				best = d
			}
		}
	}
	if best != nil {
		return best, nil
	}
	for _, d := range silent {
		found, err := p.look(ctx, d, depth)
		if found != nil || err != nil {
			return found, err
		}
	}
	return nil, nil
}

// baseline tells the variant that every machine of the architecture runs.
func baseline(p *v1.Platform) bool {
	return p.Variant == "" || p.Architecture == "amd64" && p.Variant == "v1" || p.Architecture == "arm64" && p.Variant == "v8"
}

// look reads what a descriptor without platform is.
func (p *picker) look(ctx context.Context, d *v1.Descriptor, depth int) (*v1.Descriptor, error) {
	if d.MediaType != "" && !d.MediaType.IsIndex() && !d.MediaType.IsImage() || d.ArtifactType != "" {
		return nil, nil // a signature, an SBOM: no image
	}
	raw, err := p.docs.document(ctx, "manifests", d.Digest.String())
	if err != nil {
		return nil, err
	}
	nested, err := parseIndex(raw)
	if err != nil {
		return nil, err
	}
	if nested != nil {
		return p.pick(ctx, nested, depth+1)
	}
	m, err := parseManifest(raw)
	if err != nil || !m.Config.MediaType.IsConfig() {
		return nil, err
	}
	config, err := readConfig(ctx, p.docs, m)
	if err != nil {
		return nil, err
	}
	p.has = append(p.has, platform(config))
	if config.OS == "linux" && config.Architecture == p.arch {
		return d, nil
	}
	return nil, nil
}

func platform(c *v1.ConfigFile) string { return c.OS + "/" + c.Architecture }

// parseIndex returns nil where the document is a manifest.
func parseIndex(raw []byte) (*v1.IndexManifest, error) {
	var probe struct {
		SchemaVersion     int
		MediaType         types.MediaType
		Manifests, Layers []json.RawMessage
		Config            json.RawMessage
	}
	if err := json.Unmarshal(raw, &probe); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	switch {
	case probe.SchemaVersion == 1:
		return nil, errors.New("a manifest of Docker's old format (schema 1), which is not supported: push the image again with a current tool")
	case probe.SchemaVersion != 2:
		return nil, fmt.Errorf("schemaVersion is %d, want 2", probe.SchemaVersion)
	case probe.Manifests != nil && (probe.Layers != nil || probe.Config != nil):
		return nil, errors.New("it is an index and a manifest at once")
	case probe.MediaType != "" && !probe.MediaType.IsIndex() && !probe.MediaType.IsImage():
		return nil, fmt.Errorf("media type %q is neither an image manifest nor an index", printable(string(probe.MediaType)))
	case probe.MediaType != "" && probe.MediaType.IsIndex() != (probe.Manifests != nil):
		return nil, fmt.Errorf("its content does not fit its media type %s", probe.MediaType)
	case probe.Manifests == nil:
		return nil, nil
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	for _, d := range index.Manifests {
		if err := checkDigest(d.Digest.String()); err != nil {
			return nil, err
		}
	}
	return index, nil
}

func parseManifest(raw []byte) (*v1.Manifest, error) {
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	if err := checkDigest(m.Config.Digest.String()); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return m, nil
}

func readConfig(ctx context.Context, docs documents, m *v1.Manifest) (*v1.ConfigFile, error) {
	if !m.Config.MediaType.IsConfig() {
		return nil, fmt.Errorf("not an image: its config is of type %q", printable(string(m.Config.MediaType)))
	}
	raw, err := docs.document(ctx, "blobs", m.Config.Digest.String())
	if err != nil {
		return nil, err
	}
	c, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", m.Config.Digest, err)
	}
	return c, nil
}

// imageArtifact reads one image's manifest. What an index says of the platform counts more than the config, which some builders
// leave at their own.
func imageArtifact(ctx context.Context, docs documents, raw []byte, digest, arch string, indexed bool, lim Limits) (*Artifact, error) {
	m, err := parseManifest(raw)
	if err != nil {
		return nil, err
	}
	c, err := readConfig(ctx, docs, m)
	if err != nil {
		return nil, err
	}
	if !indexed {
		if err := checkPlatform(c, arch); err != nil {
			return nil, err
		}
	}
	if len(m.Layers) != len(c.RootFS.DiffIDs) {
		return nil, fmt.Errorf("it has %d layers and its config %d", len(m.Layers), len(c.RootFS.DiffIDs))
	}
	if len(m.Layers) > lim.Layers {
		return nil, fmt.Errorf("%d layers, limit %d", len(m.Layers), lim.Layers)
	}
	a := &Artifact{Manifest: digest, Config: c}
	for i, l := range m.Layers {
		if !l.MediaType.IsLayer() {
			return nil, fmt.Errorf("layer %d has media type %q, which is no file system layer", i+1, printable(string(l.MediaType)))
		}
		layer := Layer{Digest: l.Digest.String(), DiffID: c.RootFS.DiffIDs[i].String(), MediaType: string(l.MediaType), Size: l.Size}
		if err := layer.check(lim); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i+1, err)
		}
		a.Layers = append(a.Layers, layer)
	}
	return a, nil
}

func (l Layer) check(lim Limits) error {
	if err := errors.Join(checkDigest(l.Digest), checkDigest(l.DiffID)); err != nil {
		return err
	}
	if l.Size < 0 || l.Size > lim.Bytes {
		return fmt.Errorf("size %d, limit 0 to %d", l.Size, lim.Bytes)
	}
	return nil
}

// checkPlatform compares an image that stands alone with what is wanted. A config without architecture passes.
func checkPlatform(c *v1.ConfigFile, arch string) error {
	if c.Architecture != "" && (c.Architecture != arch || c.OS != "linux" && c.OS != "") {
		return fmt.Errorf("the image is for %s, wanted linux/%s", platform(c), arch)
	}
	return nil
}

// checkDigest admits SHA-256 only, in the one way to write it, since a digest becomes a file name.
func checkDigest(d string) error {
	hex, ok := strings.CutPrefix(d, "sha256:")
	if !ok || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return fmt.Errorf("digest %q: want sha256: and 64 digits of lower case hexadecimal", printable(d))
	}
	return nil
}
