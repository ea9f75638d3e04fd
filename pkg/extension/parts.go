package extension

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// Version of what [Extension.Parts] makes; raise it when its trees change.
const Version = "1"

// Parts are what a boot image is made of.
type Parts struct {
	// Squashfs is the layer: the root without firmware and microcode.
	Squashfs *tree.Tree
	// Firmware has its full path in the initramfs ("usr/lib/firmware/…"), where the kernel finds it before layers are mounted. Nil without any.
	// Init mounts that directory over the one of the layers.
	Firmware *tree.Tree
	// IntelUcode and AMDUcode are microcode files in the order in which they are put one after another.
	IntelUcode, AMDUcode []tree.Blob
	// Modules are the kernel releases that there are modules for.
	Modules []string
}

// selinux is the only extended attribute that a layer keeps.
const selinux = "security.selinux"

// Parts divides an extension. Everything belongs to 0:0; nothing is newer than the epoch.
// As upstream, directories can be entered by their owner, a symbolic link in the firmware directory becomes the file or directory that it
// leads to, and microcode is taken out for any architecture. Unlike upstream: a link to a directory leaves that directory as it is, links stay
// inside the extension, hard links have their content, times are those of the extension instead of the build, and a firmware directory without
// a file doesn't come along, since it would hide the one of the root file system.
func (e *Extension) Parts(f talos.Facts, epoch time.Time) (Parts, error) {
	var p Parts
	firmware := f.Firmware()
	var layer, fw []tree.Node
	for n := range e.Root.All() {
		n = normal(n, epoch)
		switch {
		case !below(n.Path, firmware):
			layer = append(layer, n)
		case n.Path == firmware && !n.Mode.IsDir():
			return Parts{}, fmt.Errorf("extension %s: %q is no directory", e.Manifest.Metadata.Name, "/"+n.Path)
		default:
			fw = append(fw, n)
		}
	}
	r := resolver{tree: e.Root, epoch: epoch}
	for _, n := range fw {
		kind := ucode(strings.TrimPrefix(n.Path, firmware+"/"))
		if kind == noUcode || n.Mode.IsDir() {
			r.put(n.Path, n)
			continue
		}
		blob, err := r.content(n)
		if err != nil {
			r.fail(err)
			continue
		}
		if kind == intelUcode {
			p.IntelUcode = append(p.IntelUcode, blob)
		} else {
			p.AMDUcode = append(p.AMDUcode, blob)
		}
	}
	err := errors.Join(r.errs...)
	if err == nil && r.files > 0 {
		p.Firmware, err = tree.New(withParents(r.nodes, epoch))
	}
	if err == nil {
		p.Squashfs, err = layerTree(layer)
	}
	if err != nil {
		return Parts{}, fmt.Errorf("extension %s: %w", e.Manifest.Metadata.Name, err)
	}
	for n := range e.Root.Children(f.Modules()) {
		if n.Mode.IsDir() {
			p.Modules = append(p.Modules, n.Name())
		}
	}
	return p, nil
}

// normal makes a node belong to 0:0, without what a layer doesn't keep.
func normal(n tree.Node, epoch time.Time) tree.Node {
	n.UID, n.GID = 0, 0
	n.ModTime = n.ModTime.Truncate(time.Second) // squashfs and cpio hold whole seconds, from 1970 on
	if unix := time.Unix(0, 0); n.ModTime.Before(unix) {
		n.ModTime = unix
	}
	if n.ModTime.After(epoch) {
		n.ModTime = epoch
	}
	switch n.Mode.Type() {
	case fs.ModeDir:
		n.Mode = fs.ModeDir | n.Mode.Perm() | 0o700
	case fs.ModeSymlink:
		n.Mode = fs.ModeSymlink | 0o777 // Linux has no other
	}
	label, ok := n.Xattrs[selinux]
	n.Xattrs = nil
	if ok {
		n.Xattrs = map[string][]byte{selinux: bytes.TrimRight(label, "\x00")} // as the policy has it
	}
	return n
}

// layerTree makes a tree; hard links to what went elsewhere become files.
func layerTree(nodes []tree.Node) (*tree.Tree, error) {
	kept := map[string]string{} // first name outside to first name inside
	for _, n := range nodes {
		if n.Mode.IsRegular() {
			kept[n.Path] = n.Path
		}
	}
	for i, n := range nodes {
		if !n.IsHardLink() {
			continue
		}
		first, ok := kept[n.Link]
		if !ok {
			kept[n.Link] = n.Path
		}
		nodes[i].Link = first
	}
	return tree.New(nodes)
}

type ucodeKind int

const (
	noUcode ucodeKind = iota
	intelUcode
	amdUcode
)

// ucode tells what a file is by its path below the firmware directory. Source: internal/pkg/extensions/compress.go (earlyCPUUcode).
func ucode(p string) ucodeKind {
	dir, name := path.Split(p)
	switch {
	case dir == "intel-ucode/":
		return intelUcode
	case dir == "amd-ucode/" && strings.HasPrefix(name, "microcode_amd") && strings.HasSuffix(name, ".bin"):
		return amdUcode
	}
	return noUcode
}

// maxFirmware is the number of files and directories that links may multiply firmware into; linux-firmware has 6000.
const maxFirmware = 100_000

// resolver collects firmware with files in the place of links.
type resolver struct {
	tree  *tree.Tree
	epoch time.Time
	nodes []tree.Node
	files int
	errs  []error
	// stopped: there is enough to report.
	stopped bool
}

func (r *resolver) fail(err error) {
	r.errs = append(r.errs, err)
	r.stopped = r.stopped || len(r.errs) >= 10
}

// content returns a file's content, at the end of links.
func (r *resolver) content(n tree.Node) (tree.Blob, error) {
	at, err := follow(r.tree, tree.Root, n.Path)
	if err != nil {
		return nil, fmt.Errorf("firmware %q: %w", "/"+n.Path, err)
	}
	target, _ := r.tree.Lookup(at)
	if !target.Mode.IsRegular() {
		return nil, fmt.Errorf("firmware %q: want a regular file, %q is none", "/"+n.Path, "/"+at)
	}
	return target.Content, nil
}

// put adds a node under a name, or what a link leads to.
func (r *resolver) put(name string, n tree.Node) {
	if r.stopped {
		return
	}
	if len(r.nodes) >= maxFirmware {
		r.fail(fmt.Errorf("firmware: more than %d files and directories, those counted that links repeat", maxFirmware))
		r.stopped = true
		return
	}
	if n.Mode.Type() != fs.ModeSymlink {
		r.add(name, n)
		return
	}
	at, err := follow(r.tree, tree.Root, n.Path)
	if err != nil {
		r.fail(fmt.Errorf("firmware %q: %w", "/"+n.Path, err))
		return
	}
	target, _ := r.tree.Lookup(at)
	if below(n.Path, at) { // the directory that the link is in
		r.fail(fmt.Errorf("firmware %q: the link to %q leads to a directory that it is in", "/"+n.Path, n.Link))
		return
	}
	r.add(name, normal(target, r.epoch))
	if target.Mode.IsDir() {
		r.copyDir(name, at)
	}
}

// copyDir puts what is in a directory under another name. Links in it are followed from where they are.
func (r *resolver) copyDir(name, dir string) {
	for kid := range r.tree.Children(dir) {
		to := path.Join(name, kid.Name())
		if strings.Count(to, "/") > 4*maxLinks {
			r.fail(fmt.Errorf("firmware %q: links to directories go in circles", "/"+name))
			return
		}
		r.put(to, normal(kid, r.epoch))
		if kid.Mode.IsDir() {
			r.copyDir(to, kid.Path)
		}
	}
}

func (r *resolver) add(name string, n tree.Node) {
	n.Path, n.Link, n.Xattrs = name, "", nil // an initramfs has no extended attributes
	if !n.Mode.IsDir() {
		r.files++
	}
	r.nodes = append(r.nodes, n)
}

// withParents adds the directories above, which have no counterpart in the root file system.
func withParents(nodes []tree.Node, epoch time.Time) []tree.Node {
	for p := path.Dir(nodes[0].Path); ; p = path.Dir(p) {
		nodes = append(nodes, tree.Node{Path: p, Mode: fs.ModeDir | 0o755, ModTime: epoch})
		if p == tree.Root {
			return nodes
		}
	}
}
