package sandbox

import (
	"context"
	"errors"
	"fmt"
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
	o.log("compiling the stand-in's init, service, installer and overlay")
	own, err := buildPrograms(ctx, p.arch, scratch)
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
	root, err := rootTree(p, m, own.init)
	if err != nil {
		return err
	}
	rootfs, err := p.writeSquashfs(filepath.Join(scratch, "rootfs.sqsh"), root)
	if err != nil {
		return err
	}
	initramfs, err := p.writeInitramfs(filepath.Join(dir, "initramfs.xz"), m, own.init, rootfs)
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
	b := blobs{dir, p.arch}
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
	boards, err := overlayImages(ctx, scratch)
	if err != nil {
		return err
	}
	overlay, err := b.publishIndex(boards)
	if err != nil {
		return err
	}
	all = append(all, overlay)
	if err := publish(overlayCatalogue(o.Version, overlay)); err != nil {
		return err
	}
	if err := publish(imagerImage(p, vmlinuz.Content, initramfs)); err != nil {
		return err
	}
	if err := publish(installerBase(p, own, vmlinuz.Content, initramfs)); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(scratch), writeIndex(dir, all))
}

func writeFile(name string, content tree.Blob) error {
	w, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(tree.Copy(w, content), w.Close())
}

// namespace is that of the official images.
const namespace = "siderolabs/"

// imagerImage has the boot assets of the release. It is for amd64, whatever its assets are for.
func imagerImage(p *parts, vmlinuz, initramfs tree.Blob) (image, error) {
	i := image{repository: namespace + "imager", tag: p.talos, arch: "amd64", index: true, config: v1.Config{Entrypoint: []string{"/bin/imager"}}}
	efi, err := p.open("systemd-boot-efi")
	if err != nil {
		return i, err
	}
	var assets, tools files
	assets.blob(p.install("vmlinuz"), 0o644, vmlinuz)
	assets.blob(p.install("initramfs.xz"), 0o644, initramfs)
	assets.copy(efi, "usr/lib/systemd/boot/efi/linux"+p.efi+".efi.stub", p.install("systemd-stub.efi"))
	assets.copy(efi, "usr/lib/systemd/boot/efi/systemd-boot"+p.efi+".efi", p.install("systemd-boot.efi"))
	for _, g := range p.grub {
		t, err := p.open(g.pkg)
		if err != nil {
			return i, err
		}
		tools.copy(t, "usr/lib/grub/"+g.dir, "usr/lib/grub/"+g.dir)
	}
	tools.text("etc/modules.d/10-extra-modules.conf", "search extras built-in\n")
	return i.with(imageLayer{zstd: true}, &tools, imageLayer{}, &assets)
}

// installerBase is what installer images are made on.
func installerBase(p *parts, own *programs, vmlinuz, initramfs tree.Blob) (image, error) {
	i := image{repository: namespace + p.installer, tag: p.talos, docker: true, index: true, config: v1.Config{
		Entrypoint: []string{"/bin/installer"},
		Env:        []string{"PATH=/bin:/usr/bin", "VERSION=" + p.talos, "TARGETARCH=" + p.arch},
		Labels:     map[string]string{"alpha.talos.dev/version": p.talos, "org.opencontainers.image.source": "https://github.com/talosmith/talosmith"},
	}}
	var f files
	f.blob("bin/installer", 0o755, own.installer)
	f.dirs("etc", "tmp", "usr")
	if p.installer == "installer-base" {
		return i.with(imageLayer{}, &f)
	}
	var assets files
	assets.blob(p.install("vmlinuz"), 0o644, vmlinuz)
	assets.blob(p.install("initramfs.xz"), 0o644, initramfs)
	return i.with(imageLayer{}, &f, imageLayer{}, &assets)
}

// catalogue is the list of the release's extensions.
func catalogue(version string, extensions []extension, all []published) (image, error) {
	i := image{repository: namespace + "extensions", tag: version, arch: "amd64"} // whatever they are for
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
