package cli

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/talosmith/talosmith/pkg/source"
)

// release is a registry with Talos releases that can be looked up, but not built: their images have next to nothing in them.
type release struct {
	t      *testing.T
	server *httptest.Server
}

func serveRelease(t *testing.T) *release {
	t.Helper()
	r := &release{t, httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))}
	t.Cleanup(r.server.Close)
	return r
}

func (r *release) mirror() source.Mirror { return source.Mirror{Host: "ghcr.io", Base: r.server.URL} }

func (r *release) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// image pushes an image with files and returns its digest.
func (r *release) image(ref string, files map[string]string) string {
	r.t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		r.check(w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}))
		_, err := io.WriteString(w, files[name])
		r.check(err)
	}
	r.check(w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	r.check(err)
	image, err := mutate.AppendLayers(empty.Image, layer)
	r.check(err)
	to, err := name.ParseReference(strings.TrimPrefix(r.server.URL, "http://") + "/siderolabs/" + ref)
	r.check(err)
	r.check(remote.Write(to, image))
	digest, err := image.Digest()
	r.check(err)
	return digest.String()
}

// publish pushes a version with extensions, each as "NAME:VERSION [tier] description".
func (r *release) publish(version string, extensions ...string) {
	r.t.Helper()
	var digests, descriptions strings.Builder
	for _, e := range extensions {
		ref, text, _ := strings.Cut(e, " ")
		short, v, _ := strings.Cut(ref, ":")
		digest := r.image(ref, map[string]string{"manifest.yaml": fmt.Sprintf("version: v1alpha1\nmetadata:\n  name: %s\n  version: %q\n", short, v), "rootfs/usr/local/x": ref})
		line := fmt.Sprintf("ghcr.io/siderolabs/%s@%s", ref, digest)
		fmt.Fprintln(&digests, line)
		fmt.Fprintf(&descriptions, "%s:\n  author: a\n  description: %q\n", line, text)
	}
	r.image("extensions:"+version, map[string]string{"image-digests": digests.String(), "descriptions.yaml": descriptions.String()})
	for _, image := range []string{"imager", "installer-base"} {
		r.image(image+":"+version, map[string]string{"etc/x": image + version})
	}
}
