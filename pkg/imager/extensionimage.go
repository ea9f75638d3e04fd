package imager

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/preflight"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// Checked is an extension that was looked into for one architecture.
type Checked struct {
	Arch     string
	Manifest extension.Manifest
	Findings []extension.Finding
}

// CheckExtension finds what is wrong with an extension, wherever it lies.
func CheckExtension(ctx context.Context, src *source.Sources, ref source.Ref, f talos.Facts) (*Checked, error) {
	a, err := src.Resolve(ctx, ref, f.Arch)
	if err != nil {
		return nil, err
	}
	c := &Checked{Arch: f.Arch}
	err = withSpool(src, func(spool source.Spool) error {
		t, err := src.RawTree(ctx, a, nil, spool)
		if err != nil {
			return err
		}
		e, err := extension.Load(t)
		if err != nil {
			return fmt.Errorf("%s: %w", ref, err)
		}
		c.Manifest = e.Manifest
		c.Findings, err = examine(e, f)
		return err
	})
	return c, err
}

// alone are the codes of what preflight can find in an extension without the Talos that it will lie upon.
var alone = []string{preflight.CodeMachine, preflight.CodeELFMachine, preflight.CodeELFDamaged}

// examine finds what is wrong with an extension by itself: its contents, and programs for another architecture.
func examine(e *extension.Extension, f talos.Facts) ([]extension.Finding, error) {
	contents, err := preflight.ReadExtension(e)
	if err != nil {
		return nil, err
	}
	found := e.Check(f)
	for _, p := range preflight.Check(preflight.Target{Facts: f, Extensions: []preflight.Extension{{Name: e.Manifest.Metadata.Name, Contents: contents}}}) {
		if slices.Contains(alone, p.Code) {
			found = append(found, p.Finding)
		}
	}
	return found, nil
}

// ExtensionImage is the image of an extension: one layer with manifest.yaml and rootfs for each architecture. The same content gives the same
// bytes: owners are 0:0, every time is the epoch.
type ExtensionImage struct {
	Name string
	// Tag is the profile's, or one that only this machine knows.
	Tag string
	// Checked are the extension's manifest and findings by architecture; none of them is an error.
	Checked []Checked

	pushable bool
	images   []*ociImage
	spools   []*os.File
}

// PackOptions are what an extension's image depends on besides the profile.
type PackOptions struct {
	Architectures []string
	Epoch         time.Time
	Sources       *source.Sources
}

// PackExtension makes the image of an extension that the profile declares as a directory, or writes. Close it.
func PackExtension(ctx context.Context, p *profile.Profile, e *profile.Extension, o PackOptions) (*ExtensionImage, error) {
	x := &ExtensionImage{Name: e.Name}
	for _, arch := range o.Architectures {
		if err := x.add(ctx, p, e, arch, o); err != nil {
			if len(o.Architectures) > 1 {
				err = fmt.Errorf("%w; -arch=%s or -arch=%s makes it for one alone", err, talos.AMD64, talos.ARM64)
			}
			return nil, errors.Join(err, x.Close())
		}
	}
	x.Tag = e.For(o.Architectures[0]).Tag
	x.pushable = x.Tag != ""
	if !x.pushable {
		x.Tag = localHost + "extension/" + strings.Trim(strings.ToLower(e.Name), "-_") + ":" + tagOf(x.Checked[0].Manifest.Metadata.Version)
	}
	return x, nil
}

// Close frees what the image's layers lie in.
func (x *ExtensionImage) Close() (err error) {
	for _, f := range x.spools {
		err = errors.Join(err, f.Close())
	}
	return err
}

func (x *ExtensionImage) add(ctx context.Context, p *profile.Profile, e *profile.Extension, arch string, o PackOptions) error {
	facts, err := p.Facts("metal", arch)
	if err != nil {
		return err
	}
	if s := e.For(arch); s != nil && !s.Local() {
		return fmt.Errorf("extension %s: it is an image already: an image is made of a directory, or of what the profile says itself", e.Name)
	}
	ref, err := Ref(e, arch)
	if err != nil {
		return err
	}
	a, err := o.Sources.Resolve(ctx, ref, arch)
	if err != nil {
		return err
	}
	t, err := o.Sources.RawTree(ctx, a, nil, nil)
	if err != nil {
		return err
	}
	ext, err := extension.Load(t)
	if err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	c := Checked{Arch: arch, Manifest: ext.Manifest}
	if c.Findings, err = examine(ext, facts); err != nil {
		return err
	}
	var errs []error
	for _, f := range c.Findings {
		if f.Severity == extension.Error {
			errs = append(errs, fmt.Errorf("extension %s for %s: %s: %s", e.Name, arch, f.Code, f.Text()))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	x.Checked = append(x.Checked, c)
	img, err := x.image(ctx, t, arch, o)
	if err == nil {
		x.images = append(x.images, img)
	}
	return err
}

// image makes the image of one architecture.
func (x *ExtensionImage) image(ctx context.Context, t *tree.Tree, arch string, o PackOptions) (*ociImage, error) {
	layer, diffID, err := x.layer(ctx, t, o)
	if err != nil {
		return nil, err
	}
	at := v1.Time{Time: o.Epoch.UTC()}
	config, err := json.Marshal(v1.ConfigFile{
		Architecture: arch, OS: "linux", Created: at, RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{diffID}},
		History: []v1.History{{Created: at, CreatedBy: "talosmith extension " + x.Name}},
	})
	if err != nil {
		return nil, err
	}
	img := &ociImage{arch: arch, config: newBlob(types.OCIConfigJSON, config), layers: []blob{layer}}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: img.config.Descriptor, Layers: []v1.Descriptor{layer.Descriptor},
	})
	if err != nil {
		return nil, err
	}
	img.manifest = newBlob(types.OCIManifestSchema1, manifest)
	img.manifest.Descriptor.Platform = &v1.Platform{Architecture: arch, OS: "linux"}
	return img, nil
}

// layer writes a tree as a compressed tar archive into a spool.
func (x *ExtensionImage) layer(ctx context.Context, t *tree.Tree, o PackOptions) (b blob, diffID v1.Hash, err error) {
	f, err := o.Sources.Temp()
	if err != nil {
		return b, diffID, err
	}
	x.spools = append(x.spools, f)
	compressed, plain := sha256.New(), sha256.New()
	z, err := gzip.NewWriterLevel(io.MultiWriter(f, compressed), gzip.BestCompression)
	if err != nil {
		return b, diffID, err
	}
	if err := writeTar(ctx, io.MultiWriter(z, plain), t, o.Epoch); err != nil {
		return b, diffID, err
	}
	if err := z.Close(); err != nil {
		return b, diffID, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	sum := func(digest []byte) v1.Hash { return sha256Hash(hex.EncodeToString(digest)) }
	b = blob{v1.Descriptor{MediaType: types.OCILayer, Size: size, Digest: sum(compressed.Sum(nil))}, tree.Section(f, 0, size)}
	return b, sum(plain.Sum(nil)), err
}

// writeTar writes a tree of directories, files and symbolic links.
func writeTar(ctx context.Context, w io.Writer, t *tree.Tree, epoch time.Time) error {
	tw := tar.NewWriter(w)
	for n := range t.All() {
		if err := ctx.Err(); err != nil {
			return err
		}
		h := &tar.Header{Name: n.Path, Mode: int64(n.Mode.Perm()), ModTime: epoch, Typeflag: tar.TypeReg, Size: n.Size()}
		switch n.Mode.Type() {
		case fs.ModeDir:
			if n.Path == tree.Root {
				continue
			}
			h.Typeflag, h.Name = tar.TypeDir, n.Path+"/"
		case fs.ModeSymlink:
			h.Typeflag, h.Linkname = tar.TypeSymlink, n.Link
		}
		err := tw.WriteHeader(h)
		if err == nil && n.Content != nil {
			err = tree.Copy(tw, n.Content)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", n.Path, err)
		}
	}
	return tw.Close()
}

var notInTags = regexp.MustCompile(`[^A-Za-z0-9_.-]`)

// tagOf makes a tag of a version: "1.4.0+corp" can't be one.
func tagOf(version string) string {
	const longest = 128
	tag := strings.TrimLeft(notInTags.ReplaceAllString(version, "_"), ".-")
	if tag == "" {
		return "latest"
	}
	return tag[:min(len(tag), longest)]
}

// ExtensionFile is an archive of an extension's image.
type ExtensionFile struct {
	Name   string // with the folder
	Size   int64
	Digest string // of the manifest, or of the index
}

// Write writes an archive for each architecture, an OCI layout that docker loads, too; and, if there are several, an OCI layout of all.
func (x *ExtensionImage) Write(ctx context.Context, dir string) (files []ExtensionFile, err error) {
	write := func(name string, images []*ociImage, top blob) error {
		w, err := createOut(ctx, filepath.Join(dir, name))
		if err != nil {
			return err
		}
		is, err := writeArchive(w, images, top, x.Tag)
		if err != nil {
			return errors.Join(fmt.Errorf("write %s: %w", w.name, err), w.discard())
		}
		_, _, err = w.commit(is.size)
		files = append(files, ExtensionFile{w.name, is.size, is.digest})
		return err
	}
	for _, img := range x.images {
		if err := write(x.Name+"-"+img.arch+"-extension.tar", []*ociImage{img}, img.manifest); err != nil {
			return files, err
		}
	}
	if len(x.images) == 1 {
		return files, nil
	}
	index, err := newIndex(x.images)
	if err != nil {
		return files, err
	}
	return files, write(x.Name+"-extension.oci.tar", x.images, index.blob)
}

// Push uploads the image to its tag and returns its digest.
func (x *ExtensionImage) Push(ctx context.Context, src *source.Sources) (digest string, err error) {
	if !x.pushable {
		return "", fmt.Errorf("extension %s: nowhere to push to: add a tag to its block, such as tag = \"registry.example.com/talos/%s\"",
			x.Name, strings.TrimPrefix(x.Tag, localHost+"extension/"))
	}
	return push(ctx, Options{Sources: src}, x.Tag, x.images)
}
