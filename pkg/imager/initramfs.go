package imager

import (
	"context"
	"slices"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/tree"
)

// The kernel's microcode loader looks for these in a plain archive at the very start:
// https://docs.kernel.org/arch/x86/microcode.html.
const (
	intelUcodePath = "kernel/x86/microcode/GenuineIntel.bin"
	amdUcodePath   = "kernel/x86/microcode/AuthenticAMD.bin"
	extensionsYAML = "extensions.yaml"
)

// initramfsSteps are the steps whose outputs an initramfs is composed of, by where they go.
type initramfsSteps struct {
	intel, amd, layers, firmware []*store.Step
}

func (t *target) initramfsSteps() (s initramfsSteps) {
	for i, info := range t.infos {
		e := t.Extensions[i]
		if info.Intel {
			s.intel = append(s.intel, e.Intel)
		}
		if info.AMD {
			s.amd = append(s.amd, e.AMD)
		}
		if info.Firmware {
			s.firmware = append(s.firmware, e.Firmware)
		}
	}
	for _, l := range t.layers {
		if l.step != nil {
			s.layers = append(s.layers, l.step)
		}
	}
	return s
}

func (t *target) extensionsYAML() ([]byte, error) {
	var all []extension.Layer
	for _, l := range t.layers {
		all = append(all, l.Layer)
	}
	return extension.WriteExtensionsYAML(all)
}

// initramfsRecipe says what the initramfs depends on.
func (t *target) initramfsRecipe(ctx context.Context) (recipe, error) {
	base, err := t.o.Store.Resolve(ctx, t.Assets)
	if err != nil {
		return nil, err
	}
	r := recipe{"initramfs", initramfs.Version, base.Digest, t.Facts.Initramfs}
	if len(t.layers) == 0 {
		return r, nil
	}
	yaml, err := t.extensionsYAML()
	if err != nil {
		return nil, err
	}
	s := t.initramfsSteps()
	r = append(r, t.epoch.Unix(), string(yaml))
	groups := [][]*store.Step{s.intel, s.amd, s.layers, s.firmware}
	digests, err := t.digestsOf(ctx, slices.Concat(groups...))
	if err != nil {
		return nil, err
	}
	for _, steps := range groups {
		var group []store.Digest
		group, digests = cut(digests, len(steps))
		r = append(r, group)
	}
	for _, l := range t.layers {
		if l.content != nil {
			sum, err := tree.SHA256(l.content)
			if err != nil {
				return nil, err
			}
			r = append(r, sum)
		}
	}
	return r, nil
}

// initramfs composes the initramfs: early microcode, the base as it is, each layer in a segment of its own, extensions.yaml, then
// the firmware. Without extensions it is the base. Nothing is read until the result is.
func (t *target) initramfs(ctx context.Context) (tree.Blob, error) {
	base, err := t.asset(ctx, t.Facts.Initramfs)
	if err != nil || len(t.layers) == 0 {
		return base, err
	}
	s := t.initramfsSteps()
	blobs, err := t.o.Store.BuildAll(ctx, slices.Concat(s.layers, s.intel, s.amd, s.firmware))
	if err != nil {
		return nil, err
	}
	layers, blobs := cut(blobs, len(s.layers))
	intel, blobs := cut(blobs, len(s.intel))
	amd, firmware := cut(blobs, len(s.amd))
	early, err := t.earlyMicrocode(intel, amd)
	if err != nil {
		return nil, err
	}
	segments := []tree.Blob{early, base}
	for _, l := range t.layers {
		content := l.content
		if content == nil {
			content, layers = layers[0], layers[1:]
		}
		segment, err := t.archive(tree.Node{Path: l.Image, Content: content})
		if err != nil {
			return nil, err
		}
		segments = append(segments, segment)
	}
	yaml, err := t.extensionsYAML()
	if err != nil {
		return nil, err
	}
	list, err := t.archive(tree.Node{Path: extensionsYAML, Content: tree.Bytes(yaml)})
	if err != nil {
		return nil, err
	}
	segments = append(segments, list)
	return initramfs.Join(append(segments, firmware...)...)
}

func cut[T any](all []T, at int) (first, rest []T) { return all[:at], all[at:] }

func (t *target) earlyMicrocode(intel, amd []tree.Blob) (tree.Blob, error) {
	var nodes []tree.Node
	for path, blobs := range map[string][]tree.Blob{intelUcodePath: intel, amdUcodePath: amd} {
		if len(blobs) > 0 {
			nodes = append(nodes, tree.Node{Path: path, Content: tree.Concat(blobs...)})
		}
	}
	if len(nodes) == 0 {
		return tree.Zeros(0), nil
	}
	return t.archive(nodes...)
}

// archive is a plain cpio archive of files, with their parent directories, all of the epoch.
func (t *target) archive(nodes ...tree.Node) (tree.Blob, error) {
	for i := range nodes {
		nodes[i].Mode = 0o644
	}
	files, err := tree.New(nodes)
	if err != nil {
		return nil, err
	}
	if files, err = atTime(files, t.epoch); err != nil {
		return nil, err
	}
	return initramfs.Archive(files)
}
