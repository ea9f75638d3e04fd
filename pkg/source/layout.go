package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// SplitSelector divides "PATH:TAG" or "PATH@DIGEST". What exists as it is written has no selector.
func SplitSelector(ref string) (file, selector string) {
	if _, err := os.Stat(ref); err == nil {
		return ref, ""
	}
	if i := strings.LastIndex(ref, "@sha256:"); i > 0 {
		return ref[:i], ref[i+1:]
	}
	if i := strings.LastIndexByte(ref, ':'); i > 0 && !strings.ContainsAny(ref[i:], `/\`) {
		return ref[:i], ref[i+1:]
	}
	return ref, ""
}

func (s *Sources) resolveLayout(ctx context.Context, ref, arch string) (*Artifact, error) {
	file, selector := SplitSelector(ref)
	docs, index, err := s.openLayout(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	a, err := layoutArtifact(ctx, docs, index, selector, arch, s.lim)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return a, nil
}

func (s *Sources) openLayout(ctx context.Context, file string) (documents, []byte, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, nil, err
	}
	if !st.IsDir() {
		m, err := readMembers(ctx, file, s.lim)
		if err == nil && !m.isLayout() {
			err = errors.New("no OCI layout: oci-layout and index.json are missing")
		}
		if err != nil {
			return nil, nil, err
		}
		return m, m.docs["index.json"], nil
	}
	dir := layoutDir(file)
	if _, err := dir.read("oci-layout"); err != nil {
		return nil, nil, fmt.Errorf("no OCI layout: %w", err)
	}
	index, err := dir.read("index.json")
	return dir, index, err
}

// layoutDir is an OCI layout's directory.
type layoutDir string

func (d layoutDir) read(name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(string(d), name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, name)
}

func (d layoutDir) document(_ context.Context, _, digest string) ([]byte, error) {
	if err := checkDigest(digest); err != nil {
		return nil, err
	}
	b, err := d.read(blobPath(digest))
	if err != nil {
		return nil, err
	}
	return checked(digest, b)
}

func blobPath(digest string) string {
	return filepath.Join("blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

// layoutArtifact picks what the selector says of a layout's index, or its only image, or takes the index as that of one image.
func layoutArtifact(ctx context.Context, docs documents, raw []byte, selector, arch string, lim Limits) (*Artifact, error) {
	index, err := parseIndex(raw)
	if err == nil && index == nil {
		err = errors.New("no list of manifests")
	}
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	if len(index.Manifests) > maxDescriptors {
		return nil, fmt.Errorf("index.json: more than %d manifests", maxDescriptors)
	}
	found := selectDescriptors(index.Manifests, selector)
	if selector != "" && len(found) == 0 {
		return nil, fmt.Errorf("%w: nothing is called %q; it has %s", ErrNotFound, printable(selector), names(index.Manifests))
	}
	if len(found) > 1 && selector == "" { // an index of one image's architectures, or several images?
		found = forPlatform(found, arch)
	}
	switch len(found) {
	case 1:
		return artifact(ctx, docs, found[0].Digest.String(), arch, lim)
	case 0:
		return nil, fmt.Errorf("no linux/%s in it; it has %s", arch, names(index.Manifests))
	}
	return nil, fmt.Errorf("%d images fit: choose one of a layout by PATH:TAG or PATH@DIGEST; it has %s", len(found), names(found))
}

// selectDescriptors returns what a tag or a digest names, everything for "", each digest once.
func selectDescriptors(all []v1.Descriptor, selector string) []v1.Descriptor {
	var found []v1.Descriptor
	seen := map[v1.Hash]bool{}
	for _, d := range all {
		if !seen[d.Digest] && (selector == "" || selector == d.Digest.String() || selector == tag(d)) {
			seen[d.Digest] = true
			found = append(found, d)
		}
	}
	return found
}

// tag is a descriptor's tag. Some tools write the whole reference.
func tag(d v1.Descriptor) string {
	n := d.Annotations["org.opencontainers.image.ref.name"]
	if i := strings.LastIndexByte(n, ':'); i >= 0 && !strings.Contains(n[i:], "/") {
		return n[i+1:]
	}
	return n
}

func forPlatform(all []v1.Descriptor, arch string) []v1.Descriptor {
	var found []v1.Descriptor
	for _, d := range all {
		if d.Platform == nil || d.Platform.OS == "linux" && d.Platform.Architecture == arch {
			found = append(found, d)
		}
	}
	return found
}

func names(all []v1.Descriptor) string {
	var list []string
	for _, d := range all {
		n := d.Digest.String()
		if t := tag(d); t != "" {
			n = ":" + t
		}
		if d.Platform != nil {
			n += " (" + d.Platform.String() + ")"
		}
		list = append(list, n)
	}
	if len(list) == 0 {
		return "no image"
	}
	return printable(strings.Join(list, ", "))
}

// importLayout puts a layout's layers into the cache.
func (s *Sources) importLayout(ctx context.Context, a *Artifact) error {
	file, _ := SplitSelector(a.Ref.OCILayout)
	st, err := os.Stat(file)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		want := map[string]Layer{}
		for _, l := range a.Layers {
			want["blobs/sha256/"+strings.TrimPrefix(l.Digest, "sha256:")] = l
		}
		return s.importMembers(ctx, file, want)
	}
	for _, l := range a.Layers {
		if err := s.importFile(ctx, filepath.Join(file, blobPath(l.Digest)), l); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

func (s *Sources) importFile(ctx context.Context, name string, l Layer) error {
	if b, err := s.cached(ctx, l.Digest, l.Size); b != nil || err != nil {
		return err
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: layer %s", ErrNotFound, l.Digest)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return s.importBlob(ctx, l.Digest, l.Size, f)
}
