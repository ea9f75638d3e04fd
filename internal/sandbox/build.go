package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"gopkg.in/yaml.v3"

	"github.com/talosmith/talosmith/pkg/tree"
)

// build makes a release in an empty directory: blobs/, index.json (last), vmlinuz and initramfs.xz.
func build(ctx context.Context, o Options, p *parts, dir string) error {
	scratch, err := os.MkdirTemp(dir, "scratch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	if err := os.Mkdir(filepath.Join(dir, "blobs"), 0o755); err != nil {
		return err
	}
	o.log("compiling the stand-in's init, service and installer")
	own, err := buildPrograms(ctx, scratch)
	if err != nil {
		return err
	}
	o.log("unpacking the kernel")
	kernel, err := p.open("kernel")
	if err != nil {
		return err
	}
	m, err := readModules(kernel, p.release)
	if err != nil {
		return err
	}
	o.log("writing rootfs.sqsh and the initramfs")
	root, err := rootTree(p, m, o.Version, own.init)
	if err != nil {
		return err
	}
	rootfs, err := writeSquashfs(filepath.Join(scratch, "rootfs.sqsh"), root)
	if err != nil {
		return err
	}
	initramfs, err := writeInitramfs(filepath.Join(dir, "initramfs.xz"), m, own.init, rootfs)
	if err != nil {
		return err
	}
	vmlinuz, ok := kernel.Lookup("boot/vmlinuz-" + p.release)
	if !ok {
		return fmt.Errorf("the kernel package of Debian has no boot/vmlinuz-%s", p.release)
	}
	if err := writeFile(filepath.Join(dir, "vmlinuz"), vmlinuz.Content); err != nil {
		return err
	}
	o.log("packing images")
	var all []published
	b := blobs{dir}
	publish := func(i image, err error) error {
		if err != nil {
			return fmt.Errorf("image %s: %w", i.repository, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		done, err := b.publish(i)
		all = append(all, done)
		return err
	}
	for _, e := range extensions(p, m, own) {
		if err := publish(e.image()); err != nil {
			return err
		}
	}
	if err := publish(catalogue(o.Version, extensions(p, m, own), all)); err != nil {
		return err
	}
	if err := publish(imagerImage(o.Version, p, vmlinuz.Content, initramfs)); err != nil {
		return err
	}
	if err := publish(installerBase(o.Version, own)); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(scratch), writeIndex(dir, all))
}

func writeFile(name string, content tree.Blob) error {
	r, err := content.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

// namespace is that of the official images.
const namespace = "siderolabs/"

// imagerImage has the boot assets of the release.
func imagerImage(version string, p *parts, vmlinuz, initramfs tree.Blob) (image, error) {
	i := image{repository: namespace + "imager", tag: version, index: true, config: v1.Config{Entrypoint: []string{"/bin/imager"}}}
	efi, err := p.open("systemd-boot-efi")
	if err != nil {
		return i, err
	}
	grub, err := p.open("grub-pc-bin")
	if err != nil {
		return i, err
	}
	var assets, tools files
	assets.blob("usr/install/amd64/vmlinuz", 0o644, vmlinuz)
	assets.blob("usr/install/amd64/initramfs.xz", 0o644, initramfs)
	assets.copy(efi, "usr/lib/systemd/boot/efi/linuxx64.efi.stub", "usr/install/amd64/systemd-stub.efi")
	assets.copy(efi, "usr/lib/systemd/boot/efi/systemd-bootx64.efi", "usr/install/amd64/systemd-boot.efi")
	tools.copy(grub, "usr/lib/grub/i386-pc", "usr/lib/grub/i386-pc")
	tools.text("etc/modules.d/10-extra-modules.conf", "search extras built-in\n")
	return i.with(imageLayer{zstd: true}, &tools, imageLayer{}, &assets)
}

// installerBase is what installer images are made on.
func installerBase(version string, own *programs) (image, error) {
	i := image{repository: namespace + "installer-base", tag: version, docker: true, index: true, config: v1.Config{
		Entrypoint: []string{"/bin/installer"},
		Env:        []string{"PATH=/bin:/usr/bin", "VERSION=" + version, "TARGETARCH=amd64"},
		Labels:     map[string]string{"alpha.talos.dev/version": version, "org.opencontainers.image.source": "https://github.com/talosmith/talosmith"},
	}}
	var f files
	f.blob("bin/installer", 0o755, own.installer)
	f.dirs("etc", "tmp", "usr")
	return i.with(imageLayer{}, &f)
}

// catalogue is the list of the release's extensions.
func catalogue(version string, extensions []extension, all []published) (image, error) {
	i := image{repository: namespace + "extensions", tag: version}
	type description struct {
		Author      string `yaml:"author"`
		Description string `yaml:"description"`
	}
	var lines []string
	descriptions := map[string]description{}
	for n, e := range extensions {
		line := fmt.Sprintf("ghcr.io/%s:%s@%s", all[n].Repository, all[n].Tag, all[n].Manifests[0].Digest)
		lines = append(lines, line)
		descriptions[line] = description{author, e.description}
	}
	slices.Sort(lines)
	text, err := yaml.Marshal(descriptions)
	if err != nil {
		return i, err
	}
	var f files
	f.text("image-digests", strings.Join(lines, "\n")+"\n")
	f.blob("descriptions.yaml", 0o644, tree.Bytes(text))
	return i.with(imageLayer{}, &f)
}

// with adds layers: kinds, each followed by its files.
func (i image) with(kindsAndFiles ...any) (image, error) {
	for n := 0; n+1 < len(kindsAndFiles); n += 2 {
		l := kindsAndFiles[n].(imageLayer)
		var err error
		if l.files, err = kindsAndFiles[n+1].(*files).tree(); err != nil {
			return i, err
		}
		i.layers = append(i.layers, l)
	}
	return i, nil
}
