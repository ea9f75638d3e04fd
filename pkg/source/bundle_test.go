package source

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	refname "github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/tree"
)

// noNetwork is a transport on which every request fails the test.
type noNetwork struct{ t testing.TB }

func (n noNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	n.t.Errorf("a request for %s", r.URL)
	return nil, errors.New("there is no network")
}

// cargoOf is one of everything that a bundle can have: images, archives and layouts, named as they are resolved.
func cargoOf(t testing.TB) (refs map[string]Ref) {
	t.Helper()
	host, dir := serve(t), t.TempDir()
	both := index(map[string]v1.Image{"amd64": ociImage(t, "amd64", tarOf("a=amd"), tarOf("b=2")), "arm64": ociImage(t, "arm64", tarOf("a=arm"), tarOf("b=2"))})
	push(t, host+"/team/both:v1", both)
	push(t, host+"/team/one:v1", image(t, "amd64", tarOf("a=one")))
	l := must(layout.Write(filepath.Join(dir, "layout"), index(map[string]v1.Image{"amd64": ociImage(t, "amd64", tarOf("a=layout"))})))
	if err := errors.Join(
		tarball.WriteToFile(filepath.Join(dir, "saved.tar"), must(refname.NewTag("x:1")), image(t, "amd64", tarOf("a=saved"))),
		os.WriteFile(filepath.Join(dir, "old.tar"), saved(t, "amd64", "l3/layer.tar -> ../l1/layer.tar", savedManifest), 0o644),
		os.WriteFile(filepath.Join(dir, "flat.tar.zst"), compressed(t, "zstd", tarOf("a=flat")), 0o644),
		os.WriteFile(filepath.Join(dir, "plain.tar"), tarOf("a=plain"), 0o644),
		os.WriteFile(filepath.Join(dir, "oci.tar"), tarDirectory(t, string(l)), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	return map[string]Ref{
		"both": {Image: host + "/team/both:v1"}, "by digest": {Image: host + "/team/both@" + must(both.Digest()).String()}, "one": {Image: host + "/team/one:v1"},
		"layout": {OCILayout: filepath.Join(dir, "layout")}, "saved": {Tarball: filepath.Join(dir, "saved.tar")}, "old": {Tarball: filepath.Join(dir, "old.tar")},
		"flat": {Tarball: filepath.Join(dir, "flat.tar.zst")}, "plain": {Tarball: filepath.Join(dir, "plain.tar")}, "oci": {Tarball: filepath.Join(dir, "oci.tar")},
	}
}

// ociImage is [image] in OCI's own media types.
func ociImage(t testing.TB, arch string, tars ...[]byte) v1.Image {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(image(t, arch), types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, b := range tars {
		l := must(tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }, tarball.WithMediaType(types.OCILayer)))
		img = must(mutate.AppendLayers(img, l))
	}
	return img
}

func tarDirectory(t testing.TB, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// resolveAll resolves what a bundle is to have, in an order that is always the same.
func resolveAll(t testing.TB, s *Sources, refs map[string]Ref) (all []Named) {
	t.Helper()
	for _, name := range []string{"both", "by digest", "flat", "layout", "oci", "old", "one", "plain", "saved"} {
		ref, ok := refs[name]
		if !ok {
			continue
		}
		a, err := s.Resolve(t.Context(), ref, "amd64")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if ref.Image != "" {
			name = must(CopyName(ref.Image))
		}
		all = append(all, Named{name, a})
	}
	return all
}

func bundleOf(t testing.TB, s *Sources, all []Named) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.WriteBundle(t.Context(), &b, all); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// fromBundle are sources that read nothing but a bundle.
func fromBundle(t testing.TB, b []byte) *Sources {
	t.Helper()
	name := filepath.Join(t.TempDir(), "bundle.tar")
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	s, _, _ := sources(t, Options{Bundle: name, Transport: noNetwork{t}})
	return s
}

// TestBundle: what is read from a bundle is what was put into it, by the same digests, and with the files and the network gone.
func TestBundle(t *testing.T) {
	t.Parallel()
	refs := cargoOf(t)
	s, _, _ := sources(t, Options{})
	all := resolveAll(t, s, refs)
	b := bundleOf(t, s, all)
	want := map[string]string{}
	for _, n := range all {
		want[n.Name] = list(t, must(s.Tree(t.Context(), n.Artifact, nil, &memSpool{})))
	}
	other, _, _ := sources(t, Options{}) // with a cache of its own
	if again := bundleOf(t, other, resolveAll(t, other, refs)); !bytes.Equal(b, again) {
		t.Error("the same images give another bundle")
	}
	for _, ref := range refs {
		if file := ref.Tarball + ref.OCILayout; file != "" {
			if err := os.RemoveAll(file); err != nil {
				t.Fatal(err)
			}
		}
	}

	from := fromBundle(t, b)
	var carried []Named
	for _, n := range all {
		a, err := from.Bundled(t.Context(), n.Artifact.Ref, "amd64", Pin{n.Artifact.Index, n.Artifact.Manifest})
		if a == nil && err == nil {
			a, err = from.Resolve(t.Context(), n.Artifact.Ref, "amd64")
		}
		if err != nil {
			t.Fatalf("%s: %v", n.Name, err)
		}
		if got, want := string(must(json.Marshal(a))), string(must(json.Marshal(n.Artifact))); n.Name != "saved" && got != want {
			t.Errorf("%s: artifact\n%s, want\n%s", n.Name, got, want)
		}
		if got := list(t, must(from.Tree(t.Context(), a, nil, &memSpool{}))); got != want[n.Name] {
			t.Errorf("%s: tree\n%s, want\n%s", n.Name, got, want[n.Name])
		}
		if m := from.Missing(a); len(m) > 0 {
			t.Errorf("%s: %v would be downloaded", n.Name, m)
		}
		carried = append(carried, Named{n.Name, a})
	}
	if left := must(filepath.Glob(from.cache + "/*/*/*")); len(left) > 0 {
		t.Errorf("reading a bundle leaves %q in the cache", left)
	}
	if again := bundleOf(t, from, carried); !bytes.Equal(b, again) {
		t.Error("a bundle made of a bundle is another one")
	}
	if arm, err := from.Resolve(t.Context(), refs["both"], "arm64"); err != nil || arm.Manifest == arm.Index {
		t.Errorf("the other platform of an index: %+v, %v", arm, err)
	}

	for _, missing := range []Ref{
		{Image: "ghcr.io/siderolabs/imager:v1.13.9"}, {Image: refs["both"].Image + "x"},
		{Image: "ghcr.io/x@sha256:" + strings.Repeat("0", 64)},
	} {
		_, err := from.Resolve(t.Context(), missing, "amd64")
		wantError(t, err, "resolve "+missing.Image, "not in the bundle "+from.bundle.name, "TALOSMITH_FROM", "run `go tool mage lock` and `go tool mage bundle` again", "#not-in-bundle")
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("error %v", err)
		}
	}
	_, err := from.Bundled(t.Context(), refs["flat"], "amd64", Pin{"x", "sha256:" + strings.Repeat("0", 64)})
	wantError(t, err, "flat.tar.zst with the digest sha256:000", "run `go tool mage lock` and `go tool mage bundle` again")
}

// TestBundleLayout reads a bundle as others do: go-containerregistry, with its validator, and skopeo.
func TestBundleLayout(t *testing.T) {
	t.Parallel()
	s, _, _ := sources(t, Options{})
	refs := cargoOf(t)
	all := resolveAll(t, s, refs)
	b := bundleOf(t, s, all)
	dir, members := t.TempDir(), map[string]bool{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil || members[h.Name] || h.ModTime.Unix() != 0 || h.Mode != 0o644 || h.Typeflag != tar.TypeReg {
			t.Fatalf("%+v, %v", h, err)
		}
		members[h.Name] = true
		name := filepath.Join(dir, h.Name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, must(io.ReadAll(r)), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	index := must(top.IndexManifest())
	if len(index.Manifests) != len(all) {
		t.Errorf("%d images, want %d", len(index.Manifests), len(all))
	}
	reached := map[string]bool{"oci-layout": true, "index.json": true}
	for i, d := range index.Manifests {
		if name := d.Annotations["org.opencontainers.image.ref.name"]; name != all[i].Name {
			t.Errorf("image %d is called %q, want %q", i, name, all[i].Name)
		}
		if all[i].Artifact.Ref.Image == "" {
			continue // may be of a kind that only we know
		}
		if d.Digest.String() != all[i].Artifact.Index {
			t.Errorf("%s is %s, want %s", all[i].Name, d.Digest, all[i].Artifact.Index)
		}
		if d.MediaType.IsIndex() {
			err = validate.Index(must(top.ImageIndex(d.Digest)))
		} else {
			err = validate.Image(must(top.Image(d.Digest)))
		}
		if err != nil {
			t.Errorf("%s: %v", all[i].Name, err)
		}
	}
	for _, n := range all { // nothing is in it that nothing names
		v := &visitor{docs: layoutDir(dir), lim: s.lim}
		from := n.Artifact.Index
		for _, d := range index.Manifests {
			if d.Annotations[refAnnotation] == n.Name {
				from = d.Digest.String()
			}
		}
		if _, err := v.visit(t.Context(), from, 0); err != nil {
			t.Errorf("%s: %v", n.Name, err)
		}
		for _, d := range v.found {
			reached["blobs/sha256/"+d.Digest.Hex] = true
		}
	}
	for name := range members {
		if !reached[name] {
			t.Errorf("no image has %s", name)
		}
	}

	file := filepath.Join(t.TempDir(), "bundle.tar")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, n := range all {
		if n.Name == "flat" || n.Name == "plain" || strings.Contains(n.Name, "/one:") {
			continue // no image to skopeo; and of Docker's media types, for which it does not look by name
		}
		var said struct{ Digest, Architecture string }
		out := tooltest.Run(t, "skopeo", "inspect", "oci-archive:"+file+":"+n.Name)
		if err := json.Unmarshal([]byte(out), &said); err != nil || said.Architecture != "amd64" {
			t.Errorf("%s: %v: %s", n.Name, err, out)
		}
	}
	// It copies all platforms, which it would not if some were missing. (The index itself it writes anew, without artifactType.)
	to := t.TempDir()
	tooltest.Run(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--all", "oci-archive:"+file+":"+all[0].Name, "oci:"+to+":v1")
	copied := must(layout.ImageIndexFromPath(to))
	copied = must(copied.ImageIndex(must(copied.IndexManifest()).Manifests[0].Digest))
	platforms := must(copied.IndexManifest()).Manifests
	for i, d := range must(must(top.ImageIndex(hashOf(all[0].Artifact.Index))).IndexManifest()).Manifests {
		if platforms[i].Digest != d.Digest {
			t.Errorf("skopeo copies %s, want %s", platforms[i].Digest, d.Digest)
		}
	}
	if err := validate.Index(copied); err != nil {
		t.Error(err)
	}
}

// TestHostileBundles: what is damaged or forged is refused, at the latest when it is used.
func TestHostileBundles(t *testing.T) {
	t.Parallel()
	refs := cargoOf(t)
	s, _, _ := sources(t, Options{})
	all := resolveAll(t, s, refs)
	good := bundleOf(t, s, all)
	type entry struct {
		h tar.Header
		b []byte
	}
	var entries []entry
	for r := tar.NewReader(bytes.NewReader(good)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		entries = append(entries, entry{*h, must(io.ReadAll(r))})
	}
	packed := func(entries []entry) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, e := range entries {
			e.h.Size = int64(len(e.b))
			if err := w.WriteHeader(&e.h); err != nil {
				t.Fatal(err)
			}
			must(w.Write(e.b))
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if again := packed(entries); !bytes.Equal(good, again) {
		t.Fatal("packed again, a bundle is another one")
	}
	for i := range entries {
		entries[i].h.PAXRecords = nil
	}
	// use reads everything from a bundle.
	use := func(b []byte) error {
		from := fromBundle(t, b)
		for _, n := range all {
			a := n.Artifact
			var err error
			if a.Ref.Image != "" {
				a, err = from.Resolve(t.Context(), a.Ref, "amd64")
			} else {
				a, err = from.bundle.pinned(t.Context(), n.Name, "amd64", a.Manifest, from.lim)
			}
			if err != nil {
				return err
			}
			a.Ref = n.Artifact.Ref
			for i, l := range n.Artifact.Layers {
				if a.Layers[i].Digest != l.Digest || a.Layers[i].DiffID != l.DiffID {
					t.Errorf("%s has another layer %d", n.Name, i)
				}
				content, err := from.layer(t.Context(), a, a.Layers[i])
				if err != nil {
					return err
				}
				if got := digestOf(must(tree.ReadAll(content))); got != l.Digest {
					t.Errorf("%s: got layer %s, want %s", n.Name, got, l.Digest)
				}
			}
		}
		return nil
	}
	if err := use(good); err != nil {
		t.Fatal(err)
	}
	// As tar itself packs a folder, with folders and "./".
	loose := []entry{{tar.Header{Typeflag: tar.TypeDir, Name: "./"}, nil}, {tar.Header{Typeflag: tar.TypeDir, Name: "./blobs/"}, nil}, {tar.Header{Typeflag: tar.TypeDir, Name: "./blobs/sha256/"}, nil}}
	for _, e := range entries {
		e.h.Name = "./" + e.h.Name
		loose = append(loose, e)
	}
	if err := use(packed(loose)); err != nil {
		t.Errorf("packed by tar: %v", err)
	}

	for cut := 0; cut < len(good)-2*tarBlock+1; cut += 1 + cut%300 {
		if err := use(good[:cut]); err == nil {
			t.Fatalf("cut after %d of %d bytes, nobody notices", cut, len(good))
		} else if !strings.Contains(err.Error(), "#bad-bundle") {
			t.Errorf("cut after %d bytes: %v", cut, err)
		}
	}
	missed := 0
	for i, e := range entries[2:] { // lying digests
		changed := append([]entry{}, entries...)
		changed[2+i].b = bytes.Clone(e.b)
		changed[2+i].b[len(e.b)/2] ^= 1
		if err := use(packed(changed)); err == nil {
			missed++ // of a platform that was not asked for
		} else if !errors.Is(err, ErrDigest) {
			t.Errorf("%s changed: %v", e.h.Name, err)
		}
	}
	if missed != 4 { // arm64's manifest, config, and layer that amd64 does not have; the empty config of flat files
		t.Errorf("%d changed blobs were not noticed, want 4", missed)
	}

	with := func(more ...entry) []byte { return packed(append(append([]entry{}, entries...), more...)) }
	file := func(name string) entry { return entry{tar.Header{Typeflag: tar.TypeReg, Name: name}, []byte("x")} }
	index := func(change func(*v1.IndexManifest)) []byte {
		var m v1.IndexManifest
		if err := json.Unmarshal(entries[1].b, &m); err != nil {
			t.Fatal(err)
		}
		change(&m)
		changed := append([]entry{}, entries...)
		changed[1].b = must(json.Marshal(m))
		return packed(changed)
	}
	digest := strings.Repeat("0", 64)
	var many, one bytes.Buffer
	if err := tar.NewWriter(&one).WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "blobs/"}); err != nil {
		t.Fatal(err)
	}
	for range maxBundled + 1 {
		many.Write(one.Bytes())
	}
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"nothing":      {nil, "not copied to its end"},
		"text":         {[]byte(strings.Repeat("hello ", 500)), "it was not copied to its end, or it is compressed"},
		"compressed":   {compressed(t, "gzip", good), "or it is compressed"},
		"no index":     {packed(append([]entry{entries[0]}, entries[2:]...)), "index.json is missing"},
		"no marker":    {packed(entries[1:]), "oci-layout is missing"},
		"parent":       {with(file("../x")), `"../x": in a bundle there are regular files only`},
		"deep parent":  {with(file("blobs/sha256/../../../x")), "in a bundle there are regular files only"},
		"absolute":     {with(file("/etc/passwd")), `"/etc/passwd": in a bundle`},
		"elsewhere":    {with(file("x")), "it is neither oci-layout, index.json nor"},
		"short digest": {with(file("blobs/sha256/00")), "it is neither"},
		"capitals":     {with(file("blobs/sha256/" + strings.Repeat("A", 64))), "it is neither"},
		"blob twice":   {with(entries[2]), "it is there twice"},
		"index twice":  {with(entries[1]), "it is there twice"},
		"symlink":      {with(entry{tar.Header{Typeflag: tar.TypeSymlink, Name: "blobs/sha256/" + digest, Linkname: "/etc/passwd"}, nil}), "regular files only"},
		"hard link":    {with(entry{tar.Header{Typeflag: tar.TypeLink, Name: "blobs/sha256/" + digest, Linkname: "index.json"}, nil}), "regular files only"},
		"device":       {with(entry{tar.Header{Typeflag: tar.TypeChar, Name: "blobs/sha256/" + digest}, nil}), "regular files only"},
		"folder":       {with(entry{tar.Header{Typeflag: tar.TypeDir, Name: "x/"}, nil}), "regular files only"},
		"huge index":   {packed([]entry{entries[0], {tar.Header{Typeflag: tar.TypeReg, Name: "index.json"}, make([]byte, maxDocument+1)}}), "more than 4194304 bytes"},
		"index junk":   {packed([]entry{entries[0], {tar.Header{Typeflag: tar.TypeReg, Name: "index.json"}, []byte("{")}}), "index.json: not JSON"},
		"no list":      {packed([]entry{entries[0], {tar.Header{Typeflag: tar.TypeReg, Name: "index.json"}, []byte(`{"schemaVersion":2}`)}}), "no list of manifests"},
		"empty list":   {index(func(m *v1.IndexManifest) { m.Manifests = []v1.Descriptor{} }), "not in the bundle"},
		"not there":    {index(func(m *v1.IndexManifest) { m.Manifests[0].Digest = hashed(digest) }), digest + " is not in the bundle"},
		"many":         {many.Bytes(), "more than 100000 members"},
		"no blobs":     {packed(entries[:2]), "is not in the bundle"},
		"another pin": {index(func(m *v1.IndexManifest) {
			for i := range m.Manifests { // the flat file's pin leads to another file
				if m.Manifests[i].Annotations[refAnnotation] == "flat" {
					for _, other := range m.Manifests {
						if other.Annotations[refAnnotation] == "plain" {
							m.Manifests[i].Digest = other.Digest
						}
					}
				}
			}
		}), "does not have"},
	} {
		if err := use(c.b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	from := fromBundle(t, nil)
	from.bundle.name += ".none"
	_, err := from.Resolve(t.Context(), refs["one"], "amd64")
	wantError(t, err, "bundle "+from.bundle.name+": no such file", "#bad-bundle")
	wantError(t, from.CheckBundle(), "bundle "+from.bundle.name+": no such file", "#bad-bundle")
	if err := fromBundle(t, good).CheckBundle(); err != nil {
		t.Error(err)
	}
}

// TestBundleOfWrongImages: sizes that lie, and indexes without end, are no bundle.
func TestBundleOfWrongImages(t *testing.T) {
	t.Parallel()
	m := memDocuments{}
	config := m.add(types.OCIConfigJSON, v1.ConfigFile{OS: "linux", Architecture: "amd64"})
	manifest := m.add(types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, Config: config, Layers: []v1.Descriptor{}})
	longer := manifest
	longer.Size++
	far := config
	far.Size = 1 << 50
	deep := manifest
	for range maxNesting + 1 {
		deep = m.index(deep)
	}
	for want, top := range map[string]v1.Descriptor{
		"the index says":       m.index(longer),
		"limit 0 to":           m.add(types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, Config: far}),
		"indexes in one":       deep,
		"is neither an image":  m.add("text/plain", map[string]any{"schemaVersion": 2, "mediaType": "text/plain"}),
		"parse hash":           m.add(types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, Config: config, Layers: []v1.Descriptor{{MediaType: types.OCILayer}}}),
		"is not there, or no ": m.index(v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: hashed(strings.Repeat("0", 64))}),
	} {
		_, err := (&visitor{docs: m, lim: Limits{}.withDefaults()}).visit(t.Context(), top.Digest.String(), 0)
		wantError(t, err, want)
	}
	// The same image many times is one.
	v := &visitor{docs: m, lim: Limits{}.withDefaults()}
	many := m.index(manifest, manifest, manifest)
	if _, err := v.visit(t.Context(), many.Digest.String(), 0); err != nil || len(v.found) != 3 {
		t.Errorf("%d blobs, %v", len(v.found), err)
	}
}

// TestBundleOfDamagedCache: bytes that the cache has wrong do not get into a bundle.
func TestBundleOfDamagedCache(t *testing.T) {
	t.Parallel()
	refs := cargoOf(t)
	s, _, _ := sources(t, Options{})
	all := resolveAll(t, s, refs)
	good := bundleOf(t, s, all)
	layer := all[0].Artifact.Layers[0]
	if err := os.WriteFile(s.blobFile(layer.Digest), make([]byte, layer.Size), 0o644); err != nil {
		t.Fatal(err)
	}
	err := s.WriteBundle(t.Context(), io.Discard, all)
	wantError(t, err, "cache's blob is damaged", layer.Digest)
	if !errors.Is(err, ErrDigest) {
		t.Errorf("error %v", err)
	}
	if !bytes.Equal(good, bundleOf(t, s, all)) {
		t.Error("the next bundle is another one")
	}
}

func TestCopyName(t *testing.T) {
	t.Parallel()
	digest := "@sha256:" + strings.Repeat("0", 64)
	for image, want := range map[string]string{
		"ghcr.io/a/b:1":             "ghcr.io/a/b:1",
		"ghcr.io/a/b:1" + digest:    "ghcr.io/a/b:1",
		"ghcr.io/a/b" + digest:      "ghcr.io/a/b" + digest,
		"ghcr.io/a/b":               "ghcr.io/a/b:latest",
		"alpine:3":                  "docker.io/library/alpine:3",
		"localhost:5000/b:1":        "localhost:5000/b:1",
		"localhost:5000/b" + digest: "localhost:5000/b" + digest,
	} {
		if got, err := CopyName(image); got != want {
			t.Errorf("%s: %s, %v, want %s", image, got, err, want)
		}
	}
	if name, err := CopyName("A B"); err == nil {
		t.Error(name)
	}
}

// FuzzBundle: whatever a file has, it is refused, or what is read fits its digest.
func FuzzBundle(f *testing.F) {
	s, _, _ := sources(f, Options{})
	refs := cargoOf(f)
	all := resolveAll(f, s, map[string]Ref{"both": refs["both"], "flat": refs["flat"], "saved": refs["saved"]})
	f.Add(bundleOf(f, s, all))
	f.Add(bundleOf(f, s, all[1:2]))
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(t.TempDir(), "b")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		from := &bundle{name: name}
		if from.read() != nil {
			return
		}
		for digest, at := range from.blobs {
			content, err := from.blob(t.Context(), digest, at.size)
			if err != nil {
				continue
			}
			if got, err := tree.ReadAll(content); err != nil || digestOf(got) != digest {
				t.Errorf("%s: %v", digest, err)
			}
		}
		for _, d := range from.index.Manifests {
			_, _ = artifact(t.Context(), from, d.Digest.String(), "amd64", s.lim)
			_, _ = (&visitor{docs: from, lim: s.lim}).visit(t.Context(), d.Digest.String(), 0)
			if pin := d.Annotations[pinAnnotation]; pin != "" {
				_, _ = from.pinned(t.Context(), "x", "amd64", pin, s.lim)
			}
		}
	})
}
