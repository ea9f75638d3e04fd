package sandbox_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"gopkg.in/yaml.v3"

	"github.com/talosmith/talosmith/internal/sandbox"
	"github.com/talosmith/talosmith/internal/sandbox/report"
	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/vm"
	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/kmod"
	"github.com/talosmith/talosmith/pkg/squashfs"
	"github.com/talosmith/talosmith/pkg/tree"
)

// ext is an extension as its image has it.
type ext struct {
	Name, Version string
	rootfs        *tree.Tree
}

// pull reads an extension through the registry, by the catalogue's line.
func pull(t *testing.T, r *sandbox.Release, extension string) ext {
	t.Helper()
	lines := flatten(t, r, "siderolabs/extensions:v1.13.9")["image-digests"].content
	for line := range strings.Lines(lines) {
		ref, ok := strings.CutPrefix(strings.TrimSpace(line), "ghcr.io/siderolabs/"+extension+":")
		if !ok {
			continue
		}
		_, digest, _ := strings.Cut(ref, "@")
		files := flatten(t, r, "siderolabs/"+extension+"@"+digest)
		var manifest struct {
			Metadata struct{ Name, Version string }
		}
		if err := yaml.Unmarshal([]byte(files["manifest.yaml"].content), &manifest); err != nil {
			t.Fatal(err)
		}
		return ext{manifest.Metadata.Name, manifest.Metadata.Version, makeTree(t, files)}
	}
	t.Fatalf("the catalogue has no %s:\n%s", extension, lines)
	return ext{}
}

type entry struct {
	header  *tar.Header
	content string
}

// flatten lays an image's layers over each other, by go-containerregistry.
func flatten(t *testing.T, r *sandbox.Release, image string) map[string]entry {
	t.Helper()
	ref, err := name.ParseReference(strings.TrimPrefix(r.Mirror(), "ghcr.io=http://")+"/"+image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	stream := mutate.Extract(img)
	defer stream.Close()
	files := map[string]entry{}
	for tr := tar.NewReader(stream); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		files[path.Clean(h.Name)] = entry{h, string(b)}
	}
}

// makeTree makes a tree of an image's rootfs/.
func makeTree(t *testing.T, files map[string]entry) *tree.Tree {
	t.Helper()
	var nodes []tree.Node
	for p, e := range files {
		p, ok := strings.CutPrefix(p, "rootfs/")
		if !ok {
			continue
		}
		n := tree.Node{Path: p, Mode: e.header.FileInfo().Mode(), ModTime: e.header.ModTime, Link: e.header.Linkname}
		if e.header.Typeflag == tar.TypeLink {
			n.Link = strings.TrimPrefix(n.Link, "rootfs/")
			e.content = files["rootfs/"+n.Link].content
		}
		if n.Mode.IsRegular() {
			n.Content = tree.String(e.content)
		}
		if v, ok := e.header.PAXRecords["SCHILY.xattr.security.selinux"]; ok {
			n.Xattrs = map[string][]byte{"security.selinux": []byte(v)}
		}
		nodes = append(nodes, n)
	}
	made, err := tree.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return made
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

// TestBoot composes an initramfs by hand, in the way of ../../docs: microcode, the base, a segment for each layer, and
// extensions.yaml with the firmware; and boots it.
func TestBoot(t *testing.T) {
	r := sandboxtest.Open(t)
	var exts []ext
	for _, name := range []string{"crun", "gvisor", "tailscale", "intel-ucode", "bnx2-bnx2x", "btrfs", "uinput", "fuse3"} {
		exts = append(exts, pull(t, r, name))
	}
	image := compose(t, r, exts)

	var got report.Report
	machine := vm.Machine{Kernel: r.Kernel(), Initrd: image, KernelArgs: "console=ttyS0 talos.platform=metal selinux=1 module.sig_enforce=1 'x=a b'"}
	start := time.Now()
	if err := vm.Boot(t.Context(), machine, func(line string) bool { t.Log(line); return got.Line(line) }); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v, %s s of it in the kernel", time.Since(start).Round(time.Second/10), got.First("UPTIME", "seconds"))
	if !got.Ready {
		t.Fatal(got.Failure)
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
		var image buffer
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
	all, err := initramfs.Join(append(append([]tree.Blob{early, base}, segments...), last)...)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("/tmp/h/sandbox", "composed")
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

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// buffer is an io.WriterAt in memory.
type buffer []byte

func (b *buffer) WriteAt(p []byte, off int64) (int, error) {
	if end := int(off) + len(p); end > len(*b) {
		*b = append(*b, make([]byte, end-len(*b))...)
	}
	return copy((*b)[off:], p), nil
}
