package imager_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
	"github.com/talosmith/talosmith/pkg/uki"
)

const twoArchitectures = `
talos {
  version = "v1.13.9"
}
image "metal" {
  architectures = ["amd64", "arm64"]
  extensions    = ["siderolabs/ucode", "siderolabs/tiny"]
  kernel_args   = ["console=ttyS9"]
  output "iso" {
    bootloader = "sd-boot"
  }
  output "disk" {
    bootloader  = "sd-boot"
    compression = "none"
  }
  output "installer" {}
  output "initramfs" {}
  output "kernel" {}
  output "cmdline" {}
  output "uki" {}
}
`

func files(m *imager.Manifest) (names []string) {
	for _, a := range m.Artefacts {
		names = append(names, a.File)
	}
	return names
}

func TestEveryOutput(t *testing.T) {
	t.Parallel()
	r := newWorld(t, "v1.13.9").run()
	m := r.build(twoArchitectures, imager.Request{})
	want := []string{
		"metal-amd64-cmdline", "metal-amd64-initramfs.xz", "metal-amd64-installer.tar", "metal-amd64-uki.efi", "metal-amd64-vmlinuz", "metal-amd64.iso", "metal-amd64.raw",
		"metal-arm64-cmdline", "metal-arm64-initramfs.xz", "metal-arm64-installer.tar", "metal-arm64-uki.efi", "metal-arm64-vmlinuz", "metal-arm64.iso", "metal-arm64.raw",
		"metal-installer.oci.tar",
	}
	if got := files(m); !slices.Equal(got, want) {
		t.Fatalf("artefacts %q", got)
	}
	entries, err := os.ReadDir(r.out())
	if err != nil || len(entries) != len(want)+1 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
	a := m.Artefacts[slices.Index(want, "metal-arm64.iso")]
	a.Key, a.SHA256, a.Modified, a.Size = "", "", a.Modified.AddDate(-9999, 0, 0), 0
	a.Modified = a.Modified.UTC()
	if a.Kernel != "6.18.0-talos" || !strings.Contains(a.Cmdline, "console=ttyS9 talos.halt_if_installed=1") || len(a.Extensions) != 2 ||
		a.Extensions[1].ID != "1" || a.Extensions[1].Name != "tiny" || a.Extensions[1].Version != "1.0.0" || a.Extensions[1].Digest != r.digests["tiny:1.0.0"] {
		t.Errorf("artefact %+v", a)
	}
	if got, want := string(r.read("metal-amd64-cmdline")), "talos.platform=metal console=ttyS9 init_on_alloc=1 "; !strings.HasPrefix(got, want) {
		t.Errorf("command line %q", got)
	}
}

// TestInitramfs walks the segments of an initramfs with microcode, firmware and layers.
func TestInitramfs(t *testing.T) {
	t.Parallel()
	r := newWorld(t, "v1.13.9").run()
	r.build(twoArchitectures, imager.Request{Kinds: []talos.Kind{talos.KindInitramfs}, Arch: "amd64"})
	b := r.read("metal-amd64-initramfs.xz")
	segments, err := initramfs.Segments(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var yaml []byte
	for _, s := range segments {
		err := initramfs.Walk(s, func(m initramfs.Member) error {
			line := fmt.Sprintf("%s %s", s.Compression, m.Path)
			if m.Content != nil {
				content, err := io.ReadAll(m.Content)
				if err != nil {
					return err
				}
				if m.Path == "extensions.yaml" {
					yaml = content
				}
				if len(content) < 20 {
					line += " " + string(content)
				}
			}
			got = append(got, line)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"plain kernel", "plain kernel/x86", "plain kernel/x86/microcode",
		"plain kernel/x86/microcode/AuthenticAMD.bin amd", "plain kernel/x86/microcode/GenuineIntel.bin intel",
		"zstd init init", "zstd rootfs.sqsh",
		"plain 0.sqsh", "plain 1.sqsh", "plain extensions.yaml",
		"zstd usr", "zstd usr/lib", "zstd usr/lib/firmware", "zstd usr/lib/firmware/amd-ucode", "zstd usr/lib/firmware/intel-ucode", "zstd usr/lib/firmware/x.bin firmware",
	}
	if !slices.Equal(got, want) {
		t.Errorf("members\n%s", strings.Join(got, "\n"))
	}
	layers, err := extension.ParseExtensionsYAML(yaml)
	if err != nil || len(layers) != 2 || layers[0].Metadata.Name != "ucode" || layers[1].Image != "1.sqsh" {
		t.Errorf("layers %+v, %v", layers, err)
	}
	base := []byte(r.baseInitramfs("v1.13.9"))
	if !bytes.Contains(b, base) {
		t.Error("the base is not in it byte for byte")
	}
}

func TestWithoutExtensionsTheInitramfsIsTheBase(t *testing.T) {
	t.Parallel()
	r := newWorld(t, "v1.13.9").run()
	r.build("talos {\n version = \"v1.13.9\"\n}\nimage \"bare\" {\n output \"initramfs\" {}\n}\n", imager.Request{})
	if !bytes.Equal(r.read("bare-amd64-initramfs.xz"), []byte(r.baseInitramfs("v1.13.9"))) {
		t.Error("it differs")
	}
}

func TestUKI(t *testing.T) {
	t.Parallel()
	r := newWorld(t, "v1.13.9").run()
	r.build(twoArchitectures, imager.Request{Kinds: []talos.Kind{talos.KindUKI, talos.KindInitramfs, talos.KindKernel}})
	if notes := strings.Join(r.notes, "\n"); strings.Count(notes, "no boot splash is known") != 2 { // one for each architecture
		t.Errorf("notes %s", notes)
	}
	for arch, machine := range map[string]uint16{"amd64": 0x8664, "arm64": 0xaa64} {
		f, err := uki.Read(bytes.NewReader(r.read("metal-" + arch + "-uki.efi")))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range f.Sections {
			names = append(names, s.Name)
		}
		if got, want := strings.Join(names, " "), ".text .osrel .cmdline .uname .linux .initrd .profile"; got != want || f.Machine != machine {
			t.Errorf("machine %#x with %s", f.Machine, got)
		}
		initrd, _ := f.Find(uki.Initrd)
		if initrd.Size() < int64(len(r.read("metal-"+arch+"-initramfs.xz"))) {
			t.Error("the initramfs is not in it")
		}
	}
}

// unpack writes an archive's files below a folder.
func unpack(t *testing.T, archive []byte) string {
	t.Helper()
	dir := t.TempDir()
	tr := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(dir, h.Name)), 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, h.Name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestInstallers(t *testing.T) {
	t.Parallel()
	r := newWorld(t, "v1.13.9").run()
	m := r.build(twoArchitectures, imager.Request{Kinds: []talos.Kind{talos.KindInstaller}})
	const tag = "talosmith.local/installer:v1.13.9-metal"

	one := filepath.Join(r.out(), "metal-amd64-installer.tar")
	img, err := tarball.ImageFromPath(one, nil) // as docker load
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	list, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(one) })
	if err != nil || len(list) != 1 || !slices.Equal(list[0].RepoTags, []string{tag}) {
		t.Errorf("docker sees %+v, %v", list, err)
	}
	config, err := img.ConfigFile()
	if err != nil || config.Architecture != "amd64" || config.Created.Unix() != fakeEpoch || len(config.History) != 2 || !slices.Equal(config.Config.Entrypoint, []string{"/bin/installer"}) {
		t.Errorf("config %+v, %v", config, err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[1].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for tr := tar.NewReader(content); ; {
		h, err := tr.Next()
		if err != nil {
			break
		}
		paths = append(paths, fmt.Sprintf("%s %o %d", h.Name, h.Mode, h.ModTime.Unix()))
	}
	if got, want := strings.Join(paths, ", "), "usr/install/amd64/systemd-boot.efi 644 0, usr/install/amd64/vmlinuz.efi 644 0"; got != want {
		t.Errorf("layer %s", got)
	}

	// The same file as an OCI layout.
	dir := unpack(t, r.read("metal-amd64-installer.tar"))
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	top, err := index.IndexManifest()
	if err != nil || len(top.Manifests) != 1 || top.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "v1.13.9-metal" {
		t.Fatalf("index %+v, %v", top, err)
	}
	a := m.Artefacts[slices.Index(files(m), "metal-amd64-installer.tar")]
	if got := top.Manifests[0].Digest.String(); got != a.Digest || a.Tag != tag {
		t.Errorf("digest %s, manifest.json says %s of %s", got, a.Digest, a.Tag)
	}

	// Both architectures.
	dir = unpack(t, r.read("metal-installer.oci.tar"))
	if index, err = layout.ImageIndexFromPath(dir); err != nil {
		t.Fatal(err)
	}
	if top, err = index.IndexManifest(); err != nil {
		t.Fatal(err)
	}
	both, err := index.ImageIndex(top.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(both); err != nil {
		t.Error(err)
	}
	im, err := both.IndexManifest()
	if err != nil || len(im.Manifests) != 2 || im.Manifests[1].Platform.Architecture != "arm64" {
		t.Errorf("index %+v, %v", im, err)
	}
}

// TestLayerIsGzip lets gzip read what does not compress.
func TestLayerIsGzip(t *testing.T) {
	for _, size := range []int{0, 1, 65534, 65535, 65536, 1 << 20} {
		want := bytes.Repeat([]byte("x"), size)
		b, err := tree.ReadAll(imager.Stored{Blob: tree.Bytes(want)})
		if err != nil {
			t.Fatal(err)
		}
		r, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r) // checks the CRC
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("size %d: read %d bytes, %v", size, len(got), err)
		}
	}
}

func TestPush(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1.13.9")
	for _, archs := range []string{`"amd64"`, `"amd64", "arm64"`} {
		r := w.run()
		text := fmt.Sprintf("talos {\n version = \"v1.13.9\"\n}\nimage \"metal\" {\n architectures = [%s]\n output \"installer\" {\n tag = %q\n }\n}\n", archs, w.host+"/mine/installer:1")
		m := r.build(text, imager.Request{})
		res, jobs, diags := imager.Resolve(t.Context(), r.profile(text), imager.Request{Kinds: []talos.Kind{talos.KindInstaller}}, r.src)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		pushed, err := imager.Push(t.Context(), imager.Plan(res, r.src, nil), jobs, imager.Options{Out: r.out(), Store: r.store, Sources: r.src})
		if err != nil || len(pushed) != 1 {
			t.Fatalf("pushed %v, %v", pushed, err)
		}
		last := m.Artefacts[len(m.Artefacts)-1] // the index, where there is one
		if pushed[0].Digest != last.Digest {
			t.Errorf("pushed %s, built %s of %s", pushed[0].Digest, last.Digest, last.File)
		}
	}
	// One without a tag keeps the others from being pushed, or anything from being made.
	untagged := fmt.Sprintf("talos {\n version = \"v1.13.9\"\n}\nimage \"first\" {\n output \"installer\" {\n tag = %q\n }\n}\nimage \"metal\" {\n output \"installer\" {}\n}\n", w.host+"/mine/other:1")
	r := w.run()
	res, jobs, _ := imager.Resolve(t.Context(), r.profile(untagged), imager.Request{Kinds: []talos.Kind{talos.KindInstaller}}, r.src)
	_, err := imager.Push(t.Context(), imager.Plan(res, r.src, nil), jobs, imager.Options{Out: r.out(), Store: r.store, Sources: r.src})
	if err == nil || !strings.Contains(err.Error(), "image metal: ") || !strings.Contains(err.Error(), "tag = \"registry.example.com/talos/installer:v1.13.9-metal\"") {
		t.Errorf("error %v", err)
	}
	if _, err := r.src.Resolve(t.Context(), source.Ref{Image: w.host + "/mine/other:1"}, "amd64"); !errors.Is(err, source.ErrNotFound) || len(r.ran) > 0 {
		t.Errorf("it is pushed: %v; steps %v", err, r.ran)
	}
	// What a registry refuses is told once.
	refused := strings.Replace(untagged, "output \"installer\" {}", "output \"installer\" {\n tag = \"127.0.0.1:1/mine/other:1\"\n }", 1)
	res, jobs, _ = imager.Resolve(t.Context(), r.profile(refused), imager.Request{Kinds: []talos.Kind{talos.KindInstaller}, Image: "metal"}, r.src)
	_, err = imager.Push(t.Context(), imager.Plan(res, r.src, nil), jobs, imager.Options{Out: r.out(), Store: r.store, Sources: r.src})
	if err == nil || !strings.HasPrefix(err.Error(), "push 127.0.0.1:1/mine/other:1: ") || strings.Count(err.Error(), "push") != 1 {
		t.Errorf("error %v", err)
	}
}

// TestWorkInProportion counts the steps that run.
func TestWorkInProportion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1.13.8", "v1.13.9")
	first := w.run()
	twoArchitectures := strings.Replace(twoArchitectures, `output "disk" {
    bootloader  = "sd-boot"
    compression = "none"
  }`, "", 1) // hashing holes takes a while
	before := first.build(twoArchitectures, imager.Request{})
	if first.ran["squashfs"] != 2 { // the architectures have the same files
		t.Errorf("steps %v", first.ran)
	}
	again := w.run()
	after := again.build(twoArchitectures, imager.Request{})
	if len(again.ran) != 0 {
		t.Errorf("nothing changed, and steps ran: %v", again.ran)
	}
	if got, want := asJSON(t, after), asJSON(t, before); got != want {
		t.Errorf("the manifest changed to\n%s", got)
	}
	patch := w.run()
	patch.build(strings.ReplaceAll(twoArchitectures, "v1.13.9", "v1.13.8"), imager.Request{})
	if patch.ran["squashfs"]+patch.ran["microcode"]+patch.ran["firmware"] != 0 {
		t.Errorf("another patch release, and steps of extensions ran: %v", patch.ran)
	}
	if err := os.Truncate(filepath.Join(w.dir, "out", "metal-amd64.iso"), 5); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(w.dir, "out", "metal-arm64.iso")); err != nil {
		t.Fatal(err)
	}
	mended := w.run()
	m := mended.build(strings.ReplaceAll(twoArchitectures, "v1.13.9", "v1.13.8"), imager.Request{Kinds: []talos.Kind{talos.KindISO}, Arch: "amd64"})
	if i := slices.Index(files(m), "metal-amd64.iso"); int64(len(mended.read("metal-amd64.iso"))) != m.Artefacts[i].Size {
		t.Error("a truncated artefact was taken for unchanged")
	}
	if slices.Contains(files(m), "metal-arm64.iso") {
		t.Error("an artefact whose file is gone is still in the manifest")
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestResolveSaysEverythingAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1.13.9")
	r := w.run()
	_, err := r.try(`
talos {
  version = "v1.13.9"
}
extension "gone" {
  image = "`+w.host+`/nobody/home:1"
}
image "metal" {
  extensions = ["siderolabs/tinny", extension.gone, "siderolabs/nothing-like-it"]
  output "uki" {}
}
`, imager.Request{})
	rest := diagText(err)
	for _, want := range []string{"extensions.hcl:5,", "nobody/home:1", `no extension "siderolabs/tinny". Did you mean "siderolabs/tiny"?`, `"siderolabs/nothing-like-it"`} { // in the source's order
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Errorf("missing %q in\n%s", want, diagText(err))
		}
		rest = after
	}
	for _, c := range []struct {
		req  imager.Request
		want string
	}{
		{imager.Request{Kinds: []talos.Kind{talos.KindISO}}, "No image declares an output \"iso\". Add this line to an image block:\n\n  output \"iso\" {}"},
		{imager.Request{Kinds: []talos.Kind{talos.KindDisk}, Image: "metal"},
			"The image \"metal\" declares no output \"disk\"; those that do: cloud. Add this line to its block:\n\n  output \"disk\" {}"},
		{imager.Request{Image: "metall"}, `Did you mean "metal"?`},
	} {
		_, err := w.run().try("talos {\n version = \"v1.13.9\"\n}\nimage \"metal\" {\n output \"uki\" {}\n}\nimage \"cloud\" {\n output \"disk\" {}\n}\n", c.req)
		if err == nil || !strings.Contains(diagText(err), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
	_, err = w.run().try("talos {\n version = \"v1.12.0\"\n}\nimage \"metal\" {\n output \"uki\" {}\n}\n", imager.Request{})
	if err == nil || !strings.Contains(diagText(err), "imager:v1.12.0") {
		t.Errorf("error %v", err)
	}
}

func TestBadInputs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.extension("evil:1", map[string]string{"opt/evil": "x"})
	w.extension("othermods:1", map[string]string{"usr/lib/modules/6.17.0-talos/extras/x.ko": fakeModule})
	w.release("v1.13.9")
	frame := "talos {\n version = \"v1.13.9\"\n}\nextension \"evil\" {\n image = \"" + w.host + "/siderolabs/evil:1\"\n}\nimage \"metal\" {\n %s\n}\n"
	for body, want := range map[string]string{
		"extensions = [extension.evil]\n output \"uki\" {}":           "/opt  its files (1) are not allowed",
		"extensions = [\"siderolabs/othermods\"]\n output \"uki\" {}": "its modules are for the kernel 6.17.0-talos, Talos v1.13.9 has 6.18.0-talos",
		"output \"iso\" {}": "has no GRUB in /usr/lib/grub/i386-pc",
		"splash = \"extensions.hcl\"\n output \"uki\" {}": "not a BMP file",
	} {
		r := w.run()
		_, err := r.try(fmt.Sprintf(frame, body), imager.Request{})
		if err == nil || !strings.Contains(diagText(err), want) {
			t.Errorf("%s: error %v, want one with %q", body, err, want)
		}
		left, err := filepath.Glob(filepath.Join(r.out(), "*metal*"))
		if err != nil || len(left) > 0 {
			t.Errorf("%s: left %q", body, left)
		}
	}
}

// TestNoGRUB builds for each way to boot through GRUB of an imager image without. There is no other loader before Talos 1.10.
func TestNoGRUB(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1.9.6", "v1.13.9")
	for _, c := range []struct{ version, arch, output, dir, remedy string }{
		{"v1.9.6", "amd64", "iso", "x86_64-efi", "file does not exist: take another registry's imager"},
		{"v1.9.6", "arm64", "disk", "arm64-efi", "file does not exist: take another registry's imager"},
		{"v1.13.9", "amd64", "disk", "x86_64-efi", `write bootloader = "sd-boot", or take another`},
	} {
		_, err := w.run().try(fmt.Sprintf("talos {\n version = %q\n}\nimage \"metal\" {\n architectures = [%q]\n output %q {\n  bootloader = \"grub\"\n }\n}\n",
			c.version, c.arch, c.output), imager.Request{})
		if text := diagText(err); !strings.Contains(text, "has no GRUB in /usr/lib/grub/"+c.dir) || !strings.Contains(text, c.remedy) {
			t.Errorf("%+v: %s", c, text)
		}
	}
}

// fakeModule is no ELF file at all.
const fakeModule = "not a module"

// diagText is an error with all diagnostics in it.
func diagText(err error) string {
	var many interface{ Errs() []error }
	if errors.As(err, &many) {
		return fmt.Sprint(many.Errs())
	}
	return fmt.Sprint(err)
}
