package sandbox_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/internal/sandbox"
	"github.com/talosmith/talosmith/internal/sandbox/report"
	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/internal/vm"
	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/kmod"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/squashfs"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// ext is an extension as its image has it.
type ext struct {
	Name, Version string
	rootfs        *tree.Tree
}

// pull reads an extension through the registry, by the catalogue.
func pull(t *testing.T, r *sandbox.Release, extension string) ext {
	t.Helper()
	e, _, ok := catalogue(t, r).Find("siderolabs/" + extension)
	if !ok {
		t.Fatalf("the catalogue has no %s", extension)
	}
	files := flatten(t, r, "ghcr.io/"+e.Name+"@"+e.Digest)
	text, err := files.ReadFile("manifest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Metadata struct{ Name, Version string }
	}
	if err := yaml.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	rootfs, err := files.Sub("rootfs")
	if err != nil {
		t.Fatal(err)
	}
	return ext{manifest.Metadata.Name, manifest.Metadata.Version, rootfs}
}

func catalogue(t *testing.T, r *sandbox.Release) *talos.Catalogue {
	t.Helper()
	files := flatten(t, r, "ghcr.io/siderolabs/extensions:"+sandboxtest.Version)
	digests, err := files.ReadFile("image-digests")
	if err != nil {
		t.Fatal(err)
	}
	descriptions, err := files.ReadFile("descriptions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := talos.ParseCatalogue(digests, descriptions)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// flatten reads an image's files through the registry as a mirror.
func flatten(t *testing.T, r *sandbox.Release, image string) *tree.Tree {
	t.Helper()
	mirrors, err := source.ParseMirrors(r.Mirror())
	if err != nil {
		t.Fatal(err)
	}
	s := source.New(source.Options{Cache: t.TempDir(), Mirrors: mirrors})
	a, err := s.Resolve(t.Context(), source.Ref{Image: image}, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	files, err := s.Tree(t.Context(), a, nil, new(formattest.Memory))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// split divides a tree by a directory.
func split(t *testing.T, all *tree.Tree, dir string) (inside, outside *tree.Tree) {
	t.Helper()
	below := func(n tree.Node) bool { return n.Path == dir || strings.HasPrefix(n.Path, dir+"/") }
	inside, err := all.Filter(below)
	if err != nil {
		t.Fatal(err)
	}
	outside, err = all.Filter(func(n tree.Node) bool { return !below(n) })
	if err != nil {
		t.Fatal(err)
	}
	return inside, outside
}

// TestBoot composes an initramfs by hand (microcode, the base, a segment for each layer, extensions.yaml and the firmware), boots
// it, and compares what the stand-in says with what was put in.
func TestBoot(t *testing.T) {
	t.Parallel()
	r := sandboxtest.Open(t)
	var exts []ext
	for _, name := range []string{"crun", "gvisor", "tailscale", "intel-ucode", "bnx2-bnx2x", "btrfs", "uinput", "fuse3", "realtek-firmware"} {
		exts = append(exts, pull(t, r, name))
	}
	const arguments = `console=ttyS0 selinux=1 module.sig_enforce=1 "x=a b"`
	start := time.Now()
	got := sandboxtest.Boot(t, vm.Machine{Kernel: r.Kernel(), Initrd: compose(t, r, exts), KernelArgs: arguments})
	t.Logf("ready after %v, %s s of it in the kernel", time.Since(start).Round(time.Second/10), got.First("UPTIME", "seconds"))

	if text := got.First("CMDLINE", "text"); text != arguments {
		t.Errorf("command line %s", text)
	}
	if v := got.First("STANDIN", "version"); v != sandboxtest.Version {
		t.Errorf("version %s", v)
	}
	for i, e := range exts {
		line, ok := got.Extension(e.Name)
		if !ok || line.Get("version") != e.Version || line.Get("image") != fmt.Sprintf("%d.sqsh", i) {
			t.Errorf("%s %s is not there: %s", e.Name, e.Version, line)
			continue
		}
		_, rest := split(t, e.rootfs, "usr/lib/firmware")
		files := 0
		for n := range rest.All() {
			if n.Mode.IsRegular() {
				files++
			}
		}
		if line.Get("files") != fmt.Sprint(files) {
			t.Errorf("%s has %d files: %s", e.Name, files, line)
		}
		if files == 0 {
			continue
		}
		n, _ := rest.Lookup(strings.TrimPrefix(line.Get("file"), "/"))
		if n.Content == nil || sandboxtest.Sum(t, n) != line.Get("sha256") {
			t.Errorf("other content: %s", line)
		}
	}
	if lines := got.Of("EXTENSION"); len(lines) != len(exts)+1 || lines[len(exts)].Get("name") != "modules.dep" {
		t.Errorf("layers: %v", lines)
	}
	for _, name := range []string{"btrfs", "uinput"} {
		if !slices.ContainsFunc(got.Of("MODULE"), func(l report.Line) bool { return l.Get("name") == name && l.Get("result") == "loaded" }) {
			t.Errorf("module %s: %v", name, got.Of("MODULE"))
		}
	}
	if l := got.Of("LABEL"); len(l) != 2 || l[0].String() != "LABEL file=/usr/local/bin/fusermount3 value=system_u:object_r:fusermount_exec_t:s0" {
		t.Errorf("labels %v", l)
	}
	if says := got.First("SERVICE", "says"); !strings.HasPrefix(says, "200 OK over TLS 1.3: ") {
		t.Errorf("the service says %q", says)
	}
	intel, _ := split(t, exts[3].rootfs, "usr/lib/firmware/intel-ucode")
	if got.First("MICROCODE", "file") != "GenuineIntel.bin" || got.First("MICROCODE", "sha256") != sandboxtest.Sum(t, slices.Collect(intel.All())...) {
		t.Errorf("microcode %v", got.Of("MICROCODE"))
	}
	firmware := 0
	for _, e := range exts {
		for n := range e.rootfs.All() {
			if n.Mode.IsRegular() && strings.HasPrefix(n.Path, "usr/lib/firmware/") && !strings.Contains(n.Path, "intel-ucode") {
				firmware++
			}
		}
	}
	if files := got.First("FIRMWARE", "files"); files != fmt.Sprint(firmware) {
		t.Errorf("%s firmware files, want %d", files, firmware)
	}
	for _, l := range got.Of("FIRMWARE")[1:] {
		for _, e := range exts {
			if n, ok := e.rootfs.Lookup(strings.TrimPrefix(l.Get("file"), "/")); ok && sandboxtest.Sum(t, n) != l.Get("sha256") {
				t.Errorf("other content: %s", l)
			}
		}
	}
}

// TestBootPlain boots the base alone.
func TestBootPlain(t *testing.T) {
	t.Parallel()
	r := sandboxtest.Open(t)
	got := sandboxtest.Boot(t, vm.Machine{Kernel: r.Kernel(), Initrd: r.Initramfs(), KernelArgs: "console=tty0"}) // the serial port is told anyway
	if l := got.Of("EXTENSION"); len(l) != 0 {
		t.Errorf("extensions %v", l)
	}
}

// TestBootRefusal boots a layer that is no squashfs: the report says what and why.
func TestBootRefusal(t *testing.T) {
	t.Parallel()
	r := sandboxtest.Open(t)
	base, err := tree.File(r.Initramfs())
	if err != nil {
		t.Fatal(err)
	}
	bad := archive(t,
		tree.Node{Path: "0.sqsh", Mode: 0o644, Content: tree.Bytes(bytes.Repeat([]byte("no squashfs "), 1000))},
		tree.Node{Path: "extensions.yaml", Mode: 0o644, Content: tree.String("layers:\n    - image: 0.sqsh\n")})
	image := join(t, base, bad)
	var got report.Report
	tooltest.Need(t, "qemu-system-x86_64")
	if err := vm.Boot(t.Context(), vm.Machine{Kernel: r.Kernel(), Initrd: image, KernelArgs: "console=ttyS0"}, got.Line); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.Failure, "/0.sqsh: mount /dev/loop1 on /layers/layer0: invalid argument") {
		t.Errorf("failure %q", got.Failure)
	}
}

// TestMount lets the kernel mount images, as the tests of file systems do.
func TestMount(t *testing.T) {
	t.Parallel()
	files, err := tree.New([]tree.Node{
		{Path: "dir/file", Mode: 0o640, UID: 3, GID: 4, ModTime: time.Unix(1e9, 0), Content: tree.String("hello"), Xattrs: map[string][]byte{"security.selinux": []byte("a:b:c:s0")}},
		{Path: "link", Mode: fs.ModeSymlink | 0o777, Link: "dir/file", ModTime: time.Unix(0, 0)},
	})
	if err != nil {
		t.Fatal(err)
	}
	var image formattest.Memory
	if _, err := squashfs.Write(&image, files, squashfs.Options{}); err != nil {
		t.Fatal(err)
	}
	lines := map[string]report.Line{}
	for _, l := range sandboxtest.Mount(t, "squashfs", sandboxtest.TempFile(t, image), false) {
		lines[l.Get("path")] = l
	}
	f := lines["dir/file"]
	for key, want := range map[string]string{
		"mode": "100640", "uid": "3", "gid": "4", "size": "5", "mtime": "1000000000", "nlink": "1", "security.selinux": "a:b:c:s0",
		"sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
	} {
		if f.Get(key) != want {
			t.Errorf("%s of dir/file is %q, want %q", key, f.Get(key), want)
		}
	}
	if len(lines) != 4 || lines["link"].Get("link") != "dir/file" || lines["."].Get("mode") != "40755" {
		t.Errorf("%v", lines)
	}
}

func compose(t *testing.T, r *sandbox.Release, exts []ext) string {
	t.Helper()
	type layer struct {
		Image    string
		Metadata map[string]string
	}
	var config struct{ Layers []layer }
	var segments []tree.Blob
	var firmware []tree.Node
	var microcode bytes.Buffer
	modules, release := baseModules(t, r)
	hasModules := false
	add := func(name, version string, files *tree.Tree) {
		var image formattest.Memory
		if _, err := squashfs.Write(&image, files, squashfs.Options{Level: 1}); err != nil {
			t.Fatal(err)
		}
		file := name + ".sqsh"
		if name != "modules.dep" {
			file = fmt.Sprintf("%d.sqsh", len(config.Layers))
		}
		segments = append(segments, archive(t, tree.Node{Path: file, Mode: 0o644, Content: tree.Bytes(image)}))
		config.Layers = append(config.Layers, layer{file, map[string]string{"name": name, "version": version}})
	}
	for _, e := range exts {
		fw, rest := split(t, e.rootfs, "usr/lib/firmware")
		for n := range fw.All() {
			if strings.HasPrefix(n.Path, "usr/lib/firmware/intel-ucode/") {
				b, err := tree.ReadAll(n.Content)
				if err != nil {
					t.Fatal(err)
				}
				microcode.Write(b)
			} else if n.Path != tree.Root && !slices.ContainsFunc(firmware, func(o tree.Node) bool { return o.Path == n.Path }) {
				firmware = append(firmware, n)
			}
		}
		add(e.Name, e.Version, rest)
		if dir, err := e.rootfs.Sub("usr/lib/modules/" + release); err == nil {
			hasModules = true
			for n := range dir.All() {
				if n.Mode.IsRegular() {
					modules = append(modules, n)
				}
			}
		}
	}
	if hasModules {
		dir, err := tree.New(modules)
		if err != nil {
			t.Fatal(err)
		}
		scanned, err := kmod.Scan(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		index, err := kmod.Index(dir, scanned, kmod.Options{Search: []string{"extras", "built-in"}})
		if err != nil {
			t.Fatal(err)
		}
		var nodes []tree.Node
		for n := range index.All() {
			if n.Mode.IsRegular() {
				n.Path = "usr/lib/modules/" + release + "/" + n.Path
				nodes = append(nodes, n)
			}
		}
		files, err := tree.New(nodes)
		if err != nil {
			t.Fatal(err)
		}
		add("modules.dep", release, files)
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	early := archive(t, tree.Node{Path: "kernel/x86/microcode/GenuineIntel.bin", Mode: 0o644, Content: tree.Bytes(microcode.Bytes())})
	base, err := tree.File(r.Initramfs())
	if err != nil {
		t.Fatal(err)
	}
	last := archive(t, append(firmware, tree.Node{Path: "extensions.yaml", Mode: 0o644, Content: tree.Bytes(text)})...)
	return join(t, append(append([]tree.Blob{early, base}, segments...), last)...)
}

func join(t *testing.T, segments ...tree.Blob) string {
	t.Helper()
	all, err := initramfs.Join(segments...)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "initramfs")
	w, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := tree.CopyAt(w, 0, all); err != nil {
		t.Fatal(err)
	}
	return file
}

func archive(t *testing.T, nodes ...tree.Node) tree.Blob {
	t.Helper()
	files, err := tree.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	b, err := initramfs.Archive(files)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// baseModules reads the release directory in rootfs.sqsh of the base.
func baseModules(t *testing.T, r *sandbox.Release) (nodes []tree.Node, release string) {
	t.Helper()
	f, err := os.Open(r.Initramfs())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	found, err := initramfs.Segments(f, st.Size())
	if err != nil || len(found) != 1 {
		t.Fatalf("the base has %d segments: %v", len(found), err)
	}
	var rootfs []byte
	err = initramfs.Walk(found[0], func(m initramfs.Member) error {
		if m.Path == "rootfs.sqsh" {
			rootfs, err = io.ReadAll(m.Content)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	root, err := squashfs.NewReader(bytes.NewReader(rootfs))
	if err != nil {
		t.Fatal(err)
	}
	files, err := root.Tree()
	if err != nil {
		t.Fatal(err)
	}
	for n := range files.Children("usr/lib/modules") {
		release = n.Name()
	}
	dir, err := files.Sub("usr/lib/modules/" + release)
	if err != nil {
		t.Fatal(err)
	}
	for n := range dir.All() {
		if n.Mode.IsRegular() {
			nodes = append(nodes, n)
		}
	}
	return nodes, release
}
