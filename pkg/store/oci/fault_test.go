package oci

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/tree"
)

// faulty is a registry that can be told to go wrong.
type faulty struct {
	*httptest.Server
	requests atomic.Int64
	wrong    atomic.Pointer[fault]
}

// fault changes an answer. It gets the right one, unless it asks for nothing.
type fault func(w http.ResponseWriter, r *http.Request, right *httptest.ResponseRecorder)

func newFaulty(t *testing.T) *faulty {
	f := new(faulty)
	good := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.requests.Add(1)
		wrong := f.wrong.Load()
		if wrong == nil {
			good.ServeHTTP(w, r)
			return
		}
		right := httptest.NewRecorder()
		good.ServeHTTP(right, r)
		(*wrong)(w, r, right)
	}))
	t.Cleanup(f.CloseClientConnections)
	return f
}

func (f *faulty) repository() string { return strings.TrimPrefix(f.URL, "http://") + "/cache" }

func pass(w http.ResponseWriter, right *httptest.ResponseRecorder, body []byte) {
	for k, v := range right.Header() {
		if k != "Content-Length" {
			w.Header()[k] = v
		}
	}
	w.WriteHeader(right.Code)
	_, _ = w.Write(body)
}

func isManifest(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }

// manifests changes what manifests say, and the digest that goes with them.
func manifests(change func([]byte) []byte) fault {
	return func(w http.ResponseWriter, r *http.Request, right *httptest.ResponseRecorder) {
		body := right.Body.Bytes()
		if isManifest(r) && right.Code == http.StatusOK {
			body = change(body)
			right.Header().Del("Docker-Content-Digest")
		}
		pass(w, right, body)
	}
}

func contents(change func([]byte) []byte) fault {
	return func(w http.ResponseWriter, r *http.Request, right *httptest.ResponseRecorder) {
		body := right.Body.Bytes()
		if strings.Contains(r.URL.Path, "/blobs/") && right.Code == http.StatusOK {
			body = change(bytes.Clone(body))
		}
		pass(w, right, body)
	}
}

func status(code int) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ *httptest.ResponseRecorder) { w.WriteHeader(code) }
}

func hang(w http.ResponseWriter, r *http.Request, _ *httptest.ResponseRecorder) { <-r.Context().Done() }

var hexDigest = regexp.MustCompile(`("dev.talosmith.digest":")[0-9a-f]{8}`)

var faults = map[string]fault{
	"hangs": hang,
	"hangs later": func(w http.ResponseWriter, r *http.Request, right *httptest.ResponseRecorder) {
		if r.URL.Path == "/v2/" {
			pass(w, right, right.Body.Bytes())
			return
		}
		hang(w, r, right)
	},
	"broken":       status(http.StatusInternalServerError),
	"too busy":     status(http.StatusTooManyRequests),
	"unauthorized": status(http.StatusUnauthorized),
	"forbidden":    status(http.StatusForbidden),
	"teapot":       status(http.StatusTeapot),
	"redirects in a circle": func(w http.ResponseWriter, r *http.Request, _ *httptest.ResponseRecorder) {
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	},
	"closes connections": func(w http.ResponseWriter, _ *http.Request, _ *httptest.ResponseRecorder) {
		panic(http.ErrAbortHandler)
	},
	"empty manifests":    manifests(func([]byte) []byte { return nil }),
	"manifests of noise": manifests(func([]byte) []byte { return []byte("\x1f\x8bnoise") }),
	"endless manifests":  manifests(func([]byte) []byte { return bytes.Repeat([]byte(" "), 10<<20) }),
	"another step's manifests": manifests(func(b []byte) []byte {
		return bytes.Replace(b, []byte(`"dev.talosmith.key":"`), []byte(`"dev.talosmith.key":"0`), 1)
	}),
	"manifests of something else": manifests(func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(configType), []byte("application/x")) }),
	"no layers": manifests(func(b []byte) []byte {
		return regexp.MustCompile(`"layers":\[[^]]*\]`).ReplaceAll(b, []byte(`"layers":[]`))
	}),
	"negative sizes": manifests(func(b []byte) []byte {
		return regexp.MustCompile(`("dev.talosmith.size":")`).ReplaceAll(b, []byte("$1-"))
	}),
	"huge sizes": manifests(func(b []byte) []byte {
		return regexp.MustCompile(`("size":"?|dev.talosmith.size":")[0-9]+`).ReplaceAll(b, []byte("${1}9000000000000000000"))
	}),
	"digests that are paths": manifests(func(b []byte) []byte { return hexDigest.ReplaceAll(b, []byte("${1}../../..")) }),
	"other digests":          manifests(func(b []byte) []byte { return hexDigest.ReplaceAll(b, []byte("${1}00000000")) }),
	"manifests that are not what their digest says": func(w http.ResponseWriter, r *http.Request, right *httptest.ResponseRecorder) {
		pass(w, right, append(right.Body.Bytes(), ' '))
	},
	"flipped bytes":     contents(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }),
	"truncated outputs": contents(func(b []byte) []byte { return b[:len(b)/2] }),
	"longer outputs":    contents(func(b []byte) []byte { return append(b, "more"...) }),
	"no outputs": func(w http.ResponseWriter, r *http.Request, right *httptest.ResponseRecorder) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		pass(w, right, right.Body.Bytes())
	},
	"drips for ever": dripsForEver,
	"drips": func(w http.ResponseWriter, r *http.Request, right *httptest.ResponseRecorder) {
		w.WriteHeader(right.Code)
		for _, b := range right.Body.Bytes() {
			_, _ = w.Write([]byte{b})
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	},
}

// dripsForEver promises much, and gives a byte now and then.
func dripsForEver(w http.ResponseWriter, r *http.Request, right *httptest.ResponseRecorder) {
	if !strings.Contains(r.URL.Path, "/blobs/") {
		manifests(func(b []byte) []byte {
			return regexp.MustCompile(`("size":|dev.talosmith.size":")[1-9][0-9]*`).ReplaceAll(b, []byte("${1}60000000000"))
		})(w, r, right)
		return
	}
	w.WriteHeader(http.StatusOK)
	for r.Context().Err() == nil {
		_, _ = w.Write([]byte{0})
		_ = http.NewResponseController(w).Flush()
		time.Sleep(10 * time.Millisecond)
	}
}

var quick = limits{connect: 300 * time.Millisecond, manifest: 300 * time.Millisecond, blob: 300 * time.Millisecond, rate: 64 << 20, failures: 3, wait: 500 * time.Millisecond}

// TestFaults: whatever a registry does, the build has the right output soon, somebody is told, and the store is in order.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, wrong := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			var ran atomic.Int64
			first := newMachine(t, t.TempDir(), f.repository(), true, keychain{})
			first.build(t, graph(&ran))
			first.remote.Wait(t.Context())
			if log := first.log.String(); log != "" {
				t.Fatal(log)
			}

			f.wrong.Store(&wrong)
			dir := t.TempDir()
			m := newMachine(t, dir, f.repository(), true, keychain{})
			m.remote.limits = quick
			began := time.Now()
			if got := m.build(t, graph(&ran)); got != graphWant {
				t.Errorf("got %.100q", got)
			}
			m.remote.Wait(t.Context())
			if took := time.Since(began); took > 10*time.Second { // of a busy machine: the deadlines are 0.3 s
				t.Errorf("it took %s", took)
			}
			if m.log.String() == "" {
				t.Error("nobody was told")
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
			verify, err := store.Open(store.Options{Dir: dir, Verify: true})
			if err != nil {
				t.Fatal(err)
			}
			defer verify.Close()
			if b, err := verify.Build(t.Context(), graph(&ran)); err != nil || b.Size() != int64(len(graphWant)) {
				t.Errorf("verify: %v", err)
			}
		})
	}
}

func TestADeadRegistryIsAskedOnce(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	repository := f.repository()
	f.Close()
	m := newMachine(t, t.TempDir(), repository, true, keychain{})
	began := time.Now()
	for i := range 50 {
		st := graph(new(atomic.Int64))
		st.Params = i
		m.build(t, st)
	}
	m.remote.Wait(t.Context())
	if log := m.log.String(); strings.Count(log, "\n") > 8 || time.Since(began) > 5*time.Second {
		t.Errorf("after %s logged\n%s", time.Since(began), log)
	}
}

// TestAFailingRegistryIsAskedAFewTimes, however many steps there are.
func TestAFailingRegistryIsAskedAFewTimes(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	wrong := faults["broken"]
	ping := fault(func(w http.ResponseWriter, r *http.Request, right *httptest.ResponseRecorder) {
		if r.URL.Path == "/v2/" {
			pass(w, right, right.Body.Bytes())
			return
		}
		wrong(w, r, right)
	})
	f.wrong.Store(&ping)
	m := newMachine(t, t.TempDir(), f.repository(), false, keychain{})
	var steps []*store.Step
	for i := range 100 {
		steps = append(steps, &store.Step{Name: fmt.Sprint(i), Run: func(_ context.Context, out store.Output, _ []tree.Blob) error {
			_, err := out.WriteAt([]byte("x"), 0)
			return err
		}})
	}
	for _, st := range steps {
		m.build(t, st)
	}
	if n := f.requests.Load(); n > 1+3*readAttempts { // one to greet it
		t.Errorf("%d requests", n)
	}
}

// TestCancelEndsUploads: nobody waits for a registry after Ctrl-C.
func TestCancelEndsUploads(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	slow := fault(func(w http.ResponseWriter, r *http.Request, right *httptest.ResponseRecorder) {
		if r.Method == http.MethodGet {
			pass(w, right, right.Body.Bytes())
			return
		}
		hang(w, r, right)
	})
	f.wrong.Store(&slow)
	m := newMachine(t, t.TempDir(), f.repository(), true, keychain{})
	m.build(t, graph(new(atomic.Int64)))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	m.remote.Wait(ctx)
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %s", took)
	}
}

func FuzzManifest(f *testing.F) {
	key := store.Key(strings.Repeat("ab", 32))
	a, err := (&Store{o: Options{Tool: "test"}}).artifact(store.Entry{
		Key: key, Result: store.Result{Digest: store.Digest(strings.Repeat("cd", 32)), Size: 5}, Name: "squashfs", Label: "x", Content: tree.String("hello"),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(a.manifest)
	f.Add([]byte(`{"layers":[{"digest":"sha256:00"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseManifest(text, key)
		if err == nil && m.content && m.Size < 0 {
			t.Errorf("%+v", m)
		}
	})
}

// TestRefusalsSayWhatToDo: credentials are the user's to give.
func TestRefusalsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		f := newFaulty(t)
		wrong := status(code)
		f.wrong.Store(&wrong)
		m := newMachine(t, t.TempDir(), f.repository(), false, keychain{})
		m.build(t, graph(new(atomic.Int64)))
		host, _, _ := strings.Cut(f.repository(), "/")
		if log := m.log.String(); !strings.Contains(log, "docker login "+host) || strings.Count(log, "\n") != 2 {
			t.Errorf("%d: %s", code, log)
		}
	}
}

// TestAStumbleIsForgiven: one error in the first answer is no reason to make everything here.
func TestAStumbleIsForgiven(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	first := newMachine(t, t.TempDir(), f.repository(), true, keychain{})
	first.build(t, graph(new(atomic.Int64)))
	first.remote.Wait(t.Context())
	var stumbled atomic.Bool
	once := fault(func(w http.ResponseWriter, r *http.Request, right *httptest.ResponseRecorder) {
		if !stumbled.Swap(true) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		pass(w, right, right.Body.Bytes())
	})
	f.wrong.Store(&once)
	var ran atomic.Int64
	m := newMachine(t, t.TempDir(), f.repository(), false, keychain{})
	m.build(t, graph(&ran))
	if log := m.log.String(); log != "" || ran.Load() > 0 {
		t.Errorf("%d steps ran: %s", ran.Load(), log)
	}
}
