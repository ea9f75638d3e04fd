package imager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/kmod"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/squashfs"
	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
	"github.com/talosmith/talosmith/pkg/uki"
)

// Paths in the pack of boot assets besides the imager image's own.
const (
	splashPath    = "splash.bmp"
	installerPath = "usr/bin/installer" // the program that embeds the splash
)

// readerAt reads until its context is done, which ends those that have no context of their own.
type readerAt struct {
	ctx context.Context
	r   io.ReaderAt
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.ReadAt(p, off)
}

// withPack opens a tree pack for the time of fn.
func withPack(ctx context.Context, b tree.Blob, fn func(*tree.Tree) error) error {
	name, ok := tree.HostPath(b)
	if !ok {
		return errors.New("a tree pack must be a file of the store")
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	t, err := source.OpenPack(readerAt{ctx, f}, b.Size())
	if err == nil {
		err = fn(t)
	}
	return errors.Join(err, f.Close())
}

// withSpool gives fn a temporary file, which is gone afterwards.
func withSpool(fn func(source.Spool) error) error {
	f, err := os.CreateTemp("", "talosmith-")
	if err != nil {
		return err
	}
	return errors.Join(os.Remove(f.Name()), fn(f), f.Close())
}

func writeJSON(out store.Output, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = out.WriteAt(b, 0)
	return err
}

func readJSON(b tree.Blob, v any) error {
	raw, err := tree.ReadAll(b)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}

func digests(a *source.Artifact) []string {
	if a.Dir {
		return []string{a.Index}
	}
	var all []string
	for _, l := range a.Layers {
		all = append(all, l.Digest)
	}
	return all
}

// assetsStep takes the boot assets of an architecture out of the imager image, as a tree pack.
func assetsStep(src *source.Sources, imager *source.Artifact, f talos.Facts) *store.Step {
	needed := []string{f.Kernel, f.Initramfs, f.SDStub, f.SDBoot}
	grub := ""
	if f.GRUBBIOS != "" {
		grub = path.Join(f.GRUBDir, f.GRUBBIOS)
	}
	keep := func(p string) bool {
		for _, n := range needed {
			if p == n {
				return true
			}
		}
		return p == installerPath || grub != "" && strings.HasPrefix(p, grub+"/")
	}
	return &store.Step{
		Name: "assets", Label: fmt.Sprintf("%s %s", imager.Ref, f.Arch),
		Params: []any{source.Version, uki.Version, digests(imager), needed, grub},
		Run: func(ctx context.Context, out store.Output, _ []tree.Blob) error {
			return withSpool(func(spool source.Spool) error {
				t, err := src.Tree(ctx, imager, keep, spool)
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
					return fmt.Errorf("%s has no %s: it is no imager image for %s", imager.Ref, strings.Join(missing, ", "), f.Arch)
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
	program, ok := t.Lookup(installerPath)
	if !ok {
		return t, nil
	}
	splash, err := uki.FindSplash(program.Content)
	if err != nil {
		return nil, err
	}
	var nodes []tree.Node
	for n := range t.All() {
		if n.Path != installerPath {
			nodes = append(nodes, n)
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

// scanPath is where a pack of modules keeps their scan; the release directory's own files lie beside it.
const scanPath = "scan.json"

// moduleScan is what is kept of the modules of a base or an extension.
type moduleScan struct {
	Release string
	Modules []kmod.Module
}

// baseModulesStep scans the modules of Talos's root file system.
func baseModulesStep(rootfs *store.Step, f talos.Facts) *store.Step {
	return &store.Step{
		Name: "modules", Label: "the base", Params: []any{kmod.Version, squashfs.Version, source.Version, f.Modules()}, Inputs: []*store.Step{rootfs},
		Run: func(ctx context.Context, out store.Output, in []tree.Blob) error {
			r, err := squashfs.NewReader(readerAt{ctx, in[0].(io.ReaderAt)})
			if err != nil {
				return err
			}
			t, err := r.Tree()
			if err != nil {
				return err
			}
			return writeScan(out, t, f.Modules())
		},
	}
}

// extensionModulesStep scans the modules of an extension. The output is empty where it has none.
func extensionModulesStep(e extensionSteps, f talos.Facts) *store.Step {
	return &store.Step{
		Name: "modules", Label: e.Pack.Label, Params: []any{kmod.Version, source.Version, f.Modules()}, Inputs: []*store.Step{e.Pack},
		Run: func(ctx context.Context, out store.Output, in []tree.Blob) error {
			return withPack(ctx, in[0], func(t *tree.Tree) error {
				root, err := t.Sub("rootfs")
				if err != nil {
					return err
				}
				return writeScan(out, root, f.Modules())
			})
		},
	}
}

// writeScan writes the scan of the one release directory below dir, with the files in it that depmod reads.
func writeScan(out store.Output, t *tree.Tree, dir string) error {
	var releases []string
	for n := range t.Children(dir) {
		if n.Mode.IsDir() {
			releases = append(releases, n.Name())
		}
	}
	if len(releases) == 0 {
		return nil
	}
	if len(releases) > 1 {
		return fmt.Errorf("/%s has %d kernel releases: %s; there can be one", dir, len(releases), strings.Join(releases, ", "))
	}
	release, err := t.Sub(path.Join(dir, releases[0]))
	if err != nil {
		return err
	}
	modules, err := kmod.Scan(release, 0)
	if err != nil {
		return err
	}
	scan, err := json.Marshal(moduleScan{Release: releases[0], Modules: modules})
	if err != nil {
		return err
	}
	nodes := []tree.Node{{Path: scanPath, Mode: 0o644, Content: tree.Bytes(scan)}}
	for n := range release.Children(tree.Root) {
		if n.Mode.IsRegular() && strings.HasPrefix(n.Name(), "modules.") {
			n.Link = ""
			nodes = append(nodes, n)
		}
	}
	files, err := tree.New(nodes)
	if err != nil {
		return err
	}
	_, err = source.WritePack(out, files)
	return err
}

// moduleSearch is /etc/modules.d/10-extra-modules.conf of the imager image: modules in extras/ win over the kernel's own.
var moduleSearch = []string{"extras", "built-in"}

// modulesDepStep makes the layer with the indexes of all modules: those of the base and of the extensions that have some.
func modulesDepStep(base *store.Step, extensions []*store.Step, f talos.Facts, o squashfs.Options) *store.Step {
	return &store.Step{
		Name: "index", Label: "modules.dep", Params: []any{kmod.Version, squashfs.Version, f.Modules(), squashfsParams(o)}, Inputs: append([]*store.Step{base}, extensions...), Memory: squashfsMemory,
		Run: func(ctx context.Context, out store.Output, in []tree.Blob) error {
			var all []moduleScan
			files := map[string]tree.Node{}
			for _, b := range in {
				err := withPack(ctx, b, func(t *tree.Tree) error {
					for n := range t.All() {
						if !n.Mode.IsRegular() {
							continue
						}
						content, err := tree.ReadAll(n.Content)
						if err != nil {
							return err
						}
						if n.Path == scanPath {
							var s moduleScan
							if err := json.Unmarshal(content, &s); err != nil {
								return err
							}
							all = append(all, s)
							continue
						}
						n.Content = tree.Bytes(content)
						if len(all) == 0 || b == in[0] { // the base's; an extension's would be written anew
							files[n.Path] = n
						}
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
			o.Workers = store.Cores(ctx)
			return writeModulesDep(out, all, files, f, o)
		},
	}
}

func writeModulesDep(out store.Output, scans []moduleScan, files map[string]tree.Node, f talos.Facts, o squashfs.Options) error {
	if len(scans) == 0 {
		return fmt.Errorf("the base has no kernel modules in /%s", f.Modules())
	}
	release := scans[0].Release
	var modules [][]kmod.Module
	for _, s := range scans {
		if s.Release != release {
			return fmt.Errorf("an extension has modules for the kernel %s, the base is %s: they would not be loaded", s.Release, release)
		}
		modules = append(modules, s.Modules)
	}
	var nodes []tree.Node
	for _, n := range files {
		nodes = append(nodes, n)
	}
	all := kmod.Merge(modules...)
	for _, m := range all { // the index wants to know them there; it has what they say from the scans
		nodes = append(nodes, tree.Node{Path: m.Path, Mode: 0o644, Content: tree.Zeros(0)})
	}
	dir, err := tree.New(nodes)
	if err != nil {
		return err
	}
	index, err := kmod.Index(dir, all, kmod.Options{Search: moduleSearch, ModTime: o.ModTime})
	if err != nil {
		return err
	}
	layer := []tree.Node{}
	for n := range index.All() {
		if n.Path == tree.Root {
			continue
		}
		n.Path = path.Join(f.Modules(), release, n.Path)
		layer = append(layer, n)
	}
	root, err := tree.New(layer)
	if err != nil {
		return err
	}
	_, err = squashfs.Write(out, root, o)
	return err
}

// extensionSteps are all that is made of one extension. An output that the extension has nothing for is empty.
type extensionSteps struct {
	Pack, Info, Squashfs, Intel, AMD, Firmware, Modules *store.Step
}

// extensionInfo is what later stages want to know of an extension without opening it.
type extensionInfo struct {
	Manifest extension.Manifest
	Findings []extension.Finding
	// What it brings.
	Intel, AMD, Firmware, Modules bool
	// Size of its files in bytes.
	Size int64
}

func planExtension(src *source.Sources, e Extension, f talos.Facts, base *store.Step, epoch *time.Time) extensionSteps {
	var s extensionSteps
	s.Pack = packStep(src, e, base, epoch)
	// part is a step that makes something of the extension's parts.
	part := func(name string, params any, run func(context.Context, store.Output, *extension.Extension, extension.Parts) error) *store.Step {
		return &store.Step{
			Name: name, Label: e.Name, Inputs: []*store.Step{s.Pack},
			Params: []any{extension.Version, source.Version, f.LibDir, newestTime(epoch).Unix(), params},
			Run: func(ctx context.Context, out store.Output, in []tree.Blob) error {
				return withPack(ctx, in[0], func(t *tree.Tree) error {
					ext, err := extension.Load(t)
					if err != nil {
						return err
					}
					parts, err := ext.Parts(f, newestTime(epoch))
					if err != nil {
						return err
					}
					return run(ctx, out, ext, parts)
				})
			},
		}
	}
	s.Info = part("check", f.Version.String(), func(_ context.Context, out store.Output, ext *extension.Extension, parts extension.Parts) error {
		return writeJSON(out, extensionInfo{
			Manifest: ext.Manifest, Findings: ext.Check(f),
			Intel: len(parts.IntelUcode) > 0, AMD: len(parts.AMDUcode) > 0, Firmware: parts.Firmware != nil, Modules: len(parts.Modules) > 0,
			Size: contentSize(ext.Root),
		})
	})
	opts := squashfsOptions(f)
	s.Squashfs = part("squashfs", squashfsParams(opts), func(ctx context.Context, out store.Output, _ *extension.Extension, parts extension.Parts) error {
		opts := opts
		opts.Workers = store.Cores(ctx)
		opts.ModTime = newest(parts.Squashfs)
		_, err := squashfs.Write(out, parts.Squashfs, opts)
		return err
	})
	s.Squashfs.Cores, s.Squashfs.Memory = squashfsWorkers, squashfsMemory
	concat := func(blobs func(extension.Parts) []tree.Blob) func(context.Context, store.Output, *extension.Extension, extension.Parts) error {
		return func(_ context.Context, out store.Output, _ *extension.Extension, parts extension.Parts) error {
			_, err := tree.CopyAt(out, 0, tree.Concat(blobs(parts)...))
			return err
		}
	}
	s.Intel = part("microcode", "intel", concat(func(p extension.Parts) []tree.Blob { return p.IntelUcode }))
	s.AMD = part("microcode", "amd", concat(func(p extension.Parts) []tree.Blob { return p.AMDUcode }))
	s.Firmware = part("firmware", []any{initramfs.Version, f.Compression, firmwareLevel}, func(_ context.Context, out store.Output, _ *extension.Extension, parts extension.Parts) error {
		if parts.Firmware == nil {
			return nil
		}
		archive, err := initramfs.Archive(parts.Firmware)
		if err != nil {
			return err
		}
		_, err = initramfs.CompressZstd(out, archive, firmwareLevel)
		return err
	})
	s.Firmware.Memory = firmwareMemory
	s.Modules = extensionModulesStep(s, f)
	return s
}

// newestTime is what no file of an extension is newer than. Only SOURCE_DATE_EPOCH sets one: a layer must not change with the
// Talos release that it is used with.
func newestTime(epoch *time.Time) time.Time {
	if epoch != nil {
		return *epoch
	}
	return time.Unix(math.MaxUint32, 0)
}

// packStep unpacks an extension. The files of a directory have no times of their own, so they get the epoch.
func packStep(src *source.Sources, e Extension, base *store.Step, epoch *time.Time) *store.Step {
	st := &store.Step{Name: "unpack", Label: e.Name, Params: []any{source.Version, digests(e.Artifact)}, Transient: true}
	if e.Artifact.Dir && epoch == nil {
		st.Inputs = []*store.Step{base}
	} else if e.Artifact.Dir {
		st.Params = []any{st.Params, epoch.Unix()}
	}
	st.Run = func(ctx context.Context, out store.Output, in []tree.Blob) error {
		return withSpool(func(spool source.Spool) error {
			t, err := src.Tree(ctx, e.Artifact, nil, spool)
			if err == nil && e.Artifact.Dir {
				at := epoch
				if at == nil {
					var facts baseFacts
					if err := readJSON(in[0], &facts); err != nil {
						return err
					}
					at = new(time.Unix(facts.Epoch, 0))
				}
				t, err = atTime(t, *at)
			}
			if err != nil {
				return err
			}
			_, err = source.WritePack(out, t)
			return err
		})
	}
	return st
}

// firmwareLevel of zstd for firmware, which is compressed once for ever.
const firmwareLevel = zstd.SpeedBestCompression

// What compressing takes: memory of an encoder at the level in use, in bytes.
const (
	squashfsWorkers = 8
	squashfsMemory  = 40 << 20
	firmwareMemory  = 64 << 20
)

func squashfsOptions(f talos.Facts) squashfs.Options {
	return squashfs.Options{Compression: squashfs.Compression(f.Compression)}
}

// squashfsParams are the options that bytes depend on.
func squashfsParams(o squashfs.Options) any {
	return []any{squashfs.Version, o.Compression, o.Level, o.BlockSize, o.ModTime.Unix()}
}

// newest is the time of the node that changed last: the time of a file system that is made of nothing but its content.
func newest(t *tree.Tree) time.Time {
	last := time.Unix(0, 0)
	for n := range t.All() {
		if n.ModTime.After(last) {
			last = n.ModTime
		}
	}
	return last
}

func contentSize(t *tree.Tree) (size int64) {
	for n := range t.All() {
		if !n.IsHardLink() {
			size += n.Size()
		}
	}
	return size
}

// atTime gives every node one time.
func atTime(t *tree.Tree, at time.Time) (*tree.Tree, error) {
	var nodes []tree.Node
	for n := range t.All() {
		n.ModTime = at
		nodes = append(nodes, n)
	}
	return tree.New(nodes)
}
