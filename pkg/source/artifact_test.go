package source

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// memDocuments are documents in memory; add returns a descriptor.
type memDocuments map[string][]byte

func (m memDocuments) document(_ context.Context, _, digest string) ([]byte, error) {
	return checked(digest, m[digest])
}

func (m memDocuments) add(mt types.MediaType, v any) v1.Descriptor {
	raw, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		raw = string(b)
	}
	d := digestOf([]byte(raw))
	m[d] = []byte(raw)
	return v1.Descriptor{MediaType: mt, Digest: hashOf(d), Size: int64(len(raw))}
}

func hashOf(d string) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: strings.TrimPrefix(d, "sha256:")}
}

var someDigest = digestOf([]byte("layer"))

// image adds a manifest with a layer of each media type.
func (m memDocuments) image(os, arch string, layers ...types.MediaType) v1.Descriptor {
	c := &v1.ConfigFile{OS: os, Architecture: arch}
	man := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{}}
	for _, mt := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, hashOf(someDigest))
		man.Layers = append(man.Layers, v1.Descriptor{MediaType: mt, Digest: hashOf(someDigest), Size: 5})
	}
	man.Config = m.add(types.OCIConfigJSON, c)
	return m.add(types.OCIManifestSchema1, man)
}

func (m memDocuments) index(ds ...v1.Descriptor) v1.Descriptor {
	return m.add(types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: append([]v1.Descriptor{}, ds...)})
}

func on(d v1.Descriptor, platform string) v1.Descriptor {
	p, err := v1.ParsePlatform(platform)
	if err != nil {
		panic(err)
	}
	d.Platform = p
	return d
}

func TestPlatforms(t *testing.T) {
	t.Parallel()
	m := memDocuments{}
	amd, arm, armv7 := m.image("linux", "amd64"), m.image("linux", "arm64"), m.image("linux", "arm")
	amdv3, windows, none := m.image("linux", "amd64", types.OCILayer), m.image("windows", "amd64"), m.image("", "")
	attestation := on(m.image("unknown", "unknown"), "unknown/unknown")
	signature := m.add(types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, Config: m.add("application/vnd.oci.empty.v1+json", "{}"), Layers: []v1.Descriptor{}})
	deep := m.index(amd)
	for range maxNesting {
		deep = m.index(deep)
	}
	var crowd []v1.Descriptor
	for range maxDescriptors + 1 {
		crowd = append(crowd, on(arm, "linux/arm64"))
	}
	docker := m.add(types.DockerManifestList, v1.IndexManifest{SchemaVersion: 2, MediaType: types.DockerManifestList, Manifests: []v1.Descriptor{on(amd, "linux/amd64")}})
	for _, c := range []struct {
		name string
		top  v1.Descriptor
		arch string
		want v1.Descriptor
		err  string
	}{
		{"manifest", amd, "amd64", amd, ""},
		{"manifest of another architecture", amd, "arm64", amd, "the image is for linux/amd64, wanted linux/arm64"},
		{"manifest of another system", windows, "amd64", amd, "the image is for windows/amd64, wanted linux/amd64"},
		{"manifest without platform", none, "amd64", none, ""},
		{"index", m.index(on(arm, "linux/arm64/v8"), on(amd, "linux/amd64")), "amd64", amd, ""},
		{"docker list", docker, "amd64", amd, ""},
		{"variant", m.index(on(amdv3, "linux/amd64/v3"), on(amd, "linux/amd64"), on(amdv3, "linux/amd64/v2")), "amd64", amd, ""},
		{"only a variant", m.index(on(amdv3, "linux/amd64/v3")), "amd64", amdv3, ""},
		{"not there", m.index(on(arm, "linux/arm64"), on(armv7, "linux/arm/v7"), attestation), "amd64", amd, "no linux/amd64 in it; it has linux/arm/v7, linux/arm64"},
		{"no image", m.index(attestation, signature), "amd64", amd, "it has no image"},
		{"empty", m.index(), "amd64", amd, "it has no image"},
		{"nested", m.index(m.index(on(arm, "linux/arm64")), m.index(m.index(on(amd, "linux/amd64")))), "amd64", amd, ""},
		{"no platforms", m.index(signature, arm, windows, amd), "amd64", amd, ""},
		{"platform before nested", m.index(amdv3, on(amd, "linux/amd64")), "amd64", amd, ""},
		{"deep", deep, "amd64", amd, "more than 4 indexes"},
		{"crowded", m.index(crowd...), "amd64", amd, "more than 1000 manifests"},
		{"the index knows better than the config", m.index(on(amd, "linux/arm64")), "arm64", amd, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := artifact(t.Context(), m, c.top.Digest.String(), c.arch, Limits{}.withDefaults())
			switch {
			case c.err != "":
				wantError(t, err, c.err)
			case err != nil:
				t.Fatal(err)
			case a.Manifest != c.want.Digest.String() || a.Index != c.top.Digest.String():
				t.Errorf("manifest %s, want %s", a.Manifest, c.want.Digest)
			}
		})
	}
}

func TestMediaTypes(t *testing.T) {
	t.Parallel()
	m := memDocuments{}
	for _, mt := range []types.MediaType{types.OCILayer, types.OCILayerZStd, types.OCIUncompressedLayer, types.DockerLayer, types.DockerUncompressedLayer} {
		if _, err := artifact(t.Context(), m, m.image("linux", "amd64", mt).Digest.String(), "amd64", Limits{}.withDefaults()); err != nil {
			t.Errorf("%s: %v", mt, err)
		}
	}
	config := m.add(types.OCIConfigJSON, v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{DiffIDs: []v1.Hash{hashOf(someDigest)}}})
	layer := v1.Descriptor{MediaType: types.OCILayer, Digest: hashOf(someDigest), Size: 5}
	man := func(c v1.Descriptor, ls ...v1.Descriptor) v1.Descriptor {
		return m.add(types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, Config: c, Layers: ls})
	}
	size := func(n int64) v1.Descriptor { l := layer; l.Size = n; return l }
	sha512 := strings.Replace(string(m[man(config, layer).Digest.String()]), someDigest, "sha512:"+strings.Repeat("a", 128), 1)
	evil := strings.Replace(string(m[man(config, layer).Digest.String()]), someDigest, "sha256:"+strings.Repeat("A", 64), 1)
	for name, c := range map[string]struct {
		d    v1.Descriptor
		want string
	}{
		"encrypted":                {m.image("linux", "amd64", "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"), "layer 1 has media type"},
		"chart":                    {man(m.add("application/vnd.cncf.helm.config.v1+json", "{}"), layer), "not an image: its config is of type"},
		"layers missing":           {man(config), "0 layers and its config 1"},
		"negative":                 {man(config, size(-1)), "size -1"},
		"huge":                     {man(config, size(1<<40)), "size 1099511627776, limit"},
		"sha512":                   {m.add("", sha512), "want sha256"},
		"upper case":               {m.add("", evil), "hex"},
		"schema 1":                 {m.add("", `{"schemaVersion":1,"fsLayers":[]}`), "schema 1"},
		"no schema":                {m.add("", `{"manifests":[]}`), "schemaVersion is 0"},
		"both":                     {m.add("", `{"schemaVersion":2,"manifests":[],"layers":[]}`), "an index and a manifest at once"},
		"index as manifest":        {m.add("", `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}`), "does not fit its media type"},
		"something else":           {m.add("", `{"schemaVersion":2,"mediaType":"text/plain"}`), "neither an image manifest nor an index"},
		"no config":                {m.add("", `{"schemaVersion":2,"layers":[]}`), "config: digest"},
		"null":                     {m.add("", `null`), "schemaVersion is 0"},
		"missing config":           {man(v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: hashOf(digestOf(nil)), Size: 1}), "is not there"},
		"config junk":              {man(m.add(types.OCIConfigJSON, "[]")), "config sha256:"},
		"digest of an index entry": {m.add("", `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"md5:aa","size":1}]}`), "md5"},
	} {
		_, err := artifact(t.Context(), m, c.d.Digest.String(), "amd64", Limits{}.withDefaults())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	var many []types.MediaType
	for range 513 {
		many = append(many, types.OCILayer)
	}
	_, err := artifact(t.Context(), m, m.image("linux", "amd64", many...).Digest.String(), "amd64", Limits{}.withDefaults())
	wantError(t, err, "513 layers, limit 512")
}

func TestArtifactJSON(t *testing.T) {
	t.Parallel()
	_, ref, _ := published(t)
	s, _, _ := sources(t, Options{})
	a := must(s.Resolve(t.Context(), Ref{Image: ref}, "amd64"))
	b := must(json.Marshal(a))
	var again Artifact
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	if got := must(json.Marshal(again)); string(got) != string(b) {
		t.Errorf("%s\nafter a round trip\n%s", b, got)
	}
	if _, err := s.Layer(t.Context(), &again, 0); err != nil {
		t.Error(err)
	}
}

func TestRef(t *testing.T) {
	t.Parallel()
	s := New(Options{Cache: t.TempDir(), Keychain: anonymous{}})
	for _, r := range []Ref{{}, {Image: "a", Path: "b"}, {Image: "a", Tree: &Tree{}}} {
		_, err := s.Resolve(t.Context(), r, "amd64")
		wantError(t, err, "exactly one of")
	}
	_, err := s.Resolve(t.Context(), Ref{Path: "/"}, "")
	wantError(t, err, "no architecture")
	got := fmt.Sprint(Ref{Image: "a"}, Ref{OCILayout: "b"}, Ref{Tarball: "c"}, Ref{Path: "d"}, Ref{Tree: &Tree{Name: "e"}}, Ref{})
	if want := "a oci layout b tarball c directory d e nothing"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
