package preflight

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/elfinfo"
	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/talos"
)

// runnable are the machines of programs that Talos's kernels start: CONFIG_IA32_EMULATION and CONFIG_COMPAT are set in
// kernel/build/config-amd64 and config-arm64 of siderolabs/pkgs.
var runnable = map[string][]string{talos.AMD64: {"amd64", "386"}, talos.ARM64: {"arm64", "arm"}}

// programs looks at everything in an extension that is to be started.
func (c *checker) programs(ext int) {
	var foreign []*File
	programs := 0
	files := c.Extensions[ext].Contents.Files
	for i := range files {
		f := &files[i]
		switch {
		case f.Damage != "" && f.Mode&anyExecute != 0:
			c.add(ext, extension.Warning, CodeELFDamaged, f.Path, "the kernel will not start it", "%s", f.Damage)
		case f.Script != "":
			v, _ := c.view(f.Path)
			if at := v.resolve(f.Script); at.state == missing {
				c.add(ext, extension.Warning, CodeInterpreter, f.Path, c.whereLooked(v), "the script's interpreter %s is not there", printable(f.Script))
			}
		case f.ELF != nil && (f.isProgram() || f.isLibrary()):
			programs++
			if !slices.Contains(runnable[c.Facts.Arch], f.ELF.Machine) {
				foreign = append(foreign, f)
				continue
			}
			v, service := c.view(f.Path)
			c.linked(ext, f, v, service, c.inView(f))
		}
	}
	if len(foreign) > 0 && len(foreign) == programs {
		c.add(ext, extension.Error, CodeMachine, "", "take the extension's image for "+c.Facts.Arch, "it is for %s, the image for %s", foreign[0].ELF.Machine, c.Facts.Arch)
		return
	}
	for _, f := range foreign {
		c.add(ext, extension.Error, CodeELFMachine, f.Path, "take the file's build for "+c.Facts.Arch, "it is for %s, the image for %s", f.ELF.Machine, c.Facts.Arch)
	}
}

// inView is a file's path as the processes of its own root see it.
func (c *checker) inView(f *File) string {
	if name, ok := containerOf(f.Path); ok {
		return strings.TrimPrefix(f.Path, extension.ServiceRoot(name)+"/")
	}
	return f.Path
}

func (c *checker) whereLooked(v *view) string {
	if name, ok := containerOf(v.top + "/"); ok {
		return fmt.Sprintf("looked for in the root of the service %s, with its mounts", name)
	}
	return "looked for in Talos and all extensions"
}

// linked looks for what starts a program, and for what it is linked with. at is its path in the view.
func (c *checker) linked(ext int, f *File, v *view, service *extension.Service, at string) {
	if f.ELF.Interp == "" {
		return
	}
	loader := v.resolve(f.ELF.Interp)
	if loader.state == unknown {
		return
	}
	if loader.state == missing {
		c.add(ext, extension.Warning, CodeInterpreter, f.Path, c.whereLooked(v)+"; without it the kernel does not start the program: link it statically, or bring the loader along",
			"its loader %s is not there", printable(f.ELF.Interp))
	}
	s := newSearch(v, f.ELF, loader, service)
	var lost []string
	for _, l := range s.all(f.ELF, at) {
		text := printable(l.name)
		if l.by != "" {
			text += " (for " + l.by + ")"
		}
		if l.elsewhere != "" {
			text += fmt.Sprintf(" (%s is not where the loader looks)", "/"+l.elsewhere)
		}
		lost = append(lost, text)
	}
	if len(lost) > 0 {
		c.add(ext, extension.Warning, CodeLibrary, f.Path, c.whereLooked(v)+": link the program statically, or bring them along",
			"%s not found: %s", libraries(len(lost)), some(lost))
	}
}

func libraries(n int) string {
	if n == 1 {
		return "a library is"
	}
	return fmt.Sprintf("%d libraries are", n)
}

// some lists a few.
func some(all []string) string {
	const most = 8
	if len(all) > most {
		return strings.Join(all[:most], ", ") + fmt.Sprintf(" and %d more", len(all)-most)
	}
	return strings.Join(all, ", ")
}

// printable keeps foreign text on one line.
func printable(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "…"
	}
	if quoted := fmt.Sprintf("%q", s); quoted != `"`+s+`"` {
		return quoted
	}
	return s
}

// search is how ld.so finds libraries for one program: https://man7.org/linux/man-pages/man8/ld.so.8.html.
type search struct {
	*view
	machine string
	loader  string // name of the interpreter
	// first and last are the directories before and after those that a file itself names.
	first, last []string
	// anywhere: there is a list of more directories, or it may be that there is.
	anywhere bool
}

// defaultDirs are searched by the loaders of distributions (glibc, also with Debian's directories, and musl).
var defaultDirs = []string{"lib", "lib64", "usr/lib", "usr/lib64", "usr/local/lib", "usr/local/lib64", "lib32", "usr/lib32"}

// triplets are Debian's names of architectures.
var triplets = map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu", "386": "i386-linux-gnu", "arm": "arm-linux-gnueabihf"}

// searchLists are files that add directories. They are binary, or made at boot: what they say is not known here.
var searchLists = []string{
	"etc/ld.so.cache", "usr/local/etc/ld.so.cache", "usr/local/glibc/etc/ld.so.cache",
	"etc/ld-musl-x86_64.path", "etc/ld-musl-aarch64.path", "etc/ld-musl-i386.path",
}

func newSearch(v *view, f *elfinfo.Info, loader place, service *extension.Service) *search {
	s := &search{view: v, machine: f.Machine, loader: path.Base(f.Interp), last: slices.Clone(defaultDirs)}
	if t := triplets[f.Machine]; t != "" {
		s.last = append(s.last, "lib/"+t, "usr/lib/"+t, "usr/local/lib/"+t)
	}
	s.last = append(s.last, path.Dir(relative(f.Interp)))
	if loader.state == there {
		s.last = append(s.last, path.Dir(loader.path))
	}
	for _, list := range searchLists {
		s.anywhere = s.anywhere || v.resolve(list).state == there
	}
	if service == nil {
		return s
	}
	s.anywhere = s.anywhere || service.Container.EnvironmentFile != ""
	for _, e := range service.Container.Environment {
		if dirs, ok := strings.CutPrefix(e, "LD_LIBRARY_PATH="); ok {
			s.first = append(s.first, strings.FieldsFunc(dirs, func(r rune) bool { return r == ':' || r == ';' })...)
		}
	}
	return s
}

// lost is a library that is not found.
type lost struct {
	name, by  string // by: another library that needs it
	elsewhere string
}

// maxObjects is how many libraries of one program are looked at.
const maxObjects = 1000

// all looks for the libraries of a program, and theirs.
func (s *search) all(program *elfinfo.Info, at string) (all []lost) {
	type object struct {
		*elfinfo.Info
		at, name string
	}
	own := expand(program.Rpath, at)
	if program.Runpath != nil {
		own = nil
	}
	seen := map[string]bool{}
	queue := []object{{program, at, ""}}
	for n := 0; len(queue) > 0 && n < maxObjects && !s.tired(); n++ {
		o := queue[0]
		queue = queue[1:]
		var dirs []string
		if o.Runpath == nil {
			if o.Info != program {
				dirs = append(dirs, expand(o.Rpath, o.at)...)
			}
			dirs = append(dirs, own...)
		}
		dirs = slices.Concat(dirs, s.first, expand(o.Runpath, o.at), s.last)
		for _, name := range o.Needed {
			if seen[name] || s.isLoader(name) {
				continue
			}
			seen[name] = true
			found, elsewhere := s.find(name, dirs)
			switch {
			case found.state == missing:
				all = append(all, lost{name, o.name, elsewhere})
			case found.file != nil && found.file.ELF != nil:
				queue = append(queue, object{found.file.ELF, found.path, name})
			}
		}
	}
	return all
}

// isLoader tells whether a library is the loader itself. That of musl has the C library in it, under many names (ldso/dynlink.c).
func (s *search) isLoader(name string) bool {
	if name == s.loader {
		return true
	}
	if !strings.HasPrefix(s.loader, "ld-musl-") {
		return false
	}
	stem, _, _ := strings.Cut(strings.TrimPrefix(name, "lib"), ".")
	return strings.HasPrefix(name, "lib") && slices.Contains([]string{"c", "pthread", "rt", "m", "dl", "util", "xnet"}, stem)
}

// find looks for a library in directories. Elsewhere is where it is besides.
func (s *search) find(name string, dirs []string) (found place, elsewhere string) {
	if strings.Contains(name, "/") {
		return s.resolve(name), ""
	}
	maybe := false
	for _, dir := range dirs {
		found := s.resolve(path.Join(dir, name))
		if found.state == there && s.fits(found.file) {
			return found, ""
		}
		maybe = maybe || found.state == unknown || strings.Contains(dir, "$")
	}
	if maybe {
		return place{state: unknown}, ""
	}
	for _, p := range s.named[name] {
		inside, ok := s.inside(p)
		if !ok {
			continue
		}
		if found := s.resolve(inside); found.state == there && s.fits(found.file) {
			if s.anywhere {
				return found, ""
			}
			elsewhere = inside
		}
	}
	return place{state: missing}, elsewhere
}

// fits tells whether a file can be linked into a program of the search's machine: the loader passes over others.
func (s *search) fits(f *File) bool {
	return f != nil && f.Mode.IsRegular() && (f.ELF == nil || f.ELF.Machine == s.machine)
}

// inside is a path of the machine's root in the view, where it is there by itself or by a mount.
func (s *search) inside(host string) (string, bool) {
	for _, m := range s.mounts {
		if !m.unknown && within(host, m.source) {
			return path.Join(m.at, strings.TrimPrefix(host, m.source)), true
		}
	}
	if !within(host, s.top) {
		return "", false
	}
	if _, contained := containerOf(host); contained && s.top == "." {
		return "", false // no loader looks into the roots of services
	}
	return strings.TrimPrefix(strings.TrimPrefix(host, s.top), "/"), true
}

// expand fills in what ld.so knows: the directory of the object that names the path.
func expand(dirs []string, at string) []string {
	var all []string
	origin := strings.NewReplacer("${ORIGIN}", "/"+path.Dir(at), "$ORIGIN", "/"+path.Dir(at))
	for _, dir := range dirs {
		dir = origin.Replace(dir)
		if !strings.Contains(dir, "$LIB") && !strings.Contains(dir, "${LIB}") {
			all = append(all, dir)
			continue
		}
		for _, lib := range []string{"lib", "lib64"} {
			all = append(all, strings.NewReplacer("${LIB}", lib, "$LIB", lib).Replace(dir))
		}
	}
	return all
}
