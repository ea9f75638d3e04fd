package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Remote is a store elsewhere that machines share. It may be slow, gone or wrong: what comes from it is checked as far as
// digests tell, and whatever it does not give is made here. It must bound the time that it takes.
type Remote interface {
	// Find returns what is known of a key; ok is false where nothing is.
	Find(ctx context.Context, key Key) (found Found, ok bool)
	// Put is told of what was made here. It does not wait.
	Put(Entry)
}

// Found is what a remote store knows of a key.
type Found struct {
	Result
	// Open reads the content; nil where the remote store has the result only.
	Open func(ctx context.Context) (io.ReadCloser, error)
	// Wrong hears that the content was not what Result says, or could not be read.
	Wrong func(error)
}

// Entry is an output for a remote store. Content lies in this store; nil for transient content, of which only the result is kept.
type Entry struct {
	Key
	Result
	Name, Label string // of the step
	Content     tree.Blob
}

// errContent says that a remote store does not keep what it promises.
var errContent = errors.New("its content is not what its digest says")

// fetch gets what a job is about from the remote store.
func (s *Store) fetch(ctx context.Context, j *job) (outcome, bool) {
	if s.o.Remote == nil || s.o.Verify {
		return outcome{}, false
	}
	found, ok := s.o.Remote.Find(ctx, j.key)
	if !ok || !found.valid() {
		return outcome{}, false
	}
	if o, ok := s.settle(j, found.Result); ok && s.writeAction(j.key, o.result) == nil {
		s.observe(j, Stored, o.result.Size, 0)
		return o, true
	}
	if found.Open == nil {
		return outcome{}, false
	}
	s.observe(j, Fetching, 0, found.Size)
	o, err := s.keep(j, func(f *os.File) (Result, error) { return found.Result, s.copyFound(ctx, j, f, found) })
	if err != nil {
		s.observe(j, Failed, 0, 0)
		if ctx.Err() == nil {
			found.Wrong(fmt.Errorf("%s: %w", j, err))
		}
		return outcome{}, false
	}
	s.observe(j, Fetched, o.result.Size, o.result.Size)
	return o, true
}

func (s *Store) copyFound(ctx context.Context, j *job, f *os.File, found Found) error {
	r, err := found.Open(ctx)
	if err != nil {
		return err
	}
	h := hashing{ctx, sha256.New()}
	counted := &reportingReader{r: io.LimitReader(r, found.Size+1), report: func(n int64) { s.observe(j, Fetching, n, found.Size) }}
	n, err := io.CopyBuffer(onlyWriter{io.MultiWriter(h, f)}, counted, make([]byte, 256<<10))
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	if n != found.Size || h.digest() != found.Digest {
		return fmt.Errorf("%w: %d bytes with %s, want %d with %s", errContent, n, h.digest(), found.Size, found.Digest)
	}
	return nil
}

type reportingReader struct {
	r      io.Reader
	n      int64
	report func(read int64)
}

func (r *reportingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n += int64(n)
	r.report(r.n)
	return n, err
}
