package imager_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/overlay"
	"github.com/talosmith/talosmith/pkg/overlay/confine"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/squashfs"
	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/tree"
)

// A fake Talos release of a few kilobytes, for what does not need to boot. Real parts are in internal/e2e.

// fakeEpoch is the time of init in the fake base initramfs.
const fakeEpoch = 1767225600

// world is a registry with the fake release and a folder to work in.
type world struct {
	t        testing.TB
	dir      string
	host     string
	registry *httptest.Server
	digests  map[string]string // of extensions, by name:tag

	kernel string      // that of releases; default: one with nothing but its header
	root   []tree.Node // further files of their root file system
}

func newWorld(t testing.TB, versions ...string) *world {
	w := &world{t: t, dir: t.TempDir(), digests: map[string]string{}}
	w.registry = httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(w.registry.Close)
	w.host = strings.TrimPrefix(w.registry.URL, "http://")
	w.extension("tiny:1.0.0", map[string]string{"usr/local/share/tiny": "tiny"})
	w.extension("ucode:2", map[string]string{"usr/lib/firmware/intel-ucode/06-01": "intel", "usr/lib/firmware/amd-ucode/microcode_amd.bin": "amd", "usr/lib/firmware/x.bin": "firmware"})
	for _, v := range versions {
		w.release(v)
	}
	return w
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// image is an image of one layer with files.
func (w *world) image(arch string, files map[string]string) v1.Image {
	w.t.Helper()
	var nodes []tree.Node
	for _, name := range slices.Sorted(maps.Keys(files)) {
		nodes = append(nodes, tree.Node{Path: name, Mode: 0o755, Content: tree.String(files[name])})
	}
	return w.imageOf(arch, nodes)
}

// tarTypes of nodes that are no files.
var tarTypes = map[fs.FileMode]byte{
	0: tar.TypeReg, fs.ModeDir: tar.TypeDir, fs.ModeSymlink: tar.TypeSymlink, fs.ModeNamedPipe: tar.TypeFifo, fs.ModeDevice | fs.ModeCharDevice: tar.TypeChar,
}

// imageOf is an image of one layer with nodes of any type.
func (w *world) imageOf(arch string, nodes []tree.Node) v1.Image {
	w.t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, n := range nodes {
		h := &tar.Header{Name: n.Path, Typeflag: tarTypes[n.Mode.Type()], Mode: int64(n.Mode.Perm()), Linkname: n.Link, Size: n.Size(), ModTime: time.Unix(1e9, 5e8), Format: tar.FormatPAX}
		if n.Mode&fs.ModeSetuid != 0 {
			h.Mode |= 0o4000
		}
		w.check(tw.WriteHeader(h))
		if n.Content != nil {
			content, err := tree.ReadAll(n.Content)
			w.check(err)
			_, err = tw.Write(content)
			w.check(err)
		}
	}
	w.check(tw.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	w.check(err)
	img, err := mutate.AppendLayers(empty.Image, layer)
	w.check(err)
	config, err := img.ConfigFile()
	w.check(err)
	config.Architecture, config.OS = arch, "linux"
	config.Config.Entrypoint = []string{"/bin/installer"}
	img, err = mutate.ConfigFile(img, config)
	w.check(err)
	return img
}

// publish pushes an image for both architectures as an index, and returns its digest.
func (w *world) publish(repository string, files func(arch string) map[string]string) string {
	w.t.Helper()
	return w.push("siderolabs/"+repository, func(arch string) v1.Image { return w.image(arch, files(arch)) }, architectures...)
}

var architectures = []string{"amd64", "arm64"}

// push pushes an image for some architectures as an index, and returns its digest.
func (w *world) push(repository string, image func(arch string) v1.Image, archs ...string) string {
	w.t.Helper()
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range archs {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image(arch),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{Architecture: arch, OS: "linux"}},
		})
	}
	ref, err := name.ParseReference(w.host + "/" + repository)
	w.check(err)
	w.check(remote.WriteIndex(ref, index))
	digest, err := index.Digest()
	w.check(err)
	return digest.String()
}

func manifest(name, version string) string {
	return fmt.Sprintf("version: v1alpha1\nmetadata:\n  name: %s\n  version: %q\n  author: a\n  description: '[extra] d'\n  compatibility:\n    talos:\n      version: '>= v1.0.0'\n", name, version)
}

// extension publishes an official extension.
func (w *world) extension(ref string, rootfs map[string]string) {
	w.t.Helper()
	short, version, _ := strings.Cut(ref, ":")
	w.digests[ref] = w.publish(ref, func(arch string) map[string]string {
		files := map[string]string{"manifest.yaml": manifest(short, version)}
		for path, content := range rootfs {
			files["rootfs/"+path] = strings.ReplaceAll(content, "$arch", arch)
		}
		return files
	})
}

// release publishes a Talos release with the extensions so far.
func (w *world) release(version string) {
	w.t.Helper()
	tag := ":" + version
	initrd := w.baseInitramfs(version)
	w.publish("imager"+tag, func(string) map[string]string {
		files := map[string]string{}
		for arch, machine := range map[string]uint16{"amd64": 0x8664, "arm64": 0xaa64} {
			dir := "usr/install/" + arch + "/"
			files[dir+"vmlinuz"] = cmp.Or(w.kernel, fakeKernel("6.18.0-talos"))
			files[dir+"initramfs.xz"] = initrd
			files[dir+"systemd-stub.efi"] = fakeStub(machine)
			files[dir+"systemd-boot.efi"] = fakeStub(machine) + "sd-boot " + arch
		}
		return files
	})
	w.publish("installer-base"+tag, func(arch string) map[string]string { return map[string]string{"bin/installer": "installer " + arch} })
	var lines strings.Builder
	for _, ref := range slices.Sorted(maps.Keys(w.digests)) {
		fmt.Fprintf(&lines, "ghcr.io/siderolabs/%s@%s\n", ref, w.digests[ref])
	}
	var about strings.Builder
	for line := range strings.Lines(lines.String()) {
		fmt.Fprintf(&about, "%s:\n  author: a\n  description: \"[extra] d\"\n", strings.TrimSpace(line))
	}
	w.publish("extensions"+tag, func(string) map[string]string {
		return map[string]string{"image-digests": lines.String(), "descriptions.yaml": about.String()}
	})
}

func (w *world) baseInitramfs(version string) string {
	w.t.Helper()
	root, err := tree.New(append([]tree.Node{
		{Path: "etc/os-release", Mode: 0o644, Content: tree.String(version)},
		{Path: "usr/lib/modules/6.18.0-talos/modules.order", Mode: 0o644, Content: tree.String("")},
		{Path: "usr/lib/modules/6.18.0-talos/modules.builtin", Mode: 0o644, Content: tree.String("kernel/drivers/block/virtio_blk.ko\n")},
	}, w.root...))
	w.check(err)
	f, err := os.Create(filepath.Join(w.t.TempDir(), "rootfs"))
	w.check(err)
	n, err := squashfs.Write(f, root, squashfs.Options{})
	w.check(err)
	at := time.Unix(fakeEpoch, 0)
	files, err := tree.New([]tree.Node{
		{Path: "init", Mode: 0o755, ModTime: at, Content: tree.String("init")},
		{Path: "rootfs.sqsh", Mode: 0o644, ModTime: at, Content: tree.Section(f, 0, n)},
	})
	w.check(err)
	archive, err := initramfs.Archive(files)
	w.check(err)
	z, err := os.Create(filepath.Join(w.t.TempDir(), "z"))
	w.check(err)
	_, err = initramfs.CompressZstd(z, archive, 1, 8<<20)
	w.check(err)
	b, err := os.ReadFile(z.Name())
	w.check(err)
	return string(b)
}

// fakeKernel has an x86 boot header with a release.
func fakeKernel(release string) string {
	b := make([]byte, 0x4000)
	b[0x1f1] = 27
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x20e:], 0x3000-0x200)
	copy(b[0x3000:], release+" (builder)\x00")
	return string(b)
}

// fakeStub is a PE32+ file with one section.
func fakeStub(machine uint16) string {
	b := make([]byte, 0x400)
	put := binary.LittleEndian
	copy(b, "MZ")
	put.PutUint32(b[0x3c:], 0x40)
	copy(b[0x40:], "PE\x00\x00")
	put.PutUint16(b[0x44:], machine)
	put.PutUint16(b[0x46:], 1)
	put.PutUint16(b[0x54:], 240)
	opt := b[0x58:]
	put.PutUint16(opt, 0x20b)
	put.PutUint32(opt[32:], 0x1000)
	put.PutUint32(opt[36:], 0x200)
	put.PutUint32(opt[108:], 16)
	h := opt[240:]
	copy(h, ".text")
	for at, v := range map[int]uint32{8: 0x100, 12: 0x1000, 16: 0x200, 20: 0x200, 36: 0x60000020} {
		put.PutUint32(h[at:], v)
	}
	return string(b)
}

// run is one build in a world.
type run struct {
	*world
	src   *source.Sources
	store *store.Store
	ran   map[string]int // steps by name
	notes []string

	writing func(imager.Writing)
	verify  bool

	bundled bool // the profile's archives need not be there
	runner  overlay.Runner
}

func (w *world) run() *run {
	w.t.Helper()
	r := &run{world: w, ran: map[string]int{}}
	r.runner = &confine.Runner{Limit: time.Minute, Note: func(s string) { r.notes = append(r.notes, s) }}
	r.src = source.New(source.Options{Cache: filepath.Join(w.dir, "downloads"), Mirrors: []source.Mirror{{Host: "ghcr.io", Base: w.registry.URL}}})
	var err error
	var mu sync.Mutex
	observe := func(e store.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.State == store.Done {
			r.ran[e.Step.Name]++
		}
	}
	r.store, err = store.Open(store.Options{Dir: filepath.Join(w.dir, "store"), Workers: 1, Observe: observe})
	w.check(err)
	w.t.Cleanup(func() { w.check(r.store.Close()) })
	return r
}

func (r *run) profile(text string) *profile.Profile {
	r.t.Helper()
	name := filepath.Join(r.dir, "extensions.hcl")
	r.check(os.WriteFile(name, []byte(text), 0o600))
	p, diags := profile.Load(name, profile.Options{Bundled: r.bundled})
	if diags.HasErrors() {
		r.t.Fatal(diags)
	}
	return p
}

func (r *run) out() string { return filepath.Join(r.dir, "out") }

// build makes what is asked for of a profile. Everything must be there.
func (r *run) build(text string, req imager.Request) *imager.Manifest {
	r.t.Helper()
	m, err := r.try(text, req)
	r.check(err)
	return m
}

func (r *run) try(text string, req imager.Request) (*imager.Manifest, error) {
	r.t.Helper()
	return r.tryIn(context.Background(), text, req)
}

func (r *run) tryIn(ctx context.Context, text string, req imager.Request) (*imager.Manifest, error) {
	r.t.Helper()
	req.Runner = r.runner
	res, jobs, diags := imager.Resolve(ctx, r.profile(text), req, r.src)
	if diags.HasErrors() {
		return nil, diags
	}
	for _, d := range diags {
		r.notes = append(r.notes, d.Error())
	}
	var mu sync.Mutex
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		r.notes = append(r.notes, s)
	}
	return imager.Build(ctx, imager.Plan(res, r.src, nil), jobs, imager.Options{
		Out: r.out(), Store: r.store, Sources: r.src, Verify: r.verify, Tool: "test", Note: note, Writing: r.writing,
	})
}

// read returns an artefact's bytes.
func (r *run) read(file string) []byte {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.out(), file))
	r.check(err)
	return b
}
