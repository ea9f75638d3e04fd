package sandbox

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/talosmith/talosmith/pkg/tree"
)

// image is what is published under a tag.
type image struct {
	repository, tag string
	arch            string // default: the release's
	layers          []imageLayer
	config          v1.Config
	docker          bool // Docker's media types; gzip only
	index           bool // behind an index with one entry
}

type imageLayer struct {
	files *tree.Tree
	zstd  bool
}

// published is an entry of the release's index: what the registry serves for a tag, and the manifest that it leads to.
type published struct {
	Repository, Tag string
	Manifests       []v1.Descriptor // the tag's first
}

// blobs writes the content-addressed files of a release.
type blobs struct{ dir, arch string }

func blobPath(dir string, h v1.Hash) string { return filepath.Join(dir, "blobs", h.Hex) }

// write stores what produce writes.
func (b blobs) write(mediaType types.MediaType, produce func(io.Writer) error) (v1.Descriptor, error) {
	f, err := os.CreateTemp(b.dir, "blob-")
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer os.Remove(f.Name()) // where it was not renamed
	sum := sha256.New()
	err = produce(io.MultiWriter(f, sum))
	size, seekErr := f.Seek(0, io.SeekCurrent)
	if err := errors.Join(err, seekErr, f.Close()); err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{MediaType: mediaType, Size: size, Digest: hashOf(sum.Sum(nil))}
	return d, os.Rename(f.Name(), blobPath(b.dir, d.Digest))
}

func hashOf(sum []byte) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sum)} }

func (b blobs) writeJSON(mediaType types.MediaType, v any) (v1.Descriptor, error) {
	return b.write(mediaType, func(w io.Writer) error {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	})
}

// publish writes an image's blobs.
func (b blobs) publish(i image) (published, error) {
	p, err := b.publishImage(i)
	if err != nil {
		return published{}, fmt.Errorf("image %s:%s: %w", i.repository, i.tag, err)
	}
	return p, nil
}

func (b blobs) publishImage(i image) (published, error) {
	kinds := mediaTypes(i.docker)
	arch := cmp.Or(i.arch, b.arch)
	config := v1.ConfigFile{Architecture: arch, OS: "linux", Created: v1.Time{Time: epoch.UTC()}, Config: i.config, RootFS: v1.RootFS{Type: "layers"}}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: kinds.manifest}
	for _, l := range i.layers {
		d, diffID, err := b.writeLayer(l, kinds)
		if err != nil {
			return published{}, err
		}
		manifest.Layers = append(manifest.Layers, d)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
		config.History = append(config.History, v1.History{Created: config.Created, CreatedBy: "talosmith stand-in"})
	}
	var err error
	if manifest.Config, err = b.writeJSON(kinds.config, config); err != nil {
		return published{}, err
	}
	d, err := b.writeJSON(kinds.manifest, manifest)
	if err != nil {
		return published{}, err
	}
	p := published{Repository: i.repository, Tag: i.tag, Manifests: []v1.Descriptor{d}}
	if !i.index {
		return p, nil
	}
	entry := d
	entry.Platform = &v1.Platform{OS: "linux", Architecture: arch}
	top, err := b.writeJSON(kinds.index, v1.IndexManifest{SchemaVersion: 2, MediaType: kinds.index, Manifests: []v1.Descriptor{entry}})
	p.Manifests = []v1.Descriptor{top, d}
	return p, err
}

// publishIndex writes the blobs of an image for several architectures.
func (b blobs) publishIndex(images []image) (published, error) {
	p := published{Repository: images[0].repository, Tag: images[0].tag, Manifests: make([]v1.Descriptor, 1)}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for _, i := range images {
		one, err := b.publish(i)
		if err != nil {
			return p, err
		}
		d := one.Manifests[0]
		p.Manifests = append(p.Manifests, d)
		d.Platform = &v1.Platform{OS: "linux", Architecture: i.arch}
		index.Manifests = append(index.Manifests, d)
	}
	var err error
	p.Manifests[0], err = b.writeJSON(types.OCIImageIndex, index)
	return p, err
}

type mediaTypeSet struct {
	index, manifest, config, layer types.MediaType
}

func mediaTypes(docker bool) mediaTypeSet {
	if docker {
		return mediaTypeSet{types.DockerManifestList, types.DockerManifestSchema2, types.DockerConfigJSON, types.DockerLayer}
	}
	return mediaTypeSet{types.OCIImageIndex, types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayer}
}

// writeLayer stores a tar archive, compressed; diffID is the archive's own digest.
func (b blobs) writeLayer(l imageLayer, kinds mediaTypeSet) (d v1.Descriptor, diffID v1.Hash, err error) {
	kind := kinds.layer
	if l.zstd {
		kind = types.OCILayerZStd
	}
	sum := sha256.New()
	d, err = b.write(kind, func(w io.Writer) error {
		var z io.WriteCloser
		var err error
		if l.zstd {
			z, err = zstd.NewWriter(w)
		} else {
			z, err = gzip.NewWriterLevel(w, gzip.DefaultCompression)
		}
		if err != nil {
			return err
		}
		return errors.Join(writeTar(io.MultiWriter(z, sum), l.files), z.Close())
	})
	return d, hashOf(sum.Sum(nil)), err
}

// writeTar writes a tree as container layers have it: names without "./", extended attributes in PAX records.
func writeTar(w io.Writer, t *tree.Tree) error {
	tw := tar.NewWriter(w)
	for n := range t.All() {
		if n.Path == tree.Root {
			continue
		}
		if err := writeTarNode(tw, n); err != nil {
			return fmt.Errorf("%s: %w", n.Path, err)
		}
	}
	return tw.Close()
}

func writeTarNode(tw *tar.Writer, n tree.Node) error {
	h := &tar.Header{Name: n.Path, Mode: int64(n.Mode.Perm()), ModTime: n.ModTime}
	switch {
	case n.Mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, n.Path+"/"
	case n.Mode.Type() == fs.ModeSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, n.Link
	case n.IsHardLink():
		h.Typeflag, h.Linkname = tar.TypeLink, n.Link
	default:
		h.Typeflag, h.Size = tar.TypeReg, n.Size()
	}
	if len(n.Xattrs) > 0 {
		h.PAXRecords = map[string]string{}
		for name, value := range n.Xattrs {
			h.PAXRecords["SCHILY.xattr."+name] = string(value)
		}
	}
	if err := tw.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
		return err
	}
	return tree.Copy(tw, n.Content)
}

// indexName is the file that makes a release complete.
const indexName = "index.json"

func writeIndex(dir string, all []published) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "\t")
	if err := e.Encode(all); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, indexName), b.Bytes(), 0o644)
}
