package extension

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/blang/semver/v4"

	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// maxFile is what a file of an extension may have at most: firmware goes into a cpio archive, whose size field has 32 bits, and so does
// the layer as a whole.
const maxFile = 1<<32 - 1

// Check finds everything that is wrong with an extension for a Talos version and architecture, by path.
// Upstream's imager checks the version only; its rules for contents (pkg/machinery/extensions/validate.go) are applied here without the
// holes that they have: a path is allowed by whole elements, and modes are those of the files.
func (e *Extension) Check(f talos.Facts) []Finding {
	var found findings
	e.checkManifest(&found, f)
	e.checkPaths(&found, f)
	for n := range e.Root.All() {
		checkNode(&found, n)
	}
	all := e.servicesOf(&found)
	e.checkServiceRoots(&found, all)
	e.checkLinks(&found, f, all)
	return found.sorted()
}

func (e *Extension) checkManifest(found *findings, f talos.Facts) {
	m := e.Manifest.Metadata
	if m.Name == "" || m.Version == "" {
		found.add(Warning, CodeManifest, "", "`talosctl get extensions` shows both: write them into manifest.yaml",
			"the manifest has name %q and version %q", m.Name, m.Version)
	}
	ok, err := m.satisfied(strings.TrimPrefix(f.Version.Core().String(), "v"))
	switch {
	case err != nil:
		found.add(Error, CodeConstraint, "", "write a range like '>= v1.12.0 < v1.14.0' into metadata.compatibility.talos.version", "%v", err)
	case !ok:
		found.add(Error, CodeTalosVersion, "", "take the extension's version for this Talos, or another Talos",
			"version constraint %s can't be satisfied with Talos version %s", m.Compatibility.Talos.Version, f.Version)
	}
}

// satisfied tells whether the extension goes with a Talos version ("1.13.9"; a pre-release counts as its release).
func (m Metadata) satisfied(version string) (bool, error) {
	constraint := m.Compatibility.Talos.Version
	if constraint == "" {
		return true, nil
	}
	const limit = 256
	if len(constraint) > limit {
		return false, fmt.Errorf("version constraint: %d bytes, the limit is %d", len(constraint), limit)
	}
	v, err := semver.Parse(version)
	if err != nil {
		return false, err
	}
	in, err := semver.ParseRange(withoutV(constraint))
	if err != nil {
		return false, fmt.Errorf("version constraint %q: %w", constraint, err)
	}
	return in(v), nil
}

// withoutV drops a "v" before a digit.
func withoutV(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] == 'v' && i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9' {
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// checkPaths finds files outside of the allowed places; those of one directory are one finding.
func (e *Extension) checkPaths(found *findings, f talos.Facts) {
	outside := map[string]int{}
	for n := range e.Root.All() {
		if !n.Mode.IsDir() && !allowed(n.Path, f.ExtensionPaths) {
			outside[topmost(n.Path, f.ExtensionPaths)]++
		}
	}
	detail := "extensions may have files below /" + strings.Join(f.ExtensionPaths, ", /")
	for p, n := range outside {
		what := "path is not allowed in extensions"
		if node, _ := e.Root.Lookup(p); node.Mode.IsDir() {
			what = fmt.Sprintf("its files (%d) are not allowed in extensions", n)
		}
		if near := talos.Nearest(p, f.ExtensionPaths, 1); len(near) > 0 {
			what += fmt.Sprintf(": did you mean /%s?", near[0])
		}
		found.add(Error, CodePath, p, detail, "%s", what)
	}
}

// allowed tells whether a path is one of the allowed ones or below one.
func allowed(p string, paths []string) bool {
	for _, a := range paths {
		if below(p, a) {
			return true
		}
	}
	return false
}

// below tells whether p is dir or in it.
func below(p, dir string) bool {
	return dir == tree.Root || strings.HasPrefix(p, dir) && (len(p) == len(dir) || p[len(dir)] == '/')
}

// topmost returns the first part of p that leads to no allowed path.
func topmost(p string, paths []string) string {
	for i := 0; ; i++ {
		if next := strings.IndexByte(p[i:], '/'); next >= 0 {
			i += next
		} else {
			return p
		}
		leads := false
		for _, a := range paths {
			leads = leads || below(a, p[:i])
		}
		if !leads {
			return p[:i]
		}
	}
}

func checkNode(found *findings, n tree.Node) {
	mode := n.Mode
	shared := mode.IsDir() && mode&fs.ModeSticky != 0 // as /tmp of a container is
	if mode&0o002 != 0 && mode.Type() != fs.ModeSymlink && !shared {
		found.add(Error, CodeWorldWritable, n.Path, "take the permission away: chmod o-w", "world-writable files are not allowed (mode %04o)", mode.Perm())
	}
	if t := mode.Type(); t != 0 && t != fs.ModeDir && t != fs.ModeSymlink {
		found.add(Error, CodeSpecialFile, n.Path, "Talos makes devices itself; remove it", "special files are not allowed (%s)", kind(t))
	}
	if mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 && mode.IsRegular() {
		found.add(Warning, CodeSetuid, n.Path, "extension services run as root: no program needs it", "setuid or setgid is set (%s)", mode)
	}
	if n.Size() > maxFile {
		found.add(Error, CodeFileSize, n.Path, "an initramfs can't carry it", "%d bytes, the limit is %d", n.Size(), int64(maxFile))
	}
}

func kind(t fs.FileMode) string {
	switch {
	case t&fs.ModeDevice != 0:
		return "device"
	case t&fs.ModeNamedPipe != 0:
		return "pipe"
	case t&fs.ModeSocket != 0:
		return "socket"
	}
	return t.String()
}

// containers is where the file systems of extension services are; services is where their specifications are.
const (
	containers = "usr/local/lib/containers"
	services   = "usr/local/etc/containers"
)

// runtimeDirs are what Talos or a container runtime fills: what lies there is taken to exist.
var runtimeDirs = []string{"dev", "proc", "sys", "run", "var", "system", "tmp"}

// AtRuntime tells whether a path, without leading slash, lies where a running system puts things: it is taken to exist.
func AtRuntime(p string) bool { return allowed(p, runtimeDirs) }

// checkLinks looks where symbolic links lead. Links of a service's file system see that as their root. Outside of it, only what is
// missing below /usr/local is sure to be missing: the root file system may have the rest.
func (e *Extension) checkLinks(found *findings, f talos.Facts, all []Service) {
	mounted := map[string][]string{} // by the container's root
	for _, s := range all {
		mounted[ServiceRoot(s.Name)] = s.Container.mounted()
	}
	for n := range e.Root.All() {
		if n.Mode.Type() != fs.ModeSymlink {
			continue
		}
		if below(n.Path, f.Firmware()) {
			if _, err := follow(e.Root, tree.Root, n.Path); err != nil {
				found.add(Error, CodeFirmwareLink, n.Path, "the kernel reads firmware from the initramfs, where only this extension's files can be linked to", "%v", err)
			}
			continue
		}
		root := containerOf(n.Path)
		at, err := follow(e.Root, root, n.Path)
		if escapes(n, tree.Root) {
			found.add(Error, CodeLinkEscapes, n.Path, "it leads out of the extension, whatever is there: write it from / or shorten it", "the link to %q leaves the root with \"..\"", n.Link)
		} else if escapes(n, root) {
			found.add(Warning, CodeLinkEscapes, n.Path, "it ends at another place in each root that it is seen from: write it from / or shorten it",
				"the link to %q leaves the container's root with \"..\"", n.Link)
		}
		if err == nil {
			continue
		}
		inside := strings.TrimPrefix(at, root+"/")
		if root == tree.Root && !below(at, "usr/local") || AtRuntime(inside) || allowed(inside, mounted[root]) {
			continue
		}
		found.add(Warning, CodeLinkDangling, n.Path, "nothing in this extension is there; another one or a mount may have it", "%v", err)
	}
}

// containerOf returns the root that a path is seen from: that of the service it belongs to, or the tree's.
func containerOf(p string) string {
	rest, ok := strings.CutPrefix(p, containers+"/")
	name, _, inside := strings.Cut(rest, "/")
	if !ok || !inside {
		return tree.Root
	}
	return path.Join(containers, name)
}

// escapes tells whether a relative link has more ".." than there are directories up to root.
func escapes(n tree.Node, root string) bool {
	if strings.HasPrefix(n.Link, "/") {
		return false
	}
	depth := strings.Count(n.Path, "/")
	if root != tree.Root {
		depth -= strings.Count(root, "/") + 1
	}
	for part := range strings.SplitSeq(n.Link, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return true
			}
		default:
			depth++
		}
	}
	return false
}
