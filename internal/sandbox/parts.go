package sandbox

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/internal/debian"
	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/kmod"
	"github.com/talosmith/talosmith/pkg/squashfs"
	"github.com/talosmith/talosmith/pkg/tree"
)

// sources are what a release is made by: a change of one makes another release.
//
//go:embed *.go init/*.go service/*.go installer/*.go board/*.go report/*.go
var sources embed.FS

// parts are the fetched packages by name, the kernel's as "kernel".
type parts struct {
	layout
	packages map[string]debian.Package
	release  string // of the kernel
}

func fetchParts(ctx context.Context, o Options, l layout) (*parts, error) {
	from := debian.Options{Cache: filepath.Join(o.Cache, "debian"), Suite: "trixie", Arch: l.arch, Mirror: o.Mirror, Log: o.Log}
	fetched, err := debian.Fetch(ctx, from, l.packageNames()...)
	if err != nil {
		return nil, err
	}
	p := &parts{layout: l, packages: map[string]debian.Package{}}
	for _, f := range fetched {
		p.packages[f.Name] = f
	}
	meta := p.packages[l.kernelMeta()]
	image := slices.IndexFunc(meta.Depends, func(n string) bool { return strings.HasPrefix(n, "linux-image-") })
	if image < 0 {
		return nil, fmt.Errorf("package %s of Debian names no kernel: %q", meta.Name, meta.Depends)
	}
	name := meta.Depends[image]
	kernel, err := debian.Fetch(ctx, from, name)
	if err != nil {
		return nil, err
	}
	p.packages["kernel"] = kernel[0]
	p.release = strings.TrimPrefix(name, "linux-image-")
	return p, nil
}

// key names a release by what it is made of. Versions of imported modules are left out: a test does not know its own, and a release
// of others serves as well.
func (p *parts) key() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q\n", p.talos, p.arch, runtime.Version())
	for _, v := range []string{squashfs.Version, kmod.Version, initramfs.Version} {
		fmt.Fprintf(h, "%q\n", v)
	}
	for _, n := range append([]string{"kernel"}, p.packageNames()...) {
		fmt.Fprintf(h, "%s %s\n", n, p.packages[n].SHA256)
	}
	err := fs.WalkDir(sources, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := sources.ReadFile(path)
		fmt.Fprintf(h, "%s %x\n", path, sha256.Sum256(b))
		return err
	})
	if err != nil {
		panic(err) // an embedded file is always there
	}
	return hex.EncodeToString(h.Sum(nil))
}

// open returns a package's files.
func (p *parts) open(name string) (*tree.Tree, error) {
	return debian.Open(p.packages[name].Path)
}

// version returns the part of a package's version that matches a pattern.
func (p *parts) version(name, pattern string) string {
	return regexp.MustCompile(pattern).FindString(p.packages[name].Version)
}
