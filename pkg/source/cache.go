package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/talosmith/talosmith/pkg/tree"
)

// The cache directory:
//
//	blobs/sha256/HEX    verified content; complete by rename
//	partial/HEX         a download under way, or what an interrupted one left; and files that are removed as soon as they are open
//	locks/HE            held by the process that writes a blob whose digest begins so; stays for ever, as removing a lock races

func (s *Sources) blobFile(digest string) string {
	return filepath.Join(s.cache, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

func (s *Sources) partialDir() string { return filepath.Join(s.cache, "partial") }

func (s *Sources) partialFile(digest string) string {
	return filepath.Join(s.partialDir(), strings.TrimPrefix(digest, "sha256:"))
}

func (s *Sources) lockFile(digest string) string {
	return filepath.Join(s.cache, "locks", strings.TrimPrefix(digest, "sha256:")[:2])
}

func (s *Sources) checkCache() error {
	if s.cache == "" {
		return errors.New("no cache directory is set (source.Options.Cache)")
	}
	return nil
}

// cached returns a blob of the cache, or nil. One of another size is dropped, and with Verify one of another digest.
func (s *Sources) cached(ctx context.Context, digest string, size int64) (tree.Blob, error) {
	if err := errors.Join(s.checkCache(), checkDigest(digest)); err != nil {
		return nil, err
	}
	b, err := tree.File(s.blobFile(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read cache: %w", err)
	}
	if b.Size() == size {
		ok, err := s.intact(b, digest)
		if ok || err != nil {
			markUsed(s.blobFile(digest))
			return b, err
		}
	}
	s.log.WarnContext(ctx, "cache: a damaged blob is dropped", "digest", digest, "size", b.Size(), "want", size)
	return nil, os.Remove(s.blobFile(digest))
}

// markUsed keeps a file's time within an hour of its last use: the least recently used are pruned first.
func markUsed(name string) {
	now := time.Now()
	if st, err := os.Stat(name); err == nil && now.Sub(st.ModTime()).Abs() > time.Hour { // a clock that was wrong may have set it ahead
		_ = os.Chtimes(name, now, now) // a cache that cannot be written to is pruned by older times
	}
}

// intact reads a blob again where Verify asks for it, once.
func (s *Sources) intact(b tree.Blob, digest string) (bool, error) {
	s.mu.Lock()
	done := !s.verify || s.checked[digest]
	s.mu.Unlock()
	if done {
		return true, nil
	}
	ok, err := hasDigest(b, digest)
	if err == nil {
		s.mu.Lock()
		s.checked[digest] = ok
		s.mu.Unlock()
	}
	return ok, err
}

func hasDigest(b tree.Blob, digest string) (bool, error) {
	sum, err := tree.SHA256(b)
	if err != nil {
		return false, fmt.Errorf("read cache: %w", err)
	}
	return "sha256:"+sum == digest, nil
}

// blame looks for the reason of an error in layers of the cache. One that is not what its digest says is dropped.
func (s *Sources) blame(layers []Content, err error) error {
	for _, l := range layers {
		name, ok := tree.HostPath(l.Blob)
		if !ok || s.cache == "" || name != s.blobFile(l.Layer.Digest) {
			continue
		}
		if ok, errRead := hasDigest(l.Blob, l.Layer.Digest); !ok && errRead == nil {
			err = errors.Join(fmt.Errorf("%w: the cache's blob %s is damaged, and dropped now: run it again", err, l.Layer.Digest), os.Remove(name))
		}
	}
	return err
}

// cachedDocument returns a small blob of the cache, always compared with its digest, or nil.
func (s *Sources) cachedDocument(digest string) []byte {
	if s.cache == "" {
		return nil
	}
	f, err := os.Open(s.blobFile(digest))
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := readAll(f, digest)
	if err != nil || digestOf(b) != digest {
		return nil
	}
	markUsed(f.Name())
	return b
}

// cacheDocument keeps a small blob.
func (s *Sources) cacheDocument(digest string, b []byte) error {
	if s.cache == "" {
		return nil
	}
	dir := filepath.Dir(s.blobFile(digest))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return cacheError{err}
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return cacheError{err}
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), s.blobFile(digest))
	}
	if err != nil {
		os.Remove(f.Name())
		return cacheError{err}
	}
	return nil
}

func sum(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

func digestOf(b []byte) string {
	h := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(h[:])
}

// cacheError is trouble with our own disk, for which no other registry helps.
type cacheError struct{ error }

func (c cacheError) Error() string { return "write cache: " + c.error.Error() }
func (c cacheError) Unwrap() error { return c.error }

// partial is a blob on its way into the cache. Its process holds the lock.
type partial struct {
	s      *Sources
	digest string
	size   int64
	lock   *flock.Flock
	f      *os.File
	h      hash.Hash
	n      int64 // bytes that are there, and hashed
	mixed  bool  // not all of them came in one piece from where the rest comes from
}

// partial begins a blob, or goes on with what an interrupted download left. It is nil where the blob is in the cache meanwhile.
func (s *Sources) partial(ctx context.Context, digest string, size int64) (*partial, error) {
	if err := errors.Join(s.checkCache(), checkDigest(digest)); err != nil {
		return nil, err
	}
	for _, file := range []string{s.partialFile(digest), s.blobFile(digest), s.lockFile(digest)} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, cacheError{err}
		}
	}
	p := &partial{s: s, digest: digest, size: size, lock: flock.New(s.lockFile(digest)), h: sha256.New()}
	if _, err := p.lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return nil, fmt.Errorf("lock cache: %w", err)
	}
	b, err := s.cached(ctx, digest, size)
	if b != nil || err != nil { // another process was faster
		return nil, errors.Join(err, p.close())
	}
	if err := p.open(); err != nil {
		return nil, errors.Join(cacheError{err}, p.close())
	}
	return p, nil
}

// open reads what an interrupted download left.
func (p *partial) open() (err error) {
	if p.f, err = os.OpenFile(p.s.partialFile(p.digest), os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	if p.n, err = io.Copy(p.h, io.LimitReader(p.f, p.size+1)); err != nil {
		return err
	}
	p.mixed = p.n > 0
	if p.n > p.size {
		return p.reset()
	}
	return nil
}

// Write appends.
func (p *partial) Write(b []byte) (int, error) {
	n, err := p.f.Write(b)
	p.h.Write(b[:n])
	p.n += int64(n)
	if err != nil {
		err = cacheError{err}
	}
	return n, err
}

// reset begins anew.
func (p *partial) reset() error {
	p.h.Reset()
	p.n, p.mixed = 0, false
	_, err := p.f.Seek(0, io.SeekStart)
	return errors.Join(err, p.f.Truncate(0))
}

// commit puts a complete blob into the cache if its digest is right, and drops it if not.
func (p *partial) commit() error {
	if p.n != p.size {
		return fmt.Errorf("%s has %d bytes, want %d", p.digest, p.n, p.size)
	}
	if got := sum(p.h); got != p.digest {
		return errors.Join(fmt.Errorf("%w: got %s, want %s", ErrDigest, got, p.digest), p.reset())
	}
	// Sync: after a crash, a file of the right size must have the right bytes.
	err := errors.Join(p.f.Sync(), p.f.Close())
	if err == nil {
		err = os.Rename(p.f.Name(), p.s.blobFile(p.digest))
	}
	p.f = nil
	if err != nil {
		return cacheError{err}
	}
	return nil
}

// close keeps what is there for the next attempt.
func (p *partial) close() error {
	var err error
	if p.f != nil {
		err = p.f.Close()
	}
	return errors.Join(err, p.lock.Unlock())
}

// importBlob copies a blob from elsewhere on this machine into the cache.
func (s *Sources) importBlob(ctx context.Context, digest string, size int64, r io.Reader) error {
	p, err := s.partial(ctx, digest, size)
	if err != nil || p == nil {
		return err
	}
	defer p.close()
	if err := p.reset(); err != nil {
		return cacheError{err}
	}
	if _, err := io.Copy(p, contextReader{ctx, io.LimitReader(r, size+1)}); err != nil {
		return err
	}
	return p.commit()
}

// contextReader ends when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
