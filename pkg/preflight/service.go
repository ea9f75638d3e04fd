package preflight

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/extension"
)

// services looks for the roots, the mounts and the programs of an extension's services.
func (c *checker) services(ext int) {
	services := c.Extensions[ext].Contents.Services
	for i := range services {
		s := &services[i]
		file := s.File
		root := c.root.machine().resolve(extension.ServiceRoot(s.Name))
		if root.state != there || root.file == nil || !root.file.Mode.IsDir() {
			c.add(ext, extension.Error, extension.CodeServiceMissing, file, "put the container's files there; an empty directory does where all is mounted",
				"the container's root /%s is missing", extension.ServiceRoot(s.Name))
			continue
		}
		c.mounts(ext, s, file)
		c.entrypoint(ext, s, file)
	}
}

// twins finds services of one name in several extensions: of files at different paths, since those at one are a conflict anyway. Talos reads
// them by the names of the files.
func (c *checker) twins() {
	type owned struct {
		*extension.Service
		ext int
	}
	at := map[string]owned{} // by file: that of the upper layer
	for i, e := range c.Extensions {
		if e.Contents == nil {
			continue
		}
		for j := range e.Contents.Services {
			s := &e.Contents.Services[j]
			at[s.File] = owned{s, i}
		}
	}
	named := map[string]owned{}
	for _, file := range slices.Sorted(maps.Keys(at)) {
		s := at[file]
		first, twice := named[s.Name]
		switch {
		case !twice:
			named[s.Name] = s
		case first.ext != s.ext:
			c.add(s.ext, extension.Error, extension.CodeServiceName, file, "Talos skips the second", "the name %s is that of /%s in %s, too", s.Name, first.File, c.Extensions[first.ext].Name)
			f := &c.found[len(c.found)-1]
			f.other, f.conflict = first.ext, true
		}
	}
}

// mounts looks for what is mounted. Talos makes directories that are missing, but can't where it can't write: the service does not start.
func (c *checker) mounts(ext int, s *extension.Service, file string) {
	for i, m := range s.Container.Mounts {
		if !isBind(m) || !path.IsAbs(m.Source) || writable(relative(m.Source)) {
			continue
		}
		if from := c.root.machine().resolve(m.Source); from.state == missing && !writable(from.path) {
			c.add(ext, extension.Warning, CodeMount, file, "Talos can't make it, since its root can't be written to: the service does not start",
				"container.mounts[%d]: nothing is at its source %s", i, printable(m.Source))
		}
	}
}

// defaultPath is where containerd looks for a program without a path: pkg/oci/spec_opts.go.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// entrypoint looks for the program of a service, and for what it needs where it is not one of the container's own files, which are
// looked at anyway.
func (c *checker) entrypoint(ext int, s *extension.Service, file string) {
	entry := s.Container.Entrypoint
	if entry == "" {
		return
	}
	v, service := c.view(extension.ServiceRoot(s.Name) + "/")
	at := v.program(entry, s.Container)
	switch {
	case at.state == unknown:
	case at.state == missing:
		c.add(ext, extension.Warning, extension.CodeServiceMissing, file, c.whereLooked(v), "the entrypoint %s is not there", printable(entry))
	case at.file.Mode&anyExecute == 0:
		c.add(ext, extension.Warning, extension.CodeServiceMissing, file, "chmod +x", "the entrypoint %s is not executable", printable(entry))
	case at.file.ELF != nil && !within(at.host, v.top) && slices.Contains(runnable[c.Facts.Arch], at.file.ELF.Machine):
		c.linked(ext, at.file, v, service, at.path)
	}
}

// program returns where a program is that a container starts.
func (v *view) program(entry string, c extension.Container) place {
	if strings.Contains(entry, "/") {
		return v.regular(entry)
	}
	dirs := defaultPath
	for _, e := range c.Environment {
		if p, ok := strings.CutPrefix(e, "PATH="); ok {
			dirs = p
		}
	}
	last := place{state: missing}
	for dir := range strings.SplitSeq(dirs, ":") {
		if found := v.regular(path.Join(dir, entry)); found.state != missing {
			return found
		}
	}
	if c.EnvironmentFile != "" {
		last.state = unknown
	}
	return last
}

// regular is resolve for files alone.
func (v *view) regular(p string) place {
	at := v.resolve(p)
	if at.state == there && (at.file == nil || !at.file.Mode.IsRegular()) {
		at.state = missing
	}
	return at
}

// links looks where an extension's symbolic links lead.
func (c *checker) links(ext int) {
	for i := range c.Extensions[ext].Contents.Files {
		f := &c.Extensions[ext].Contents.Files[i]
		if f.Mode.Type() != fs.ModeSymlink || within(f.Path, c.Facts.Firmware()) {
			continue // the firmware's lead within the extension, which has been looked at
		}
		v, _ := c.view(f.Path)
		if end := v.resolve(c.inView(f)); end.state == missing {
			c.add(ext, extension.Warning, extension.CodeLinkDangling, f.Path, c.whereLooked(v), "the link to %s leads to /%s, where nothing is", printable(f.Link), end.path)
		}
	}
}
