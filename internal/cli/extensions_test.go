package cli

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
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

// serveCatalogue serves a catalogue of extensions, as NAME:VERSION with a description.
func serveCatalogue(t *testing.T, extensions ...string) source.Mirror {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	var digests, descriptions strings.Builder
	for _, e := range extensions {
		ref, text, _ := strings.Cut(e, " ")
		line := fmt.Sprintf("ghcr.io/siderolabs/%s@sha256:%064d", ref, 7)
		fmt.Fprintln(&digests, line)
		fmt.Fprintf(&descriptions, "%s:\n  author: a\n  description: %q\n", line, text)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range map[string]string{"image-digests": digests.String(), "descriptions.yaml": descriptions.String()} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/siderolabs/extensions:v1.13.9")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	return source.Mirror{Host: "ghcr.io", Base: server.URL}
}

func TestExtensions(t *testing.T) {
	t.Parallel()
	mirror := serveCatalogue(t, "gvisor:20260101.0 [core] Containers with a kernel of their own.\nMore.", "i915:20260110 [core] Graphics of Intel.",
		"btrfs:v6.18 [extra] A file system,\tas a module.", "odd:1 without a tier", "gvisor-debug:v1 [extra] Debugging.")
	for _, c := range []struct{ find, stdout, stderr, err string }{
		{"", `NAME                     VERSION     TIER   USED BY  DESCRIPTION
siderolabs/btrfs         v6.18       extra           A file system, as a module.
siderolabs/gvisor        20260101.0  core   metal    Containers with a kernel of their own.
siderolabs/gvisor-debug  v1          extra           Debugging.
siderolabs/i915          20260110    core   metal    Graphics of Intel.
siderolabs/odd           1                           without a tier
`, "", ""},
		{"KERNEL", "siderolabs/gvisor ", "", ""},
		{"i915", "siderolabs/i915 ", "note: siderolabs/i915-ucode: It is called \"siderolabs/i915\" since Talos v1.9.0.\n", ""},
		{"i915-ucode", "", "", "It is called \"siderolabs/i915\" since Talos v1.9.0."},
		{"hyperv-guest", "", "", "It came with Talos v1.14.0."},
		{"gvizor", "", "", "did you mean siderolabs/gvisor?"},
		{"hyperv-guest-agnt", "", "", "did you mean siderolabs/hyperv-guest-agent? It came with Talos v1.14.0."},
		{"nothing-like-it", "", "", "find \"nothing-like-it\": no official extension of Talos v1.13.9"},
	} {
		o, stdout, stderr := at(t, map[string]string{"extensions.hcl": small, "motd/x": ""})
		o.Mirrors = []source.Mirror{mirror}
		err := Extensions(t.Context(), o, c.find)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: error %v, want %q", c.find, err, c.err)
		}
		if !strings.Contains(stdout.String(), c.stdout) || c.stdout == "" && stdout.Len() > 0 || !strings.HasSuffix(stderr.String(), c.stderr) {
			t.Errorf("%q: printed\n%s%s", c.find, stdout, stderr)
		}
	}
}
