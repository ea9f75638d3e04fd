package source_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/talosmith/talosmith/pkg/source"
)

// TestDirect: the registry itself is asked, once, by the scheme that its settings allow.
func TestDirect(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	s := source.New(source.Options{
		Mirrors:    []source.Mirror{{Host: host, Base: "http://127.0.0.1:1"}},
		Registries: map[string]source.Registry{"plain.corp": {Insecure: true}, "bad.corp": {CA: "/nowhere.pem"}},
	})
	d, err := s.Direct(host + "/cache/talosmith")
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := d.Transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if asked.Load() != 1 || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("asked %d times: %s", asked.Load(), resp.Status)
	}
	for repository, scheme := range map[string]string{"plain.corp/x": "http", "registry.corp/x": "https", host + "/x": "http"} {
		if d, err := s.Direct(repository); err != nil || d.Repository.Scheme() != scheme {
			t.Errorf("%s: %s, %v", repository, d.Repository.Scheme(), err)
		}
	}
	for _, repository := range []string{"", "UPPER/x", "bad.corp/x"} {
		if d, err := s.Direct(repository); err == nil {
			t.Errorf("%q: %s", repository, d.Repository)
		}
	}
}
