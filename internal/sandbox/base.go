package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/squashfs"
	"github.com/talosmith/talosmith/pkg/tree"
)

// rootTree is the root of the stand-in, rootfs.sqsh.
func rootTree(p *parts, m *modules, init tree.Blob) (*tree.Tree, error) {
	var f files
	f.dirs(".extra", "dev", "etc", "etc/cri", "etc/cri/conf.d", "mnt", "opt", "proc", "root", "run", "sys", "system", "tmp", "var",
		"usr", "usr/bin", "usr/lib", "usr/lib/udev", "usr/lib/udev/rules.d", "usr/local", "usr/sbin", p.lib+"/firmware", p.lib+"/modules")
	f.link("bin", "usr/bin")
	f.link("sbin", "usr/sbin")
	f.link("lib64", "usr/lib64")
	if p.lib == "usr/lib" {
		f.link("lib", "usr/lib")
	}
	f.text("etc/os-release", fmt.Sprintf("NAME=\"Talos stand-in\"\nID=talos\nVERSION_ID=%s\nPRETTY_NAME=\"Talos stand-in (%s)\"\n", p.talos, p.talos))
	f.text("etc/extensions.yaml", "") // where the initramfs's is mounted
	f.blob("usr/sbin/init", 0o755, init)
	if err := addModprobe(&f, p); err != nil {
		return nil, err
	}
	dir, err := m.withIndexes()
	if err != nil {
		return nil, err
	}
	f.copy(dir, tree.Root, p.lib+"/modules/"+m.release)
	return f.tree()
}

// addModprobe adds Debian's kmod with its loader and libraries.
func addModprobe(f *files, p *parts) error {
	for _, from := range []struct{ pkg, dir, prefix string }{
		{"kmod", "usr/bin", "kmod"},
		{"kmod", "usr/sbin", "modprobe"},
		{"libc6", path.Dir(p.loader), path.Base(p.loader)},
		{"libc6", p.libs, path.Base(p.loader)},
		{"libc6", p.libs, "libc.so.6"},
		{"libkmod2", p.libs, "libkmod.so.2"},
		{"libssl3t64", p.libs, "libcrypto.so.3"},
		{"libzstd1", p.libs, "libzstd.so.1"},
		{"liblzma5", p.libs, "liblzma.so.5"},
		{"zlib1g", p.libs, "libz.so.1"},
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
func (l layout) writeSquashfs(name string, t *tree.Tree) (tree.Blob, error) {
	w, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	o := squashfs.Options{Level: int(zstd.SpeedDefault), BlockSize: 128 << 10, ModTime: epoch}
	if l.xz {
		o.Compression, o.Level = squashfs.XZ, 0
	}
	_, err = squashfs.Write(w, t, o)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	return tree.File(name)
}

// writeInitramfs writes the base initramfs: one stream, as `cpio | zstd` and `cpio | xz` make.
func (l layout) writeInitramfs(name string, m *modules, init, rootfs tree.Blob) (tree.Blob, error) {
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
	archive, err := initramfs.Archive(t)
	if err != nil {
		return nil, err
	}
	if l.xz {
		_, err = initramfs.CompressXZ(w, archive)
	} else {
		_, err = initramfs.CompressZstd(w, archive, zstd.SpeedFastest, 8<<20) // the squashfs in it does not get smaller
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	return tree.File(name)
}
