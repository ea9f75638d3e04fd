package source

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
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
)

// hub is a registry that answers to any host, and wants a bearer token for everything, as Docker Hub, ghcr.io and Google's registries do; their
// token server is auth.test. It gives one to nobody in particular, too, if it is public.
type hub struct {
	faulty
	public   bool
	accounts map[string]string // passwords
	uses     int               // of one token, after which it has expired; 0 for any number

	mu     sync.Mutex
	asked  []string       // who asked for a token: "user:password", or "" for nobody
	left   map[string]int // uses of tokens
	limits func(w http.ResponseWriter, r *http.Request) (answered bool)
}

// open starts it, and returns how it is reached.
func (h *hub) open(t *testing.T, hosts ...string) Options {
	t.Helper()
	ca := newAuthority(t)
	cert, key := ca.sign(t, "server", append(hosts, "auth.test")...)
	pair := must(tls.LoadX509KeyPair(cert, key))
	h.left = map[string]int{}
	srv := httptest.NewUnstartedServer(h.tokens(h.wrap(newRegistry())))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	tr := defaultTransport()
	tr.Proxy = nil
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
	}
	o := Options{Transport: tr, Registries: map[string]Registry{}}
	for _, host := range hosts {
		o.Registries[host] = Registry{CA: filepath.Join(ca.dir, "ca.pem")}
	}
	return o
}

func (h *hub) tokens(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.limits != nil && h.limits(w, r) {
			return
		}
		if r.Host == "auth.test" {
			h.token(w, r)
			return
		}
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		h.mu.Lock()
		h.left[token]--
		ok := h.left[token] >= 0
		h.mu.Unlock()
		if !ok {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="https://auth.test/token",service=%q`, r.Host))
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (h *hub) token(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	user, password, given := r.BasicAuth()
	who := ""
	if given {
		who = user + ":" + password
	}
	h.asked = append(h.asked, who)
	if given && h.accounts[user] != password || !given && !h.public {
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"details":"incorrect username or password"}`)
		return
	}
	token := fmt.Sprintf("token-%d", len(h.asked))
	h.left[token] = 1 << 30
	if h.uses > 0 {
		h.left[token] = h.uses
	}
	json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": 300})
}

// publish pushes an image as the only one who may.
func (h *hub) publish(t *testing.T, o Options, ref string) {
	t.Helper()
	h.accounts = map[string]string{"publisher": "pw"}
	o.Keychain = password{"publisher", "pw"}
	s, _, _ := sources(t, o)
	img, _ := publishedImage()
	if _, err := s.Push(t.Context(), ref, img); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.accounts, h.asked = map[string]string{}, nil
}

func (h *hub) askers() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.asked, " ")
}

// A public image needs nobody's name, but a token; one that expires in the midst is asked for anew, and so is one that can't be had yet.
func TestAnonymous(t *testing.T) {
	t.Parallel()
	h := &hub{public: true}
	o := h.open(t, "docker.io", "index.docker.io")
	h.publish(t, o, "docker.io/team/app:v1")
	h.uses = 2
	var once sync.Once
	h.limits = func(w http.ResponseWriter, r *http.Request) (answered bool) {
		if r.Host == "auth.test" {
			once.Do(func() {
				answered = true
				w.Header().Set("Retry-After", "3")
				w.WriteHeader(http.StatusTooManyRequests)
			})
		}
		return answered
	}
	s, _, w := sources(t, o)
	if _, err := get(t, s, "docker.io/team/app:v1"); err != nil {
		t.Fatal(err)
	}
	if asked := h.askers(); strings.TrimSpace(asked) != "" || len(h.asked) < 2 {
		t.Errorf("tokens were asked for by %q", h.asked)
	}
	if fmt.Sprint(w.d) != "[3s]" {
		t.Errorf("waited %v", w.d)
	}

	h.public = false
	s, _, _ = sources(t, o)
	_, err := s.Resolve(t.Context(), Ref{Image: "docker.io/team/app:v1"}, "amd64")
	wantError(t, err, "docker.io: not authorized: 401", "docker login docker.io", "#not-authorized")
	if !errors.Is(err, ErrUnauthorized) {
		t.Errorf("error %v", err)
	}
	h.limits = status429
	_, err = s.Resolve(t.Context(), Ref{Image: "docker.io/team/app:v1"}, "amd64")
	wantError(t, err, "docker.io: too many requests: 429", "docker login docker.io")
}

func status429(w http.ResponseWriter, _ *http.Request) bool {
	w.WriteHeader(http.StatusTooManyRequests)
	return true
}

// In a GitHub job, ghcr.io is asked with the job's token, and nobody else.
func TestGitHub(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("REGISTRY_AUTH_FILE", "")
	t.Setenv("GITHUB_TOKEN", "t0ken")
	t.Setenv("GITHUB_ACTOR", "me")
	h := &hub{}
	o := h.open(t, "ghcr.io", "example.com")
	h.publish(t, o, "ghcr.io/team/app:v1")
	h.accounts["me"] = "t0ken"
	o.Keychain = Keychain
	s, _, _ := sources(t, o)
	if _, err := get(t, s, "ghcr.io/team/app:v1"); err != nil {
		t.Fatal(err)
	}
	if h.askers() != "me:t0ken" {
		t.Errorf("tokens were asked for by %q", h.asked)
	}
	h.asked = nil
	_, err := s.Resolve(t.Context(), Ref{Image: "example.com/team/app:v1"}, "amd64")
	wantError(t, err, "example.com: not authorized")
	if h.askers() != "" {
		t.Errorf("example.com was told %q", h.asked)
	}
}

// With the key of a service account, Google gives a token, and its registry takes that.
func TestGoogle(t *testing.T) {
	google := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || strings.Count(r.FormValue("assertion"), ".") != 2 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"access_token":"ya29","token_type":"Bearer","expires_in":3600}`)
	}))
	t.Cleanup(google.Close)
	key := must(rsa.GenerateKey(rand.Reader, 2048))
	account := must(json.Marshal(map[string]string{"type": "service_account", "client_email": "ci@corp.test", "token_uri": google.URL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))}))
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, account, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("REGISTRY_AUTH_FILE", "")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	const host = "europe-docker.pkg.dev"
	h := &hub{}
	o := h.open(t, host)
	h.publish(t, o, host+"/corp/app:v1")
	h.accounts["_token"] = "ya29"
	o.Keychain = Keychain
	s, _, _ := sources(t, o)
	if _, err := get(t, s, host+"/corp/app:v1"); err != nil {
		t.Fatal(err)
	}
	if h.askers() != "_token:ya29" {
		t.Errorf("tokens were asked for by %q", h.asked)
	}
}
