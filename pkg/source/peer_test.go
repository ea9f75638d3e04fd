package source

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/talosmith/talosmith/internal/tooltest"
)

// authority is a certificate authority in a directory: ca.pem, and NAME.pem and NAME.key of what it signed.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir(), key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	a.write(t, "ca.pem", "CERTIFICATE", must(x509.CreateCertificate(rand.Reader, a.cert, a.cert, &a.key.PublicKey, a.key)))
	return a
}

func (a *authority) write(t testing.TB, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// sign makes a certificate for 127.0.0.1 and hosts, of a server and a client.
func (a *authority) sign(t testing.TB, name string, hosts ...string) (cert, key string) {
	t.Helper()
	k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	c := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: hosts,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	a.write(t, name+".pem", "CERTIFICATE", must(x509.CreateCertificate(rand.Reader, c, a.cert, &k.PublicKey, a.key)))
	a.write(t, name+".key", "EC PRIVATE KEY", must(x509.MarshalECPrivateKey(k)))
	return filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
}

// password is a keychain of one account.
type password struct{ user, word string }

func (p password) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: p.user, Password: p.word}), nil
}

// A registry with TLS and passwords: push, pull, resume; wrong password, no password, unknown authority; credentials of
// `docker login` and of a helper.
func TestDockerRegistry(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.sign(t, "server")
	htpasswd := filepath.Join(ca.dir, "htpasswd")
	if err := os.WriteFile(htpasswd, []byte(tooltest.Run(t, "htpasswd", "-nbB", "user", "s3cret")), 0o600); err != nil {
		t.Fatal(err)
	}
	host := tooltest.DockerRegistry(t, "  tls: {certificate: "+cert+", key: "+key+"}\nauth: {htpasswd: {realm: test, path: "+htpasswd+"}}\n")
	settings := map[string]Registry{host: {CA: filepath.Join(ca.dir, "ca.pem")}}
	login := password{"user", "s3cret"}
	ref := host + "/team/app:v1"
	noise := make([]byte, 3<<20)
	(&patternReader{}).Read(noise)
	img := image(t, "amd64", tarOf("a=1", "big="+string(noise)))

	s, _, _ := sources(t, Options{Registries: settings, Keychain: login})
	digest, err := s.Push(t.Context(), ref, img)
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.Resolve(t.Context(), Ref{Image: ref}, "amd64")
	if err != nil || a.Index != digest {
		t.Fatalf("%+v, %v", a, err)
	}
	if _, err := s.Tree(t.Context(), a, nil, &memSpool{}); err != nil {
		t.Fatal(err)
	}
	// The same for an index, and for one in another.
	arm := image(t, "arm64", tarOf("a=arm"))
	both := index(map[string]v1.Image{"amd64": img, "arm64": arm})
	for tag, what := range map[string]v1.ImageIndex{"both": both, "nested": mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: both})} {
		if _, err := s.Push(t.Context(), host+"/team/app:"+tag, what); err != nil {
			t.Fatal(err)
		}
		if b, err := s.Resolve(t.Context(), Ref{Image: host + "/team/app:" + tag}, "arm64"); err != nil || b.Manifest != must(arm.Digest()).String() || b.Index != must(what.Digest()).String() {
			t.Errorf("%s: %+v, %v", tag, b, err)
		}
	}

	t.Run("resume", func(t *testing.T) {
		cache := t.TempDir()
		first, _, _ := sources(t, Options{Registries: settings, Keychain: login, Cache: cache})
		part := first.partialFile(a.Layers[0].Digest)
		b := must(s.Layer(t.Context(), a, 0))
		r := must(b.Open())
		defer r.Close()
		half := make([]byte, b.Size()/2)
		if _, err := r.Read(half); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(part), 0o755), os.WriteFile(part, half, 0o644)); err != nil {
			t.Fatal(err)
		}
		tr := defaultTransport()
		var ranges []string
		first.transport = tr
		first.progress = func(e Event) {
			if len(ranges) == 0 {
				ranges = append(ranges, fmt.Sprint(e.Done >= int64(len(half))))
			}
		}
		if _, err := first.Layer(t.Context(), a, 0); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(ranges) != "[true]" {
			t.Error("the download began from the first byte")
		}
	})

	for name, c := range map[string]struct {
		o    Options
		want []string
		is   error
	}{
		"no password":       {Options{Registries: settings}, []string{"docker login " + host}, ErrUnauthorized},
		"wrong password":    {Options{Registries: settings, Keychain: password{"user", "wrong"}}, []string{"401"}, ErrUnauthorized},
		"unknown authority": {Options{Keychain: login}, []string{"certificate is not trusted", "ca ="}, nil},
		"insecure":          {Options{Keychain: login, Registries: map[string]Registry{host: {Insecure: true}}}, nil, nil},
		"as a mirror": {Options{Keychain: login, Mirrors: []Mirror{{"upstream.test", "https://" + host + "/team"}}, Registries: map[string]Registry{
			"upstream.test": {CA: filepath.Join(ca.dir, "ca.pem")}}}, nil, nil},
	} {
		s, _, _ := sources(t, c.o)
		image := ref
		if name == "as a mirror" {
			image = "upstream.test/app:v1"
		}
		_, err := s.Resolve(t.Context(), Ref{Image: image}, "amd64")
		if c.want == nil && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if c.want != nil {
			wantError(t, err, c.want...)
			if c.is != nil && !errors.Is(err, c.is) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: error %v", name, err)
			}
		}
	}
	s, _, _ = sources(t, Options{Registries: settings, Keychain: login})
	_, err = s.Resolve(t.Context(), Ref{Image: host + "/team/app:none"}, "amd64")
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
	wantError(t, err, "MANIFEST_UNKNOWN", "check the name and the tag")

	// What `docker login` writes, then a credential helper, then what `podman login` writes.
	auth := base64.StdEncoding.EncodeToString([]byte("user:s3cret"))
	dir := t.TempDir()
	write(t, dir, `docker/config.json={"auths":{"`+host+`":{"auth":"`+auth+`"}}}`,
		`podman/auth.json={"auths":{"`+host+`":{"auth":"`+auth+`"}}}`,
		`helper/config.json={"credHelpers":{"`+host+`":"talosmith-test"}}`,
		"bin/docker-credential-talosmith-test=#!/bin/sh\nread host\n[ \"$1\" = get ] && echo '{\"ServerURL\":\"'$host'\",\"Username\":\"user\",\"Secret\":\"s3cret\"}'\n")
	if err := os.Chmod(dir+"/bin/docker-credential-talosmith-test", 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+"/bin:"+os.Getenv("PATH"))
	for _, config := range []string{"docker", "helper", "podman"} {
		t.Setenv("DOCKER_CONFIG", dir+"/"+config) // podman's has none
		if config == "podman" {
			t.Setenv("REGISTRY_AUTH_FILE", dir+"/podman/auth.json")
		}
		s, _, _ := sources(t, Options{Registries: settings, Keychain: Keychain})
		if _, err := s.Resolve(t.Context(), Ref{Image: ref}, "amd64"); err != nil {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// A registry that wants a client's certificate.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, key := ca.sign(t, "server")
	clientCert, clientKey := ca.sign(t, "client")
	file := filepath.Join(ca.dir, "ca.pem")
	host := tooltest.DockerRegistry(t, "  tls: {certificate: "+cert+", key: "+key+", clientcas: ["+file+"]}\n")
	s, _, _ := sources(t, Options{Registries: map[string]Registry{host: {CA: file, ClientCert: clientCert, ClientKey: clientKey}}})
	if _, err := s.Push(t.Context(), host+"/a:v1", image(t, "amd64", tarOf("a=1"))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Resolve(t.Context(), Ref{Image: host + "/a:v1"}, "amd64"); err != nil {
		t.Fatal(err)
	}
	s, _, _ = sources(t, Options{Registries: map[string]Registry{host: {CA: file}}})
	_, err := s.Resolve(t.Context(), Ref{Image: host + "/a:v1"}, "amd64")
	wantError(t, err, "wants a client certificate", "client_cert")
}

// A proxy that the caller's transport names is used.
func TestProxy(t *testing.T) {
	t.Parallel()
	f := &faulty{}
	host := serve(t, f.wrap)
	push(t, host+"/a:v1", image(t, "amd64", tarOf("a=1")))
	f.set(nil)
	tr := defaultTransport()
	tr.Proxy = func(r *http.Request) (*url.URL, error) {
		return &url.URL{Scheme: "http", Host: host}, nil
	}
	s, _, _ := sources(t, Options{Transport: tr, Mirrors: []Mirror{{"upstream.test", "http://plain.test"}}})
	if _, err := s.Resolve(t.Context(), Ref{Image: "upstream.test/a:v1"}, "amd64"); err != nil {
		t.Fatal(err)
	}
	if len(f.requests("/v2/a/")) == 0 {
		t.Errorf("the proxy saw %q", f.log)
	}
}
