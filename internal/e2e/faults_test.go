package e2e

import (
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/sandbox"
	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
)

// proxy stands before the stand-in's registry.
type proxy struct {
	host string
	mu   sync.Mutex
	seen []string // "METHOD PATH"
}

// newProxy makes a proxy that lets a function answer first.
func newProxy(t testing.TB, r *sandbox.Release, answer func(http.ResponseWriter, *http.Request) bool) *proxy {
	t.Helper()
	_, address, _ := strings.Cut(r.Mirror(), "=")
	to, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	p := new(proxy)
	rest := httputil.NewSingleHostReverseProxy(to)
	rest.ErrorLog = log.New(io.Discard, "", 0)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		p.mu.Lock()
		p.seen = append(p.seen, q.Method+" "+q.URL.Path)
		p.mu.Unlock()
		if !answer(w, q) {
			rest.ServeHTTP(w, q)
		}
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	p.host = strings.TrimPrefix(s.URL, "http://")
	return p
}

func (p *proxy) mirror() string { return "ghcr.io=http://" + p.host }

// blobSize asks the registry itself.
func blobSize(r *sandbox.Release, path string) int64 {
	_, address, _ := strings.Cut(r.Mirror(), "=")
	resp, err := http.Head(address + path)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.ContentLength
}

// TestFaultyRegistry runs the command against a registry that misbehaves: what passes is got over, for what stays there is a clear
// error and nothing is left.
func TestFaultyRegistry(t *testing.T) {
	t.Parallel()
	release := sandboxtest.Open(t)
	status := func(code int, part string) func(http.ResponseWriter, *http.Request, int) bool {
		return func(w http.ResponseWriter, q *http.Request, _ int) bool {
			if !strings.Contains(q.URL.Path, part) {
				return false
			}
			w.WriteHeader(code)
			return true
		}
	}
	layer := func(q *http.Request) bool { // not the configuration
		return strings.Contains(q.URL.Path, "/siderolabs/fuse3/blobs/") && blobSize(release, q.URL.Path) > 4096
	}
	cut := func(w http.ResponseWriter, q *http.Request, _ int) bool {
		if !layer(q) {
			return false
		}
		status, header, body := ask(release, q)
		maps.Copy(w.Header(), header)
		w.WriteHeader(status)
		w.Write(body[:min(4096, len(body)/2)])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	drop := func(_ http.ResponseWriter, q *http.Request, _ int) bool {
		if strings.Contains(q.URL.Path, "/siderolabs/fuse3/") {
			panic(http.ErrAbortHandler)
		}
		return false
	}
	once := func(fault func(http.ResponseWriter, *http.Request, int) bool) func(http.ResponseWriter, *http.Request, int) bool {
		return func(w http.ResponseWriter, q *http.Request, n int) bool { return n == 0 && fault(w, q, n) }
	}
	for _, c := range []struct {
		name  string
		fault func(w http.ResponseWriter, q *http.Request, n int) bool // n: requests for the same before
		want  []string                                                 // nil: the run succeeds
	}{
		{"401", status(http.StatusUnauthorized, "/siderolabs/"), []string{"Talos release not found", "Catalogue of extensions not found", "401 Unauthorized", "docker login HOST"}},
		{"404 for the release", status(http.StatusNotFound, "/siderolabs/imager/manifests/"), []string{
			"Talos release not found", "extensions.hcl line 2", `version = "v1.13.9"`, "HOST/siderolabs/imager:v1.13.9", "404 Not Found", "check the name and the tag"}},
		{"404 for an extension", status(http.StatusNotFound, "/siderolabs/fuse3/manifests/"), []string{"Extension not found", "extensions.hcl line 11", "siderolabs/fuse3", "404 Not Found"}},
		{"404 for a layer", status(http.StatusNotFound, "/siderolabs/fuse3/blobs/"), []string{"siderolabs/fuse3", "404 Not Found"}},
		{"429 for ever", func(w http.ResponseWriter, q *http.Request, n int) bool {
			if !strings.Contains(q.URL.Path, "/siderolabs/fuse3/") {
				return false
			}
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}, []string{"siderolabs/fuse3", "too many requests", "429"}},
		{"429 once", once(status(http.StatusTooManyRequests, "/siderolabs/fuse3/")), nil},
		{"500 once", once(status(http.StatusInternalServerError, "/siderolabs/")), nil},
		{"cut once", once(cut), nil},
		{"cut for ever", cut, []string{"siderolabs/fuse3", "blob sha256:", " ends after "}},
		{"no answer", drop, []string{"siderolabs/fuse3", "the connection broke off"}},
		{"wrong bytes", func(w http.ResponseWriter, q *http.Request, _ int) bool {
			if !layer(q) {
				return false
			}
			status, header, body := ask(release, q)
			maps.Copy(w.Header(), header)
			w.WriteHeader(status)
			body[len(body)/2] ^= 1
			w.Write(body)
			return true
		}, []string{"siderolabs/fuse3", "wrong digest", "got sha256:", "want sha256:"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			before := map[string]int{}
			p := newProxy(t, release, func(w http.ResponseWriter, q *http.Request) bool {
				mu.Lock()
				n := before[q.URL.Path]
				before[q.URL.Path]++
				mu.Unlock()
				return c.fault(w, q, n)
			})
			dir := t.TempDir()
			profile := small(t, dir, "x")
			// Behind a mirror the official registry would be asked next.
			write(t, profile, strings.Replace(string(read(t, profile)), `version = "v1.13.9"`, `version = "v1.13.9"`+"\n  registry = \""+p.host+`/siderolabs"`, 1))
			res := run{dir: dir, args: []string{"initramfs"}, env: map[string]string{"TALOSMITH_CACHE": filepath.Join(dir, "cache")}}.do(t)
			if c.want == nil {
				if res.code != 0 {
					t.Errorf("%s", res)
				}
				return
			}
			if res.code != 1 || res.stdout != "" {
				t.Errorf("%s", res)
			}
			for _, want := range c.want {
				if want = strings.ReplaceAll(want, "HOST", p.host); !strings.Contains(res.stderr, want) {
					t.Errorf("no %q: %s", want, res)
				}
			}
			if res.took > 30*time.Second {
				t.Errorf("after %v", res.took)
			}
			if left := list(t, filepath.Join(dir, "out")); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
			t.Logf("%s", res)
		})
	}
}

// ask gets what the registry itself answers.
func ask(r *sandbox.Release, q *http.Request) (status int, header http.Header, body []byte) {
	_, address, _ := strings.Cut(r.Mirror(), "=")
	to, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	rec := httptest.NewRecorder()
	httputil.NewSingleHostReverseProxy(to).ServeHTTP(rec, q)
	return rec.Code, rec.Header(), rec.Body.Bytes()
}
