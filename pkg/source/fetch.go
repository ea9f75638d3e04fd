package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

var accept = strings.Join([]string{
	string(types.OCIImageIndex), string(types.OCIManifestSchema1), string(types.DockerManifestList), string(types.DockerManifestSchema2),
}, ", ")

func (s *Sources) resolveImage(ctx context.Context, image, arch string) (*Artifact, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return nil, fmt.Errorf("not a reference as REGISTRY/REPOSITORY:TAG or …@sha256:…: %w", err)
	}
	docs, digest, err := s.lookUp(ctx, ref)
	if err == nil {
		err = checkDigest(digest)
	}
	if err != nil {
		return nil, err
	}
	a, err := artifact(ctx, docs, digest, arch, s.lim)
	if err != nil {
		return nil, err
	}
	repo := ref.Context()
	a.Reference = dockerName(repo.RegistryStr()) + "/" + repo.RepositoryStr() + "@" + digest
	return a, nil
}

// lookUp finds the digest behind a reference, and where its documents are.
func (s *Sources) lookUp(ctx context.Context, ref name.Reference) (documents, string, error) {
	if s.bundle != nil {
		digest, err := s.bundle.find(ref)
		return s.bundle, digest, err
	}
	docs := remoteDocuments{s: s, repo: ref.Context()}
	digest := ref.Identifier()
	if _, byDigest := ref.(name.Digest); byDigest {
		return docs, digest, nil
	}
	raw, err := docs.get(ctx, "manifests", digest, "")
	if err != nil {
		return nil, "", err
	}
	digest = digestOf(raw)
	docs.tagged = map[string][]byte{digest: raw}
	return docs, digest, s.cacheDocument(digest, raw)
}

// documents are those of an image's repository.
func (s *Sources) documents(repo name.Repository) documents {
	if s.bundle != nil {
		return s.bundle
	}
	return remoteDocuments{s: s, repo: repo}
}

// remoteDocuments are those of a registry's repository.
type remoteDocuments struct {
	s      *Sources
	repo   name.Repository
	tagged map[string][]byte
}

func (d remoteDocuments) document(ctx context.Context, kind, digest string) ([]byte, error) {
	if raw, ok := d.tagged[digest]; ok {
		return raw, nil
	}
	if raw := d.s.cachedDocument(digest); raw != nil {
		return raw, nil
	}
	raw, err := d.get(ctx, kind, digest, digest)
	if err != nil {
		return nil, err
	}
	return raw, d.s.cacheDocument(digest, raw)
}

// get asks one endpoint after another for a document by tag or digest.
func (d remoteDocuments) get(ctx context.Context, kind, id, digest string) (raw []byte, err error) {
	err = d.s.each(ctx, d.repo, func(ep endpoint) error {
		raw, err = d.s.getFrom(ctx, ep, kind, id, digest)
		return err
	})
	return raw, err
}

// each tries the endpoints of a repository until one succeeds. If none does, all that went wrong is told.
func (s *Sources) each(ctx context.Context, repo name.Repository, try func(endpoint) error) error {
	eps, err := s.endpoints(repo)
	if err != nil {
		return err
	}
	var all []error
	for i, ep := range eps {
		err := try(ep)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if own := (cacheError{}); errors.As(err, &own) {
			return err
		}
		err = explain(ep, err)
		all = append(all, err)
		if i < len(eps)-1 {
			s.log.WarnContext(ctx, "registry: the next one is asked", "repository", repo.RepositoryStr(), "next", eps[i+1].String(), "because", err)
		}
	}
	if len(all) == 1 {
		return all[0]
	}
	return fmt.Errorf("none of %d places has it:\n%w", len(all), errors.Join(all...))
}

func (s *Sources) getFrom(ctx context.Context, ep endpoint, kind, id, digest string) (raw []byte, err error) {
	for n := 1; ; n++ {
		var lost cutOff
		if raw, err = s.getOnce(ctx, ep, kind, id); err == nil {
			break
		}
		if !errors.As(err, &lost) || n == attempts || ctx.Err() != nil {
			return nil, err
		}
		if err := s.wait(ctx, backoff(n)); err != nil {
			return nil, err
		}
	}
	if got := digestOf(raw); digest != "" && got != digest {
		return nil, fmt.Errorf("%w: got %s, want %s", ErrDigest, got, digest)
	}
	return raw, nil
}

func (s *Sources) getOnce(ctx context.Context, ep endpoint, kind, id string) ([]byte, error) {
	resp, err := s.request(ctx, ep, kind, id, 0)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return readAll(resp.Body, kind+"/"+id)
}

// impatient is an answer that asks for a longer pause than [retrier] makes, or for one too often.
type impatient struct {
	error
	pause time.Duration
}

func (i impatient) Unwrap() error { return i.error }

// cutOff is an answer that began well and then stopped: worth a further request. (What goes wrong before, the transport repeats.)
type cutOff struct{ error }

func (c cutOff) Unwrap() error { return c.error }

// request asks an endpoint for a document or blob, from a byte on.
func (s *Sources) request(ctx context.Context, ep endpoint, kind, id string, from int64) (*http.Response, error) {
	client, err := s.client(ctx, ep)
	if err != nil {
		return nil, err
	}
	u := url.URL{Scheme: ep.registry(s).Scheme(), Host: ep.repo.RegistryStr(), Path: "/v2/" + ep.repo.RepositoryStr() + "/" + kind + "/" + id}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity") // digests are of the bytes as stored
	if kind == "manifests" {
		req.Header.Set("Accept", accept)
	}
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	resp, err := client.Do(req)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	dog := time.AfterFunc(s.stall, func() { cancel(errStalled) })
	resp.Body = &watched{ctx: ctx, ReadCloser: resp.Body, dog: dog, patience: s.stall, cancel: cancel}
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable); err != nil {
		if pause := retryAfter(resp.Header.Get("Retry-After")); pause > 0 {
			err = impatient{err, pause}
		}
		return nil, errors.Join(err, resp.Body.Close())
	}
	return resp, nil
}

var errStalled = errors.New("no byte came for a while")

// watched is a body that is given up when it brings nothing for a while.
type watched struct {
	io.ReadCloser
	ctx      context.Context
	dog      *time.Timer
	patience time.Duration
	cancel   context.CancelCauseFunc
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if n > 0 {
		w.dog.Reset(w.patience)
	}
	switch {
	case err == nil || err == io.EOF:
	case context.Cause(w.ctx) == errStalled:
		err = cutOff{errStalled}
	case passing(err):
		err = cutOff{err}
	}
	return n, err
}

func (w *watched) Close() error {
	w.dog.Stop()
	w.cancel(nil)
	return w.ReadCloser.Close()
}

// download gets a blob into the cache.
func (s *Sources) download(ctx context.Context, repo name.Repository, digest string, size int64) error {
	p, err := s.partial(ctx, digest, size)
	if err != nil || p == nil {
		return err
	}
	defer p.close()
	return s.each(ctx, repo, func(ep endpoint) error { return s.downloadFrom(ctx, ep, p) })
}

// progress that makes up for a lost connection: fewer bytes count as a failed attempt.
const worthwhile = 1 << 20

// downloadFrom gets the rest of a blob from one endpoint. A cut connection is resumed. A wrong digest is final, unless bytes of an
// earlier download, or of another endpoint, are among those counted: then once more from the first byte.
func (s *Sources) downloadFrom(ctx context.Context, ep endpoint, p *partial) error {
	p.mixed = p.n > 0
	for failed := 0; ; {
		if p.n == p.size {
			mixed := p.mixed
			err := p.commit()
			if !mixed || !errors.Is(err, ErrDigest) {
				return err
			}
			s.log.WarnContext(ctx, "download: the part from an earlier attempt was damaged; from the start again", "digest", p.digest)
		}
		before := p.n
		err := s.stream(ctx, ep, p)
		if err == nil {
			continue
		}
		var lost cutOff
		if !errors.As(err, &lost) || ctx.Err() != nil {
			return err
		}
		if p.n-before >= worthwhile {
			failed = 0
		}
		if failed++; failed == attempts {
			return fmt.Errorf("blob %s ends after %d of %d bytes: %w", p.digest, p.n, p.size, err)
		}
		s.log.WarnContext(ctx, "download: resume", "from", ep.String(), "digest", p.digest, "done", p.n, "size", p.size, "because", err)
		if err := s.wait(ctx, backoff(failed)); err != nil {
			return err
		}
	}
}

// stream makes one request and appends what comes.
func (s *Sources) stream(ctx context.Context, ep endpoint, p *partial) error {
	resp, err := s.request(ctx, ep, "blobs", p.digest, p.n)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent || !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", p.n)) {
		if err := p.reset(); err != nil { // ranges are not for every registry
			return cacheError{err}
		}
	}
	switch {
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return cutOff{errors.New("the registry has no such range")}
	case resp.StatusCode == http.StatusPartialContent && p.n == 0 && !strings.HasPrefix(resp.Header.Get("Content-Range"), "bytes 0-"):
		return cutOff{fmt.Errorf("the registry sent a range that was not asked for (%q)", printable(resp.Header.Get("Content-Range")))}
	case resp.ContentLength >= 0 && resp.ContentLength != p.size-p.n:
		return fmt.Errorf("blob %s: the registry would send %d bytes more after %d, the manifest says %d in all: %w",
			p.digest, resp.ContentLength, p.n, p.size, ErrDigest)
	}
	body := &reporting{r: resp.Body, s: s, p: p, image: ep.repo.Name()}
	if _, err := io.CopyBuffer(struct{ io.Writer }{p}, io.LimitReader(body, p.size-p.n), make([]byte, 256<<10)); err != nil {
		return err
	}
	if p.n < p.size {
		return cutOff{errors.New("the connection was closed early")}
	}
	if n, _ := resp.Body.Read(make([]byte, 1)); n > 0 {
		err := fmt.Errorf("blob %s: the registry sends more than the %d bytes that the manifest says: %w", p.digest, p.size, ErrDigest)
		return errors.Join(err, p.reset())
	}
	return nil
}

// reporting tells how far a download is.
type reporting struct {
	r     io.Reader
	s     *Sources
	p     *partial
	image string
}

func (r *reporting) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	r.s.progress(Event{Image: r.image, Digest: r.p.digest, Done: r.p.n + int64(n), Total: r.p.size})
	return n, err
}
