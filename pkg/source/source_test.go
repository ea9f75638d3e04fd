package source

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/pkg/tree"
)

// anonymous never looks at this machine's credentials.
type anonymous struct{}

func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

// logged collects warnings.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// waits collects how long retries would have slept.
type waits struct {
	mu sync.Mutex
	d  []time.Duration
}

func (w *waits) wait(ctx context.Context, d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.d = append(w.d, d)
	return ctx.Err()
}

// sources makes Sources that do not sleep, with a fresh cache unless o has one.
func sources(t testing.TB, o Options) (*Sources, *logged, *waits) {
	t.Helper()
	if o.Cache == "" {
		o.Cache = t.TempDir()
	}
	if o.Keychain == nil {
		o.Keychain = anonymous{}
	}
	warnings, w := &logged{}, &waits{}
	o.Log = slog.New(slog.NewTextHandler(warnings, nil))
	s := New(o)
	s.wait = w.wait
	return s, warnings, w
}

// tarball makes a tar: "path" is a directory where it ends in a slash, "a -> b" a symbolic link, "a => b" a hard link, else a
// file whose content follows "=".
func tarOf(entries ...string) []byte {
	var hs []tar.Header
	for _, e := range entries {
		name, content, _ := strings.Cut(e, "=")
		switch {
		case strings.Contains(e, " -> "):
			n, l, _ := strings.Cut(e, " -> ")
			hs = append(hs, tar.Header{Typeflag: tar.TypeSymlink, Name: n, Linkname: l, Mode: 0o777})
		case strings.Contains(e, " => "):
			n, l, _ := strings.Cut(e, " => ")
			hs = append(hs, tar.Header{Typeflag: tar.TypeLink, Name: n, Linkname: l, Mode: 0o644})
		case strings.HasSuffix(name, "/"):
			hs = append(hs, tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755})
		default:
			hs = append(hs, tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Uname: content})
		}
	}
	return tarHeaders(hs...)
}

// tarHeaders makes a tar of headers; Uname is taken for the content.
func tarHeaders(hs ...tar.Header) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range hs {
		content := h.Uname
		h.Uname = ""
		if h.Size == 0 {
			h.Size = int64(len(content))
		}
		if h.ModTime.IsZero() && h.Typeflag != tar.TypeXGlobalHeader {
			h.ModTime = time.Unix(1700000000, 0)
		}
		if err := w.WriteHeader(&h); err != nil {
			panic(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func layers(tars ...[]byte) []Content {
	var l []Content
	for _, b := range tars {
		l = append(l, Content{Blob: tree.Bytes(b)})
	}
	return l
}

// memSpool is a spool in memory.
type memSpool = formattest.Memory

// list prints a tree, a line for each node but the root.
func list(t testing.TB, tr *tree.Tree) string {
	t.Helper()
	var b strings.Builder
	for n := range tr.All() {
		if n.Path == tree.Root {
			continue
		}
		switch {
		case n.Mode.IsDir():
			fmt.Fprintf(&b, "%s/\n", n.Path)
		case n.IsHardLink():
			fmt.Fprintf(&b, "%s => %s\n", n.Path, n.Link)
		case n.Mode.IsRegular():
			content, err := tree.ReadAll(n.Content)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s=%s\n", n.Path, content)
		default:
			fmt.Fprintf(&b, "%s -> %s\n", n.Path, n.Link)
		}
	}
	return b.String()
}

// wantError fails unless err has all the words.
func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func image(t testing.TB, arch string, tars ...[]byte) v1.Image {
	t.Helper()
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: arch, RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range tars {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

func index(images map[string]v1.Image) v1.ImageIndex {
	var idx v1.ImageIndex = empty.Index
	for _, arch := range []string{"arm64", "amd64"} {
		if img, ok := images[arch]; ok {
			idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{
				Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
		}
	}
	return idx
}

func newRegistry() http.Handler { return registry.New(registry.Logger(log.New(io.Discard, "", 0))) }

// serve starts a registry on loopback and returns its host.
func serve(t testing.TB, wrap ...func(http.Handler) http.Handler) string {
	t.Helper()
	h := newRegistry()
	for _, w := range wrap {
		h = w(h)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func push(t testing.TB, ref string, what remote.Taggable) {
	t.Helper()
	s, _, _ := sources(t, Options{})
	if _, err := s.Push(t.Context(), ref, what); err != nil {
		t.Fatal(err)
	}
}

func TestImage(t *testing.T) {
	t.Parallel()
	host := serve(t)
	amd := image(t, "amd64", tarOf("etc/", "etc/a=one", "etc/b=two"), tarOf("etc/.wh.b", "etc/c=three", "etc/d => etc/a"))
	arm := image(t, "arm64", tarOf("etc/a=arm"))
	push(t, host+"/team/app:v1", index(map[string]v1.Image{"amd64": amd, "arm64": arm}))

	s, log, _ := sources(t, Options{})
	a, err := s.Resolve(t.Context(), Ref{Image: host + "/team/app:v1"}, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if want := host + "/team/app@" + a.Index; a.Reference != want || a.Index == a.Manifest || len(a.Layers) != 2 {
		t.Errorf("artifact %+v, want reference %s", a, want)
	}
	spool, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	tr, err := s.Tree(t.Context(), a, nil, spool)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := list(t, tr), "etc/\netc/a=one\netc/c=three\netc/d => etc/a\n"; got != want {
		t.Errorf("tree:\n%swant:\n%s", got, want)
	}
	if log.String() != "" {
		t.Errorf("warnings: %s", log)
	}
}
