package source

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/talosmith/talosmith/pkg/tree"
)

// faulty lets a test answer a request before the registry does.
type faulty struct {
	mu   sync.Mutex
	hook func(w http.ResponseWriter, r *http.Request, next http.Handler) bool
	log  []string // METHOD PATH [RANGE]
}

func (f *faulty) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.log = append(f.log, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
		hook := f.hook
		f.mu.Unlock()
		if hook == nil || !hook(w, r, next) {
			next.ServeHTTP(w, r)
		}
	})
}

func (f *faulty) set(hook func(http.ResponseWriter, *http.Request, http.Handler) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook, f.log = hook, nil
}

// requests returns those of GET whose path has a part.
func (f *faulty) requests(part string) (found []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.log {
		if strings.HasPrefix(l, "GET ") && strings.Contains(l, part) {
			found = append(found, l)
		}
	}
	return found
}

// status answers the first n requests for a part of a path with a status.
func status(n int, part string, code int, header ...string) func(http.ResponseWriter, *http.Request, http.Handler) bool {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		mu.Lock()
		defer mu.Unlock()
		if n == 0 || !strings.Contains(r.URL.Path, part) {
			return false
		}
		n--
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"errors":[{"code":"SOMETHING","message":"the registry's own words"}]}`)
		return true
	}
}

const always = 1 << 30

// publishedImage has a layer that does not compress, big enough for several reads.
var publishedImage = sync.OnceValues(func() (v1.Image, []byte) {
	noise := make([]byte, 3<<20)
	(&patternReader{}).Read(noise)
	plain := tarOf("etc/a=one", "big="+string(noise))
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(plain)), nil }, tarball.WithCompressedCaching)
	if err != nil {
		panic(err)
	}
	return must(mutate.AppendLayers(must(mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64"})), l)), noise
})

// published is a registry with that image.
func published(t *testing.T) (f *faulty, ref string, noise []byte) {
	t.Helper()
	f = &faulty{}
	ref = serve(t, f.wrap) + "/team/app:v1"
	img, noise := publishedImage()
	push(t, ref, img)
	return f, ref, noise
}

func get(t *testing.T, s *Sources, ref string) (tree.Blob, error) {
	t.Helper()
	a, err := s.Resolve(t.Context(), Ref{Image: ref}, "amd64")
	if err != nil {
		return nil, err
	}
	return s.Layer(t.Context(), a, 0)
}

func TestRegistryErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		hook func(http.ResponseWriter, *http.Request, http.Handler) bool
		is   error
		want []string
	}{
		{"401", status(always, "/manifests/", 401), ErrUnauthorized, []string{"resolve ", "docker login 127.0.0.1", "the registry's own words"}},
		{"403", status(always, "/manifests/", 403), ErrUnauthorized, []string{"403 Forbidden", "docker login"}},
		{"404", status(always, "/manifests/v1", 404), ErrNotFound, []string{"404 Not Found", "check the name and the tag"}},
		{"404 blob", status(always, "/blobs/", 404), ErrNotFound, []string{"404"}},
		{"500", status(always, "/manifests/", 500), nil, []string{"the registry answers 500 Internal Server Error"}},
		{"429", status(always, "/blobs/", 429), nil, []string{"too many requests", "docker login", "set a mirror"}},
		{"429 for long", status(always, "/blobs/", 429, "Retry-After", "7200"), nil, []string{"too many requests", "wait for 2h0m0s", "#too-many-requests"}},
		{"418", status(always, "/manifests/", 418), nil, []string{"418"}},
		{"no registry", status(always, "/v2/", 404), ErrNotFound, []string{"404"}},
		{"redirect loop", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if strings.Contains(r.URL.Path, "/blobs/") {
				http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
			}
			return strings.Contains(r.URL.Path, "/blobs/")
		}, nil, []string{"10 redirects"}},
		{"huge manifest", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				io.Copy(w, zeroReader{})
			}
			return strings.Contains(r.URL.Path, "/manifests/")
		}, nil, []string{"more than 4194304 bytes"}},
		{"no JSON", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				io.WriteString(w, "<html>login</html>")
			}
			return strings.Contains(r.URL.Path, "/manifests/")
		}, nil, []string{"not JSON"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, ref, _ := published(t)
			f.set(c.hook)
			s, _, _ := sources(t, Options{})
			_, err := get(t, s, ref)
			wantError(t, err, append(c.want, ref)...)
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %v is not %v", err, c.is)
			}
		})
	}
}

func TestRegistryRetries(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		hook func(http.ResponseWriter, *http.Request, http.Handler) bool
		want time.Duration // waited
	}{
		{"500 twice", status(2, "/manifests/", 500), 1500 * time.Millisecond},
		{"503 at the start", status(1, "/v2/", 503), 500 * time.Millisecond},
		{"429, seconds", status(1, "/blobs/", 429, "Retry-After", "17"), 17 * time.Second},
		{"429, nonsense", status(1, "/blobs/", 429, "Retry-After", "soon"), 500 * time.Millisecond},
		{"reset", func() func(http.ResponseWriter, *http.Request, http.Handler) bool {
			var once sync.Once
			return func(w http.ResponseWriter, r *http.Request, _ http.Handler) (cut bool) {
				if strings.Contains(r.URL.Path, "/manifests/") {
					once.Do(func() { cut = true; reset(w) })
				}
				return cut
			}
		}(), 500 * time.Millisecond},
		{"truncated manifest", func() func(http.ResponseWriter, *http.Request, http.Handler) bool {
			var once sync.Once
			return func(w http.ResponseWriter, r *http.Request, _ http.Handler) (cut bool) {
				if strings.Contains(r.URL.Path, "/manifests/") {
					once.Do(func() {
						cut = true
						w.Header().Set("Content-Length", "1000")
						io.WriteString(w, `{"schema`)
						hangUp(w)
					})
				}
				return cut
			}
		}(), 500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, ref, _ := published(t)
			f.set(c.hook)
			s, log, w := sources(t, Options{Transport: oneRequest()})
			if _, err := get(t, s, ref); err != nil {
				t.Fatal(err)
			}
			var total time.Duration
			for _, d := range w.d {
				total += d
			}
			if total != c.want {
				t.Errorf("waited %v, want %v\n%s", w.d, c.want, log)
			}
		})
	}
}

// oneRequest makes a connection for each request: on a used one, net/http itself repeats a request once.
func oneRequest() *http.Transport {
	tr := defaultTransport()
	tr.DisableKeepAlives = true
	return tr
}

// hangUp ends the connection of a request after what is written; reset does so by force.
func hangUp(w http.ResponseWriter) {
	w.(http.Flusher).Flush()
	if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
		c.Close()
	}
}

func reset(w http.ResponseWriter) {
	if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	soon := time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)
	if d := retryAfter(soon); d < 50*time.Second || d > time.Minute {
		t.Errorf("%s is in %v", soon, d)
	}
	for _, v := range []string{"", "-5", "x", "99999999999999999999"} {
		if d := retryAfter(v); d != 0 {
			t.Errorf("%q is %v, want 0", v, d)
		}
	}
}

// part serves the layer but in a way of its own.
func part(answer func(w http.ResponseWriter, r *http.Request, full []byte)) func(http.ResponseWriter, *http.Request, http.Handler) bool {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		rec := httptest.NewRecorder()
		plain := r.Clone(context.Background())
		plain.Header.Del("Range")
		next.ServeHTTP(rec, plain)
		if rec.Body.Len() < 1<<20 {
			return false // the config
		}
		answer(w, r, rec.Body.Bytes())
		return true
	}
}

// ranged answers as a registry with ranges, but sends n bytes at most and then cuts the connection.
func ranged(w http.ResponseWriter, r *http.Request, full []byte, n int) {
	from := 0
	if h := r.Header.Get("Range"); h != "" {
		fmt.Sscanf(h, "bytes=%d-", &from)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(full)-1, len(full)))
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(full)-from))
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	rest := full[from:]
	if len(rest) <= n {
		w.Write(rest)
		return
	}
	w.Write(rest[:n])
	hangUp(w)
}

func TestDownload(t *testing.T) {
	t.Parallel()
	flip := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[len(b)/2] ^= 1
		return b
	}
	for _, c := range []struct {
		name     string
		answer   func(n int, w http.ResponseWriter, r *http.Request, full []byte) // the n-th request, from 1
		requests int
		want     []string // of the error
	}{
		{"cut and resumed", func(_ int, w http.ResponseWriter, r *http.Request, full []byte) { ranged(w, r, full, 1<<20) }, 4, nil},
		{"cut, without ranges", func(n int, w http.ResponseWriter, r *http.Request, full []byte) {
			r.Header.Del("Range")
			ranged(w, r, full, n<<20)
		}, 4, nil},
		{"cut again and again", func(_ int, w http.ResponseWriter, r *http.Request, full []byte) { ranged(w, r, full, 1000) }, attempts,
			[]string{"ends after ", " bytes"}},
		{"nothing", func(_ int, w http.ResponseWriter, r *http.Request, full []byte) { reset(w) }, attempts, []string{"reset"}},
		{"nothing but a header", func(_ int, w http.ResponseWriter, r *http.Request, full []byte) { ranged(w, r, full, 0) }, attempts, []string{"ends after 0 of"}},
		{"short, and says so", func(_ int, w http.ResponseWriter, r *http.Request, full []byte) {
			w.Header().Set("Content-Length", fmt.Sprint(len(full)-1))
			w.Write(full[:len(full)-1])
		}, 1, []string{"would send", "wrong digest"}},
		{"short, without length", func(_ int, w http.ResponseWriter, r *http.Request, full []byte) {
			w.(http.Flusher).Flush()
			w.Write(full[:len(full)-1])
		}, attempts, []string{"closed early"}},
		{"long", func(_ int, w http.ResponseWriter, r *http.Request, full []byte) {
			w.Header().Set("Content-Length", fmt.Sprint(len(full)+1))
			w.Write(append(bytes.Clone(full), 0))
		}, 1, []string{"would send", "wrong digest"}},
		{"endless", func(_ int, w http.ResponseWriter, r *http.Request, full []byte) {
			w.(http.Flusher).Flush()
			io.Copy(w, pattern(1<<40))
		}, 1, []string{"sends more than the", "wrong digest"}},
		{"wrong bytes", func(_ int, w http.ResponseWriter, r *http.Request, full []byte) { w.Write(flip(full)) }, 1, []string{"wrong digest: got sha256:", "want sha256:"}},
		{"wrong range", func(n int, w http.ResponseWriter, r *http.Request, full []byte) {
			if n == 1 {
				ranged(w, r, full, 1<<20)
				return
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 5-%d/%d", len(full)-1, len(full)))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(full[5:])
		}, 5, []string{"range that was not asked for"}},
		{"no such range", func(n int, w http.ResponseWriter, r *http.Request, full []byte) {
			switch {
			case n == 1:
				ranged(w, r, full, 1<<20)
			case r.Header.Get("Range") != "":
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			default:
				w.Write(full)
			}
		}, 3, nil},
		{"stalled", func(n int, w http.ResponseWriter, r *http.Request, full []byte) {
			if n > 1 {
				ranged(w, r, full, len(full))
				return
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(full)))
			w.Write(full[:1<<20])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, 2, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, ref, content := published(t)
			n := 0
			var mu sync.Mutex
			f.set(part(func(w http.ResponseWriter, r *http.Request, full []byte) {
				mu.Lock()
				n++
				k := n
				mu.Unlock()
				c.answer(k, w, r, full)
			}))
			s, log, _ := sources(t, Options{Transport: oneRequest()})
			s.stall = 2 * time.Second
			b, err := get(t, s, ref)
			if c.want != nil {
				wantError(t, err, c.want...)
				if left, _ := filepath.Glob(s.cache + "/blobs/sha256/*"); len(left) != 2 { // manifest and config
					t.Errorf("in the cache: %q", left)
				}
			} else if err != nil {
				t.Fatal(err)
			} else {
				tr, err := Flatten(t.Context(), []Content{{Blob: b}}, nil, &memSpool{}, Limits{})
				if err != nil {
					t.Fatal(err)
				}
				if file, _ := tr.Lookup("big"); !bytes.Equal(must(tree.ReadAll(file.Content)), content) {
					t.Error("other bytes")
				}
				if left, _ := os.ReadDir(s.cache + "/partial"); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if n != c.requests {
				t.Errorf("%d requests, want %d: %q\n%s", n, c.requests, f.requests("/blobs/"), log)
			}
		})
	}
}

// A download that one process did not finish is finished by the next, from where it stopped; unless its bytes are bad.
func TestDownloadLater(t *testing.T) {
	t.Parallel()
	f, ref, _ := published(t)
	for _, damaged := range []bool{false, true} {
		cache := t.TempDir()
		f.set(part(func(w http.ResponseWriter, r *http.Request, full []byte) {
			if r.Header.Get("Range") == "" {
				ranged(w, r, full, 2<<20)
			} else {
				w.WriteHeader(http.StatusForbidden)
			}
		}))
		s, _, _ := sources(t, Options{Cache: cache})
		_, err := get(t, s, ref)
		wantError(t, err, "403")
		left, err := filepath.Glob(cache + "/partial/*")
		if err != nil || len(left) != 1 {
			t.Fatalf("partial files %q, %v", left, err)
		}
		if damaged {
			b := must(os.ReadFile(left[0]))
			b[100] ^= 1
			if err := os.WriteFile(left[0], b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		f.set(part(func(w http.ResponseWriter, r *http.Request, full []byte) { ranged(w, r, full, len(full)) }))
		s, log, _ := sources(t, Options{Cache: cache})
		if _, err := get(t, s, ref); err != nil {
			t.Fatal(err)
		}
		reqs := f.requests("bytes=2097152-")
		if len(reqs) != 1 || strings.Contains(log.String(), "was damaged") != damaged {
			t.Errorf("damaged %v: requests %q, log %s", damaged, f.requests("/blobs/"), log)
		}
	}
}

// Several processes with one cache download a blob once.
func TestDownloadAtOnce(t *testing.T) {
	t.Parallel()
	f, ref, _ := published(t)
	f.set(part(func(w http.ResponseWriter, r *http.Request, full []byte) {
		time.Sleep(50 * time.Millisecond)
		w.Write(full)
	}))
	cache := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, _, _ := sources(t, Options{Cache: cache}) // a Sources each, as processes have
			if _, err := get(t, s, ref); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	a := must(New(Options{Cache: cache, Keychain: anonymous{}}).Resolve(t.Context(), Ref{Image: ref}, "amd64"))
	if n := len(f.requests("/blobs/" + a.Layers[0].Digest)); n != 1 {
		t.Errorf("%d downloads, want 1", n)
	}
}

func TestCache(t *testing.T) {
	t.Parallel()
	f, ref, _ := published(t)
	s, _, _ := sources(t, Options{})
	a := must(s.Resolve(t.Context(), Ref{Image: ref}, "amd64"))
	b := must(s.Layer(t.Context(), a, 0))
	f.set(status(always, "", 500))
	// By digest, nothing is asked any more.
	s, _, _ = sources(t, Options{Cache: s.cache})
	again, err := s.Resolve(t.Context(), Ref{Image: a.Reference}, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Layer(t.Context(), again, 0); err != nil {
		t.Fatal(err)
	}
	if n := f.requests(""); len(n) > 0 {
		t.Errorf("requests %q", n)
	}
	// A flipped bit is found by Verify only; another size always.
	file, _ := tree.HostPath(b)
	bad := must(os.ReadFile(file))
	bad[1000] ^= 1
	if err := os.WriteFile(file, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Layer(t.Context(), again, 0); err != nil {
		t.Fatal(err)
	}
	f.set(nil)
	v, log, _ := sources(t, Options{Cache: s.cache, Verify: true})
	if _, err := v.Layer(t.Context(), again, 0); err != nil {
		t.Fatal(err)
	}
	if n := f.requests("/blobs/"); len(n) != 1 || !strings.Contains(log.String(), "damaged blob is dropped") {
		t.Errorf("requests %q, log %s", n, log)
	}
	if err := os.Truncate(file, 5); err != nil {
		t.Fatal(err)
	}
	if b, err = s.Layer(t.Context(), again, 0); err != nil || b.Size() != a.Layers[0].Size {
		t.Errorf("after a truncation: %v, %v", b, err)
	}
	// A damaged manifest is asked for again.
	if err := os.WriteFile(s.blobFile(a.Manifest), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Resolve(t.Context(), Ref{Image: a.Reference}, "amd64"); err != nil {
		t.Error(err)
	}
	if _, err := New(Options{Keychain: anonymous{}}).Layer(t.Context(), a, 0); err == nil || !strings.Contains(err.Error(), "no cache directory") {
		t.Errorf("without a cache: %v", err)
	}
}

// TestDamagedLayer: where a layer of the cache can't be read because it isn't what it was, the next run gets it anew.
func TestDamagedLayer(t *testing.T) {
	t.Parallel()
	_, ref, _ := published(t)
	s, _, _ := sources(t, Options{})
	a, err := s.Resolve(t.Context(), Ref{Image: ref}, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	want := list(t, must(s.Tree(t.Context(), a, nil, &memSpool{})))
	file := s.blobFile(a.Layers[0].Digest)
	bad := must(os.ReadFile(file))
	for i := range bad[:512] {
		bad[i] ^= 0xff
	}
	if err := os.WriteFile(file, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Tree(t.Context(), a, nil, &memSpool{})
	if err == nil || !strings.Contains(err.Error(), "blob "+a.Layers[0].Digest+" is damaged, and dropped now: run it again") {
		t.Errorf("error %v", err)
	}
	if got := list(t, must(s.Tree(t.Context(), a, nil, &memSpool{}))); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Trouble with our own disk is told as such, and no other registry is asked.
func TestMissing(t *testing.T) {
	t.Parallel()
	_, ref, _ := published(t)
	s, _, _ := sources(t, Options{})
	a := must(s.Resolve(t.Context(), Ref{Image: ref}, "amd64"))
	a.Layers = append(a.Layers, a.Layers[0]) // the same again
	if m := s.Missing(a); len(m) != 1 || m[0] != a.Layers[0] {
		t.Errorf("before the download %v are missing", m)
	}
	b := must(s.Layer(t.Context(), a, 0))
	if m := s.Missing(a); len(m) > 0 {
		t.Errorf("after the download %v are missing", m)
	}
	file, _ := tree.HostPath(b)
	if err := os.Truncate(file, 5); err != nil {
		t.Fatal(err)
	}
	if m := s.Missing(a); len(m) != 1 {
		t.Errorf("of a damaged layer %v are missing", m)
	}
	a.Ref = Ref{Tarball: "x.tar"}
	if m := s.Missing(a); len(m) > 0 {
		t.Errorf("a file of this machine is downloaded: %v", m)
	}
}

func TestCacheBroken(t *testing.T) {
	t.Parallel()
	f, ref, _ := published(t)
	host, _, _ := strings.Cut(ref, "/")
	s, _, _ := sources(t, Options{Mirrors: []Mirror{{host, "http://" + host}}})
	a := must(s.Resolve(t.Context(), Ref{Image: ref}, "amd64"))
	f.set(part(func(w http.ResponseWriter, r *http.Request, full []byte) {
		os.RemoveAll(s.cache + "/blobs")
		os.WriteFile(s.cache+"/blobs", nil, 0o600)
		w.Write(full)
	}))
	_, err := s.Layer(t.Context(), a, 0)
	wantError(t, err, "get layer 1", "write cache: ", "not a directory")
	if n := f.requests("/blobs/"); len(n) != 1 {
		t.Errorf("requests %q", n)
	}
}

func TestResolveByDigest(t *testing.T) {
	t.Parallel()
	f, ref, _ := published(t)
	s, _, _ := sources(t, Options{})
	a := must(s.Resolve(t.Context(), Ref{Image: ref}, "amd64"))
	host, _, _ := strings.Cut(ref, "/")
	both := ref + "@" + a.Index // the digest wins over the tag
	f.set(status(always, "/manifests/v1", 404))
	fresh, _, _ := sources(t, Options{})
	b, err := fresh.Resolve(t.Context(), Ref{Image: both}, "amd64")
	if err != nil || b.Reference != host+"/team/app@"+a.Index {
		t.Errorf("%+v, %v", b, err)
	}
	f.set(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if strings.Contains(r.URL.Path, "/manifests/") {
			io.WriteString(w, `{"schemaVersion":2,"manifests":[]}`)
		}
		return strings.Contains(r.URL.Path, "/manifests/")
	})
	fresh, _, _ = sources(t, Options{})
	_, err = fresh.Resolve(t.Context(), Ref{Image: both}, "amd64")
	if !errors.Is(err, ErrDigest) {
		t.Errorf("a registry that lies: %v", err)
	}
	if n := f.requests("/manifests/"); len(n) != 1 {
		t.Errorf("a lie was asked for again: %q", n)
	}
	for image, want := range map[string]string{"https://x/y": "URL scheme", "x y": "not a reference", "a/b@sha512:" + strings.Repeat("a", 128): "want sha256"} {
		_, err := s.Resolve(t.Context(), Ref{Image: image}, "amd64")
		wantError(t, err, want)
	}
}

// far is a registry with TLS that is reached as example.com, and a transport that finds it.
func far(t *testing.T, f *faulty) (o Options, host string) {
	t.Helper()
	srv := httptest.NewUnstartedServer(f.wrap(newRegistry()))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	tr := defaultTransport()
	tr.Proxy = nil
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == "example.com:443" {
			addr = srv.Listener.Addr().String()
		} else if addr == "example.com:1" {
			return nil, errors.New("refused by the test")
		} else if h, _, _ := net.SplitHostPort(addr); !loopback(h) {
			return nil, &net.DNSError{Err: "no such host", Name: addr, IsNotFound: true}
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	return Options{Transport: tr, Registries: map[string]Registry{"example.com": {CA: ca}}}, "example.com"
}

func TestMirrors(t *testing.T) {
	t.Parallel()
	origin, mirror := &faulty{}, &faulty{}
	o, host := far(t, origin)
	mirrorHost := serve(t, mirror.wrap)
	img := image(t, "amd64", tarOf("a=1"))
	s, _, _ := sources(t, o)
	if _, err := s.Push(t.Context(), host+"/team/app:v1", img); err != nil {
		t.Fatal(err)
	}
	push(t, mirrorHost+"/x/y/team/app:v1", img)
	base := "http://" + mirrorHost + "/x/y"

	resolve := func(t *testing.T, mirrors ...string) (*Artifact, string, error) {
		o := o
		o.Cache = t.TempDir()
		for _, m := range mirrors {
			o.Mirrors = append(o.Mirrors, Mirror{Host: host, Base: m})
		}
		s, log, _ := sources(t, o)
		a, err := s.Resolve(t.Context(), Ref{Image: host + "/team/app:v1"}, "amd64")
		if err == nil {
			_, err = s.Layer(t.Context(), a, 0)
		}
		return a, log.String(), err
	}
	for _, b := range []string{base, base + "/", "http://" + mirrorHost + "/v2/x/y"} {
		origin.set(nil)
		mirror.set(nil)
		a, log, err := resolve(t, b)
		if err != nil || log != "" || len(origin.requests("")) > 0 || len(mirror.requests("")) == 0 {
			t.Errorf("mirror %s: %v, log %s, origin asked %q", b, err, log, origin.requests(""))
		} else if a.Reference != "example.com/team/app@"+a.Index {
			t.Errorf("reference %s", a.Reference)
		}
	}
	lie := func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			w.Write(bytes.Repeat([]byte("x"), 5000))
		}
		return strings.Contains(r.URL.Path, "/blobs/")
	}
	for name, c := range map[string]struct {
		mirrors []string
		hook    func(http.ResponseWriter, *http.Request, http.Handler) bool
		warns   []string
	}{
		"has it not":   {[]string{"http://" + mirrorHost + "/other"}, nil, []string{"mirror http://" + mirrorHost + "/other", "404"}},
		"is down":      {[]string{"http://127.0.0.1:1/x"}, nil, []string{"connection refused", "next=example.com"}},
		"is broken":    {[]string{base}, status(always, "", 502), []string{"502 Bad Gateway"}},
		"lies":         {[]string{base}, lie, []string{"wrong digest"}},
		"first down":   {[]string{"http://127.0.0.1:1/x", base}, nil, []string{"next=\"mirror " + base}},
		"wants logins": {[]string{base}, status(always, "", 401, "WWW-Authenticate", "Basic realm=x"), []string{"docker login 127.0.0.1"}},
		"has no TLS":   {[]string{"https://" + mirrorHost + "/x/y"}, nil, []string{"plain HTTP"}},
	} {
		mirror.set(c.hook)
		a, log, err := resolve(t, c.mirrors...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, w := range c.warns {
			if !strings.Contains(log, strings.ReplaceAll(w, `"`, "")) && !strings.Contains(log, w) {
				t.Errorf("%s: warnings %s do not say %q", name, log, w)
			}
		}
		if a.Reference != "example.com/team/app@"+a.Index {
			t.Errorf("%s: reference %s", name, a.Reference)
		}
	}
	mirror.set(status(always, "", 503))
	origin.set(status(always, "/manifests/", 404))
	_, _, err := resolve(t, base)
	wantError(t, err, "resolve example.com/team/app:v1", "none of 2 places", "mirror "+base, "503", "example.com: not found", "check the name")
}

func TestParseMirrors(t *testing.T) {
	t.Parallel()
	got, err := ParseMirrors(" ghcr.io=http://127.0.0.1:5000/x , docker.io=https://m.corp,ghcr.io=https://b/c/d,")
	want := []Mirror{{"ghcr.io", "http://127.0.0.1:5000/x"}, {"docker.io", "https://m.corp"}, {"ghcr.io", "https://b/c/d"}}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := ParseMirrors(""); err != nil || got != nil {
		t.Errorf("%v, %v", got, err)
	}
	for in, want := range map[string]string{
		"ghcr.io":                         "want HOST=URL",
		"=http://x":                       "want HOST=URL",
		"ghcr.io/x=http://y":              "no registry's host name",
		"a b=http://y":                    "no registry's host name",
		"ghcr.io=mirror.corp":             "is no URL",
		"ghcr.io=ftp://mirror.corp":       "is no URL",
		"ghcr.io=https://":                "is no URL",
		"ghcr.io=https://u:secret@m/x":    "credentials come from",
		"ghcr.io=https://m/x?y=z":         "more than scheme, host and path",
		"ghcr.io=https://m:port":          "parse mirror",
		"ghcr.io=https://x,ghcr.io=https": "is no URL",
	} {
		_, err := ParseMirrors(in)
		wantError(t, err, "parse mirror", want)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%v tells a password", err)
		}
	}
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	s := New(Options{
		Mirrors: []Mirror{{"docker.io", "https://one"}},
		Registries: map[string]Registry{
			"index.docker.io": {Mirrors: []string{"https://two/p"}, CA: "x"}, "one": {Insecure: true},
		},
	})
	repo, err := name.NewRepository("alpine")
	if err != nil {
		t.Fatal(err)
	}
	eps, err := s.endpoints(repo)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range eps {
		got = append(got, fmt.Sprintf("%s as %s by %s", e, e.repo, e.block))
	}
	want := "[mirror https://one as one/library/alpine by one" +
		" mirror https://two/p as two/p/library/alpine by docker.io" +
		" docker.io as index.docker.io/library/alpine by docker.io]"
	if fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestTLSSettings(t *testing.T) {
	t.Parallel()
	f := &faulty{}
	o, host := far(t, f)
	s, _, _ := sources(t, o)
	if _, err := s.Push(t.Context(), host+"/a:v1", image(t, "amd64", tarOf("a=1"))); err != nil {
		t.Fatal(err)
	}
	dir := write(t, t.TempDir(), "empty.pem=", "junk.pem=-----BEGIN CERTIFICATE-----")
	for name, c := range map[string]struct {
		r    Registry
		want []string
	}{
		"unknown authority": {Registry{}, []string{"certificate is not trusted", `registry "example.com" { ca =`}},
		"insecure":          {Registry{Insecure: true}, nil},
		"ca":                {o.Registries[host], nil},
		"no such file":      {Registry{CA: dir + "/none"}, []string{"ca: open", "none"}},
		"no certificate":    {Registry{CA: dir + "/empty.pem"}, []string{"no PEM certificate"}},
		"key missing":       {Registry{ClientCert: dir + "/junk.pem"}, []string{"go together"}},
		"client junk":       {Registry{ClientCert: dir + "/junk.pem", ClientKey: dir + "/empty.pem"}, []string{"client certificate"}},
	} {
		s, _, _ := sources(t, Options{Transport: o.Transport, Registries: map[string]Registry{host: c.r}})
		_, err := s.Resolve(t.Context(), Ref{Image: host + "/a:v1"}, "amd64")
		if c.want == nil && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if c.want != nil {
			wantError(t, err, c.want...)
		}
	}
	s, _, _ = sources(t, Options{Transport: struct{ http.RoundTripper }{o.Transport}, Registries: o.Registries})
	_, err := s.Resolve(t.Context(), Ref{Image: host + "/a:v1"}, "amd64")
	wantError(t, err, "need an http.Transport")
	_, err = s.Resolve(t.Context(), Ref{Image: "nowhere.test/a:v1"}, "amd64")
	wantError(t, err, "no such host", "check the name, the network and the proxy")
}

// TLS is never left for plain HTTP unasked, and a public registry cannot send us to this machine.
func TestGuard(t *testing.T) {
	t.Parallel()
	f := &faulty{}
	o, host := far(t, f)
	s, _, _ := sources(t, o)
	if _, err := s.Push(t.Context(), host+"/a:v1", image(t, "amd64", tarOf("a=1"))); err != nil {
		t.Fatal(err)
	}
	target := &faulty{}
	local := serve(t, target.wrap)
	for to, want := range map[string]string{
		"http://example.org/x":              "plain HTTP",
		"https://" + local + "/x":           "redirects to the local address",
		"https://localhost/x":               "redirects to the local address",
		"https://169.254.169.254/latest/x":  "redirects to the local address",
		"https://nowhere.test/?sig=S3CRET":  "no such host",
		"https://example.com:1/?sig=S3CRET": "refused by the test",
	} {
		f.set(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if strings.Contains(r.URL.Path, "/blobs/") {
				http.Redirect(w, r, to, http.StatusTemporaryRedirect)
			}
			return strings.Contains(r.URL.Path, "/blobs/")
		})
		o.Cache = t.TempDir()
		s, _, _ := sources(t, o)
		_, err := s.Resolve(t.Context(), Ref{Image: host + "/a:v1"}, "amd64")
		wantError(t, err, want)
		if strings.Contains(err.Error(), "S3CRET") {
			t.Errorf("%v tells a signed URL", err)
		}
	}
	if len(target.log) > 0 {
		t.Errorf("requests came to this machine: %q", target.log)
	}
	// A private address is not this machine: plain HTTP needs insecure.
	s, _, _ = sources(t, Options{Transport: o.Transport})
	_, err := s.Resolve(t.Context(), Ref{Image: "10.0.0.1:5000/a:v1"}, "amd64")
	wantError(t, err, "10.0.0.1:5000")
}

func TestPush(t *testing.T) {
	t.Parallel()
	f := &faulty{}
	host := serve(t, f.wrap)
	img := image(t, "amd64", tarOf("a=1"))
	s, _, _ := sources(t, Options{Mirrors: []Mirror{{host, "http://127.0.0.1:1"}}}) // a mirror is not pushed to
	f.set(status(1, "/uploads/", 503))
	digest, err := s.Push(t.Context(), host+"/a:v1", img)
	if err != nil || digest != must(img.Digest()).String() {
		t.Errorf("%s, %v", digest, err)
	}
	f.set(status(always, "/b/", 403))
	_, err = s.Push(t.Context(), host+"/b:v1", img)
	if !errors.Is(err, ErrUnauthorized) {
		t.Errorf("error %v", err)
	}
	wantError(t, err, "push "+host+"/b:v1", "docker login "+host)
	_, err = s.Push(t.Context(), host+"/b@"+digest, img)
	wantError(t, err, "not a tag")
}

func TestProgress(t *testing.T) {
	t.Parallel()
	_, ref, _ := published(t)
	var mu sync.Mutex
	var last Event
	s, _, _ := sources(t, Options{Progress: func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Done < last.Done || e.Done > e.Total {
			t.Errorf("%+v after %+v", e, last)
		}
		last = e
	}})
	b, err := get(t, s, ref)
	if err != nil {
		t.Fatal(err)
	}
	if last.Done != b.Size() || last.Total != b.Size() || !strings.HasSuffix(last.Image, "/team/app") {
		t.Errorf("last event %+v for %d bytes", last, b.Size())
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	f, ref, _ := published(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.set(part(func(w http.ResponseWriter, r *http.Request, full []byte) {
		w.Header().Set("Content-Length", fmt.Sprint(len(full)))
		w.Write(full[:1<<20])
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	}))
	s, _, _ := sources(t, Options{})
	a := must(s.Resolve(ctx, Ref{Image: ref}, "amd64"))
	if _, err := s.Layer(ctx, a, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
