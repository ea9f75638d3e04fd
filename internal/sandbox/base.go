package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"

	"github.com/talosmith/talosmith/pkg/squashfs"
	"github.com/talosmith/talosmith/pkg/tree"
)

// rootTree is the root of the stand-in, rootfs.sqsh.
func rootTree(p *parts, m *modules, version string, init tree.Blob) (*tree.Tree, error) {
	var f files
	f.dirs(".extra", "dev", "etc", "etc/cri", "etc/cri/conf.d", "mnt", "opt", "proc", "root", "run", "sys", "system", "tmp", "var",
		"usr", "usr/bin", "usr/lib", "usr/lib/firmware", "usr/lib/modules", "usr/lib/udev", "usr/lib/udev/rules.d", "usr/local", "usr/sbin")
	f.link("bin", "usr/bin")
	f.link("lib", "usr/lib")
	f.link("lib64", "usr/lib64")
	f.link("sbin", "usr/sbin")
	f.text("etc/os-release", fmt.Sprintf("NAME=\"Talos stand-in\"\nID=talos\nVERSION_ID=%s\nPRETTY_NAME=\"Talos stand-in (%s)\"\n", version, version))
	f.text("etc/extensions.yaml", "") // where the initramfs's is mounted
	f.blob("usr/sbin/init", 0o755, init)
	if err := addModprobe(&f, p); err != nil {
		return nil, err
	}
	dir, err := m.withIndexes()
	if err != nil {
		return nil, err
	}
	f.copy(dir, tree.Root, "usr/lib/modules/"+m.release)
	return f.tree()
}

// addModprobe adds Debian's kmod with its loader and libraries.
func addModprobe(f *files, p *parts) error {
	const libs = "usr/lib/x86_64-linux-gnu"
	for _, from := range []struct{ pkg, dir, prefix string }{
		{"kmod", "usr/bin", "kmod"},
		{"kmod", "usr/sbin", "modprobe"},
		{"libc6", "usr/lib64", "ld-linux-x86-64.so.2"},
		{"libc6", libs, "ld-linux-x86-64.so.2"},
		{"libc6", libs, "libc.so.6"},
		{"libkmod2", libs, "libkmod.so.2"},
		{"libssl3t64", libs, "libcrypto.so.3"},
		{"libzstd1", libs, "libzstd.so.1"},
		{"liblzma5", libs, "liblzma.so.5"},
		{"zlib1g", libs, "libz.so.1"},
	} {
		t, err := p.open(from.pkg)
		if err != nil {
			return err
		}
		f.copyMatching(t, from.dir, from.prefix, from.dir)
	}
	return nil
}

// writeSquashfs writes an image for a release: quickly, since a boot reads little of it.
func writeSquashfs(name string, t *tree.Tree) (tree.Blob, error) {
	w, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	_, err = squashfs.Write(w, t, squashfs.Options{Level: int(zstd.SpeedDefault), BlockSize: 128 << 10, ModTime: epoch})
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	return tree.File(name)
}

// writeInitramfs writes the base initramfs: one zstd frame, as `cpio | zstd` makes.
func writeInitramfs(name string, m *modules, init, rootfs tree.Blob) (tree.Blob, error) {
	early, err := m.early()
	if err != nil {
		return nil, err
	}
	var f files
	for i, n := range early {
		f.blob(fmt.Sprintf("early/%02d-%s.ko", i, moduleName(n.Path)), 0o644, n.Content)
	}
	f.blob("init", 0o755, init)
	f.blob("rootfs.sqsh", 0o644, rootfs)
	t, err := f.tree()
	if err != nil {
		return nil, err
	}
	w, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	err = errors.Join(writeCPIO(w, t), w.Close())
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	return tree.File(name)
}

func writeCPIO(w io.Writer, t *tree.Tree) error {
	// The squashfs in it does not get smaller.
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	c := cpio.NewWriter(z)
	for n := range t.All() {
		h := &cpio.Header{Name: n.Path, Mode: cpio.FileMode(n.Mode.Perm()), ModTime: n.ModTime, Links: 1}
		if n.Mode.IsDir() {
			h.Mode |= cpio.TypeDir
			h.Links = 2
		} else {
			h.Mode |= cpio.TypeReg
			h.Size = n.Size()
		}
		if err := c.WriteHeader(h); err != nil {
			return err
		}
		if n.Content == nil {
			continue
		}
		r, err := n.Content.Open()
		if err != nil {
			return err
		}
		_, err = io.Copy(c, r)
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return errors.Join(c.Close(), z.Close())
}
