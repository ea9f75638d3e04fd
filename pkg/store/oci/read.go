package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/talosmith/talosmith/pkg/store"
)

// manifest is what matters of one.
type manifest struct {
	store.Result
	content bool // the output is there
}

// Find implements [store.Remote].
func (s *Store) Find(ctx context.Context, key store.Key) (store.Found, bool) {
	s.mu.Lock()
	m, known := s.found[key]
	s.mu.Unlock()
	if !known {
		ok := s.reads.try(ctx, "step "+string(key), func(ctx context.Context) (err error) {
			m, known, err = s.manifest(ctx, key)
			return err
		})
		if !ok || !known {
			return store.Found{}, false
		}
		s.mu.Lock()
		s.found[key] = m
		s.mu.Unlock()
	}
	f := store.Found{Result: m.Result, Wrong: func(err error) { s.forget(key, err) }}
	if m.content {
		f.Open = func(ctx context.Context) (io.ReadCloser, error) { return s.open(ctx, m.Result) }
	}
	return f, true
}

// forget drops what turned out to be wrong.
func (s *Store) forget(key store.Key, err error) {
	s.mu.Lock()
	delete(s.found, key)
	s.mu.Unlock()
	s.reads.fail("output of step "+string(key)+" is dropped", err)
}

func (s *Store) manifest(ctx context.Context, key store.Key) (m manifest, known bool, err error) {
	client, err := s.connect(ctx)
	if err != nil {
		return m, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.manifest)
	defer cancel()
	err = again(ctx, readAttempts, func() (err error) {
		m, known, err = s.readManifest(ctx, client, key)
		return err
	})
	return m, known, err
}

func (s *Store) readManifest(ctx context.Context, client *http.Client, key store.Key) (m manifest, known bool, err error) {
	resp, err := s.get(ctx, client, "manifests", string(key))
	if err != nil || resp == nil {
		return m, false, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return m, false, err
	}
	if len(text) > maxManifest {
		return m, false, fmt.Errorf("a manifest of more than %d bytes", maxManifest)
	}
	sum := sha256.Sum256(text)
	if said := resp.Header.Get("Docker-Content-Digest"); said != "" && said != "sha256:"+hex.EncodeToString(sum[:]) {
		return m, false, errors.New("a manifest that is not what its digest says")
	}
	m, err = parseManifest(text, key)
	return m, err == nil, err
}

// get asks for a document or blob. It returns nil where there is none.
func (s *Store) get(ctx context.Context, client *http.Client, kind, id string) (*http.Response, error) {
	repo := s.o.Repository
	u := url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(), Path: "/v2/" + repo.RepositoryStr() + "/" + kind + "/" + id}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity") // digests are of the bytes as stored
	if kind == "manifests" {
		req.Header.Set("Accept", string(manifestType))
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusNotFound {
		return nil, resp.Body.Close()
	}
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return resp, nil
}

// parseManifest reads a manifest that should be that of a key.
func parseManifest(text []byte, key store.Key) (m manifest, err error) {
	var raw v1.Manifest
	if err := json.Unmarshal(text, &raw); err != nil {
		return m, fmt.Errorf("a manifest that is no JSON: %w", err)
	}
	if raw.Config.MediaType != configType {
		return m, fmt.Errorf("a manifest whose config is %.100q, not %q: is something else stored there?", raw.Config.MediaType, configType)
	}
	if got := raw.Annotations[annotation+"key"]; got != string(key) {
		return m, fmt.Errorf("the manifest of another step, %.100q", got)
	}
	m.Digest = store.Digest(raw.Annotations[annotation+"digest"])
	if m.Size, err = strconv.ParseInt(raw.Annotations[annotation+"size"], 10, 64); err != nil {
		return m, fmt.Errorf("a manifest without a size: %w", err)
	}
	if m.Size > maxOutput {
		return m, fmt.Errorf("a manifest of an output of %d bytes, more than %d", m.Size, int64(maxOutput))
	}
	if len(raw.Layers) != 1 {
		return m, fmt.Errorf("a manifest with %d layers, not one", len(raw.Layers))
	}
	if raw.Layers[0].MediaType == emptyType {
		m.content = m.Size == 0
		return m, nil
	}
	if d := raw.Layers[0]; d.MediaType != outputType || d.Size != m.Size || d.Digest.String() != "sha256:"+string(m.Digest) {
		return m, fmt.Errorf("a manifest whose layer is not the output: %s with %d bytes", d.Digest, d.Size)
	}
	m.content = true
	return m, nil
}

// open reads an output, which must come in time.
func (s *Store) open(ctx context.Context, r store.Result) (io.ReadCloser, error) {
	if r.Size == 0 {
		return io.NopCloser(strings.NewReader("")), nil
	}
	select {
	case s.pulling <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b := &body{limits: s.limits, began: time.Now()}
	b.ctx, b.cancel = context.WithCancelCause(ctx)
	late := fmt.Errorf("it is late: it has %v, and a second more for each %d bytes", s.limits.blob, s.limits.rate)
	b.late = time.AfterFunc(s.limits.blobTime(0), func() { b.cancel(late) })
	stop := context.AfterFunc(s.reads.blown, func() { b.cancel(nil) })
	b.end = func() { stop(); b.late.Stop(); b.cancel(nil); <-s.pulling }
	client, err := s.connect(b.ctx)
	if err == nil {
		var resp *http.Response
		if resp, err = s.get(b.ctx, client, "blobs", "sha256:"+string(r.Digest)); err == nil && resp == nil {
			err = errors.New("it is not there, though its manifest is")
		}
		if err == nil {
			b.ReadCloser = resp.Body
			return b, nil
		}
	}
	err = b.why(err)
	b.end()
	return nil, err
}

// body is an output on its way. What has come gives the rest more time, not what is said to come.
type body struct {
	io.ReadCloser
	limits limits
	began  time.Time
	n      int64
	late   *time.Timer
	ctx    context.Context
	cancel context.CancelCauseFunc
	end    func()
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	b.late.Reset(time.Until(b.began.Add(b.limits.blobTime(b.n))))
	return n, b.why(err)
}

// why is an error's reason, if it is that the output was late.
func (b *body) why(err error) error {
	if cause := context.Cause(b.ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

func (b *body) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
