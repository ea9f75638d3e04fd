package preflight

import (
	"io/fs"
	"path"
	"strings"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/tree"
)

// merged is the root file system as Talos has it at boot: the base, and over it the extensions.
type merged struct {
	files map[string]*File
	// named has the paths of files and links by the last element.
	named map[string][]string
	looks int // so far
}

// maxLooks bounds what paths made to be followed for ever cost: some seconds. An image with all official extensions takes 100 000.
const maxLooks = 10_000_000

// tired tells whether nothing more is looked for.
func (m *merged) tired() bool { return m.looks > maxLooks }

func merge(base *Contents, extensions []Extension) *merged {
	m := &merged{files: map[string]*File{}, named: map[string][]string{}}
	layers := []*Contents{base}
	for i := range extensions {
		layers = append(layers, extensions[i].Contents)
	}
	for _, c := range layers {
		if c == nil {
			continue
		}
		for i := range c.Files {
			f := &c.Files[i]
			if _, twice := m.files[f.Path]; !twice && !f.Mode.IsDir() {
				name := path.Base(f.Path)
				m.named[name] = append(m.named[name], f.Path)
			}
			m.files[f.Path] = f
		}
	}
	return m
}

// view is the merged root as a process sees it, whose own root may lie deeper and have other parts mounted into it.
type view struct {
	*merged
	top    string // "." for the machine's own root
	mounts []mount
}

// mount shows a part of the machine's root in a view. All paths are without leading slash.
type mount struct {
	at, source string
	unknown    bool // nobody can tell what is there
}

// state of a path.
type state int

const (
	missing state = iota
	there
	unknown // something that runs puts it there, or may
)

// place is where a path of a view leads.
type place struct {
	state
	path string // in the view, without links
	host string // in the machine's root
	file *File  // nil where the state is not there, and for directories that only a mount makes
}

// overlays are directories that Talos can write to from the start, beside those that it makes at boot.
// Source: Overlays in pkg/machinery/constants/constants.go.
var overlays = []string{"etc/cni", "etc/kubernetes", "usr/libexec/kubernetes", "opt"}

// look finds what is at a path without links.
func (v *view) look(p string) place {
	if v.looks += 1 + len(p)/32 + len(v.mounts)/4; v.tired() {
		return place{state: unknown, path: p}
	}
	for i := len(v.mounts) - 1; i >= 0; i-- { // a later mount lies over the ones before
		m := v.mounts[i]
		if !within(p, m.at) {
			continue
		}
		if m.unknown {
			return place{state: unknown, path: p}
		}
		inside := p
		if m.at != tree.Root {
			inside = strings.TrimPrefix(p[len(m.at):], "/")
		}
		return v.find(p, path.Join(m.source, inside))
	}
	if extension.AtRuntime(p) {
		return place{state: unknown, path: p}
	}
	found := v.find(p, path.Join(v.top, p))
	if found.state != missing {
		return found
	}
	for _, m := range v.mounts {
		if within(m.at, p) { // a directory on the way to a mount
			return place{state: there, path: p}
		}
	}
	return found
}

func (v *view) find(p, host string) place {
	if extension.AtRuntime(host) {
		return place{state: unknown, path: p, host: host}
	}
	if f, ok := v.files[host]; ok {
		return place{there, p, host, f}
	}
	return place{state: missing, path: p, host: host}
}

// within tells whether p is dir or in it.
func within(p, dir string) bool {
	return dir == tree.Root || p == dir || strings.HasPrefix(p, dir) && p[len(dir)] == '/'
}

// maxLinks is the number of symbolic links that Linux follows in one path.
const maxLinks = 40

// resolve follows links, as the kernel does for a process that has the view as its root. A path of nothing but ".." is the root.
func (v *view) resolve(p string) place {
	at := place{state: there, path: tree.Root}
	rest := strings.Split(p, "/")
	for links := 0; len(rest) > 0; {
		if v.tired() {
			return place{state: unknown}
		}
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = place{state: there, path: path.Dir(at.path)}
			continue
		}
		if at.file != nil && !at.file.Mode.IsDir() {
			return place{state: missing, path: at.path, host: at.host} // a file where a directory has to be
		}
		next := v.look(path.Join(at.path, part))
		if next.state != there {
			return next
		}
		if next.file == nil || next.file.Mode.Type() != fs.ModeSymlink {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return place{state: missing, path: next.path, host: next.host}
		}
		if strings.HasPrefix(next.file.Link, "/") {
			at = place{state: there, path: tree.Root}
		}
		rest = append(strings.Split(next.file.Link, "/"), rest...)
	}
	return at
}

// machine is the view of the machine's own processes.
func (m *merged) machine() *view { return &view{merged: m, top: tree.Root} }

// container is the view of a service's processes.
func (m *merged) container(s extension.Service) *view {
	v := &view{merged: m, top: extension.ServiceRoot(s.Name)}
	host := m.machine()
	for _, spec := range s.Container.Mounts {
		at, source := relative(spec.Destination), relative(spec.Source)
		if !isBind(spec) {
			v.mounts = append(v.mounts, mount{at: at, unknown: true})
			continue
		}
		from := host.resolve(source)
		if from.state == there {
			source = from.path
		}
		v.mounts = append(v.mounts, mount{at, source, from.state == unknown || writable(source)})
	}
	return v
}

func relative(p string) string {
	if p = strings.TrimPrefix(path.Clean("/"+p), "/"); p == "" {
		return tree.Root
	}
	return p
}

// isBind tells whether a mount shows a part of the machine's root: other kinds make file systems.
func isBind(m extension.Mount) bool {
	for _, o := range m.Options {
		if o == "bind" || o == "rbind" {
			return true
		}
	}
	return m.Type == "bind" || m.Type == "rbind"
}

// writable tells whether Talos or its containers may put something at a path of the machine.
func writable(p string) bool {
	for _, dir := range overlays {
		if within(p, dir) {
			return true
		}
	}
	return extension.AtRuntime(p)
}

// containerOf returns the name of the service whose root a path of the machine lies in.
func containerOf(p string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(p, path.Dir(extension.ServiceRoot("x"))+"/")
	name, _, inside := strings.Cut(rest, "/")
	return name, ok && inside
}
