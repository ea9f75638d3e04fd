package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// layer is a file tree of the artefact: a volume, or a layer of the root file system.
type layer struct {
	name  string
	files *tree.Tree
	list  []File // instead of files: what has no tree
	sum   string // of the image that it is read from, if that was hashed
}

// addLayer keeps a layer by a name that no other has.
func (a *Artefact) addLayer(l *layer) error {
	for name := l.name; a.names[l.name] > 0; {
		a.names[name]++
		l.name = fmt.Sprintf("%s#%d", name, a.names[name])
	}
	a.names[l.name] = 1
	a.layers = append(a.layers, l)
	if l.files != nil {
		a.nodes += l.files.Len()
	}
	if a.nodes += len(l.list); a.nodes > a.lim.nodes {
		return fmt.Errorf("%w: more than %d files", errLimit, a.lim.nodes)
	}
	return nil
}

// volume is a tree that firmware or a boot loader reads. FAT knows no case, so names are compared without.
type volume struct {
	name  string
	files *tree.Tree
	lower map[string]string // path in lower case to path
}

func newVolume(name string, t *tree.Tree) *volume {
	v := &volume{name: name, files: t, lower: make(map[string]string, t.Len())}
	for n := range t.All() {
		v.lower[strings.ToLower(n.Path)] = n.Path
	}
	return v
}

// find returns a regular file.
func (v *volume) find(name string) (tree.Node, bool) {
	n, ok := v.files.Lookup(v.lower[strings.ToLower(strings.Trim(name, "/"))])
	return n, ok && n.Mode.IsRegular()
}

// where is a file's place in reports.
func (v *volume) where(p string) string { return v.name + ":/" + p }

// addVolume looks for everything that boots. What is damaged becomes a problem, the rest is told all the same.
func (a *Artefact) addVolume(ctx context.Context, name string, t *tree.Tree) error {
	if err := a.addLayer(&layer{name: name, files: t}); err != nil {
		return err
	}
	v := newVolume(name, t)
	for n := range t.All() {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if n.Mode.IsRegular() {
			if err := a.addBootFile(ctx, v, n); errors.Is(err, errLimit) {
				return err
			} else if err != nil {
				a.problem("%s: %v", v.where(n.Path), err)
			}
		}
	}
	return context.Cause(ctx)
}

// bootDirs are where any number of files may boot.
var bootDirs = map[string]bool{"efi/linux/": true, "efi/boot/": true, "loader/keys/auto/": true}

// addBootFile takes a file for what its path says.
func (a *Artefact) addBootFile(ctx context.Context, v *volume, n tree.Node) error {
	p := strings.ToLower(n.Path)
	dir, base := path.Split(p)
	if bootDirs[dir] {
		if a.found++; a.found > a.lim.found {
			return fmt.Errorf("%w: more than %d files that boot", errLimit, a.lim.found)
		}
	}
	switch {
	case dir == "efi/linux/" && path.Ext(base) == ".efi":
		c, err := a.readerAt(ctx, n.Content)
		if err != nil {
			return err
		}
		return a.addUKI(ctx, v.where(n.Path), c)
	case dir == "efi/boot/" && path.Ext(base) == ".efi":
		return a.addLoader(ctx, v.where(n.Path), n.Content)
	case p == "boot/grub/grub.cfg" || p == "grub/grub.cfg":
		return a.addGRUBConfig(ctx, v, n)
	case p == "loader/loader.conf":
		a.addPart("loader.conf", n.Content)
	case dir == "loader/keys/auto/" && path.Ext(base) == ".auth" || p == "efi/keys/uki-signing-cert.der":
		return a.addKey(ctx, v, n)
	case dir == "overlay/installers/" && a.Report.Image != nil:
		a.Report.Image.Overlay = true
	}
	return nil
}

func (a *Artefact) addKey(ctx context.Context, v *volume, n tree.Node) error {
	key, err := a.file(ctx, v.where(n.Path), n.Content)
	if err != nil {
		return err
	}
	for _, other := range a.Report.Keys {
		if path.Base(other.Path) == path.Base(key.Path) && other.SHA256 == key.SHA256 {
			return nil // the tree of an ISO has them again
		}
	}
	a.Report.Keys = append(a.Report.Keys, key)
	a.addPart("keys/"+path.Base(n.Path), n.Content)
	return nil
}

// addGRUBConfig adds the menu of a grub.cfg and what its default entry starts.
func (a *Artefact) addGRUBConfig(ctx context.Context, v *volume, n tree.Node) error {
	text, err := readText(n.Content)
	if err != nil {
		return err
	}
	a.addPart("grub.cfg", n.Content)
	entries := parseGRUB(text)
	for _, e := range entries {
		if !slices.Contains(a.Report.Entries, e) { // the ESP of an ISO may have them again
			a.Report.Entries = append(a.Report.Entries, e)
		}
		if !e.Default {
			continue
		}
		b := boot{cmdline: e.Cmdline, talos: titleVersion(e.Title)}
		kernel, ok := v.find(e.Kernel)
		if !ok {
			a.problem("%s: the kernel %q of the default entry is not there", v.where(n.Path), e.Kernel)
			continue
		}
		if err := a.addFiles(ctx, v, b, kernel.Path, e.Initrd); err != nil {
			return err
		}
	}
	return nil
}

// addFiles adds a kernel and an initramfs that are files of a volume.
func (a *Artefact) addFiles(ctx context.Context, v *volume, b boot, kernel, initrd string) error {
	n, _ := v.find(kernel)
	if err := a.addKernel(ctx, n.Content); err != nil {
		return fmt.Errorf("%s: %w", n.Path, err)
	}
	last := &a.boots[len(a.boots)-1]
	last.cmdline, last.talos = b.cmdline, b.talos
	i, ok := v.find(initrd)
	if !ok {
		a.problem("%s is not there", v.where(strings.Trim(initrd, "/")))
		return nil
	}
	last.initrd = i.Content
	sum, err := a.digest(ctx, i.Content)
	last.initrdSum = sum
	return err
}

// titleVersion is the version in the title that Talos's boot menus have on disks: "A - Talos v1.13.9".
func titleVersion(title string) string {
	_, version, _ := strings.Cut(title, " - "+talos.Name+" ")
	if v, err := talos.ParseVersion(version); err == nil {
		return v.String()
	}
	return ""
}

// fileIn returns a regular file of a tree.
func fileIn(t *tree.Tree, names ...string) (tree.Node, bool) {
	for _, name := range names {
		if n, ok := t.Lookup(name); ok && n.Mode.Type() == fs.FileMode(0) {
			return n, true
		}
	}
	return tree.Node{}, false
}
