package imager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
	"github.com/talosmith/talosmith/pkg/uki"
)

// splashPath is where the splash is in the pack of boot assets, whose other paths are the imager image's own.
const splashPath = "splash.bmp"

// installerPaths are where the program is that embeds the splash: before Talos 1.10, and since.
var installerPaths = []string{"bin/installer", "usr/bin/installer"}

// assetsStep takes the boot assets of an architecture out of the base, as a tree pack.
func assetsStep(src *source.Sources, b base, f talos.Facts) *store.Step {
	needed := bootAssets(f)
	grub := []string{path.Join(f.GRUBDir, f.GRUBEFI)}
	if f.GRUBBIOS != "" {
		grub = append(grub, path.Join(f.GRUBDir, f.GRUBBIOS))
	}
	keep := func(p string) bool {
		return slices.Contains(needed, p) || slices.Contains(installerPaths, p) || slices.Contains(grub, path.Dir(p))
	}
	return &store.Step{
		Name: "assets", Label: fmt.Sprintf("%s %s", b, f.Arch),
		Params: []any{source.Version, uki.Version, b.digests(), needed, installerPaths, grub},
		Run: func(ctx context.Context, out store.Output, _ []tree.Blob) error {
			return withSpool(src, func(spool source.Spool) error {
				t, err := b.tree(ctx, src, keep, spool)
				if err != nil {
					return err
				}
				var missing []string
				for _, n := range needed {
					if node, ok := t.Lookup(n); !ok || !node.Mode.IsRegular() {
						missing = append(missing, n)
					}
				}
				if len(missing) > 0 {
					return fmt.Errorf("%s has no %s: it is no imager image for %s", b, strings.Join(missing, ", "), f.Arch)
				}
				if t, err = takeSplash(t); err != nil {
					return err
				}
				_, err = source.WritePack(out, t)
				return err
			})
		},
	}
}

// takeSplash replaces the program that embeds the splash by the splash.
func takeSplash(t *tree.Tree) (*tree.Tree, error) {
	var nodes []tree.Node
	var splash tree.Blob
	for n := range t.All() {
		if !slices.Contains(installerPaths, n.Path) {
			nodes = append(nodes, n)
			continue
		}
		if splash != nil || !n.Mode.IsRegular() {
			continue
		}
		var err error
		if splash, err = uki.FindSplash(n.Content); err != nil {
			return nil, err
		}
	}
	if splash != nil {
		nodes = append(nodes, tree.Node{Path: splashPath, Mode: 0o644, Content: splash})
	}
	return tree.New(nodes)
}

// baseFacts are what the boot assets say of themselves.
type baseFacts struct {
	Epoch   int64  // time of init in the base initramfs, in seconds
	Release string // of the kernel, where its file says it
	Splash  bool
	// Sizes of the parts, in bytes.
	Kernel, Initramfs, SDBoot int64
}

// initName is the program that the kernel starts; rootfsName is Talos's root file system beside it.
const (
	initName   = "init"
	rootfsName = "rootfs.sqsh"
)

func baseStep(assets *store.Step, f talos.Facts) *store.Step {
	return &store.Step{
		Name: "base", Label: assets.Label, Params: []any{initramfs.Version, uki.Version, f.Kernel, f.Initramfs, f.SDBoot}, Inputs: []*store.Step{assets},
		Run: func(ctx context.Context, out store.Output, in []tree.Blob) error {
			return withPack(ctx, in[0], func(t *tree.Tree) error {
				facts, err := readBase(t, f)
				if err != nil {
					return err
				}
				return writeJSON(out, facts)
			})
		},
	}
}

func readBase(t *tree.Tree, f talos.Facts) (facts baseFacts, err error) {
	kernel, initrd := must(t, f.Kernel), must(t, f.Initramfs)
	facts.Kernel, facts.Initramfs, facts.SDBoot = kernel.Size(), initrd.Size(), must(t, f.SDBoot).Size()
	_, facts.Splash = t.Lookup(splashPath)
	if facts.Release, err = uki.KernelRelease(kernel); err != nil {
		return facts, err
	}
	found := false
	err = walkBase(initrd, func(m initramfs.Member) error {
		if m.Path == initName {
			facts.Epoch, found = m.ModTime.Unix(), true
			return initramfs.SkipAll
		}
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("the base initramfs %s has no file %q", f.Initramfs, initName)
	}
	return facts, err
}

// must returns the content of a file that the assets step made sure of.
func must(t *tree.Tree, p string) tree.Blob {
	n, ok := t.Lookup(p)
	if !ok {
		return tree.Zeros(0)
	}
	return n.Content
}

func walkBase(initrd tree.Blob, fn func(initramfs.Member) error) error {
	at, ok := initrd.(io.ReaderAt)
	if !ok {
		return errors.New("the base initramfs cannot be read from anywhere")
	}
	segments, err := initramfs.Segments(at, initrd.Size())
	if err != nil {
		return err
	}
	for _, s := range segments {
		if err := initramfs.Walk(s, fn); err != nil {
			return err
		}
	}
	return nil
}

// rootfsStep takes Talos's root file system out of the base initramfs.
func rootfsStep(assets *store.Step, f talos.Facts) *store.Step {
	return &store.Step{
		Name: "rootfs", Label: assets.Label, Params: []any{initramfs.Version, f.Initramfs}, Inputs: []*store.Step{assets}, Transient: true,
		Run: func(ctx context.Context, out store.Output, in []tree.Blob) error {
			return withPack(ctx, in[0], func(t *tree.Tree) error {
				found := false
				err := walkBase(must(t, f.Initramfs), func(m initramfs.Member) error {
					if m.Path != rootfsName || m.Content == nil {
						return cancelled(ctx)
					}
					found = true
					if _, err := io.Copy(io.NewOffsetWriter(out, 0), m.Content); err != nil {
						return err
					}
					return initramfs.SkipAll
				})
				if err == nil && !found {
					err = fmt.Errorf("the base initramfs %s has no file %q", f.Initramfs, rootfsName)
				}
				return err
			})
		},
	}
}
