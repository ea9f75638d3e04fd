package source

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/talosmith/talosmith/pkg/errdoc"
	"github.com/talosmith/talosmith/pkg/tree"
)

// A bundle is an OCI layout in an uncompressed tar:
//
//	oci-layout             {"imageLayoutVersion":"1.0.0"}
//	index.json             a descriptor for each image; the annotation org.opencontainers.image.ref.name is its whole reference
//	blobs/sha256/HEX       manifests, indexes, configs and layers, each once
//
// Every image is whole, with all platforms of its index: a registry refuses an index whose images it does not have, and so does
// `skopeo copy --all`. What was a file, and no image in a registry, is there for one architecture; its descriptor has the annotation
// [pinAnnotation]. An archive of `docker save` and a tar of a flattened tree get a manifest, as they have none.
//
// A bundle is as hostile as a registry: nothing of it is written anywhere under a name that it gives, and every blob is
// compared with its digest before it is used.

const (
	refAnnotation  = "org.opencontainers.image.ref.name"
	pinAnnotation  = "io.github.talosmith.pin"     // on a file's descriptor: the digest by which a lock pins it
	diffAnnotation = "io.github.talosmith.diff-id" // on the layer of a flattened tree: the digest of the uncompressed tar

	layoutVersion = `{"imageLayoutVersion":"1.0.0"}`

	maxBundled = 100_000 // members of a bundle
	tarBlock   = 512     // bytes that headers and contents of a tar fill up; two blocks of zeros end it
)

// bundle stands in place of every registry.
type bundle struct {
	name string

	open  sync.Once
	bad   error
	file  tree.Blob // and an io.ReaderAt
	blobs map[string]span
	index *v1.IndexManifest

	mu     sync.Mutex
	intact map[string]bool // blobs that were compared with their digests
}

// span is where a blob lies in the file.
type span struct{ off, size int64 }

// read lists the members, once.
func (b *bundle) read() error {
	b.open.Do(func() {
		if err := b.list(); err != nil {
			if p := (*fs.PathError)(nil); errors.As(err, &p) && p.Path == b.name {
				err = p.Err // the name stands before it
			}
			b.bad = fmt.Errorf("bundle %s: %w (%s)", b.name, err, errdoc.Link(classBundle))
		}
	})
	return b.bad
}

func (b *bundle) list() error {
	b.blobs, b.intact = map[string]span{}, map[string]bool{}
	whole, err := tree.File(b.name)
	if err != nil {
		return err
	}
	f, err := os.Open(b.name)
	if err != nil {
		return err
	}
	defer f.Close()
	docs := map[string][]byte{"oci-layout": nil, "index.json": nil}
	end, members := int64(0), 0
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("after byte %d: %w: it was not copied to its end, or it is compressed", end, err)
		}
		if members++; members > maxBundled {
			return fmt.Errorf("more than %d members", maxBundled)
		}
		at, err := f.Seek(0, io.SeekCurrent) // a tar.Reader reads no further than it has to
		if err != nil {
			return err
		}
		if h.Size > whole.Size()-at {
			return fmt.Errorf("%q ends after the file does, which was not copied to its end", printable(h.Name))
		}
		end = at + (h.Size+tarBlock-1)/tarBlock*tarBlock
		if err := b.member(h, at, tr, docs); err != nil {
			return fmt.Errorf("%q: %w", printable(h.Name), err)
		}
	}
	// Cut between two members, an archive is one that lacks its end.
	zeros := make([]byte, 2*tarBlock)
	if _, err := f.ReadAt(zeros, end); err != nil || len(strings.Trim(string(zeros), "\x00")) > 0 {
		return errors.New("the end of the archive is missing: it was not copied to its end")
	}
	for _, name := range []string{"oci-layout", "index.json"} {
		if docs[name] == nil {
			return fmt.Errorf("%s is missing: it was not made by `go tool mage bundle`", name)
		}
	}
	if b.index, err = parseIndex(docs["index.json"]); err == nil && b.index == nil {
		err = errors.New("no list of manifests")
	}
	if err != nil {
		return fmt.Errorf("index.json: %w", err)
	}
	b.file = whole
	return nil
}

// member notes one member of the archive, which is nothing but what a layout has.
func (b *bundle) member(h *tar.Header, at int64, r io.Reader, docs map[string][]byte) error {
	p := strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/")
	if h.Typeflag == tar.TypeDir && (p == "" || p == "." || p == "blobs" || p == "blobs/sha256") {
		return nil
	}
	if h.Typeflag != tar.TypeReg || !fs.ValidPath(p) || sparse(h) {
		return errors.New("in a bundle there are regular files only, by paths without \"..\"")
	}
	if have, document := docs[p]; document {
		content, err := readAll(r, p)
		if have != nil {
			return errors.New("it is there twice")
		}
		docs[p] = content
		return err
	}
	hex, isBlob := strings.CutPrefix(p, "blobs/sha256/")
	digest := "sha256:" + hex
	if !isBlob || checkDigest(digest) != nil {
		return errors.New("it is neither oci-layout, index.json nor blobs/sha256/HEX")
	}
	if _, twice := b.blobs[digest]; twice {
		return errors.New("it is there twice")
	}
	b.blobs[digest] = span{at, h.Size}
	return nil
}

// sparse tells a file whose bytes do not lie in the archive as they are.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// lacks is the error for what is not in a bundle.
func (b *bundle) lacks(what string) error {
	return fmt.Errorf("%w: %s is not in the bundle %s, and TALOSMITH_FROM keeps the network out: run `go tool mage lock` and `go tool mage bundle` again where there is one (%s)",
		ErrNotFound, what, b.name, errdoc.Link(classBundled))
}

// find returns the digest behind a reference.
func (b *bundle) find(ref name.Reference) (string, error) {
	if d, ok := ref.(name.Digest); ok {
		return d.DigestStr(), nil
	}
	if err := b.read(); err != nil {
		return "", err
	}
	want := canonical(ref)
	for _, d := range b.index.Manifests {
		if d.Annotations[refAnnotation] == want {
			return d.Digest.String(), nil
		}
	}
	return "", b.lacks(want)
}

// canonical is a reference as people write it, with registry and repository in full.
func canonical(ref name.Reference) string {
	repo := ref.Context()
	separator := ":"
	if _, ok := ref.(name.Digest); ok {
		separator = "@"
	}
	return dockerName(repo.RegistryStr()) + "/" + repo.RepositoryStr() + separator + ref.Identifier()
}

// document makes a bundle [documents].
func (b *bundle) document(_ context.Context, _, digest string) ([]byte, error) {
	if err := errors.Join(b.read(), checkDigest(digest)); err != nil {
		return nil, err
	}
	s, ok := b.blobs[digest]
	if !ok {
		return nil, b.lacks(digest)
	}
	if s.size > maxDocument {
		return nil, fmt.Errorf("bundle %s: document %s has %d bytes, limit %d", b.name, digest, s.size, maxDocument)
	}
	content, err := tree.ReadAll(b.section(s))
	if err != nil {
		return nil, err
	}
	if content, err = checked(digest, content); err != nil {
		return nil, b.damaged(err)
	}
	return content, nil
}

func (b *bundle) has(digest string) bool {
	if b.read() != nil {
		return false
	}
	_, ok := b.blobs[digest]
	return ok
}

func (b *bundle) section(s span) tree.Blob { return tree.Section(b.file.(io.ReaderAt), s.off, s.size) }

// blob returns a blob, compared with its digest. It stays where it is.
func (b *bundle) blob(ctx context.Context, digest string, size int64) (tree.Blob, error) {
	if err := b.read(); err != nil {
		return nil, err
	}
	s, ok := b.blobs[digest]
	if !ok {
		return nil, b.lacks(digest)
	}
	if s.size != size {
		return nil, b.damaged(fmt.Errorf("%w: %s has %d bytes, want %d", ErrDigest, digest, s.size, size))
	}
	content := b.section(s)
	b.mu.Lock()
	done := b.intact[digest]
	b.mu.Unlock()
	if done {
		return content, nil
	}
	if err := copyChecked(ctx, io.Discard, content, digest); err != nil {
		return nil, b.damaged(err)
	}
	b.mu.Lock()
	b.intact[digest] = true
	b.mu.Unlock()
	return content, nil
}

func (b *bundle) damaged(err error) error {
	if errors.Is(err, ErrDigest) {
		err = fmt.Errorf("%w: it is damaged, carry it over again (%s)", err, errdoc.Link(classDigest))
	}
	return fmt.Errorf("bundle %s: %w", b.name, err)
}

// copyChecked copies a blob and compares it with its digest.
func copyChecked(ctx context.Context, w io.Writer, b tree.Blob, digest string) error {
	r, err := b.Open()
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.CopyBuffer(io.MultiWriter(w, h), contextReader{ctx, r}, make([]byte, 256<<10))
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if got := sum(h); got != digest {
		return fmt.Errorf("%w: got %s, want %s", ErrDigest, got, digest)
	}
	return nil
}

// Pin is what a lock says of a file: the digests that [Artifact] has.
type Pin struct{ Index, Manifest string }

// Bundled finds in the bundle what a lock pins of a tarball or a layout that is not on this machine. It returns nil where the file is
// here, where there is no bundle, and for references that are no such files.
func (s *Sources) Bundled(ctx context.Context, ref Ref, arch string, pin Pin) (*Artifact, error) {
	file := ref.Tarball
	if ref.OCILayout != "" {
		file, _ = SplitSelector(ref.OCILayout)
	}
	if file == "" || s.bundle == nil {
		return nil, nil
	}
	if _, err := os.Stat(file); err == nil {
		return nil, nil
	}
	a, err := s.bundle.pinned(ctx, path.Base(file), arch, pin.Manifest, s.lim)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", ref, err)
	}
	a.Ref, a.Arch, a.Index = ref, arch, pin.Index
	return a, nil
}

// top is the digest of the manifest of what was a file, by the digest that its Artifact.Manifest was; "" where there is none.
func (b *bundle) top(pinned string) (string, error) {
	if err := b.read(); err != nil {
		return "", err
	}
	for _, d := range b.index.Manifests {
		if d.Annotations[pinAnnotation] == pinned {
			return d.Digest.String(), nil
		}
	}
	return "", nil
}

// pinned resolves what was a file.
func (b *bundle) pinned(ctx context.Context, file, arch, digest string, lim Limits) (*Artifact, error) {
	top, err := b.top(digest)
	switch {
	case err != nil:
		return nil, err
	case top == "":
		return nil, b.lacks(file + " with the digest " + digest)
	case top == digest:
		return artifact(ctx, b, digest, arch, lim)
	}
	return b.made(ctx, top, digest, arch, lim)
}

// made reads a manifest that [WriteBundle] made for a file without one. What the file is known by is the digest of the config, or of the
// only layer.
func (b *bundle) made(ctx context.Context, manifest, digest, arch string, lim Limits) (*Artifact, error) {
	raw, err := b.document(ctx, "manifests", manifest)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(raw)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", manifest, err)
	}
	switch {
	case m.Config.Digest.String() == digest:
		a, err := imageArtifact(ctx, b, raw, digest, arch, false, lim)
		if err != nil {
			return nil, fmt.Errorf("manifest %s: %w", manifest, err)
		}
		return a, nil
	case len(m.Layers) == 1 && m.Layers[0].Digest.String() == digest:
		l := m.Layers[0]
		layer := Layer{Digest: digest, DiffID: l.Annotations[diffAnnotation], MediaType: mediaTar, Size: l.Size}
		if err := layer.check(lim); err != nil {
			return nil, fmt.Errorf("manifest %s: %w", manifest, err)
		}
		return &Artifact{Manifest: digest, Layers: []Layer{layer}}, nil
	}
	return nil, b.damaged(fmt.Errorf("%w: manifest %s does not have %s, as index.json says", ErrDigest, manifest, digest))
}
