package extension

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/talos"
)

// Named is an extension's files and the name that the profile has for it ("siderolabs/gvisor").
type Named struct {
	Name  string
	Files []Entry
}

// Conflict is a path at which two extensions, by their places in the order of layers, have different things.
type Conflict struct {
	Finding
	Below, Above int
}

// Conflicts finds where extensions, in the order of their layers, have different things at one path: a later layer hides what is below.
// The same content twice is fine, and so are directories, indexes of kernel modules (the generated layer replaces them) and paths at or
// below one of override, without leading slash. What upstream accepts (see accepted) is a warning.
func Conflicts(exts []Named, f talos.Facts, override []string) []Conflict {
	var found []Conflict
	type owner struct {
		ext   int
		entry Entry
	}
	top := map[string]owner{}
	for i, e := range exts {
		for _, n := range e.Files {
			if moduleIndex(n.Path, f.Modules()) {
				continue
			}
			below, taken := top[n.Path]
			top[n.Path] = owner{i, n}
			if !taken || allowed(n.Path, override) {
				continue
			}
			what := differs(below.entry, n)
			if what == "" {
				continue
			}
			first, second := exts[below.ext].Name, e.Name
			var one findings
			if isAccepted(n.Path, first, second) {
				one.add(Warning, CodeAcceptedOverlap, n.Path, "upstream knows that these extensions overlap there",
					"%s and %s have %s; that of %s is used", first, second, what, second)
			} else {
				one.add(Error, CodeConflict, n.Path, fmt.Sprintf("leave one out; or write override = [%q] into the image to take that of %s", "/"+n.Path, second),
					"%s and %s have %s; that of %s would be used", first, second, what, second)
			}
			found = append(found, Conflict{one[0], below.ext, i})
		}
	}
	slices.SortStableFunc(found, func(a, b Conflict) int { return strings.Compare(a.Path, b.Path) })
	return found
}

// moduleIndex tells whether a path is a modules.* file directly in a kernel release's directory.
func moduleIndex(p, modules string) bool {
	dir, name := path.Split(p)
	return strings.HasPrefix(name, "modules.") && path.Dir(path.Clean(dir)) == modules
}

// differs says how two entries at one path differ, if they do.
func differs(a, b Entry) string {
	switch {
	case a.Mode.IsDir() && b.Mode.IsDir():
		return ""
	case a.Mode.Type() != b.Mode.Type():
		return fmt.Sprintf("a %s and a %s", noun(a), noun(b))
	case a.Mode.Type() == fs.ModeSymlink && a.Link != b.Link:
		return fmt.Sprintf("links to %.200q and %.200q", a.Link, b.Link)
	case a.SHA256 != b.SHA256:
		return "different files"
	case a.Major != b.Major || a.Minor != b.Minor:
		return "different devices"
	}
	return ""
}

func noun(e Entry) string {
	switch e.Mode.Type() {
	case 0:
		return "file"
	case fs.ModeDir:
		return "directory"
	case fs.ModeSymlink:
		return "link"
	}
	return kind(e.Mode.Type())
}

// official begins the names of extensions in the catalogue.
const official = "siderolabs/"

// accepted are overlaps of official extensions that upstream knows of, by their names behind that. Each part of a pattern is one of
// [path.Match]; "**" at the end stands for all below. Upstream lists files; here they are summed up by directory.
// Source: github.com/siderolabs/extensions, hack/test/exceptions-amd64.yaml and exceptions-arm64.yaml (August 2026).
var accepted = []struct{ extensions, paths []string }{
	{ // built from one kernel tree
		[]string{"dvb-cx23885", "dvb-m88ds3103", "usb-audio-drivers", "v4l-uvc-drivers", "vc4"},
		[]string{"usr/lib/modules/*/kernel/sound/**", "usr/lib/modules/*/kernel/drivers/media/**", "usr/lib/modules/*/kernel/drivers/i2c/i2c-mux.ko",
			"usr/lib/udev/rules.d/60-persistent-v4l.rules", "usr/lib/firmware/dvb-*.fw", "usr/lib/firmware/v4l-*.fw", "usr/local/lib/modprobe.d/*.conf"},
	},
	{ // each brings a C library
		[]string{"glibc", "nvidia-container-toolkit-lts", "nvidia-container-toolkit-production"},
		[]string{"usr/local/**", "etc/**", "usr/bin/*", "usr/lib/*", "usr/lib/udev/rules.d/*", "usr/share/**"},
	},
	{[]string{"gvisor", "gvisor-debug"}, []string{"etc/cri/conf.d/*"}},
	{ // variants of one driver
		[]string{"nonfree-kmod-nvidia-lts", "nonfree-kmod-nvidia-production", "nvidia-open-gpu-kernel-modules-lts", "nvidia-open-gpu-kernel-modules-production"},
		[]string{"usr/lib/modules/*/extras/*", "usr/lib/modules/*/kernel/drivers/video/*", "usr/local/lib/modprobe.d/*"},
	},
	{[]string{"nvidia-fabricmanager-lts", "nvidia-fabricmanager-production"},
		[]string{"usr/local/etc/containers/*", "usr/local/lib/containers/nvidia-fabricmanager/**"}},
	{[]string{"qemu", "kata-containers"}, []string{"usr/local/bin/qemu-system-*"}},
}

func isAccepted(p, first, second string) bool {
	a, isOfficial := strings.CutPrefix(first, official)
	b, isToo := strings.CutPrefix(second, official)
	if !isOfficial || !isToo {
		return false
	}
	for _, known := range accepted {
		if slices.Contains(known.extensions, a) && slices.Contains(known.extensions, b) &&
			slices.ContainsFunc(known.paths, func(pattern string) bool { return matches(pattern, p) }) {
			return true
		}
	}
	return false
}

func matches(pattern, p string) bool {
	if above, ok := strings.CutSuffix(pattern, "/**"); ok {
		parts := strings.Split(p, "/")
		n := strings.Count(above, "/") + 1
		if len(parts) <= n {
			return false
		}
		pattern, p = above, strings.Join(parts[:n], "/")
	}
	ok, err := path.Match(pattern, p)
	return ok && err == nil
}
