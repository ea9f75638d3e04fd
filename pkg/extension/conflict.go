package extension

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// Named is an extension and the name that the profile has for it ("siderolabs/gvisor").
type Named struct {
	Name string
	*Extension
}

// Conflicts finds where extensions, in the order of their layers, have different things at one path: a later layer hides what is below.
// The same content twice is fine, and so are directories, indexes of kernel modules (the generated layer replaces them) and paths at or
// below one of override. What upstream accepts (see accepted) is a warning.
func Conflicts(exts []Named, f talos.Facts, override []string) []Finding {
	var found findings
	type owner struct {
		ext  int
		node tree.Node
	}
	top := map[string]owner{}
	for i, e := range exts {
		for n := range e.Root.All() {
			if moduleIndex(n.Path, f.Modules()) {
				continue
			}
			below, taken := top[n.Path]
			top[n.Path] = owner{i, n}
			if !taken || allowed(n.Path, override) {
				continue
			}
			what, err := differs(below.node, n)
			first, second := exts[below.ext].Name, e.Name
			switch {
			case err != nil:
				found.add(Error, CodeUnreadable, n.Path, "", "compare %s with %s: %v", first, second, err)
			case what == "":
			case isAccepted(n.Path, first, second):
				found.add(Warning, CodeAcceptedOverlap, n.Path, "upstream knows that these extensions overlap there",
					"%s and %s have %s; that of %s is used", first, second, what, second)
			default:
				found.add(Error, CodeConflict, n.Path, fmt.Sprintf("leave one out; or write override = [%q] into the image to take that of %s", "/"+n.Path, second),
					"%s and %s have %s; that of %s would be used", first, second, what, second)
			}
		}
	}
	return found.sorted()
}

// moduleIndex tells whether a path is a modules.* file directly in a kernel release's directory.
func moduleIndex(p, modules string) bool {
	dir, name := path.Split(p)
	return strings.HasPrefix(name, "modules.") && path.Dir(path.Clean(dir)) == modules
}

// differs says how two nodes at one path differ, if they do.
func differs(a, b tree.Node) (string, error) {
	switch {
	case a.Mode.IsDir() && b.Mode.IsDir():
		return "", nil
	case a.Mode.Type() != b.Mode.Type():
		return fmt.Sprintf("a %s and a %s", noun(a), noun(b)), nil
	case a.Mode.Type() == fs.ModeSymlink && a.Link != b.Link:
		return fmt.Sprintf("links to %q and %q", a.Link, b.Link), nil
	case a.Mode.IsRegular():
		same, err := equal(a.Content, b.Content)
		if err != nil || same {
			return "", err
		}
		return "different files", nil
	case a.Major != b.Major || a.Minor != b.Minor:
		return "different devices", nil
	}
	return "", nil
}

func noun(n tree.Node) string {
	switch n.Mode.Type() {
	case 0:
		return "file"
	case fs.ModeDir:
		return "directory"
	case fs.ModeSymlink:
		return "link"
	}
	return kind(n.Mode.Type())
}

// equal compares content.
func equal(a, b tree.Blob) (same bool, err error) {
	if a.Size() != b.Size() {
		return false, nil
	}
	ra, err := a.Open()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, ra.Close()) }()
	rb, err := b.Open()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, rb.Close()) }()
	const chunk = 64 << 10
	bufA, bufB := make([]byte, chunk), make([]byte, chunk)
	for left := a.Size(); left > 0; left -= chunk {
		n := min(left, chunk)
		if _, err := io.ReadFull(ra, bufA[:n]); err != nil {
			return false, err
		}
		if _, err := io.ReadFull(rb, bufB[:n]); err != nil {
			return false, err
		}
		if !bytes.Equal(bufA[:n], bufB[:n]) {
			return false, nil
		}
	}
	return true, nil
}

// accepted are overlaps of official extensions that upstream knows of, by the last part of their names. Each part of a pattern is one of
// [path.Match]; "**" at the end stands for all below. Upstream lists files; here they are summed up by directory.
// Source: github.com/siderolabs/extensions, hack/test/exceptions-amd64.yaml and exceptions-arm64.yaml (August 2026).
var accepted = []struct{ extensions, paths []string }{
	{ // built from one kernel tree
		[]string{"dvb-cx23885", "dvb-m88ds3103", "usb-audio-drivers", "v4l-uvc-drivers", "vc4"},
		[]string{"usr/lib/modules/*/kernel/sound/**", "usr/lib/modules/*/kernel/drivers/media/**", "usr/lib/modules/*/kernel/drivers/i2c/i2c-mux.ko",
			"usr/lib/udev/rules.d/60-persistent-v4l.rules", "usr/lib/firmware/dvb-*.fw", "usr/lib/firmware/v4l-*.fw", "usr/local/lib/modprobe.d/*.conf",
			"usr/local/share/spdx/*"},
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
	for _, a := range accepted {
		if slices.Contains(a.extensions, path.Base(first)) && slices.Contains(a.extensions, path.Base(second)) &&
			slices.ContainsFunc(a.paths, func(pattern string) bool { return matches(pattern, p) }) {
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
