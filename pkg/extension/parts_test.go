package extension

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/talosmith/talosmith/pkg/tree"
)

// show writes a tree as lines: mode, owner, seconds, path, what is in it.
func show(t testing.TB, tr *tree.Tree) []string {
	t.Helper()
	if tr == nil {
		return nil
	}
	var lines []string
	for n := range tr.All() {
		s := fmt.Sprintf("%s %d:%d %d %s", n.Mode, n.UID, n.GID, n.ModTime.Unix(), n.Path)
		switch {
		case n.Mode.Type() == fs.ModeSymlink:
			s += " -> " + n.Link
		case n.IsHardLink():
			s += " = " + n.Link
		case n.Mode.IsRegular():
			s += " " + read(t, n.Content)
		}
		for name, value := range n.Xattrs {
			s += fmt.Sprintf(" %s=%q", name, value)
		}
		lines = append(lines, s)
	}
	return lines
}

var epoch = built.Add(-time.Second)

func TestParts(t *testing.T) {
	t.Parallel()
	labelled := file("usr/local/bin/tool", "x")
	labelled.Mode = 0o755 | fs.ModeSetuid
	labelled.Xattrs = map[string][]byte{"security.selinux": []byte("system_u:object_r:bin_t:s0\x00"), "user.a": []byte("b")}
	old := file("usr/local/share/old", "y")
	old.ModTime = time.Unix(1, 0)
	e := with(t, labelled, old,
		hard("usr/local/share/same", "usr/local/share/old", "y"),
		dir("usr/local/closed", 0o055|fs.ModeSticky),
		tree.Node{Path: "usr/local/share/link", Mode: fs.ModeSymlink | 0o644, Link: "old", ModTime: built},
		hard("usr/local/share/fw1", "usr/lib/firmware/a.bin", "A"),
		hard("usr/local/share/fw2", "usr/lib/firmware/a.bin", "A"),
		dir("usr/lib/firmware", 0o750),
		file("usr/lib/firmware/a.bin", "A"),
		hard("usr/lib/firmware/b.bin", "usr/lib/firmware/a.bin", "A"),
		link("usr/lib/firmware/c.bin", "d/../../firmware/./a.bin"),
		link("usr/lib/firmware/abs.bin", "/usr/local/share/old"),
		file("usr/lib/firmware/d/e.bin", "E"),
		link("usr/lib/firmware/d/f.bin", "e.bin"),
		link("usr/lib/firmware/dir", "d"),
		file("usr/lib/firmware/intel-ucode/06-b", "2"),
		file("usr/lib/firmware/intel-ucode/06-a", "1"),
		file("usr/lib/firmware/intel-ucode/.hidden", "0"),
		file("usr/lib/firmware/intel-ucode/sub/x", "not microcode"),
		link("usr/lib/firmware/intel-ucode/06-c", "06-a"),
		file("usr/lib/firmware/amd-ucode/microcode_amd_fam17h.bin", "17"),
		file("usr/lib/firmware/amd-ucode/microcode_amd.bin", "old"),
		file("usr/lib/firmware/amd-ucode/microcode_amd.bin.asc", "signature"),
		file("usr/lib/firmware-not", ""),
		file("usr/lib/modules/6.18.0-talos/extras/m.ko", "M"),
		file("usr/lib/modules/README", ""),
	)
	p, err := e.Parts(facts(t, "v1.13.9"), epoch)
	if err != nil {
		t.Fatal(err)
	}
	wantLayer := []string{
		"drwxr-xr-x 0:0 0 .",
		"drwxr-xr-x 0:0 0 usr",
		"drwxr-xr-x 0:0 0 usr/lib",
		"-rw-r--r-- 0:0 1699999999 usr/lib/firmware-not ",
		"drwxr-xr-x 0:0 0 usr/lib/modules",
		"drwxr-xr-x 0:0 0 usr/lib/modules/6.18.0-talos",
		"drwxr-xr-x 0:0 0 usr/lib/modules/6.18.0-talos/extras",
		"-rw-r--r-- 0:0 1699999999 usr/lib/modules/6.18.0-talos/extras/m.ko M",
		"-rw-r--r-- 0:0 1699999999 usr/lib/modules/README ",
		"drwxr-xr-x 0:0 0 usr/local",
		"drwxr-xr-x 0:0 0 usr/local/bin",
		`urwxr-xr-x 0:0 1699999999 usr/local/bin/tool x security.selinux="system_u:object_r:bin_t:s0"`,
		"drwxr-xr-x 0:0 1699999999 usr/local/closed",
		"drwxr-xr-x 0:0 0 usr/local/share",
		"-rw-r--r-- 0:0 1699999999 usr/local/share/fw1 A",
		"-rw-r--r-- 0:0 1699999999 usr/local/share/fw2 = usr/local/share/fw1",
		"Lrwxrwxrwx 0:0 1699999999 usr/local/share/link -> old",
		"-rw-r--r-- 0:0 1 usr/local/share/old y",
		"-rw-r--r-- 0:0 1699999999 usr/local/share/same = usr/local/share/old",
	}
	if d := cmp.Diff(wantLayer, show(t, p.Squashfs)); d != "" {
		t.Error(d)
	}
	wantFirmware := []string{
		"drwxr-xr-x 0:0 1699999999 .",
		"drwxr-xr-x 0:0 1699999999 usr",
		"drwxr-xr-x 0:0 1699999999 usr/lib",
		"drwxr-x--- 0:0 1699999999 usr/lib/firmware",
		"-rw-r--r-- 0:0 1699999999 usr/lib/firmware/a.bin A",
		"-rw-r--r-- 0:0 1 usr/lib/firmware/abs.bin y",
		"drwxr-xr-x 0:0 0 usr/lib/firmware/amd-ucode",
		"-rw-r--r-- 0:0 1699999999 usr/lib/firmware/amd-ucode/microcode_amd.bin.asc signature",
		"-rw-r--r-- 0:0 1699999999 usr/lib/firmware/b.bin A",
		"-rw-r--r-- 0:0 1699999999 usr/lib/firmware/c.bin A",
		"drwxr-xr-x 0:0 0 usr/lib/firmware/d",
		"-rw-r--r-- 0:0 1699999999 usr/lib/firmware/d/e.bin E",
		"-rw-r--r-- 0:0 1699999999 usr/lib/firmware/d/f.bin E",
		"drwxr-xr-x 0:0 0 usr/lib/firmware/dir",
		"-rw-r--r-- 0:0 1699999999 usr/lib/firmware/dir/e.bin E",
		"-rw-r--r-- 0:0 1699999999 usr/lib/firmware/dir/f.bin E",
		"drwxr-xr-x 0:0 0 usr/lib/firmware/intel-ucode",
		"drwxr-xr-x 0:0 0 usr/lib/firmware/intel-ucode/sub",
		"-rw-r--r-- 0:0 1699999999 usr/lib/firmware/intel-ucode/sub/x not microcode",
	}
	if d := cmp.Diff(wantFirmware, show(t, p.Firmware)); d != "" {
		t.Error(d)
	}
	if got := read(t, tree.Concat(p.IntelUcode...)); got != "0121" {
		t.Errorf("Intel microcode %q", got)
	}
	if got := read(t, tree.Concat(p.AMDUcode...)); got != "old17" {
		t.Errorf("AMD microcode %q", got)
	}
	if d := cmp.Diff([]string{"6.18.0-talos"}, p.Modules); d != "" {
		t.Error(d)
	}
}

// Before 1.10 the same files lie in /lib.
func TestPartsOldLayout(t *testing.T) {
	t.Parallel()
	e := with(t, file("lib/firmware/a", "A"), file("lib/firmware/intel-ucode/x", "X"), file("lib/modules/6.1/m.ko", ""), file("usr/lib/firmware/b", "B"))
	p, err := e.Parts(facts(t, "v1.9.6"), epoch)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := p.Firmware.Lookup("lib/firmware/a"); !ok || len(p.IntelUcode) != 1 || len(p.Modules) != 1 {
		t.Errorf("%+v", p)
	}
	if _, ok := p.Squashfs.Lookup("usr/lib/firmware/b"); !ok {
		t.Error("the other layout's firmware is gone")
	}
}

// A firmware directory in the initramfs hides that of the root file system, so there is none without a file in it.
func TestPartsUcodeOnly(t *testing.T) {
	t.Parallel()
	p, err := with(t, file("usr/lib/firmware/intel-ucode/x", "X")).Parts(facts(t, "v1.13.9"), epoch)
	if err != nil || p.Firmware != nil || len(p.IntelUcode) != 1 || p.Modules != nil {
		t.Errorf("%+v, %v", p, err)
	}
	if d := cmp.Diff([]string{"drwxr-xr-x 0:0 0 .", "drwxr-xr-x 0:0 0 usr", "drwxr-xr-x 0:0 0 usr/lib"}, show(t, p.Squashfs)); d != "" {
		t.Error(d)
	}
}

func TestPartsRefusals(t *testing.T) {
	t.Parallel()
	// Each of ten levels has two links to the next: 2^20 files.
	var wide []tree.Node
	for level := range 20 {
		for _, name := range []string{"x", "y"} {
			wide = append(wide, link(fmt.Sprintf("usr/lib/firmware/l%02d/%s", level, name), fmt.Sprintf("../l%02d", level+1)))
		}
	}
	wide = append(wide, file("usr/lib/firmware/l20/f", ""))
	for name, tt := range map[string]struct {
		nodes []tree.Node
		want  string
	}{
		"dangling":      {[]tree.Node{link("usr/lib/firmware/a", "b")}, `firmware "/usr/lib/firmware/a": the link leads to "/usr/lib/firmware/b", where nothing is`},
		"circle":        {[]tree.Node{link("usr/lib/firmware/a", "b"), link("usr/lib/firmware/b", "a")}, "more than 40 links one after another, or a circle"},
		"own directory": {[]tree.Node{link("usr/lib/firmware/d/a", "..")}, `leads to a directory that it is in`},
		"crossed": {[]tree.Node{link("usr/lib/firmware/a/x", "../b"), link("usr/lib/firmware/b/y", "../a")},
			"links to directories go in circles"},
		"wide":            {wide, "more than 100000 files and directories"},
		"ucode dangling":  {[]tree.Node{link("usr/lib/firmware/intel-ucode/a", "b")}, `firmware "/usr/lib/firmware/intel-ucode/a": the link leads to`},
		"ucode directory": {[]tree.Node{link("usr/lib/firmware/intel-ucode/a", "../d"), dir("usr/lib/firmware/d", 0o755)}, "want a regular file"},
		"no directory":    {[]tree.Node{link("usr/lib/firmware", "/usr/local/firmware")}, `extension tool: "/usr/lib/firmware" is no directory`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := with(t, tt.nodes...).Parts(facts(t, "v1.13.9"), epoch); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 200_000)
	named := func(name string, nodes ...tree.Node) Named {
		files, err := Entries(newTree(t, nodes...))
		if err != nil {
			t.Fatal(err)
		}
		return Named{name, files}
	}
	mods := func(content string) []tree.Node {
		return []tree.Node{file("usr/lib/modules/6.18/modules.dep", content), file("usr/lib/modules/6.18/modules.builtin", content)}
	}
	for name, tt := range map[string]struct {
		exts     []Named
		override []string
		want     []string
	}{
		"apart": {exts: []Named{named("a", file("usr/local/a", "")), named("b", file("usr/local/b", ""))}},
		"same": {exts: []Named{named("a", file("usr/local/x", big), link("usr/local/l", "x"), dir("usr/local/d", 0o755)),
			named("b", file("usr/local/x", big), link("usr/local/l", "x"), dir("usr/local/d", 0o700))}},
		"bytes": {exts: []Named{named("siderolabs/a", file("usr/local/x", big+"a")), named("siderolabs/b", file("usr/local/x", big+"b"))},
			want: []string{`error conflict: "/usr/local/x": siderolabs/a and siderolabs/b have different files; that of siderolabs/b would be used`}},
		"size": {exts: []Named{named("a", file("usr/local/x", "a")), named("b", file("usr/local/x", ""))},
			want: []string{`error conflict: "/usr/local/x": a and b have different files; that of b would be used`}},
		"three": {exts: []Named{named("a", file("usr/local/x", "a")), named("b", file("usr/local/x", "b")), named("c", file("usr/local/x", "c"))},
			want: []string{
				`error conflict: "/usr/local/x": a and b have different files; that of b would be used`,
				`error conflict: "/usr/local/x": b and c have different files; that of c would be used`,
			}},
		"types": {exts: []Named{named("a", file("usr/local/x", ""), link("usr/local/y", "x"), link("usr/local/z", "x")),
			named("b", file("usr/local/x/y", ""), file("usr/local/y", ""), link("usr/local/z", "y"))},
			want: []string{
				`error conflict: "/usr/local/x": a and b have a file and a directory; that of b would be used`,
				`error conflict: "/usr/local/y": a and b have a link and a file; that of b would be used`,
				`error conflict: "/usr/local/z": a and b have links to "x" and "y"; that of b would be used`,
			}},
		"module indexes": {exts: []Named{named("a", mods("a")...), named("b", mods("b")...)}},
		"module index elsewhere": {exts: []Named{named("a", file("usr/lib/modules/6.18/extras/modules.x", "a")), named("b", file("usr/lib/modules/6.18/extras/modules.x", "b"))},
			want: []string{`error conflict: "/usr/lib/modules/6.18/extras/modules.x": a and b have different files; that of b would be used`}},
		"override": {exts: []Named{named("a", file("usr/local/d/x", "a"), file("usr/local/dx", "a")), named("b", file("usr/local/d/x", "b"), file("usr/local/dx", "b"))},
			override: []string{"usr/local/d"},
			want:     []string{`error conflict: "/usr/local/dx": a and b have different files; that of b would be used`}},
		"accepted": {exts: []Named{named("siderolabs/gvisor", file("etc/cri/conf.d/runsc.toml", "a"), file("usr/local/bin/runsc", "a")),
			named("siderolabs/gvisor-debug", file("etc/cri/conf.d/runsc.toml", "b"), file("usr/local/bin/runsc", "b"))},
			want: []string{
				`warning accepted-overlap: "/etc/cri/conf.d/runsc.toml": siderolabs/gvisor and siderolabs/gvisor-debug have different files; that of siderolabs/gvisor-debug is used`,
				`error conflict: "/usr/local/bin/runsc": siderolabs/gvisor and siderolabs/gvisor-debug have different files; that of siderolabs/gvisor-debug would be used`,
			}},
		"accepted of others": {exts: []Named{named("siderolabs/gvisor", file("etc/cri/conf.d/runsc.toml", "a")), named("gvisor-debug", file("etc/cri/conf.d/runsc.toml", "b"))},
			want: []string{`error conflict: "/etc/cri/conf.d/runsc.toml": siderolabs/gvisor and gvisor-debug have different files; that of gvisor-debug would be used`}},
		"hard links": {exts: []Named{named("a", file("usr/local/x", "a"), hard("usr/local/y", "usr/local/x", "a")), named("b", file("usr/local/y", "a"))}},
		"devices": {exts: []Named{named("a", device("usr/local/x", 1)), named("b", device("usr/local/x", 2)), named("c", device("usr/local/x", 2))},
			want: []string{`error conflict: "/usr/local/x": a and b have different devices; that of b would be used`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, f := range Conflicts(tt.exts, facts(t, "v1.13.9"), tt.override) {
				got = append(got, f.String())
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func device(path string, major uint32) tree.Node {
	return tree.Node{Path: path, Mode: fs.ModeDevice | 0o600, Major: major}
}

func TestEntriesUnreadable(t *testing.T) {
	t.Parallel()
	for content, want := range map[tree.Blob]string{
		unreadable(3): `read "/usr/local/x": disk on fire`,
		short(3):      `read "/usr/local/x": content ended after 2 of 3 bytes: unexpected EOF`,
	} {
		if _, err := Entries(newTree(t, tree.Node{Path: "usr/local/x", Content: content})); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// short has a byte less than it says.
type short int64

func (s short) Size() int64 { return int64(s) }
func (s short) Open() (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(strings.Repeat("x", int(s)-1))), nil
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, path string
		want          bool
	}{
		{"usr/lib/modules/*/kernel/sound/**", "usr/lib/modules/6.18/kernel/sound/core/snd.ko", true},
		{"usr/lib/modules/*/kernel/sound/**", "usr/lib/modules/6.18/kernel/sound", false},
		{"usr/lib/modules/*/kernel/sound/**", "usr/lib/modules/6.18/x/kernel/sound/core", false},
		{"etc/cri/conf.d/*", "etc/cri/conf.d/a", true},
		{"etc/cri/conf.d/*", "etc/cri/conf.d/a/b", false},
		{"etc/**", "etc2/a", false},
	} {
		if got := matches(tt.pattern, tt.path); got != tt.want {
			t.Errorf("%s with %s: %v", tt.pattern, tt.path, got)
		}
	}
	for _, a := range accepted {
		for _, p := range a.paths {
			if _, err := path.Match(strings.TrimSuffix(p, "/**"), ""); err != nil {
				t.Errorf("%s: %v", p, err)
			}
		}
	}
}

// Each line "name target" is a link in the firmware directory, each line "name" a file.
func FuzzParts(f *testing.F) {
	f.Add("a\nb a\nd/e ../a\nd2 d\nintel-ucode/x ../b")
	f.Add("a/x ../b\nb/y ../a")
	f.Add("a /usr/lib/firmware/../firmware/b/.\nb/c/d\nb/c/e ..")
	f.Fuzz(func(t *testing.T, script string) {
		const most = 200
		var nodes []tree.Node
		for i, line := range strings.Split(script, "\n") {
			name, target, isLink := strings.Cut(line, " ")
			if n := link("usr/lib/firmware/"+name, target); isLink {
				nodes = append(nodes, n)
			} else {
				nodes = append(nodes, file(n.Path, "x"))
			}
			if i == most {
				break
			}
		}
		root, err := tree.New(nodes)
		if err != nil {
			return
		}
		e := &Extension{Manifest{ManifestVersion, Metadata{Name: "x", Version: "1"}}, root}
		p, err := e.Parts(facts(t, "v1.13.9"), epoch)
		if err != nil {
			return
		}
		if p.Firmware != nil {
			for n := range p.Firmware.All() {
				if !n.Mode.IsDir() && !n.Mode.IsRegular() {
					t.Errorf("%s is left in the firmware: %s", n.Path, n.Mode)
				}
			}
		}
		for n := range p.Squashfs.All() {
			if below(n.Path, "usr/lib/firmware") {
				t.Errorf("%s is left in the layer", n.Path)
			}
		}
		for _, found := range e.Check(facts(t, "v1.13.9")) {
			if found.Code == CodeFirmwareLink {
				t.Errorf("Parts took what Check refuses: %s", found)
			}
		}
	})
}
