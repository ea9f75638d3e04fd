package imager

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/preflight"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/squashfs"
	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// extensionSteps are all that is made of one extension. An output that the extension has nothing for is empty.
type extensionSteps struct {
	Pack, Info, Contents, Squashfs, Intel, AMD, Firmware, Modules *store.Step
}

// extensionInfo is what later stages want to know of an extension without opening it.
type extensionInfo struct {
	Manifest extension.Manifest
	Findings []extension.Finding
	// What it brings.
	Intel, AMD, Firmware, Modules bool
	// Sizes of its files, and of its firmware, in bytes.
	Size, FirmwareSize int64
	// Unusable: no layer can be made of it; the findings say why.
	Unusable bool
}

// infoVersion of what is kept of an extension; raise it when that changes.
const infoVersion = "3"

// inspectExtension says what an extension brings, and what is wrong with it.
func inspectExtension(t *tree.Tree, f talos.Facts, newest time.Time) extensionInfo {
	ext, err := extension.Load(t)
	if err != nil {
		return unusable(extensionInfo{}, err)
	}
	info := extensionInfo{Manifest: ext.Manifest, Findings: ext.Check(f), Size: contentSize(ext.Root)}
	parts, err := ext.Parts(f, newest)
	if err != nil {
		return unusable(info, err)
	}
	info.Intel, info.AMD, info.Modules = len(parts.IntelUcode) > 0, len(parts.AMDUcode) > 0, len(parts.Modules) > 0
	if info.Firmware = parts.Firmware != nil; info.Firmware {
		info.FirmwareSize = contentSize(parts.Firmware)
	}
	return info
}

func unusable(info extensionInfo, err error) extensionInfo {
	info.Unusable = true
	if !slices.ContainsFunc(info.Findings, func(f extension.Finding) bool { return f.Code == extension.CodeFirmwareLink }) { // else that is said already
		info.Findings = append(info.Findings, extension.Finding{Severity: extension.Error, Code: preflight.CodeUnusable, Summary: err.Error(), Detail: "no layer can be made of it"})
	}
	return info
}

func planExtension(src *source.Sources, e Extension, f talos.Facts, base *store.Step, epoch *time.Time, effort effort) extensionSteps {
	s := extensionSteps{Pack: packStep(src, e, base, epoch)}
	s.Info = &store.Step{
		Name: "check", Label: e.Name, Inputs: []*store.Step{s.Pack},
		Params: []any{infoVersion, extension.Version, source.Version, f.LibDir, newestTime(epoch).Unix(), f.Version.String(), f.Arch},
		Run: func(ctx context.Context, out store.Output, in []tree.Blob) error {
			return withPack(ctx, in[0], func(t *tree.Tree) error { return writeJSON(out, inspectExtension(t, f, newestTime(epoch))) })
		},
	}
	s.Contents = extensionContentsStep(s.Pack)
	p := partSteps{s.Pack, f, newestTime(epoch)}
	s.Squashfs = p.squashfs(effort)
	s.Intel = p.microcode("intel", func(p extension.Parts) []tree.Blob { return p.IntelUcode })
	s.AMD = p.microcode("amd", func(p extension.Parts) []tree.Blob { return p.AMDUcode })
	s.Firmware = p.firmware(effort)
	s.Modules = extensionModulesStep(s, f)
	return s
}

// partSteps makes the steps that make something of an extension's parts.
type partSteps struct {
	pack   *store.Step
	facts  talos.Facts
	newest time.Time
}

func (p partSteps) step(name string, params any, run func(context.Context, store.Output, extension.Parts) error) *store.Step {
	return &store.Step{
		Name: name, Label: p.pack.Label, Inputs: []*store.Step{p.pack},
		Params: []any{extension.Version, source.Version, p.facts.LibDir, p.newest.Unix(), params},
		Run: func(ctx context.Context, out store.Output, in []tree.Blob) error {
			return withPack(ctx, in[0], func(t *tree.Tree) error {
				ext, err := extension.Load(t)
				if err != nil {
					return err
				}
				parts, err := ext.Parts(p.facts, p.newest)
				if err != nil {
					return err
				}
				return run(ctx, out, parts)
			})
		},
	}
}

func (p partSteps) squashfs(effort effort) *store.Step {
	o := effort.squashfs(p.facts)
	st := p.step("squashfs", squashfsParams(o), func(ctx context.Context, out store.Output, parts extension.Parts) error {
		o := o
		o.Workers = store.Cores(ctx)
		o.ModTime = newest(parts.Squashfs)
		files, err := watched(parts.Squashfs, func(done, total int64) { store.Progress(ctx, done, total) })
		if err != nil {
			return err
		}
		_, err = squashfs.Write(out, files, o)
		return err
	})
	st.Cores, st.Memory = squashfsWorkers, effort.squashfsMemory
	return st
}

func (p partSteps) microcode(vendor string, of func(extension.Parts) []tree.Blob) *store.Step {
	return p.step("microcode", vendor, func(_ context.Context, out store.Output, parts extension.Parts) error {
		_, err := tree.CopyAt(out, 0, tree.Concat(of(parts)...))
		return err
	})
}

func (p partSteps) firmware(effort effort) *store.Step {
	params := []any{initramfs.Version, p.facts.Compression, effort.level, effort.window}
	st := p.step("firmware", params, func(_ context.Context, out store.Output, parts extension.Parts) error {
		if parts.Firmware == nil {
			return nil
		}
		archive, err := initramfs.Archive(parts.Firmware)
		if err != nil {
			return err
		}
		if p.facts.Compression == talos.XZ {
			_, err = initramfs.CompressXZ(out, archive)
		} else {
			_, err = initramfs.CompressZstd(out, archive, effort.level, effort.window)
		}
		return err
	})
	st.Memory = effort.firmwareMemory
	return st
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
		return withSpool(src, func(spool source.Spool) error {
			t, err := src.RawTree(ctx, e.Artifact, nil, spool)
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
