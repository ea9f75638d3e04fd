package imager

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// base is where boot assets come from: the imager image, and before it files of the profile.
type base struct {
	image *source.Artifact // nil if the files are all that is needed
	files *source.Artifact // nil for none
}

// String names it in messages.
func (b base) String() string {
	var names []string
	for _, a := range []*source.Artifact{b.files, b.image} {
		if a != nil {
			names = append(names, a.Ref.String())
		}
	}
	return strings.Join(names, " over ")
}

// baseFileNames are the files that a profile gives, by the paths of those that they replace.
func baseFileNames(files profile.BaseFiles, f talos.Facts) map[string]string {
	all := map[string]string{f.Kernel: files.Kernel, f.Initramfs: files.Initramfs, f.SDBoot: files.SDBoot, f.SDStub: files.SDStub}
	for p, name := range all {
		if name == "" {
			delete(all, p)
		}
	}
	return all
}

// baseFiles finds the files that the profile gives for a target.
func (r *resolver) baseFiles(t *Target) error {
	names := baseFileNames(r.p.Base.Files(t.Arch), t.Facts)
	if len(names) == 0 {
		return nil
	}
	var nodes []tree.Node
	for _, p := range slices.Sorted(maps.Keys(names)) {
		content, err := tree.File(names[p])
		if err != nil {
			return err
		}
		nodes = append(nodes, tree.Node{Path: p, Mode: 0o644, Content: content})
	}
	files, err := tree.New(nodes)
	if err != nil {
		return err
	}
	name := "base of " + filepath.Base(r.p.Base.Range.Filename)
	t.BaseFiles, err = r.src.Resolve(r.ctx, source.Ref{Tree: &source.Tree{Name: name, Files: files}}, t.Arch)
	return err
}

// needsImager tells whether anything of a target comes from the imager image: what the profile gives no file for, or GRUB.
func (t Target) needsImager(p *profile.Profile, outputs []profile.Output) bool {
	if len(baseFileNames(p.Base.Files(t.Arch), t.Facts)) < len(bootAssets(t.Facts)) {
		return true
	}
	w := &target{targetSteps: targetSteps{Target: t}}
	return slices.ContainsFunc(outputs, func(o profile.Output) bool {
		grub := w.bootloader(o) != talos.SDBoot || t.Image.Overlay != nil // which may want it
		return grub && (o.Kind == talos.KindISO || o.Kind == talos.KindDisk)
	})
}

func (r *Resolution) needsImager(jobs []Job) bool {
	for i, t := range r.Targets {
		if t.needsImager(r.Profile, outputsOf(jobs, i)) {
			return true
		}
	}
	return false
}

// outputsOf are those that jobs are about, of one target.
func outputsOf(jobs []Job, target int) (outputs []profile.Output) {
	for _, j := range jobs {
		if j.Target == target {
			outputs = append(outputs, j.Output)
		}
	}
	return outputs
}

// bootAssets are the files that every base has.
func bootAssets(f talos.Facts) []string { return []string{f.Kernel, f.Initramfs, f.SDStub, f.SDBoot} }

// bases finds what boot assets come from: files, and the image where that is asked for.
func (r *resolver) bases(jobs []Job, image bool) {
	for i := range r.res.Targets {
		if err := r.baseFiles(&r.res.Targets[i]); err != nil {
			r.report(hcl.DiagError, r.p.Base.Range, "Bad base", "%v.", err)
		}
	}
	if !image || !r.res.needsImager(jobs) {
		return
	}
	r.work.Go(func() error {
		// That of amd64 holds the boot assets of every architecture.
		r.res.Imager = r.talosImage(talos.ImagerImage, talos.AMD64, "Talos release not found")
		return nil
	})
}

// tree reads the boot assets; keep says which of the image's.
func (b base) tree(ctx context.Context, src *source.Sources, keep func(string) bool, spool source.Spool) (*tree.Tree, error) {
	var nodes []tree.Node
	if b.files != nil {
		files, err := src.Tree(ctx, b.files, nil, spool)
		if err != nil {
			return nil, err
		}
		for n := range files.All() {
			if !n.Mode.IsDir() {
				nodes = append(nodes, n)
			}
		}
	}
	own := len(nodes)
	if b.image != nil {
		image, err := src.Tree(ctx, b.image, keep, spool)
		if err != nil {
			return nil, err
		}
		for n := range image.All() {
			replaced := false
			for _, have := range nodes[:own] {
				replaced = replaced || have.Path == n.Path
			}
			if !replaced {
				nodes = append(nodes, n)
			}
		}
	}
	return tree.New(nodes)
}

// digests are what the boot assets depend on.
func (b base) digests() (all [][]string) {
	for _, a := range []*source.Artifact{b.files, b.image} {
		if a != nil {
			all = append(all, digests(a))
		}
	}
	return all
}
