package inspect_test

import (
	"context"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/inspect"
	"github.com/talosmith/talosmith/pkg/source"
)

func TestRegistry(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	ref := host + "/installer:" + talosVersion
	tooltest.Run(t, "skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", "docker-archive:"+w.dockerSave(), "docker://"+ref)
	o := inspect.Options{Sources: source.New(source.Options{Cache: t.TempDir(), Registries: map[string]source.Registry{host: {Insecure: true}}})}
	r, err := inspect.Inspect(context.Background(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Kind != inspect.KindInstaller || r.Talos != talosVersion || len(r.Extensions) != 5 || r.Size == 0 || !strings.HasPrefix(r.Image.Manifest, "sha256:") ||
		r.Image.Labels["alpha.talos.dev/version"] != talosVersion {
		t.Errorf("%+v", r)
	}
	o.Arch = "arm64"
	if _, err := inspect.Inspect(context.Background(), ref, o); err == nil || !strings.Contains(err.Error(), "arm64") {
		t.Errorf("for arm64: %v", err)
	}
}
