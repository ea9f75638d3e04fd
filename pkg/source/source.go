// Package source is where bytes come from: images in registries, bundles, OCI layouts, archives and plain directories, each resolved
// to digests first, then read into a [tree.Tree], safely. It also carries images elsewhere: into a bundle, or another registry.
//
//	Ref ──Resolve──► Artifact (digests; plain data) ──Layer──► blobs in the cache ──Flatten──► tree over a spool ──WritePack──► one file
//
// # Trust
//
// Whatever is behind a tag, all bytes are checked against digests that start at the manifest (or index) whose digest [Artifact.Index] is.
// A mirror therefore needs no trust and leaves no trace. What does not fit its digest is dropped, and said.
//
// # Specifications
//
// Registries: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md; manifests, layers and layouts:
// https://github.com/opencontainers/image-spec/tree/v1.1.1; archives of `docker save`:
// https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md#combined-image-json--filesystem-changeset-format.
//
// # Not supported
//
// Docker's schema 1, digests other than SHA-256, encrypted layers, artifacts that are no images, Windows layers, layers fetched from
// foreign URLs, extended attributes in tar dialects other than SCHILY.xattr.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sync/errgroup"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Ref says where an image or an extension comes from. Exactly one field is set.
type Ref struct {
	Image     string `json:"image,omitempty"`      // registry reference, with a tag or a digest (which wins over the tag)
	OCILayout string `json:"oci_layout,omitempty"` // directory or .tar, and where it has several images ":TAG" or "@sha256:…" after it
	Tarball   string `json:"tarball,omitempty"`    // `docker save` archive, OCI archive, or tar of the flattened tree; also in gzip, zstd or xz
	Path      string `json:"path,omitempty"`       // directory: manifest.yaml and rootfs/
	Tree      *Tree  `json:"-"`                    // in memory; lost in JSON
}

// Tree is one that is there already, with what it is called in messages. Its files may still lie on the host's disk.
type Tree struct {
	Name  string
	Files *tree.Tree
}

func (r Ref) String() string {
	switch {
	case r.Image != "":
		return r.Image
	case r.OCILayout != "":
		return "oci layout " + r.OCILayout
	case r.Tarball != "":
		return "tarball " + r.Tarball
	case r.Path != "":
		return "directory " + r.Path
	case r.Tree != nil:
		return r.Tree.Name
	}
	return "nothing"
}

// Registry is how to talk to one registry and to its mirrors (but for those that have settings of their own).
type Registry struct {
	Mirrors    []string // base URLs, asked in this order
	CA         string   // file of PEM certificates that are trusted besides the system's
	ClientCert string   // file of a PEM certificate that we show, and
	ClientKey  string   // of its key
	Insecure   bool     // certificates are not checked, and plain HTTP will do
}

// Options of [New]. All have defaults but Cache.
type Options struct {
	Cache      string              // directory for verified blobs by digest; several processes may share it
	Bundle     string              // file of [Sources.WriteBundle] that images are read from, and from nowhere else; "": from registries
	Mirrors    []Mirror            // asked before those of Registries
	Registries map[string]Registry // by host, as in references
	Keychain   authn.Keychain      // credentials; default [Keychain]
	Transport  http.RoundTripper   // default: a new http.Transport with the proxy of the environment
	Log        *slog.Logger        // warnings: a mirror that fails, a retry; default: none
	Progress   func(Event)         // called while downloading, from several goroutines
	Limits     Limits
	Verify     bool // read cached blobs again and compare their digests before they are used
}

// Event is a download's progress.
type Event struct {
	Image       string // reference or mirror
	Digest      string
	Done, Total int64 // bytes
}

// Sources resolves references and gets what they name. It may be used by several goroutines.
type Sources struct {
	cache      string
	bundle     *bundle             // nil: registries are asked
	mirrors    map[string][]Mirror // by host
	registries map[string]Registry
	keychain   authn.Keychain
	transport  http.RoundTripper
	log        *slog.Logger
	progress   func(Event)
	lim        Limits
	verify     bool

	wait  func(context.Context, time.Duration) error // between attempts
	stall time.Duration                              // without a byte: a connection is given up

	mu      sync.Mutex
	bases   map[string]http.RoundTripper // per registry and scheme: TLS settings and retries
	clients map[clientKey]*clientOnce    // per repository: credentials
	checked map[string]bool              // blobs read again by Verify
}

// CheckBundle reads what the bundle lists, if images come from one: what is wrong with the file is not told of each image then.
func (s *Sources) CheckBundle() error {
	if s.bundle == nil {
		return nil
	}
	return s.bundle.read()
}

// New makes Sources. Settings are looked at when they are needed: a bad certificate file is an error of the first use.
func New(o Options) *Sources {
	s := &Sources{
		cache: o.Cache, keychain: o.Keychain, transport: o.Transport, log: o.Log, progress: o.Progress,
		lim: o.Limits.withDefaults(), verify: o.Verify,
		mirrors: map[string][]Mirror{}, registries: map[string]Registry{},
		wait: sleep, stall: time.Minute,
		bases: map[string]http.RoundTripper{}, clients: map[clientKey]*clientOnce{}, checked: map[string]bool{},
	}
	if o.Bundle != "" {
		s.bundle = &bundle{name: o.Bundle}
	}
	for _, m := range o.Mirrors {
		host := dockerName(m.Host)
		s.mirrors[host] = append(s.mirrors[host], m)
	}
	for host, r := range o.Registries {
		s.registries[dockerName(host)] = r
	}
	if s.keychain == nil {
		s.keychain = Keychain
	}
	if s.transport == nil {
		s.transport = defaultTransport()
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.progress == nil {
		s.progress = func(Event) {}
	}
	return s
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Resolve looks a reference up for one architecture ("amd64", "arm64") of Linux. Of a registry's image nothing but manifests and the
// config is downloaded; what is asked for by digest comes from the cache where it is there.
func (s *Sources) Resolve(ctx context.Context, ref Ref, arch string) (*Artifact, error) {
	a, err := s.resolve(ctx, ref, arch)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", ref, err)
	}
	a.Ref, a.Arch = ref, arch
	return a, nil
}

func (s *Sources) resolve(ctx context.Context, ref Ref, arch string) (*Artifact, error) {
	if arch == "" {
		return nil, errors.New("no architecture is given")
	}
	if err := ref.check(); err != nil {
		return nil, err
	}
	switch {
	case ref.Image != "":
		return s.resolveImage(ctx, ref.Image, arch)
	case ref.OCILayout != "":
		return s.resolveLayout(ctx, ref.OCILayout, arch)
	case ref.Tarball != "":
		return s.resolveTarball(ctx, ref.Tarball, arch)
	case ref.Tree != nil:
		return treeArtifact(ref.Tree.Files)
	}
	return resolveDirectory(ref.Path)
}

func (r Ref) check() error {
	n := 0
	for _, f := range []string{r.Image, r.OCILayout, r.Tarball, r.Path} {
		if f != "" {
			n++
		}
	}
	if r.Tree != nil {
		n++
	}
	if n != 1 {
		return fmt.Errorf("want exactly one of image, oci_layout, tarball, path and tree, have %d", n)
	}
	return nil
}

// Layer returns a compressed layer from the cache, where it is put first if it is not there. Layers count from 0, the lowest.
// The download resumes what an earlier one left.
func (s *Sources) Layer(ctx context.Context, a *Artifact, i int) (tree.Blob, error) {
	if a.Dir || i < 0 || i >= len(a.Layers) {
		return nil, fmt.Errorf("get layer %d of %s: it has %d", i+1, a.Ref, len(a.Layers))
	}
	b, err := s.layer(ctx, a, a.Layers[i])
	if err != nil {
		return nil, fmt.Errorf("get layer %d of %s: %w", i+1, a.Ref, err)
	}
	return b, nil
}

// Missing are the layers that are not in the cache and would be downloaded, each once; none of what lies on this machine.
func (s *Sources) Missing(a *Artifact) (missing []Layer) {
	if a.Ref.Image == "" || s.bundle != nil {
		return nil
	}
	for i, l := range a.Layers {
		st, err := os.Stat(s.blobFile(l.Digest))
		twice := slices.ContainsFunc(a.Layers[:i], func(o Layer) bool { return o.Digest == l.Digest })
		if !twice && (err != nil || st.Size() != l.Size) {
			missing = append(missing, l)
		}
	}
	return missing
}

func (s *Sources) layer(ctx context.Context, a *Artifact, l Layer) (tree.Blob, error) {
	if a.Ref.Image != "" {
		d, err := name.NewDigest(a.Reference)
		if err != nil {
			return nil, err
		}
		return s.blob(ctx, d.Context(), l.Digest, l.Size)
	}
	if s.bundle != nil && s.bundle.has(l.Digest) { // of a file that is not here: see [Sources.Bundled]
		return s.bundle.blob(ctx, l.Digest, l.Size)
	}
	if b, err := s.cached(ctx, l.Digest, l.Size); b != nil || err != nil {
		return b, err
	}
	switch {
	case a.Ref.OCILayout != "":
		if err := s.importLayout(ctx, a); err != nil {
			return nil, err
		}
	default:
		if err := s.importTarball(ctx, a); err != nil {
			return nil, err
		}
	}
	return s.mustCached(ctx, l.Digest, l.Size)
}

// blob returns any blob of an image: from the bundle, or from the cache, where it is put first if it is not there.
func (s *Sources) blob(ctx context.Context, repo name.Repository, digest string, size int64) (tree.Blob, error) {
	if s.bundle != nil {
		return s.bundle.blob(ctx, digest, size)
	}
	if b, err := s.cached(ctx, digest, size); b != nil || err != nil {
		return b, err
	}
	if err := s.download(ctx, repo, digest, size); err != nil {
		return nil, err
	}
	return s.mustCached(ctx, digest, size)
}

func (s *Sources) mustCached(ctx context.Context, digest string, size int64) (tree.Blob, error) {
	b, err := s.cached(ctx, digest, size)
	if b == nil && err == nil {
		err = fmt.Errorf("%s is not there any more", digest)
	}
	return b, err
}

// Tree gets an artifact's layers, several at once, and flattens them: see [Flatten]. What [Plain] refuses is an error. A directory, or a
// tree in memory, is read again and must be as it was when it was resolved; it needs no spool.
func (s *Sources) Tree(ctx context.Context, a *Artifact, keep func(path string) bool, spool Spool) (*tree.Tree, error) {
	t, err := s.RawTree(ctx, a, keep, spool)
	if err != nil {
		return nil, err
	}
	if err := Plain(t); err != nil {
		return nil, fmt.Errorf("read %s: %w", a.Ref, err)
	}
	return t, nil
}

// RawTree is Tree for who tells of everything that is there, and refuses it by rules of its own.
func (s *Sources) RawTree(ctx context.Context, a *Artifact, keep func(path string) bool, spool Spool) (*tree.Tree, error) {
	if a.Dir {
		return unchangedTree(a, keep)
	}
	layers := make([]Content, len(a.Layers))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(3)
	for i, l := range a.Layers {
		g.Go(func() (err error) {
			layers[i].Layer = l
			layers[i].Blob, err = s.Layer(gctx, a, i)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	t, err := Flatten(ctx, layers, keep, spool, s.lim)
	if err != nil && ctx.Err() == nil {
		err = s.blame(layers, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", a.Ref, err)
	}
	return t, nil
}

// readAll reads a document that is small by its nature.
func readAll(r io.Reader, what string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(b) > maxDocument {
		err = fmt.Errorf("%s has more than %d bytes", what, maxDocument)
	}
	return b, err
}
