package source

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/talosmith/talosmith/internal/tooltest"
)

const appTree = "etc/\netc/a=one\netc/c=three\nusr/\nusr/tool=#!\n"

// app is the image of these tests; its tree is appTree.
func app(t testing.TB) v1.Image {
	return image(t, "amd64", tarOf("etc/", "etc/a=one", "etc/b=two", "usr/", "usr/tool=#!"), tarOf("etc/.wh.b", "etc/c=three"))
}

// treeOf resolves a reference and lists its tree.
func treeOf(t testing.TB, ref Ref, arch string) (*Artifact, string, error) {
	t.Helper()
	s, _, _ := sources(t, Options{})
	a, err := s.Resolve(t.Context(), ref, arch)
	if err != nil {
		return nil, "", err
	}
	tr, err := s.Tree(t.Context(), a, nil, &memSpool{})
	if err != nil {
		return nil, "", err
	}
	return a, list(t, tr), nil
}

// skopeo copies between what it calls transports, without the machine's policy.
func skopeo(t testing.TB, args ...string) {
	t.Helper()
	tooltest.Run(t, "skopeo", append([]string{"--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"}, args...)...)
}

// What skopeo makes of an image is the image, in every form and compression, in files and in Debian's registry.
func TestSkopeo(t *testing.T) {
	t.Parallel()
	tooltest.Need(t, "skopeo")
	img := app(t)
	remote := tooltest.DockerRegistry(t, "") + "/team/app:v1"
	push(t, remote, img)
	dir := t.TempDir()
	skopeo(t, "docker://"+remote, "oci:"+dir+"/layout:v1")
	skopeo(t, "--dest-compress-format=zstd", "docker://"+remote, "oci:"+dir+"/zstd:v1")
	skopeo(t, "--dest-oci-accept-uncompressed-layers", "--dest-decompress", "docker://"+remote, "oci:"+dir+"/plain:v1")
	skopeo(t, "docker://"+remote, "oci-archive:"+dir+"/oci.tar:v1")
	skopeo(t, "docker://"+remote, "docker-archive:"+dir+"/docker.tar:team/app:v1")
	tagged := func(tag string) string { return strings.TrimSuffix(remote, "v1") + tag }
	skopeo(t, "--format=v2s2", "docker://"+remote, "docker://"+tagged("docker"), "--dest-tls-verify=false")
	skopeo(t, "oci:"+dir+"/zstd:v1", "docker://"+tagged("zstd"), "--dest-tls-verify=false")
	refs := map[string]Ref{
		"registry":        {Image: remote},
		"registry docker": {Image: tagged("docker")},
		"registry zstd":   {Image: tagged("zstd")},
		"layout":          {OCILayout: dir + "/layout"},
		"layout tag":      {OCILayout: dir + "/layout:v1"},
		"zstd":            {OCILayout: dir + "/zstd"},
		"uncompressed":    {OCILayout: dir + "/plain"},
		"oci archive":     {OCILayout: dir + "/oci.tar:v1"},
		"oci tarball":     {Tarball: dir + "/oci.tar"},
		"docker archive":  {Tarball: dir + "/docker.tar"},
	}
	for _, archive := range []string{"oci", "docker"} {
		for _, format := range []string{"gzip", "zstd", "xz"} {
			file := fmt.Sprintf("%s/%s.%s", dir, archive, format)
			if err := os.WriteFile(file, compressed(t, format, must(os.ReadFile(dir+"/"+archive+".tar"))), 0o600); err != nil {
				t.Fatal(err)
			}
			refs[archive+" "+format] = Ref{Tarball: file}
		}
	}
	digest := must(img.Digest()).String()
	for name, ref := range refs {
		a, got, err := treeOf(t, ref, "amd64")
		if err != nil || got != appTree {
			t.Errorf("%s: %v, tree:\n%swant:\n%s", name, err, got, appTree)
			continue
		}
		if name == "registry" && a.Manifest != digest {
			t.Errorf("%s: manifest %s, want %s", name, a.Manifest, digest)
		}
		if want, ok := strings.CutPrefix(name, "registry "); ok && !strings.Contains(a.Layers[0].MediaType, want) {
			t.Errorf("%s: the layers are %s", name, a.Layers[0].MediaType)
		}
		_, _, err = treeOf(t, ref, "arm64")
		wantError(t, err, "amd64", "arm64")
	}
	// Several images in one layout.
	skopeo(t, "docker://"+remote, "oci:"+dir+"/layout:again")
	if _, _, err := treeOf(t, Ref{OCILayout: dir + "/layout"}, "amd64"); err != nil {
		t.Errorf("two tags of one image: %v", err)
	}
	push(t, remote, image(t, "amd64", tarOf("x=1")))
	skopeo(t, "docker://"+remote, "oci:"+dir+"/layout:other")
	_, _, err := treeOf(t, Ref{OCILayout: dir + "/layout"}, "amd64")
	wantError(t, err, "2 images fit", ":TAG", ":v1", ":other")
	a, got, err := treeOf(t, Ref{OCILayout: dir + "/layout:other"}, "amd64")
	if err != nil || got != "x=1\n" {
		t.Errorf("by tag: %q, %v", got, err)
	}
	if _, got, err := treeOf(t, Ref{OCILayout: dir + "/layout@" + a.Manifest}, "amd64"); err != nil || got != "x=1\n" {
		t.Errorf("by digest: %q, %v", got, err)
	}
	_, _, err = treeOf(t, Ref{OCILayout: dir + "/layout:none"}, "amd64")
	wantError(t, err, `nothing is called "none"`, ":other")
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

// A tar of the flattened tree, as `crane export` and upstream's imager have it.
func TestFlatTarball(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	flat := tarOf("manifest.yaml=version: v1alpha1", "rootfs/", "rootfs/a=1", "manifest.json={}")
	for _, format := range []string{"none", "gzip", "zstd", "xz"} {
		file := filepath.Join(dir, format)
		if err := os.WriteFile(file, compressed(t, format, flat), 0o600); err != nil {
			t.Fatal(err)
		}
		a, got, err := treeOf(t, Ref{Tarball: file}, "arm64")
		if want := "manifest.json={}\nmanifest.yaml=version: v1alpha1\nrootfs/\nrootfs/a=1\n"; err != nil || got != want {
			t.Errorf("%s: %v, tree:\n%swant:\n%s", format, err, got, want)
		} else if a.Config != nil || a.Layers[0].DiffID != digestOf(flat) || a.Manifest != digestOf(compressed(t, format, flat)) {
			t.Errorf("%s: artifact %+v", format, a)
		}
	}
	s, _, _ := sources(t, Options{})
	a := must(s.Resolve(t.Context(), Ref{Tarball: dir + "/none"}, "amd64"))
	if err := os.WriteFile(dir+"/none", tarOf("b=22"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tree(t.Context(), a, nil, &memSpool{}); err == nil {
		t.Error("a changed file was read")
	}
}

// saved makes a `docker save` archive by hand.
func saved(t testing.TB, arch string, entries ...string) []byte {
	t.Helper()
	one, two := tarOf("a=1"), tarOf("b=2")
	config := must(json.Marshal(v1.ConfigFile{OS: "linux", Architecture: arch, RootFS: v1.RootFS{
		DiffIDs: []v1.Hash{hashOf(digestOf(one)), hashOf(digestOf(two)), hashOf(digestOf(one))}}}))
	return tarOf(append([]string{"c.json=" + string(config), "l1/layer.tar=" + string(one), "l2/layer.tar=" + string(two)}, entries...)...)
}

const savedManifest = `manifest.json=[{"Config":"c.json","RepoTags":["x:1"],"Layers":["l1/layer.tar","l2/layer.tar","l3/layer.tar"]}]`

// Older `docker save` stores a layer that comes twice as a symbolic link.
func TestDockerArchive(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "x.tar")
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"symbolic link": {saved(t, "amd64", "l3/layer.tar -> ../l1/layer.tar", savedManifest), ""},
		"hard link":     {saved(t, "amd64", "l3/layer.tar => l1/layer.tar", savedManifest), ""},
		"no layer":      {saved(t, "amd64", savedManifest), `layer 3: "l3/layer.tar" is not in the archive`},
		"link loop":     {saved(t, "amd64", "l3/layer.tar -> ../l3/layer.tar", savedManifest), "is not in the archive"},
		"other layer":   {saved(t, "amd64", "l3/layer.tar -> ../l2/layer.tar", savedManifest), "layer 3"},
		"architecture":  {saved(t, "arm64", "l3/layer.tar -> ../l1/layer.tar", savedManifest), "the image is for linux/arm64"},
		"no config":     {saved(t, "amd64", strings.ReplaceAll(savedManifest, "c.json", "d.json")), "not there"},
		"config junk":   {saved(t, "amd64", "d.json=[1]", strings.ReplaceAll(savedManifest, "c.json", "d.json")), `config "d.json"`},
		"layers":        {saved(t, "amd64", strings.ReplaceAll(savedManifest, `,"l3/layer.tar"`, "")), "2 layers and its config 3"},
		"two images":    {saved(t, "amd64", strings.TrimSuffix(savedManifest, "]")+`,{"Config":"c.json","RepoTags":["y:2"]}]`), "2 images in one archive (x:1, y:2)"},
	} {
		if err := os.WriteFile(file, c.b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, got, err := treeOf(t, Ref{Tarball: file}, "amd64")
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: error %v, want %q", name, err, c.want)
			}
		} else if err != nil || got != "a=1\nb=2\n" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestArchiveDamage(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "x.tar")
	good := saved(t, "amd64", "l3/layer.tar -> ../l1/layer.tar", savedManifest)
	var many []tar.Header
	for i := range 40 {
		many = append(many, tar.Header{Name: fmt.Sprint(i), Uname: "{" + strings.Repeat(" ", 2<<20)})
	}
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"empty":     {nil, "no tar archive"},
		"text":      {[]byte(strings.Repeat("hello ", 200)), "is it a tar archive?"},
		"short":     {[]byte("hello"), "is it a tar archive?"},
		"truncated": {good[:len(good)/2+100], "truncated"},
		"gzip":      {compressed(t, "gzip", good)[:300], "gzip: "},
		"documents": {tarHeaders(many...), "bytes of JSON"},
	} {
		if err := os.WriteFile(file, c.b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := treeOf(t, Ref{Tarball: file}, "amd64")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	small, _, _ := sources(t, Options{Limits: Limits{Bytes: 2000}})
	_, err := small.Resolve(t.Context(), Ref{Tarball: file}, "amd64")
	wantError(t, err, "2000 uncompressed bytes")
	small, _, _ = sources(t, Options{Limits: Limits{Entries: 2}})
	_, err = small.Resolve(t.Context(), Ref{Tarball: file}, "amd64")
	wantError(t, err, "more than 2 entries")
}

// layoutDirOf writes a layout: the blobs of m, an index of the descriptors.
func layoutDirOf(t testing.TB, m memDocuments, ds ...v1.Descriptor) string {
	t.Helper()
	dir := write(t, t.TempDir(), `oci-layout={"imageLayoutVersion":"1.0.0"}`)
	raw := must(json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: append([]v1.Descriptor{}, ds...)}))
	write(t, dir, "index.json="+string(raw))
	for d, b := range m {
		write(t, dir, "blobs/sha256/"+strings.TrimPrefix(d, "sha256:")+"="+string(b))
	}
	return dir
}

func TestLayout(t *testing.T) {
	t.Parallel()
	m := memDocuments{}
	layer := tarOf("a=1")
	m[digestOf(layer)] = layer
	config := func(arch string) v1.Descriptor {
		return m.add(types.OCIConfigJSON, v1.ConfigFile{OS: "linux", Architecture: arch, RootFS: v1.RootFS{DiffIDs: []v1.Hash{hashOf(digestOf(layer))}}})
	}
	man := func(arch string) v1.Descriptor {
		return m.add(types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, Config: config(arch), Layers: []v1.Descriptor{
			{MediaType: types.OCIUncompressedLayer, Digest: hashOf(digestOf(layer)), Size: int64(len(layer))}}})
	}
	amd, arm := man("amd64"), man("arm64")
	named := amd
	named.Annotations = map[string]string{"org.opencontainers.image.ref.name": "registry.corp:5000/team/app:v1"}
	nested := m.index(on(amd, "linux/amd64"), on(arm, "linux/arm64"))
	for name, dir := range map[string]string{
		"with platforms":  layoutDirOf(t, m, on(arm, "linux/arm64"), on(amd, "linux/amd64")),
		"without, single": layoutDirOf(t, m, amd),
		"nested":          layoutDirOf(t, m, nested),
		"named":           layoutDirOf(t, m, named, on(arm, "linux/arm64")) + ":v1",
	} {
		a, got, err := treeOf(t, Ref{OCILayout: dir}, "amd64")
		if err != nil || got != "a=1\n" || a.Manifest != amd.Digest.String() {
			t.Errorf("%s: %q, %v", name, got, err)
		} else if name == "nested" && a.Index != nested.Digest.String() {
			t.Errorf("index %s, want %s", a.Index, nested.Digest)
		}
	}
	dir := layoutDirOf(t, m, on(amd, "linux/amd64"), on(arm, "linux/arm64"))
	_, _, err := treeOf(t, Ref{OCILayout: dir}, "riscv64")
	wantError(t, err, "no linux/riscv64", "linux/amd64", "linux/arm64")
	file := func(name, content string) func() error {
		return func() error { return os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600) }
	}
	gone := func(name string) func() error { return func() error { return os.Remove(filepath.Join(dir, name)) } }
	blob := blobPath(digestOf(layer))
	for _, c := range []struct { // one damage after another
		name string
		do   func() error
		want string
	}{
		{"layer changed", file(blob, strings.ToUpper(string(layer))), "wrong digest"},
		{"layer grown", file(blob, string(layer)+"x"), "bytes, want"},
		{"layer gone", gone(blob), "not found: layer " + digestOf(layer)},
		{"manifest changed", file(blobPath(amd.Digest.String()), "{}"), "wrong digest"},
		{"index junk", file("index.json", `{"schemaVersion":2}`), "index.json: no list of manifests"},
		{"no index", gone("index.json"), "index.json: no such file"},
		{"no marker", gone("oci-layout"), "no OCI layout"},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		_, _, err := treeOf(t, Ref{OCILayout: dir}, "amd64")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	plain := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(plain, layer, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = treeOf(t, Ref{OCILayout: plain}, "amd64")
	wantError(t, err, "no OCI layout")
}
