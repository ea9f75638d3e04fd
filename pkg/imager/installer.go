package imager

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// installerVersion is part of the recipes of installer images: raise it when the bytes change.
const installerVersion = "2"

// localHost stands where a tag's registry would: what the profile gives no tag can be loaded, but not pushed.
const localHost = "talosmith.local/"

func (t *target) installerRecipe(ctx context.Context, out profile.Output) (recipe, error) {
	assets := t.ukiRecipe
	if !t.Facts.SDBootUEFI { // it has no UKI
		assets = func(ctx context.Context, _ profile.Output) (recipe, error) { return t.initramfsRecipe(ctx) }
	}
	r, err := assets(ctx, out)
	if err != nil {
		return nil, err
	}
	return recipe{"installer", installerVersion, r, t.epoch.Unix(), t.Installer.Manifest, digests(t.Installer), out.Tag, t.Facts.InstallerFiles(), t.overlayLayerRecipe()}, nil
}

// ociImage is an image whose blobs are known: manifest, config, and layers that are read when they are written.
type ociImage struct {
	arch     string
	manifest blob
	config   blob
	layers   []blob
}

// blob is content with its descriptor.
type blob struct {
	Descriptor v1.Descriptor
	tree.Blob
}

func newBlob(media types.MediaType, content []byte) blob {
	sum := sha256.Sum256(content)
	return blob{v1.Descriptor{
		MediaType: media, Size: int64(len(content)), Digest: sha256Hash(hex.EncodeToString(sum[:])),
	}, tree.Bytes(content)}
}

// installer composes the installer image: the base's layers and one with the boot assets. That layer is a gzip stream that does not
// compress: what is in it is compressed already. Upstream gives its files the mode 0000; these can be read by anyone.
func (t *target) installer(ctx context.Context, out profile.Output) (*ociImage, error) {
	var files []tree.Node
	for _, f := range t.Facts.InstallerFiles() {
		var content tree.Blob
		var err error
		switch f.Part {
		case talos.PartUKI:
			content, _, err = t.uki(ctx, out)
		case talos.PartSDBoot:
			content, err = t.asset(ctx, t.Facts.SDBoot)
		case talos.PartKernel:
			content, err = t.asset(ctx, t.Facts.Kernel)
		case talos.PartInitramfs:
			content, err = t.initramfs(ctx)
		}
		if err != nil {
			return nil, err
		}
		files = append(files, tree.Node{Path: f.Path, Mode: 0o644, Content: content})
	}
	content, err := tarBlob(files, time.Unix(0, 0))
	if err != nil {
		return nil, err
	}
	assets, err := newLayer(content, "boot assets with extensions")
	if err != nil {
		return nil, err
	}
	overlay, err := t.overlayLayer(ctx)
	if err != nil {
		return nil, err
	}
	return t.assembleInstaller(ctx, append([]ociLayer{assets}, overlay...))
}

// ociLayer is a layer that is made here.
type ociLayer struct {
	blob
	diffID v1.Hash
	by     string
}

// newLayer makes a layer of an archive: a gzip stream that does not compress.
func newLayer(archive tree.Blob, by string) (ociLayer, error) {
	diffID, err := tree.SHA256(archive)
	if err != nil {
		return ociLayer{}, err
	}
	z := stored{archive}
	digest, err := tree.SHA256(z)
	return ociLayer{blob{v1.Descriptor{MediaType: types.OCILayer, Size: z.Size(), Digest: sha256Hash(digest)}, z}, sha256Hash(diffID), by}, err
}

// withoutAssets is the image that an installer is built on. Upstream's second layer is the stock boot assets, which ours replace.
func withoutAssets(base *source.Artifact) *source.Artifact {
	if len(base.Layers) != 2 {
		return base
	}
	first := *base
	first.Layers = base.Layers[:1]
	return &first
}

func sha256Hash(digits string) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: digits} }

func (t *target) assembleInstaller(ctx context.Context, ours []ociLayer) (*ociImage, error) {
	base := withoutAssets(t.Installer)
	config := v1.ConfigFile{Architecture: t.Arch, OS: "linux", Created: v1.Time{Time: t.epoch.UTC()}, RootFS: v1.RootFS{Type: "layers"}}
	if base.Config != nil {
		config.Config = *base.Config.Config.DeepCopy()
	}
	img := &ociImage{arch: t.Arch}
	for i, l := range base.Layers {
		content, err := t.o.Sources.Layer(ctx, base, i)
		if err != nil {
			return nil, err
		}
		digest, err := v1.NewHash(l.Digest)
		if err != nil {
			return nil, err
		}
		diffID, err := v1.NewHash(l.DiffID)
		if err != nil {
			return nil, err
		}
		img.layers = append(img.layers, blob{v1.Descriptor{MediaType: ociLayerType(l.MediaType), Size: l.Size, Digest: digest}, content})
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
		config.History = append(config.History, v1.History{Created: config.Created, CreatedBy: t.Facts.InstallerBase + "@" + base.Manifest})
	}
	for _, l := range ours {
		img.layers = append(img.layers, l.blob)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diffID)
		config.History = append(config.History, v1.History{Created: config.Created, CreatedBy: l.by})
	}
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	img.config = newBlob(types.OCIConfigJSON, text)
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: img.config.Descriptor}
	for _, l := range img.layers {
		manifest.Layers = append(manifest.Layers, l.Descriptor)
	}
	if text, err = json.Marshal(manifest); err != nil {
		return nil, err
	}
	img.manifest = newBlob(types.OCIManifestSchema1, text)
	img.manifest.Descriptor.Platform = &v1.Platform{Architecture: t.Arch, OS: "linux"}
	return img, nil
}

// ociLayerType is the OCI name of a layer's media type; the bytes are the same.
func ociLayerType(media string) types.MediaType {
	switch types.MediaType(media) {
	case types.DockerLayer:
		return types.OCILayer
	case types.DockerUncompressedLayer:
		return types.OCIUncompressedLayer
	}
	return types.MediaType(media)
}

// writeInstaller writes an archive that is an OCI layout and what `docker save` writes at once.
func (t *target) writeInstaller(ctx context.Context, w io.WriterAt, out profile.Output) (written, error) {
	img, err := t.installer(ctx, out)
	if err != nil {
		return written{}, err
	}
	return writeArchive(w, []*ociImage{img}, img.manifest, out.Tag)
}

func writeArchive(w io.WriterAt, images []*ociImage, top blob, tag string) (written, error) {
	archive, err := ociArchive(images, top, tag)
	if err != nil {
		return written{}, err
	}
	announce(w, archive.Size())
	n, err := tree.CopyAt(w, 0, archive)
	return written{size: n, digest: top.Descriptor.Digest.String()}, err
}

// blobPath is where an OCI layout keeps a blob.
func blobPath(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// ociArchive lays out images as an OCI layout in a tar, with what top describes as its one reference. A single image can be loaded
// by docker, too.
func ociArchive(images []*ociImage, top blob, tag string) (tree.Blob, error) {
	_, short, _ := cutTag(tag)
	ref := top.Descriptor
	ref.Annotations = map[string]string{
		"org.opencontainers.image.ref.name": short,
		"io.containerd.image.name":          tag, // what containerd and docker name the image
	}
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{ref}})
	if err != nil {
		return nil, err
	}
	blobs := []blob{top}
	type dockerImage struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var docker []dockerImage
	for _, img := range images {
		blobs = append(blobs, img.manifest, img.config)
		blobs = append(blobs, img.layers...)
		d := dockerImage{Config: blobPath(img.config.Descriptor.Digest), RepoTags: []string{tag}}
		for _, l := range img.layers {
			d.Layers = append(d.Layers, blobPath(l.Descriptor.Digest))
		}
		docker = append(docker, d)
	}
	files := []tree.Node{
		{Path: "oci-layout", Content: tree.String(`{"imageLayoutVersion":"1.0.0"}`)},
		{Path: "index.json", Content: tree.Bytes(index)},
	}
	if len(docker) == 1 {
		text, err := json.Marshal(docker)
		if err != nil {
			return nil, err
		}
		files = append(files, tree.Node{Path: "manifest.json", Content: tree.Bytes(text)})
	}
	seen := map[string]bool{}
	for _, b := range blobs {
		if p := blobPath(b.Descriptor.Digest); !seen[p] {
			seen[p] = true
			files = append(files, tree.Node{Path: p, Content: b.Blob})
		}
	}
	for i := range files {
		files[i].Mode = 0o644
	}
	return tarBlob(files, time.Unix(0, 0))
}

// cutTag splits a reference at its tag.
func cutTag(ref string) (repository, tag string, ok bool) {
	i := len(ref) - 1
	for i >= 0 && ref[i] != ':' && ref[i] != '/' {
		i--
	}
	if i < 0 || ref[i] == '/' {
		return ref, "latest", false
	}
	return ref[:i], ref[i+1:], true
}

// tarBlob is a tar archive (USTAR, PAX where a size asks for it) of files and directories in the order given: composed, not copied.
func tarBlob(files []tree.Node, modTime time.Time) (tree.Blob, error) {
	var parts []tree.Blob
	for _, f := range files {
		var head bytes.Buffer
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Mode: int64(f.Mode.Perm()), Size: f.Size(), ModTime: modTime}
		if f.Mode.IsDir() {
			h.Typeflag, h.Name = tar.TypeDir, f.Path+"/"
		}
		if err := tar.NewWriter(&head).WriteHeader(h); err != nil {
			return nil, fmt.Errorf("tar %s: %w", f.Path, err)
		}
		parts = append(parts, tree.Bytes(head.Bytes()))
		if size := f.Size(); size > 0 {
			parts = append(parts, f.Content, tree.Zeros(roundUp(size, tarBlock)-size))
		}
	}
	return tree.Concat(append(parts, tree.Bytes(slices.Clone(tarEnd[:])))...), nil
}

// tarBlock is what headers and contents fill up, in bytes; two blocks of zeros end an archive.
const tarBlock = 512

var tarEnd [2 * tarBlock]byte
