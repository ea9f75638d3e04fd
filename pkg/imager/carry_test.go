package imager_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
)

// carriedProfile has an extension of every kind; the image is for both architectures.
const carriedProfile = `
talos {
  version = "v1.13.9"
}
extension "written" {
  version = "1"
  files = {
    "/usr/local/written" = { content = arch }
  }
}
extension "own" {
  path = "own"
}
extension "pinned" {
  image = "ghcr.io/siderolabs/pinned@DIGEST"
}
extension "archive" {
  tarball = "archive-*${arch}.tar"
}
image "metal" {
  architectures = ["amd64", "arm64"]
  extensions    = ["siderolabs/tiny", extension.pinned, extension.archive, extension.own, extension.written]
  output "initramfs" {}
  output "installer" {}
}
`

// carriedWorld has what that profile names, and another extension that it does not.
func carriedWorld(t *testing.T) (w *world, text string) {
	w = newWorld(t)
	w.extension("pinned:1", map[string]string{"usr/local/pinned": "pinned $arch"})
	w.release("v1.13.9")
	w.own("one")
	for _, arch := range []string{"amd64", "arm64"} {
		img := w.image(arch, map[string]string{"manifest.yaml": manifest("archive", "1"), "rootfs/usr/local/archive": arch})
		tag, err := name.NewTag("archive:1")
		w.check(err)
		w.check(tarball.WriteToFile(filepath.Join(w.dir, "archive-1-"+arch+".tar"), tag, img))
	}
	return w, strings.Replace(carriedProfile, "DIGEST", w.digests["pinned:1"], 1)
}

// resolution is a profile resolved by its lock, which fits it.
func (r *run) resolution(text string, lock *profile.Lock) *imager.Resolution {
	r.t.Helper()
	res, _, diags := imager.Resolve(r.t.Context(), r.profile(text), imager.Request{Lock: lock}, r.src)
	if diags.HasErrors() {
		r.t.Fatal(diags)
	}
	if s := res.Stale(); len(s) > 0 {
		r.t.Fatalf("stale: %q", s)
	}
	return res
}

// sums are the artefacts' sums by file.
func sums(m *imager.Manifest) map[string]string {
	all := map[string]string{}
	for _, a := range m.Artefacts {
		all[a.File] = a.SHA256
	}
	return all
}

// gunzip is what is in a layer; other blobs are what they are.
func gunzip(b []byte) []byte {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return b
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		return b
	}
	return plain
}

// TestBundle builds from a bundle what was built online, with the registry, the cache, the store and the archives gone.
func TestBundle(t *testing.T) {
	t.Parallel()
	w, text := carriedWorld(t)
	online := w.run()
	lock, err := online.lock(text, nil)
	w.check(err)
	built, err := online.tryLocked(text, lock)
	w.check(err)
	want := sums(built)
	if len(want) != 5 {
		t.Fatalf("built %v", want)
	}

	file := filepath.Join(t.TempDir(), "sub", "bundle.tar")
	b, err := imager.WriteBundle(t.Context(), online.resolution(text, lock), online.src, file)
	w.check(err)
	got := mustRead(t, file)
	if b.Size != int64(len(got)) || b.Images != 7 || b.SHA256 == "" {
		t.Errorf("%+v of %d bytes", b, len(got))
	}
	again, err := imager.WriteBundle(t.Context(), online.resolution(text, lock), online.src, file)
	if err != nil || again != b {
		t.Errorf("again %+v, %v, want %+v", again, err, b)
	}
	if left, _ := filepath.Glob(filepath.Dir(file) + "/.*"); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	blobs := 0
	for r := tar.NewReader(bytes.NewReader(got)); ; blobs++ {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		content, err := io.ReadAll(r)
		w.check(err)
		// The microcode is in the registry and in the catalogue, but not in the profile; what lies in the repository stays there.
		for _, no := range []string{"firmware/intel-ucode", "local/own", "local/written"} {
			if strings.Contains(string(gunzip(content)), no) {
				t.Errorf("%s has %s", h.Name, no)
			}
		}
	}
	if blobs < 30 {
		t.Errorf("%d members", blobs)
	}

	// Elsewhere: the repository without its archives, and the bundle.
	w.registry.Close()
	for _, arch := range []string{"amd64", "arm64"} {
		w.check(os.Remove(filepath.Join(w.dir, "archive-1-"+arch+".tar")))
	}
	for _, dir := range []string{"downloads", "store", "out"} {
		w.check(os.RemoveAll(filepath.Join(w.dir, dir)))
	}
	inside := w.run()
	inside.src = source.New(source.Options{Bundle: file, Cache: filepath.Join(w.dir, "downloads")})
	inside.bundled = true
	built, err = inside.tryLocked(text, lock)
	w.check(err)
	if diff := cmp.Diff(want, sums(built)); diff != "" {
		t.Error(diff)
	}
	for _, a := range built.Artefacts {
		for _, e := range a.Extensions {
			if pin, ok := lock.Find("extension." + e.Name); ok {
				if _, digest, _ := pin.For(a.Architecture); a.Architecture != "" && digest != e.Digest {
					t.Errorf("%s: %s is %s, locked %s", a.File, e.Name, e.Digest, digest)
				}
			}
		}
	}
	if copied, err := filepath.Glob(filepath.Join(w.dir, "downloads", "*", "*")); err != nil || len(copied) > 0 {
		t.Errorf("copied into the cache: %q, %v", copied, err)
	}

	relocked, err := inside.lock(text, lock)
	w.check(err)
	if diff := cmp.Diff(lock, relocked); diff != "" {
		t.Errorf("locked again from the bundle: %s", diff)
	}

	// A bundle of a bundle is the same.
	copied, err := imager.WriteBundle(t.Context(), inside.resolution(text, lock), inside.src, file+".2")
	if err != nil || copied != b {
		t.Errorf("%+v, %v, want %+v", copied, err, b)
	}

	// What the profile names besides is missed by its name, where the profile says it.
	more := strings.Replace(text, `"siderolabs/tiny"`, `"siderolabs/tiny", "siderolabs/ucode"`, 1)
	_, _, diags := imager.Resolve(t.Context(), inside.profile(more), imager.Request{Lock: lock}, inside.src)
	if !diags.HasErrors() || !strings.Contains(diags[0].Detail, "is not in the bundle "+file) || !strings.Contains(diags[0].Detail, "ghcr.io/siderolabs/ucode:2@") ||
		!strings.Contains(diags[0].Detail, "run `go tool mage lock` and `go tool mage bundle` again") {
		t.Errorf("diagnostics %v", diags)
	}
	// Without a lock, tags and the catalogue are those of the bundle; but an archive is not there by its name.
	if _, err := inside.tryLocked(text, nil); err == nil || !strings.Contains(err.Error(), "/archive-") {
		t.Errorf("without a lock: %v", err)
	}
	if _, err := inside.tryLocked(strings.Replace(text, "extension.archive, ", "", 1), nil); err != nil {
		t.Errorf("without a lock: %v", err)
	}
}

// TestMirror copies what a profile is built from into a registry, and builds from there.
func TestMirror(t *testing.T) {
	t.Parallel()
	w, text := carriedWorld(t)
	online := w.run()
	lock, err := online.lock(text, nil)
	w.check(err)
	res := online.resolution(text, lock)
	built, err := online.tryLocked(text, lock)
	w.check(err)
	want := sums(built)
	file := filepath.Join(t.TempDir(), "bundle.tar")
	_, err = imager.WriteBundle(t.Context(), res, online.src, file)
	w.check(err)

	var first []source.Copied
	for name, src := range map[string]*source.Sources{"online": online.src, "bundle": source.New(source.Options{Bundle: file})} {
		other := newWorld(t) // for its registry
		var all []source.Copied
		base, err := imager.Mirror(t.Context(), res, src, other.host+"/corp", func(c source.Copied) {
			c.Name = strings.Replace(c.Name, other.host, "HOST", 1)
			all = append(all, c)
		})
		if err != nil || base != other.registry.URL+"/corp" {
			t.Fatalf("%s: %q, %v", name, base, err)
		}
		if first == nil {
			first = all
		}
		if diff := cmp.Diff(first, all); diff != "" {
			t.Error(diff)
		}
		var names []string
		for _, c := range all {
			names = append(names, c.Name)
		}
		if want := []string{
			"HOST/corp/siderolabs/pinned@" + w.digests["pinned:1"], "HOST/corp/siderolabs/tiny:1.0.0", "HOST/corp/siderolabs/extensions:v1.13.9",
			"HOST/corp/siderolabs/imager:v1.13.9", "HOST/corp/siderolabs/installer-base:v1.13.9",
		}; !slices.Equal(names, want) {
			t.Errorf("%s: copied %q, want %q", name, names, want)
		}
		inside := w.run()
		inside.src = source.New(source.Options{Cache: t.TempDir(), Mirrors: []source.Mirror{{Host: "ghcr.io", Base: base}}})
		w.check(os.RemoveAll(inside.out()))
		built, err := inside.tryLocked(text, lock)
		w.check(err)
		if got := sums(built); !maps.Equal(got, want) {
			t.Errorf("%s: built %v, want %v", name, got, want)
		}
	}
}
