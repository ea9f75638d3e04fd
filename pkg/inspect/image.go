package inspect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// openDir opens the folder of an OCI layout or of an extension.
func (a *Artefact) openDir(ctx context.Context, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "oci-layout")); err == nil {
		return a.openArchive(ctx, source.Ref{OCILayout: dir})
	}
	if _, err := os.Stat(filepath.Join(dir, "manifest.yaml")); err == nil {
		return a.openArchive(ctx, source.Ref{Path: dir})
	}
	return errors.New("a folder that is neither an OCI layout (it has no oci-layout) nor an extension (it has no manifest.yaml)")
}

// selected tells "FILE:TAG" and "FILE@DIGEST" of a file or folder that is there.
func selected(ref string) bool {
	file, selector := source.SplitSelector(ref)
	_, err := os.Stat(file)
	return selector != "" && err == nil
}

// openArchive opens an image that is a file or folder of this machine. It goes through a cache of its own, which Close removes.
func (a *Artefact) openArchive(ctx context.Context, ref source.Ref) error {
	cache, err := os.MkdirTemp(a.o.Temp, "talosmith-inspect-*")
	if err != nil {
		return err
	}
	a.closers = append(a.closers, func() error { return os.RemoveAll(cache) })
	return a.openImage(ctx, source.New(source.Options{Cache: cache}), ref)
}

// openRegistry opens an image of a registry. What is no file and names no host is a misspelt file, not Docker Hub's.
func (a *Artefact) openRegistry(ctx context.Context, ref string) error {
	host, _, ok := strings.Cut(ref, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" || host == "." || host == ".." {
		return errors.New("no such file; a registry reference begins with a host, as in ghcr.io/siderolabs/installer:v1.13.9")
	}
	if a.o.Sources == nil {
		return errors.New("no such file, and registries are not asked")
	}
	return a.openImage(ctx, a.o.Sources, source.Ref{Image: ref})
}

func (a *Artefact) resolve(ctx context.Context, s *source.Sources, ref source.Ref) (*source.Artifact, error) {
	if a.o.Arch != "" {
		return s.Resolve(ctx, ref, a.o.Arch)
	}
	image, err := s.Resolve(ctx, ref, talos.AMD64)
	if err == nil || ctx.Err() != nil {
		return image, err
	}
	image, err2 := s.Resolve(ctx, ref, talos.ARM64)
	if err2 != nil {
		return nil, err // the second one says the same, or less
	}
	return image, nil
}

// keepBoot are the files of an image that count: boot assets, an overlay, an extension.
func keepBoot(p string) bool {
	return p == "manifest.yaml" || strings.HasPrefix(p, "rootfs/") || strings.HasPrefix(p, "usr/install/") || strings.HasPrefix(p, "overlay/")
}

func (a *Artefact) openImage(ctx context.Context, s *source.Sources, ref source.Ref) error {
	image, err := a.resolve(ctx, s, ref)
	if err != nil {
		return err
	}
	a.Report.Kind = KindImage
	a.Report.Architecture = image.Arch
	info := &Image{Manifest: image.Manifest, Layers: []ImageLayer{}}
	if image.Index != image.Manifest {
		info.Index = image.Index
	}
	size := int64(0)
	for _, l := range image.Layers {
		info.Layers = append(info.Layers, ImageLayer{l.Digest, l.MediaType, l.Size})
		size += l.Size
	}
	if a.Report.Size == 0 {
		a.Report.Size = size
	}
	a.Report.Image = info
	version := ""
	if image.Config != nil {
		info.Labels = image.Config.Config.Labels
		version = info.Labels["alpha.talos.dev/version"]
		if slices.Contains(image.Config.Config.Entrypoint, "/bin/installer") {
			a.Report.Kind = KindInstaller
		}
	}
	f, err := a.temp()
	if err != nil {
		return err
	}
	keep := keepBoot
	if a.o.AllFiles {
		keep = nil
	}
	t, err := s.RawTree(ctx, image, keep, f)
	if err != nil {
		return err
	}
	if err := a.addVolume(ctx, "image", t); err != nil {
		return err
	}
	if n, ok := fileIn(t, "manifest.yaml"); ok {
		return a.addExtensionImage(n, t, size)
	}
	if err := a.addInstall(ctx, t, image.Arch); err != nil {
		return err
	}
	for i := range a.boots {
		if a.boots[i].talos == "" {
			a.boots[i].talos = version
		}
	}
	if len(a.boots) == 0 {
		a.Report.Talos = version
	}
	return nil
}

// addExtensionImage tells a system extension.
func (a *Artefact) addExtensionImage(n tree.Node, t *tree.Tree, size int64) error {
	a.Report.Kind = KindExtension
	text, err := readText(n.Content)
	if err != nil {
		return fmt.Errorf("manifest.yaml: %w", err)
	}
	m, err := extension.ParseManifest([]byte(text))
	if err != nil {
		return err
	}
	a.addPart("manifest.yaml", n.Content)
	x := newExtension(m.Metadata)
	x.Size = size
	x.Files, x.Unpacked = count(t)
	a.Report.Extensions = append(a.Report.Extensions, x)
	return nil
}

// addInstall adds the boot assets of an installer or an imager: siderolabs/talos pkg/machinery/constants.
func (a *Artefact) addInstall(ctx context.Context, t *tree.Tree, arch string) error {
	v := newVolume("image", t)
	dir := path.Join("usr/install", arch)
	for n := range t.Children(dir) {
		if !n.Mode.IsRegular() {
			continue
		}
		var err error
		switch n.Name() {
		case "vmlinuz.efi", "vmlinuz.efi.signed":
			a.Report.Kind = KindInstaller
			var c content
			if c, err = a.readerAt(ctx, n.Content); err == nil {
				err = a.addUKI(ctx, v.where(n.Path), c)
			}
		case "systemd-boot.efi":
			err = a.addLoader(ctx, v.where(n.Path), n.Content)
		case "vmlinuz":
			a.Report.Kind = KindInstaller
			err = a.addFiles(ctx, v, boot{}, n.Path, path.Join(dir, "initramfs.xz"))
		}
		if err != nil {
			a.problem("%s: %v", v.where(n.Path), err)
		}
	}
	if _, ok := t.Lookup(path.Join(dir, "systemd-stub.efi")); ok {
		a.Report.Kind = KindImager
	}
	return context.Cause(ctx)
}
