package source

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// members are the small files of an archive by clean path, and what else pass one saw.
type members struct {
	docs  map[string][]byte
	links map[string]string // symbolic and hard links: `docker save` once stored a layer under several names so
	size  map[string]int64  // of every regular file
	plain string            // digest of the uncompressed archive; only where asked for
}

const maxDocuments = 64 << 20 // bytes of all small files that may be documents

// scan reads an archive once, compressed or not.
func scan(ctx context.Context, file string, lim Limits, visit func(name string, h *tar.Header, r io.Reader) error) (plain string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	r, stop, err := decompress(contextReader{ctx, f})
	if err != nil {
		return "", err
	}
	defer stop()
	hash := sha256.New()
	count := &counter{r: io.TeeReader(r, hash)}
	tr := tar.NewReader(count)
	for n := 0; n < lim.Entries; n++ {
		h, err := tr.Next()
		if err == io.EOF {
			if n == 0 {
				return "", errors.New("no tar archive, or an empty one")
			}
			_, err := io.Copy(io.Discard, count)
			return sum(hash), err
		}
		switch {
		case err != nil && n == 0:
			return "", fmt.Errorf("entry 1: %w; is it a tar archive?", err)
		case err != nil:
			return "", fmt.Errorf("entry %d: %w", n+1, tarError(err))
		}
		if h.Size > lim.Bytes-count.n {
			return "", fmt.Errorf("entry %q: more than %d uncompressed bytes", printable(h.Name), lim.Bytes)
		}
		if err := visit(path.Clean("/" + h.Name)[1:], h, tr); err != nil {
			return "", fmt.Errorf("entry %q: %w", printable(h.Name), tarError(err))
		}
	}
	return "", fmt.Errorf("more than %d entries", lim.Entries)
}

// readMembers is the first pass over an archive: it keeps what may be a document.
func readMembers(ctx context.Context, file string, lim Limits) (*members, error) {
	m := &members{docs: map[string][]byte{}, links: map[string]string{}, size: map[string]int64{}}
	total, names := 0, int64(0)
	var err error
	m.plain, err = scan(ctx, file, lim, func(name string, h *tar.Header, r io.Reader) error {
		if names += int64(len(name) + len(h.Linkname)); names > lim.Metadata {
			return fmt.Errorf("more than %d bytes of names", lim.Metadata)
		}
		switch h.Typeflag {
		case tar.TypeSymlink:
			m.links[name] = path.Join(path.Dir(name), h.Linkname)
		case tar.TypeLink:
			m.links[name] = path.Clean("/" + h.Linkname)[1:]
		case tar.TypeReg:
			m.size[name] = h.Size
			if h.Size > maxDocument {
				return nil
			}
			b, err := readAll(r, name)
			if err != nil || len(b) == 0 || b[0] != '{' && b[0] != '[' {
				return err
			}
			if total += len(b); total > maxDocuments {
				return fmt.Errorf("more than %d bytes of JSON", maxDocuments)
			}
			m.docs[name] = b
		}
		return nil
	})
	return m, err
}

// file follows links inside the archive.
func (m *members) file(name string) string {
	name = path.Clean("/" + name)[1:]
	for range maxLinkHops {
		to, ok := m.links[name]
		if !ok {
			break
		}
		name = to
	}
	return name
}

// isLayout tells an OCI archive. (`docker save` writes one that is both.)
func (m *members) isLayout() bool { return m.docs["oci-layout"] != nil && m.docs["index.json"] != nil }

// savedImage is an item of manifest.json in a `docker save` archive.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func (m *members) saved() []savedImage {
	var images []savedImage
	if json.Unmarshal(m.docs["manifest.json"], &images) != nil || len(images) == 0 || images[0].Config == "" {
		return nil
	}
	return images
}

// document makes an OCI archive's members [documents].
func (m *members) document(_ context.Context, _, digest string) ([]byte, error) {
	return checked(digest, m.docs[m.file("blobs/sha256/"+strings.TrimPrefix(digest, "sha256:"))])
}

func checked(digest string, b []byte) ([]byte, error) {
	if b == nil {
		return nil, fmt.Errorf("%s is not there, or no JSON document of at most %d bytes", digest, maxDocument)
	}
	if got := digestOf(b); got != digest {
		return nil, fmt.Errorf("%w: got %s, want %s", ErrDigest, got, digest)
	}
	return b, nil
}

func (s *Sources) resolveTarball(ctx context.Context, file, arch string) (*Artifact, error) {
	m, err := readMembers(ctx, file, s.lim)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	a, err := s.tarballArtifact(ctx, file, m, arch)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return a, nil
}

func (s *Sources) tarballArtifact(ctx context.Context, file string, m *members, arch string) (*Artifact, error) {
	if m.isLayout() {
		return layoutArtifact(ctx, m, m.docs["index.json"], "", arch, s.lim)
	}
	if m.docs["manifest.json"] != nil {
		if images := m.saved(); images != nil {
			return s.savedArtifact(ctx, file, m, images, arch)
		}
	}
	digest, size, err := hashFile(ctx, file)
	if err != nil {
		return nil, err
	}
	if size > s.lim.Bytes {
		return nil, fmt.Errorf("%d bytes, limit %d", size, s.lim.Bytes)
	}
	return &Artifact{Index: digest, Manifest: digest, Layers: []Layer{{Digest: digest, DiffID: m.plain, MediaType: mediaTar, Size: size}}}, nil
}

const mediaTar = "application/vnd.oci.image.layer.v1.tar"

// savedArtifact reads an archive of `docker save`. Its layers have no digests: they are made here, in a second pass.
func (s *Sources) savedArtifact(ctx context.Context, file string, m *members, images []savedImage, arch string) (*Artifact, error) {
	if len(images) != 1 {
		var tags []string
		for _, i := range images {
			tags = append(tags, i.RepoTags...)
		}
		return nil, fmt.Errorf("%d images in one archive (%s): save one alone", len(images), printable(strings.Join(tags, ", ")))
	}
	image := images[0]
	raw := m.docs[m.file(image.Config)]
	if raw == nil {
		return nil, fmt.Errorf("config %q: not there, or no JSON document of at most %d bytes", printable(image.Config), maxDocument)
	}
	c, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("config %q: %w", printable(image.Config), err)
	}
	if err := checkPlatform(c, arch); err != nil {
		return nil, err
	}
	if len(image.Layers) != len(c.RootFS.DiffIDs) || len(image.Layers) > s.lim.Layers {
		return nil, fmt.Errorf("it has %d layers and its config %d, limit %d", len(image.Layers), len(c.RootFS.DiffIDs), s.lim.Layers)
	}
	digests := map[string]string{} // by member
	for _, l := range image.Layers {
		digests[m.file(l)] = ""
	}
	if _, err := scan(ctx, file, s.lim, func(name string, h *tar.Header, r io.Reader) error {
		if _, want := digests[name]; !want || h.Typeflag != tar.TypeReg {
			return nil
		}
		hash := sha256.New()
		_, err := io.Copy(hash, r)
		digests[name] = sum(hash)
		return err
	}); err != nil {
		return nil, err
	}
	a := &Artifact{Index: digestOf(raw), Manifest: digestOf(raw), Config: c}
	for i, l := range image.Layers {
		name := m.file(l)
		layer := Layer{Digest: digests[name], DiffID: c.RootFS.DiffIDs[i].String(), MediaType: mediaTar, Size: m.size[name]}
		if layer.Digest == "" {
			return nil, fmt.Errorf("layer %d: %q is not in the archive", i+1, printable(l))
		}
		if err := layer.check(s.lim); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i+1, err)
		}
		a.Layers = append(a.Layers, layer)
	}
	return a, nil
}

func hashFile(ctx context.Context, file string) (digest string, size int64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, contextReader{ctx, f})
	return sum(h), size, err
}

// importTarball puts an archive's layers into the cache, all in one pass.
func (s *Sources) importTarball(ctx context.Context, a *Artifact) error {
	file := a.Ref.Tarball
	m, err := readMembers(ctx, file, s.lim)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if a.Config == nil {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		return s.importBlob(ctx, a.Layers[0].Digest, a.Layers[0].Size, f)
	}
	want := map[string]Layer{}
	if images := m.saved(); images != nil && !m.isLayout() {
		if len(images) != 1 || len(images[0].Layers) != len(a.Layers) {
			return fmt.Errorf("%s is not what it was when it was resolved", file)
		}
		for i, l := range a.Layers {
			want[m.file(images[0].Layers[i])] = l
		}
	} else {
		for _, l := range a.Layers {
			want[m.file("blobs/sha256/"+strings.TrimPrefix(l.Digest, "sha256:"))] = l
		}
	}
	return s.importMembers(ctx, file, want)
}

func (s *Sources) importMembers(ctx context.Context, file string, want map[string]Layer) error {
	_, err := scan(ctx, file, s.lim, func(name string, h *tar.Header, r io.Reader) error {
		l, ok := want[name]
		if !ok || h.Typeflag != tar.TypeReg {
			return nil
		}
		if b, err := s.cached(ctx, l.Digest, l.Size); b != nil || err != nil {
			return err
		}
		return s.importBlob(ctx, l.Digest, l.Size, r)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
