package imager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/talosmith/talosmith/pkg/kmod"
	"github.com/talosmith/talosmith/pkg/preflight"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/squashfs"
	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// scanPath is where a pack of modules keeps their scan; the release directory's own files lie beside it.
const scanPath = "scan.json"

// moduleScan is what is kept of the modules of a base or an extension.
type moduleScan struct {
	Release string
	Modules []kmod.Module
	// Builtins are the names of those that are part of the kernel; only a base has them.
	Builtins []string `json:",omitempty"`
	// Others are further releases, and Bad modules that can't be read: preflight refuses both.
	Others []string              `json:",omitempty"`
	Bad    []preflight.BadModule `json:",omitempty"`
}

// releases of a scan.
func (s moduleScan) releases() []string {
	if s.Release == "" {
		return nil
	}
	return append([]string{s.Release}, s.Others...)
}

// usable says why a scan can't be indexed.
func (s moduleScan) usable() error {
	switch {
	case len(s.Others) > 0:
		return fmt.Errorf("there are modules for %d kernel releases: %s; there can be one", len(s.Others)+1, strings.Join(s.releases(), ", "))
	case len(s.Bad) > 0:
		return fmt.Errorf("module %s: %s", s.Bad[0].Path, s.Bad[0].Cause)
	}
	return nil
}

// modulesVersion of what the scanning steps put out; raise it when that changes.
const modulesVersion = "2"

// baseModulesStep scans the modules of Talos's root file system.
func baseModulesStep(rootfs *store.Step, f talos.Facts) *store.Step {
	return &store.Step{
		Name: "modules", Label: "the base", Params: []any{modulesVersion, kmod.Version, squashfs.Version, source.Version, f.Modules()}, Inputs: []*store.Step{rootfs},
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
		Name: "modules", Label: e.Pack.Label, Params: []any{modulesVersion, kmod.Version, source.Version, f.Modules()}, Inputs: []*store.Step{e.Pack},
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
	scan := moduleScan{Release: releases[0], Others: releases[1:]}
	release, err := t.Sub(path.Join(dir, releases[0]))
	if err != nil {
		return err
	}
	if len(releases) == 1 {
		if err := scan.read(release); err != nil {
			return err
		}
	}
	text, err := json.Marshal(scan)
	if err != nil {
		return err
	}
	nodes := []tree.Node{{Path: scanPath, Mode: 0o644, Content: tree.Bytes(text)}}
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

// read scans a release directory. Modules that can't be read are part of the result.
func (s *moduleScan) read(dir *tree.Tree) (err error) {
	var bad *kmod.ModuleError
	if s.Modules, err = kmod.Scan(dir, 0); err != nil && !errors.As(err, &bad) {
		return err
	}
	s.addBad(err)
	s.Builtins, err = kmod.Builtins(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// addBad notes the modules that an error is about, which may be joined of several.
func (s *moduleScan) addBad(err error) {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range all.Unwrap() {
			s.addBad(err)
		}
		return
	}
	if m := (*kmod.ModuleError)(nil); errors.As(err, &m) {
		s.Bad = append(s.Bad, preflight.BadModule{Path: m.Path, Cause: m.Err.Error()})
	}
}

// readScan reads what a scanning step has put out; a scan of nothing where there are no modules.
func (t *target) readScan(ctx context.Context, st *store.Step) (scan moduleScan, err error) {
	b, err := t.o.Store.Build(ctx, st)
	if err == nil {
		err = scan.load(ctx, b)
	}
	return scan, err
}

func (s *moduleScan) load(ctx context.Context, b tree.Blob) error {
	if b.Size() == 0 {
		return nil
	}
	return withPack(ctx, b, func(files *tree.Tree) error {
		text, err := files.ReadFile(scanPath)
		if err != nil {
			return err
		}
		return json.Unmarshal(text, s)
	})
}

// moduleSearch is /etc/modules.d/10-extra-modules.conf of the imager image: modules in extras/ win over the kernel's own.
var moduleSearch = []string{"extras", "built-in"}

// modulesDepVersion is part of the layer's key: raise it when the bytes change.
const modulesDepVersion = "1"

// modulesDepStep makes the layer with the indexes of all modules: those of the base and of the extensions that have some.
func modulesDepStep(base *store.Step, extensions []*store.Step, f talos.Facts, effort effort) *store.Step {
	o := effort.squashfs(f)
	o.ModTime = time.Unix(0, 0)
	return &store.Step{
		Name: "index", Label: "modules.dep", Params: []any{modulesDepVersion, kmod.Version, squashfs.Version, f.Modules(), squashfsParams(o)}, Inputs: append([]*store.Step{base}, extensions...), Memory: effort.squashfsMemory,
		Run: func(ctx context.Context, out store.Output, in []tree.Blob) error {
			scans := make([]moduleScan, len(in))
			for i, b := range in {
				if err := scans[i].load(ctx, b); err != nil {
					return err
				}
			}
			if scans[0].Release == "" {
				return fmt.Errorf("the base has no kernel modules in /%s", f.Modules())
			}
			o := o
			o.Workers = store.Cores(ctx)
			return withPack(ctx, in[0], func(base *tree.Tree) error { return writeModulesDep(out, scans, base, f, o) })
		},
	}
}

// writeModulesDep reads what depmod does of the base beside the modules. Such files of extensions don't count: they would be written anew.
func writeModulesDep(out store.Output, scans []moduleScan, base *tree.Tree, f talos.Facts, o squashfs.Options) error {
	release := scans[0].Release
	var modules [][]kmod.Module
	for _, s := range scans {
		if err := s.usable(); err != nil {
			return err
		}
		if s.Release != release {
			return fmt.Errorf("an extension has modules for the kernel %s, the base is %s: they would not be loaded", s.Release, release)
		}
		modules = append(modules, s.Modules)
	}
	var nodes []tree.Node
	for n := range base.Children(tree.Root) {
		if n.Path != scanPath {
			nodes = append(nodes, n)
		}
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
	if err == nil {
		root, err = atTime(root, o.ModTime) // the base's files, too, may be newer than the epoch
	}
	if err != nil {
		return err
	}
	_, err = squashfs.Write(out, root, o)
	return err
}
