package imager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/kmod"
	"github.com/talosmith/talosmith/pkg/preflight"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/squashfs"
	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// What the preflight wants to know of trees, read once for each.

// maxContents is what a description may have, in bytes of JSON. Talos's root file system takes 1 MiB.
const maxContents = 64 << 20

func writeContents(out store.Output, v any) error {
	b, err := json.Marshal(v)
	if err == nil && len(b) > maxContents {
		err = fmt.Errorf("the names of its files and libraries take over %d MiB, the limit", maxContents>>20)
	}
	if err != nil {
		return err
	}
	_, err = out.WriteAt(b, 0)
	return err
}

// extensionContentsStep describes an extension's files and services, for any Talos version.
func extensionContentsStep(pack *store.Step) *store.Step {
	return &store.Step{
		Name: "contents", Label: pack.Label, Params: []any{preflight.Version, extension.Version, source.Version}, Inputs: []*store.Step{pack},
		Run: func(ctx context.Context, out store.Output, in []tree.Blob) error {
			return withPack(ctx, in[0], func(t *tree.Tree) error {
				e, err := extension.Load(t)
				if err != nil {
					return err
				}
				c, err := preflight.ReadExtension(e)
				if err != nil {
					return err
				}
				return writeContents(out, c)
			})
		},
	}
}

// baseContents are what is kept of Talos's root file system, and sizes of the boot assets.
type baseContents struct {
	preflight.Contents
	// Release is that of the kernel which the modules are for; empty where there are none, or for several.
	Release string
	// Unpacked is what the base initramfs takes in memory, in bytes; Stub is the size of systemd-stub.
	Unpacked, Stub int64
}

func baseContentsStep(assets, rootfs *store.Step, f talos.Facts) *store.Step {
	return &store.Step{
		Name: "contents", Label: "the base", Inputs: []*store.Step{assets, rootfs},
		Params: []any{baseContentsVersion, preflight.Version, initramfs.Version, squashfs.Version, source.Version, f.Initramfs, f.SDStub, f.Modules()},
		Run: func(ctx context.Context, out store.Output, in []tree.Blob) error {
			var c baseContents
			err := withPack(ctx, in[0], func(t *tree.Tree) error {
				c.Stub = must(t, f.SDStub).Size()
				return walkBase(must(t, f.Initramfs), func(m initramfs.Member) error {
					c.Unpacked += m.Size
					return cancelled(ctx)
				})
			})
			if err != nil {
				return err
			}
			r, err := squashfs.NewReader(readerAt{ctx, in[1].(io.ReaderAt)})
			if err != nil {
				return err
			}
			t, err := r.Tree()
			if err != nil {
				return err
			}
			files, err := preflight.ReadBase(t)
			if err != nil {
				return err
			}
			c.Contents, c.Release = *files, onlyFolder(t, f.Modules())
			return writeContents(out, c)
		},
	}
}

// baseContentsVersion of what is kept of the base; raise it when that changes.
const baseContentsVersion = "2"

// onlyFolder is the name of the one folder in a directory; empty where it has none or several.
func onlyFolder(t *tree.Tree, dir string) (name string) {
	for n := range t.All() {
		if n.Mode.IsDir() && path.Dir(n.Path) == dir {
			if name != "" {
				return ""
			}
			name = path.Base(n.Path)
		}
	}
	return name
}

// kernelExportsStep reads what the kernel has for modules. A kernel that can't be read has nothing to compare with: it is not for the
// preflight to refuse it.
func kernelExportsStep(assets *store.Step, f talos.Facts) *store.Step {
	return &store.Step{
		Name: "exports", Label: assets.Label, Params: []any{kmod.Version, source.Version, f.Kernel}, Inputs: []*store.Step{assets}, Memory: kernelMemory,
		Run: func(ctx context.Context, out store.Output, in []tree.Blob) error {
			return withPack(ctx, in[0], func(t *tree.Tree) error {
				exports, err := kmod.KernelExports(must(t, f.Kernel))
				if err != nil && !errors.Is(err, kmod.ErrKernel) {
					return err
				}
				return writeJSON(out, exports)
			})
		},
	}
}

// kernelMemory is what an unpacked kernel takes while its exports are read, in bytes.
const kernelMemory = 160 << 20
