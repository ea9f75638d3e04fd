package preflight_test

import (
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talosmith/talosmith/internal/elftest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/preflight"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

const musl = "/lib/ld-musl-x86_64.so.1"

func facts(t testing.TB, version, arch string) talos.Facts {
	t.Helper()
	v, err := talos.ParseVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	f, err := talos.For(v, "metal", arch)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func newTree(t testing.TB, nodes ...tree.Node) *tree.Tree {
	t.Helper()
	tr, err := tree.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func file(path string, mode fs.FileMode, content string) tree.Node {
	return tree.Node{Path: path, Mode: mode, Content: tree.String(content)}
}

func link(path, target string) tree.Node {
	return tree.Node{Path: path, Mode: fs.ModeSymlink | 0o777, Link: target}
}

// exe is a program, lib a library.
func exe(path string, p elftest.Program) tree.Node { return file(path, 0o755, string(p.Build())) }
func lib(path, soname string, needed ...string) tree.Node {
	return file(path, 0o644, string(elftest.Program{Soname: soname, Needed: needed}.Build()))
}

// muslProgram needs libraries and the loader of the base.
func muslProgram(needed ...string) elftest.Program {
	return elftest.Program{Interp: musl, Needed: append([]string{"libc.musl-x86_64.so.1"}, needed...)}
}

// base is a root file system like Talos's, with musl.
func base(t testing.TB) *preflight.Contents {
	t.Helper()
	c, err := preflight.ReadBase(newTree(t,
		link("bin", "usr/bin"), link("lib", "usr/lib"), link("lib64", "usr/lib"), link("sbin", "usr/bin"),
		lib("usr/lib/ld-musl-x86_64.so.1", ""), lib("usr/lib/libz.so.1.3", "libz.so.1"), link("usr/lib/libz.so.1", "libz.so.1.3"),
		file("etc/ssl/certs/ca-certificates", 0o644, "x"), link("etc/pki", "ssl"), file("usr/bin/containerd", 0o755, "x"),
		tree.Node{Path: "usr/local", Mode: fs.ModeDir | 0o755}, tree.Node{Path: "opt", Mode: fs.ModeDir | 0o755},
	))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ext reads an extension of files, as imager does.
func ext(t testing.TB, f talos.Facts, name string, nodes ...tree.Node) preflight.Extension {
	t.Helper()
	e := &extension.Extension{
		Manifest: extension.Manifest{Version: extension.ManifestVersion, Metadata: extension.Metadata{Name: name, Version: "1"}},
		Root:     newTree(t, nodes...),
	}
	c, err := preflight.ReadExtension(e)
	if err != nil {
		t.Fatal(err)
	}
	return preflight.Extension{Name: name, Findings: e.Check(f), Contents: c}
}

// text is a line for each finding.
func text(found []preflight.Finding) []string {
	var all []string
	for _, f := range found {
		of := [...]string{"image", "extension", "argument", "override"}[f.Of]
		all = append(all, fmt.Sprintf("%s %d: %s", of, f.Index, f.Finding))
	}
	return all
}

func check(t testing.TB, got []preflight.Finding, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, text(got)); d != "" {
		t.Error(d)
	}
}

const service = "usr/local/etc/containers/agent.yaml"

// spec is a service's specification.
func spec(entrypoint, more string) tree.Node {
	return file(service, 0o644, "name: agent\ncontainer:\n  entrypoint: "+entrypoint+"\n"+more+"restart: always\n")
}

const root = "usr/local/lib/containers/agent/"

func rootDir() tree.Node {
	return tree.Node{Path: strings.TrimSuffix(root, "/"), Mode: fs.ModeDir | 0o755}
}

func bind(source, destination string) string {
	return "  mounts:\n    - source: " + source + "\n      destination: " + destination + "\n      type: bind\n      options: [rbind, ro]\n"
}

func TestPrograms(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		nodes []tree.Node
		other []tree.Node // of a second extension
		want  []string
	}{
		"static":               {nodes: []tree.Node{exe("usr/local/bin/a", elftest.Program{Type: elf.ET_EXEC})}},
		"on the base":          {nodes: []tree.Node{exe("usr/local/bin/a", muslProgram("libz.so.1", "libpthread.so.0", "ld-musl-x86_64.so.1"))}},
		"on another extension": {nodes: []tree.Node{exe("usr/local/bin/a", muslProgram("libx.so"))}, other: []tree.Node{lib("usr/local/lib/libx.so", "libx.so")}},
		"runpath":              {nodes: []tree.Node{exe("usr/local/agent/bin/a", elftest.Program{Interp: musl, Needed: []string{"libx.so"}, Runpath: "/nowhere:$ORIGIN/../lib"}), lib("usr/local/agent/lib/libx.so", "")}},
		"rpath, with $LIB":     {nodes: []tree.Node{exe("usr/local/agent/bin/a", elftest.Program{Interp: musl, Needed: []string{"libx.so"}, Rpath: "${ORIGIN}/../$LIB"}), lib("usr/local/agent/lib64/libx.so", "")}},
		"rpath of the program": {nodes: []tree.Node{exe("usr/local/bin/a", elftest.Program{Interp: musl, Needed: []string{"libx.so"}, Rpath: "/usr/local/agent"}), lib("usr/local/agent/libx.so", "", "liby.so"), lib("usr/local/agent/liby.so", "")}},
		"runpath is not passed on": {nodes: []tree.Node{exe("usr/local/bin/a", elftest.Program{Interp: musl, Needed: []string{"libx.so"}, Runpath: "/usr/local/agent"}), lib("usr/local/agent/libx.so", "", "liby.so"), lib("usr/local/agent/liby.so", "")},
			want: []string{`extension 0: warning library: "/usr/local/bin/a": a library is not found: liby.so (for libx.so) (/usr/local/agent/liby.so is not where the loader looks)`}},
		"no library": {nodes: []tree.Node{exe("usr/local/bin/a", muslProgram("liba.so", "libz.so.1", "libb.so"))},
			want: []string{`extension 0: warning library: "/usr/local/bin/a": 2 libraries are not found: liba.so, libb.so`}},
		"no library of a library": {nodes: []tree.Node{exe("usr/local/bin/a", muslProgram("liba.so")), lib("usr/local/lib/liba.so", "liba.so", "libb.so")},
			want: []string{`extension 0: warning library: "/usr/local/bin/a": a library is not found: libb.so (for liba.so)`}},
		"libraries in a circle":               {nodes: []tree.Node{exe("usr/local/bin/a", muslProgram("liba.so")), lib("usr/local/lib/liba.so", "", "libb.so"), lib("usr/local/lib/libb.so", "", "liba.so")}},
		"library elsewhere, found by a cache": {nodes: []tree.Node{exe("usr/local/bin/a", muslProgram("libx.so")), lib("usr/local/odd/libx.so", ""), file("etc/ld.so.cache", 0o644, "x")}},
		"library for another machine": {nodes: []tree.Node{exe("usr/local/bin/a", muslProgram("libx.so")), file("usr/local/lib/libx.so", 0o644, string(elftest.Program{Machine: elf.EM_386, Class: elf.ELFCLASS32, Soname: "libx.so"}.Build()))},
			want: []string{`extension 0: warning library: "/usr/local/bin/a": a library is not found: libx.so`}},
		"library in a service's root": {nodes: []tree.Node{exe("usr/local/bin/a", muslProgram("libx.so")), lib(root+"usr/lib/libx.so", "")},
			want: []string{`extension 0: warning library: "/usr/local/bin/a": a library is not found: libx.so`}},
		"library by its path": {nodes: []tree.Node{exe("usr/local/bin/a", muslProgram("/usr/local/x/libx.so", "/usr/local/y/liby.so")), lib("usr/local/x/libx.so", "")},
			want: []string{`extension 0: warning library: "/usr/local/bin/a": a library is not found: /usr/local/y/liby.so`}},
		"glibc": {nodes: []tree.Node{exe("usr/local/bin/a", elftest.Program{Interp: "/lib64/ld-linux-x86-64.so.2", Needed: []string{"libc.so.6"}})},
			want: []string{
				`extension 0: warning interpreter: "/usr/local/bin/a": its loader /lib64/ld-linux-x86-64.so.2 is not there`,
				`extension 0: warning library: "/usr/local/bin/a": a library is not found: libc.so.6`,
			}},
		"glibc in its own place": {nodes: []tree.Node{exe("usr/local/bin/a", elftest.Program{Interp: "/lib64/ld-linux-x86-64.so.2", Needed: []string{"libc.so.6"}})},
			other: []tree.Node{link("usr/lib/ld-linux-x86-64.so.2", "../local/glibc/lib/ld-linux-x86-64.so.2"), lib("usr/local/glibc/lib/ld-linux-x86-64.so.2", ""), lib("usr/local/glibc/lib/libc.so.6", "libc.so.6")}},
		"32-bit":                  {nodes: []tree.Node{exe("usr/local/bin/a", elftest.Program{Machine: elf.EM_386, Class: elf.ELFCLASS32, Type: elf.ET_EXEC})}},
		"machine":                 {nodes: []tree.Node{exe("usr/local/bin/a", elftest.Program{Machine: elf.EM_AARCH64}), exe("usr/local/lib/b.so", elftest.Program{Machine: elf.EM_AARCH64, Needed: []string{"libnothere.so"}})}, want: []string{`extension 0: error machine: it is for arm64, the image for amd64`}},
		"machine of one":          {nodes: []tree.Node{exe("usr/local/bin/a", elftest.Program{Machine: elf.EM_AARCH64}), exe("usr/local/bin/b", muslProgram())}, want: []string{`extension 0: error elf-machine: "/usr/local/bin/a": it is for arm64, the image for amd64`}},
		"data for other machines": {nodes: []tree.Node{exe("usr/local/bin/b", muslProgram()), file("usr/local/share/qemu/openbios-ppc", 0o644, string(elftest.Program{Machine: elf.EM_PPC, Class: elf.ELFCLASS32, Data: elf.ELFDATA2MSB, Type: elf.ET_EXEC}.Build())), exe("usr/lib/firmware/qcom/x.mbn", elftest.Program{Machine: elf.EM_ARM, Class: elf.ELFCLASS32})}},
		"damaged":                 {nodes: []tree.Node{file("usr/local/bin/a", 0o755, "\x7fELF\x09\x01\x01"+strings.Repeat("\x00", 60))}, want: []string{`extension 0: warning elf-damaged: "/usr/local/bin/a": read ELF header: class 9 is neither 32-bit nor 64-bit`}},
		"damaged data":            {nodes: []tree.Node{file("usr/local/share/a", 0o644, "\x7fELF\x09\x01\x01"+strings.Repeat("\x00", 60))}},
		"script":                  {nodes: []tree.Node{file("usr/local/bin/a", 0o755, "#! /bin/sh -e\n"), file("usr/local/bin/b", 0o755, "#!/usr/local/bin/c\n"), file("usr/local/bin/c", 0o755, "")}, want: []string{`extension 0: warning interpreter: "/usr/local/bin/a": the script's interpreter /bin/sh is not there`}},
		"script that is data":     {nodes: []tree.Node{file("usr/local/share/a", 0o644, "#!/bin/sh\n")}},
		"script in a container":   {nodes: []tree.Node{file(root+"run", 0o755, "#!/bin/sh\n"), file(root+"bin/sh", 0o755, "")}},
		"unprintable":             {nodes: []tree.Node{file("usr/local/bin/a", 0o755, "#!/bin/\x1b[2J\n")}, want: []string{`extension 0: warning interpreter: "/usr/local/bin/a": the script's interpreter "/bin/\x1b[2J" is not there`}},
		"container":               {nodes: []tree.Node{spec("/agent", ""), exe(root+"agent", elftest.Program{Interp: "/lib/ld.so", Needed: []string{"libx.so"}}), lib(root+"lib/ld.so", ""), lib(root+"usr/lib/libx.so", "")}},
		"container sees no base": {nodes: []tree.Node{spec("/agent", ""), exe(root+"agent", muslProgram("libz.so.1"))}, want: []string{
			`extension 0: warning interpreter: "/usr/local/lib/containers/agent/agent": its loader /lib/ld-musl-x86_64.so.1 is not there`,
			`extension 0: warning library: "/usr/local/lib/containers/agent/agent": a library is not found: libz.so.1`,
		}},
		"container with mounts":                    {nodes: []tree.Node{spec("/agent", bind("/usr/lib", "/lib")), exe(root+"agent", muslProgram("libz.so.1"))}},
		"container with a link to what is mounted": {nodes: []tree.Node{spec("/agent", bind("/lib", "/opt/lib")), exe(root+"agent", muslProgram("libz.so.1")), link(root+"lib", "/opt/lib")}},
		"container with what runs":                 {nodes: []tree.Node{spec("/agent", bind("/var/lib/agent", "/lib")), exe(root+"agent", muslProgram("libz.so.1"))}},
		"container with library path":              {nodes: []tree.Node{spec("/agent", "  environment: [LD_LIBRARY_PATH=/x:/y]\n"), exe(root+"agent", elftest.Program{Interp: "/ld.so", Needed: []string{"liby.so"}}), lib(root+"ld.so", ""), lib(root+"y/liby.so", "")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := facts(t, "v1.13.9", "amd64")
			target := preflight.Target{Facts: f, Base: base(t), Extensions: []preflight.Extension{ext(t, f, "first", c.nodes...)}}
			if c.other != nil {
				target.Extensions = append(target.Extensions, ext(t, f, "second", c.other...))
			}
			check(t, preflight.Check(target), c.want...)
		})
	}
}

func TestServices(t *testing.T) {
	t.Parallel()
	static := exe(root+"agent", elftest.Program{Type: elf.ET_EXEC})
	for name, c := range map[string]struct {
		nodes, other []tree.Node
		want         []string
	}{
		"fine":                      {nodes: []tree.Node{spec("/agent", ""), static}},
		"relative":                  {nodes: []tree.Node{spec("./agent", ""), static}},
		"on the path":               {nodes: []tree.Node{spec("agent", ""), exe(root+"usr/bin/agent", elftest.Program{Type: elf.ET_EXEC})}},
		"on its own path":           {nodes: []tree.Node{spec("agent", "  environment: [PATH=/x]\n"), exe(root+"x/agent", elftest.Program{Type: elf.ET_EXEC})}},
		"no root":                   {nodes: []tree.Node{spec("/agent", "")}, want: []string{`extension 0: error service-missing: "/usr/local/etc/containers/agent.yaml": the container's root /usr/local/lib/containers/agent is missing`}},
		"root in another":           {nodes: []tree.Node{spec("/agent", "")}, other: []tree.Node{static}},
		"no entrypoint":             {nodes: []tree.Node{spec("/agent", ""), rootDir()}, want: []string{`extension 0: warning service-missing: "/usr/local/etc/containers/agent.yaml": the entrypoint /agent is not there`}},
		"no entrypoint on the path": {nodes: []tree.Node{spec("agent", "  environment: [PATH=/x]\n"), exe(root+"usr/bin/agent", elftest.Program{Type: elf.ET_EXEC})}, want: []string{`extension 0: warning service-missing: "/usr/local/etc/containers/agent.yaml": the entrypoint agent is not there`}},
		"path by a file":            {nodes: []tree.Node{spec("agent", "  environmentFile: /var/x\n"), rootDir()}},
		"directory":                 {nodes: []tree.Node{spec("/bin", ""), file(root+"bin/x", 0o755, "")}, want: []string{`extension 0: warning service-missing: "/usr/local/etc/containers/agent.yaml": the entrypoint /bin is not there`}},
		"not executable":            {nodes: []tree.Node{spec("/agent", ""), file(root+"agent", 0o644, "")}, want: []string{`extension 0: warning service-missing: "/usr/local/etc/containers/agent.yaml": the entrypoint /agent is not executable`}},
		"entrypoint mounted":        {nodes: []tree.Node{spec("/usr/local/bin/agent", bind("/usr/local/bin", "/usr/local/bin")), rootDir(), exe("usr/local/bin/agent", elftest.Program{Type: elf.ET_EXEC})}},
		"entrypoint mounted, alone": {nodes: []tree.Node{spec("/agent", bind("/usr/local/bin/agent", "/agent")), rootDir(), exe("usr/local/bin/agent", muslProgram("libz.so.1"))}, want: []string{
			`extension 0: warning interpreter: "/usr/local/bin/agent": its loader /lib/ld-musl-x86_64.so.1 is not there`,
			`extension 0: warning library: "/usr/local/bin/agent": a library is not found: libz.so.1`,
		}},
		"mount":                  {nodes: []tree.Node{spec("/agent", bind("/usr/share/none", "/x")), static}, want: []string{`extension 0: warning service-mount: "/usr/local/etc/containers/agent.yaml": container.mounts[0]: nothing is at its source /usr/share/none`}},
		"mount through a link":   {nodes: []tree.Node{spec("/agent", bind("/etc/pki/certs", "/x")), static}},
		"mount of what runs":     {nodes: []tree.Node{spec("/agent", bind("/var/lib/x", "/x")), static}},
		"mount that can be made": {nodes: []tree.Node{spec("/agent", bind("/opt/x", "/x")), static}},
		"mount of another kind":  {nodes: []tree.Node{spec("/agent", "  mounts:\n    - {source: tmpfs, destination: /x, type: tmpfs}\n"), static}},
		"name of another's service": {nodes: []tree.Node{spec("/agent", ""), static},
			other: []tree.Node{file("usr/local/etc/containers/a.yaml", 0o644, "name: agent\ncontainer:\n  entrypoint: /agent\nrestart: never\n")},
			want:  []string{`extension 0: error service-name: "/usr/local/etc/containers/agent.yaml": the name agent is that of /usr/local/etc/containers/a.yaml in second, too`}},
		"same specification in two": {nodes: []tree.Node{spec("/agent", ""), static}, other: []tree.Node{spec("/agent", ""), static}},
		"root missing, of another file name": {nodes: []tree.Node{file("usr/local/etc/containers/b.yaml", 0o644, "name: agent\ncontainer:\n  entrypoint: /agent\nrestart: never\n")},
			want: []string{`extension 0: error service-missing: "/usr/local/etc/containers/b.yaml": the container's root /usr/local/lib/containers/agent is missing`}},
		"mount of another's files": {nodes: []tree.Node{spec("/agent", bind("/usr/local/share/other", "/x")), static}, other: []tree.Node{file("usr/local/share/other/x", 0o644, "")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := facts(t, "v1.13.9", "amd64")
			target := preflight.Target{Facts: f, Base: base(t), Extensions: []preflight.Extension{ext(t, f, "first", c.nodes...)}}
			if c.other != nil {
				target.Extensions = append(target.Extensions, ext(t, f, "second", c.other...))
			}
			check(t, preflight.Check(target), c.want...)
		})
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	f := facts(t, "v1.13.9", "amd64")
	target := preflight.Target{Facts: f, Base: base(t), Extensions: []preflight.Extension{
		ext(t, f, "first",
			link("usr/local/a", "/usr/bin/containerd"), link("usr/local/b", "../bin/none"), link("usr/local/c", "second"), link("usr/local/d", "/var/x"),
			link("usr/local/circle", "circle"), link("usr/local/e", "second/x"), link("usr/local/f", "/usr/bin/containerd/x"), link("usr/local/up", "../../../../usr/bin/containerd"),
			link(root+"g", "/usr/bin/containerd"), link(root+"h", "/proc/self/exe"),
		),
		ext(t, f, "second", file("usr/local/second", 0o644, "")),
	}}
	check(t, preflight.Check(target),
		`extension 0: error link-escapes: "/usr/local/up": the link to "../../../../usr/bin/containerd" leaves the root with ".."`,
		`extension 0: warning link-dangling: "/usr/local/b": the link to ../bin/none leads to /usr/bin/none, where nothing is`,
		`extension 0: warning link-dangling: "/usr/local/circle": the link to circle leads to /usr/local/circle, where nothing is`,
		`extension 0: warning link-dangling: "/usr/local/e": the link to second/x leads to /usr/local/second, where nothing is`,
		`extension 0: warning link-dangling: "/usr/local/f": the link to /usr/bin/containerd/x leads to /usr/bin/containerd, where nothing is`,
		`extension 0: warning link-dangling: "/usr/local/lib/containers/agent/g": the link to /usr/bin/containerd leads to /usr, where nothing is`,
	)
}

func TestConflictsAndOverrides(t *testing.T) {
	t.Parallel()
	f := facts(t, "v1.13.9", "amd64")
	target := preflight.Target{Facts: f, Base: base(t), Extensions: []preflight.Extension{
		ext(t, f, "a", file("usr/local/x", 0o644, "a"), file("usr/local/y", 0o644, "a"), file("usr/local/dir/z", 0o644, "a"), file("usr/local/same", 0o644, "")),
		{Name: "unusable", Findings: []extension.Finding{{Severity: extension.Error, Code: preflight.CodeUnusable, Summary: "no manifest"}}},
		ext(t, f, "b", file("usr/local/x", 0o644, "b"), file("usr/local/y", 0o644, "b"), file("usr/local/dir/z", 0o644, "b"), file("usr/local/same", 0o644, "")),
	}, Override: []string{"/usr/local/dir", "/usr/local/y", "/usr/local/same"}}
	check(t, preflight.Check(target),
		`extension 1: error unusable: no manifest`,
		`extension 2: error conflict: "/usr/local/x": a and b have different files; that of b would be used`,
		`override 2: warning override: "/usr/local/same": no two extensions have different files there`,
	)
}

// TestPolicy: what is wrong in official images is a warning, but for what would not start or can't be made.
func TestPolicy(t *testing.T) {
	t.Parallel()
	f := facts(t, "v1.13.9", "amd64")
	wrong := []tree.Node{file("opt/x", 0o666, "x"), file("usr/local/x", 0o644, "official")}
	target := preflight.Target{Facts: f, Base: base(t), Extensions: []preflight.Extension{
		ext(t, f, "siderolabs/a", wrong...),
		ext(t, f, "siderolabs/b", file("usr/local/x", 0o644, "official, too")),
		ext(t, f, "mine", file("usr/local/x", 0o644, "mine")),
		ext(t, f, "siderolabs/c", file("usr/local/x", 0o644, "over mine")),
		ext(t, f, "siderolabs/d", exe("usr/local/bin/d", elftest.Program{Machine: elf.EM_AARCH64})),
		ext(t, f, "siderolabs/e", exe("usr/local/bin/e", elftest.Program{Machine: elf.EM_AARCH64}), exe("usr/local/bin/f", elftest.Program{Type: elf.ET_EXEC})),
		{Name: "siderolabs/f", Modules: preflight.Modules{Releases: []string{"5.4.0"}}},
		{Name: "siderolabs/g", Findings: []extension.Finding{{Severity: extension.Error, Code: preflight.CodeUnusable, Summary: "no manifest"}}},
		{Name: "siderolabs/h", Modules: preflight.Modules{Releases: []string{"6.18.0-talos"}, Bad: []preflight.BadModule{{Path: "extras/a.ko", Cause: "the file is no ELF object"}}}},
	}, Kernel: preflight.Kernel{Release: "6.18.0-talos"}}
	for i := range target.Extensions {
		target.Extensions[i].Official = strings.HasPrefix(target.Extensions[i].Name, "siderolabs/")
	}
	check(t, preflight.Check(target),
		`extension 0: warning path: "/opt": its files (1) are not allowed in extensions`,
		`extension 0: warning world-writable: "/opt/x": world-writable files are not allowed (mode 0666)`,
		`extension 1: warning conflict: "/usr/local/x": siderolabs/a and siderolabs/b have different files; that of siderolabs/b would be used`,
		`extension 2: error conflict: "/usr/local/x": siderolabs/b and mine have different files; that of mine would be used`,
		`extension 3: error conflict: "/usr/local/x": mine and siderolabs/c have different files; that of siderolabs/c would be used`,
		`extension 4: error machine: it is for arm64, the image for amd64`,
		`extension 5: warning elf-machine: "/usr/local/bin/e": it is for arm64, the image for amd64`,
		`extension 6: error kernel-release: "/usr/lib/modules/5.4.0": its modules are for the kernel 5.4.0, Talos v1.13.9 has 6.18.0-talos`,
		`extension 7: error unusable: no manifest`,
		`extension 8: error module: "/usr/lib/modules/6.18.0-talos/extras/a.ko": the file is no ELF object`,
	)
}

// TestMany: a thousand mistakes of one kind are ten and a number.
func TestMany(t *testing.T) {
	t.Parallel()
	f := facts(t, "v1.13.9", "amd64")
	var nodes []tree.Node
	for i := range 1000 {
		nodes = append(nodes, file(fmt.Sprintf("usr/local/%04d", i), 0o666, ""))
	}
	got := preflight.Check(preflight.Target{Facts: f, Base: base(t), Extensions: []preflight.Extension{ext(t, f, "a", nodes...)}})
	if len(got) != 11 || got[0].Path != "usr/local/0000" || got[10].Summary != "990 more of this kind" || got[10].Severity != extension.Error {
		t.Errorf("%d findings, the last %+v", len(got), got[len(got)-1])
	}
}

// TestHost: the programs of this machine, in a tree of their own, find what they need there, as ld.so does.
func TestHost(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/lib64/ld-linux-x86-64.so.2"); err != nil {
		tooltest.Missing(t, "glibc's loader for x86-64", "libc6")
	}
	var nodes []tree.Node
	add := func(pattern string) {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			st, err := os.Lstat(name)
			switch {
			case err != nil || st.IsDir():
			case st.Mode().Type() == fs.ModeSymlink:
				target, err := os.Readlink(name)
				if err != nil {
					t.Fatal(err)
				}
				nodes = append(nodes, link(name[1:], target))
			default:
				b, err := tree.File(name)
				if err != nil {
					t.Fatal(err)
				}
				nodes = append(nodes, tree.Node{Path: name[1:], Mode: st.Mode().Perm(), Content: b})
			}
		}
	}
	add("/usr/lib/x86_64-linux-gnu/*.so*")
	add("/usr/lib64/*.so*")
	base, err := preflight.ReadBase(newTree(t, append(nodes, link("lib", "usr/lib"), link("lib64", "usr/lib64"))...))
	if err != nil {
		t.Fatal(err)
	}
	nodes = nil
	for _, name := range []string{"cat", "find", "ls", "sed", "sha256sum", "stat"} {
		add("/usr/bin/" + name)
	}
	f := facts(t, "v1.13.9", "amd64")
	e := ext(t, f, "host", nodes...)
	if len(e.Contents.Files) < 5 {
		t.Fatal("no programs")
	}
	for _, found := range preflight.Check(preflight.Target{Facts: f, Base: base, Extensions: []preflight.Extension{{Name: "host", Contents: e.Contents}}}) {
		if found.Code == preflight.CodeInterpreter || found.Code == preflight.CodeLibrary {
			t.Error(found.Finding)
		}
	}
}

// TestPatience: what is made to take for ever is given up, and said.
func TestPatience(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("d/", 1000)
	program := elftest.Program{Interp: musl}
	for i := range 500 {
		program.Needed = append(program.Needed, fmt.Sprintf("lib%d.so", i))
	}
	program.Runpath = strings.Repeat("/usr/local/l/l/l/l/l/l/l/l/l/l:", 100)
	nodes := []tree.Node{link("usr/local/l", strings.TrimSuffix(deep, "/")), file("usr/local/"+deep+"x", 0o644, "")}
	content := tree.String(string(program.Build()))
	for i := range 100 {
		nodes = append(nodes, tree.Node{Path: fmt.Sprintf("usr/local/bin/%d", i), Mode: 0o755, Content: content})
	}
	f := facts(t, "v1.13.9", "amd64")
	got := text(preflight.Check(preflight.Target{Facts: f, Base: base(t), Extensions: []preflight.Extension{ext(t, f, "a", nodes...)}}))
	if want := "image 0: warning library: not every program, link and mount was looked at: there are too many"; got[0] != want {
		t.Errorf("%q", got[0])
	}
}
