package source

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

func defaultTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          100,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: time.Minute,
	}
}

// base is the transport for an endpoint, without credentials: TLS settings, the guard of the scheme, retries.
func (s *Sources) base(ep endpoint) (http.RoundTripper, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	host := ep.repo.RegistryStr()
	key := ep.block + " " + ep.scheme + " " + host
	if t, ok := s.bases[key]; ok {
		return t, nil
	}
	settings := s.registries[ep.block]
	inner, err := settings.transport(s.transport)
	if err != nil {
		return nil, fmt.Errorf("registry %q: %w", ep.block, err)
	}
	g := guard{inner: inner, host: host, forcePlain: ep.scheme == "http", allowPlain: settings.Insecure && ep.scheme == ""}
	g.allowPlain = g.allowPlain || g.forcePlain || ep.scheme == "" && loopback(host)
	t := &retrier{inner: g, wait: s.wait, log: s.log}
	s.bases[key] = t
	return t, nil
}

// transport applies TLS settings.
func (r Registry) transport(base http.RoundTripper) (http.RoundTripper, error) {
	if r.CA == "" && r.ClientCert == "" && r.ClientKey == "" && !r.Insecure {
		return base, nil
	}
	t, ok := base.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("ca, client certificate and insecure need an http.Transport, not %T", base)
	}
	t = t.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	c := t.TLSClientConfig
	c.InsecureSkipVerify = r.Insecure
	if r.CA != "" {
		pem, err := os.ReadFile(r.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		if c.RootCAs, err = x509.SystemCertPool(); err != nil {
			c.RootCAs = x509.NewCertPool()
		}
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca %s: no PEM certificate in it", r.CA)
		}
	}
	if (r.ClientCert == "") != (r.ClientKey == "") {
		return nil, errors.New("client certificate and key go together; only one is set")
	}
	if r.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(r.ClientCert, r.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("client certificate %s, key %s: %w", r.ClientCert, r.ClientKey, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

var errPlain = errors.New("the registry talks plain HTTP, where TLS is needed")

// guard keeps requests on TLS unless something else was asked for, whatever a registry answers or redirects to.
type guard struct {
	inner      http.RoundTripper
	host       string
	forcePlain bool // the mirror's URL is http://
	allowPlain bool
}

func (g guard) RoundTrip(req *http.Request) (*http.Response, error) {
	switch {
	case req.URL.Scheme == "https" && g.forcePlain && req.URL.Host == g.host:
		u := *req.URL
		u.Scheme = "http"
		req = req.Clone(req.Context())
		req.URL = &u
	case req.URL.Scheme == "http" && !g.allowPlain:
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, errPlain
	}
	resp, err := g.inner.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusBadRequest || req.URL.Scheme != "http" {
		return resp, err
	}
	// A server with TLS says this, in its own words, when asked without: what TLS itself said is the error to show.
	head, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if bytes.Contains(head, []byte("HTTP request to an HTTPS server")) || bytes.Contains(head, []byte("HTTP request was sent to HTTPS port")) {
		return nil, errors.Join(errors.New("the registry talks TLS, not plain HTTP"), resp.Body.Close())
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), resp.Body), resp.Body}
	return resp, nil
}

// loopback tells whether a host is this machine, which is asked by plain HTTP too.
func loopback(host string) bool {
	h, _, err := net.SplitHostPort(host)
	if err != nil {
		h = host
	}
	ip, err := netip.ParseAddr(h)
	return h == "localhost" || err == nil && ip.IsLoopback()
}

type clientKey struct{ base, repo, scope string }

type clientOnce struct {
	mu     sync.Mutex
	client *http.Client
}

// client is an HTTP client with credentials for a repository at an endpoint.
func (s *Sources) client(ctx context.Context, ep endpoint) (*http.Client, error) {
	key := clientKey{ep.mirror, ep.repo.Name(), transport.PullScope}
	s.mu.Lock()
	once := s.clients[key]
	if once == nil {
		once = &clientOnce{}
		s.clients[key] = once
	}
	s.mu.Unlock()
	once.mu.Lock()
	defer once.mu.Unlock()
	if once.client != nil {
		return once.client, nil
	}
	base, err := s.base(ep)
	if err != nil {
		return nil, err
	}
	auth, err := authn.Resolve(ctx, s.keychain, ep.repo)
	if err != nil {
		return nil, fmt.Errorf("read credentials for %s: %w", ep.repo.RegistryStr(), err)
	}
	t, err := transport.NewWithContext(ctx, ep.registry(s), auth, base, []string{ep.repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, err
	}
	once.client = &http.Client{Transport: t, CheckRedirect: checkRedirect}
	return once.client, nil
}

// registry is the endpoint's registry as go-containerregistry wants it: marked where it may be asked by plain HTTP.
func (e endpoint) registry(s *Sources) name.Registry {
	if e.scheme == "http" || e.scheme == "" && s.registries[e.block].Insecure {
		if r, err := name.NewRegistry(e.repo.RegistryStr(), name.Insecure); err == nil {
			return r
		}
	}
	return e.repo.Registry
}

// checkRedirect lets a registry send us to its storage, but not to what only this machine can see.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	if private(req.URL) && !private(via[0].URL) {
		return fmt.Errorf("refused: %s redirects to the local address %s", via[0].URL.Host, req.URL.Host)
	}
	return nil
}

func private(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return loopback(u.Host) || err == nil && (ip.Unmap().IsLoopback() || ip.Unmap().IsLinkLocalUnicast() || ip.IsUnspecified())
}
