package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"sync/atomic"

	"github.com/talosmith/talosmith/pkg/tree"
)

// run makes a step's output, and keeps it.
func (s *Store) run(ctx context.Context, j *job, in []tree.Blob) (outcome, error) {
	s.observe(j, Running, 0, 0)
	o, err := s.keep(j, func(f *os.File) (Result, error) {
		out := &output{ctx: ctx, f: f, report: func(n, total int64) { s.observe(j, Running, n, total) }}
		if err := j.Run(context.WithValue(ctx, progressKey{}, out), out, in); err != nil {
			return Result{}, err
		}
		r, err := digestOf(ctx, f)
		if err == nil && s.o.Verify {
			err = s.verify(j, f, r)
		}
		return r, err
	})
	if err == nil && s.o.Verify {
		s.verified.Store(j.key, true)
	}
	if err == nil && s.o.Remote != nil {
		content := o.blob
		if j.Transient {
			content = nil
		}
		s.o.Remote.Put(Entry{Key: j.key, Result: o.result, Name: j.Name, Label: j.Label, Content: content})
	}
	return o, err
}

// output is what a step writes to. It takes nothing any more once the step is cancelled, which ends it.
type output struct {
	ctx    context.Context
	f      *os.File
	n      atomic.Int64
	report func(done, total int64)
	told   atomic.Bool // how far the step is: what is written says less
}

type progressKey struct{}

// Progress tells whoever observes a step that runs with this context how far it is, in bytes, if it knows how many there are in all.
// They need not be those of its output.
func Progress(ctx context.Context, done, total int64) {
	if o, ok := ctx.Value(progressKey{}).(*output); ok {
		o.told.Store(true)
		o.report(done, total)
	}
}

func (o *output) WriteAt(p []byte, off int64) (int, error) {
	if err := o.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := o.f.WriteAt(p, off)
	if written := o.n.Add(int64(n)); !o.told.Load() {
		o.report(written, 0)
	}
	return n, err
}

func (o *output) ReadAt(p []byte, off int64) (int, error) {
	if err := o.ctx.Err(); err != nil {
		return 0, err
	}
	return o.f.ReadAt(p, off)
}

// digestOf reads a file again.
func digestOf(ctx context.Context, f *os.File) (Result, error) {
	h := hashing{ctx: ctx, Hash: sha256.New()}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Result{}, err
	}
	n, err := io.CopyBuffer(onlyWriter{h}, onlyReader{f}, make([]byte, 64<<10))
	return Result{h.digest(), n}, err
}

// hashing is a hash that stops when its context does.
type hashing struct {
	ctx context.Context
	hash.Hash
}

func (h hashing) Write(p []byte) (int, error) {
	if err := h.ctx.Err(); err != nil {
		return 0, err
	}
	return h.Hash.Write(p)
}

func (h hashing) digest() Digest { return Digest(hex.EncodeToString(h.Sum(nil))) }

// onlyReader and onlyWriter hide ReadFrom and WriteTo, so that io.CopyBuffer uses the buffer.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

// verify compares what a step made now with what it made before, if that is known.
func (s *Store) verify(j *job, now *os.File, made Result) error {
	before, ok := s.readAction(j.key)
	if !ok {
		return nil
	}
	stored, have := s.stored(j.Step, before)
	if !have {
		if before == made {
			return nil
		}
		return fmt.Errorf("verify: made %s (%d bytes) before and %s (%d bytes) now from the same inputs: the step is not reproducible",
			before.Digest, before.Size, made.Digest, made.Size)
	}
	at, same, err := tree.FirstDifference(stored, tree.Section(now, 0, made.Size))
	if err == nil && same {
		return nil
	}
	name := s.blobPath(j.Step, before.Digest)
	if before == made { // what was made now takes its place
		s.o.Log.Warn("verify: a damaged output is replaced", "step", j.String(), "file", name, "first byte that differs", at)
		return os.Remove(name)
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("verify: the output of %d bytes differs from the stored %s of %d bytes, first at byte %d: the step is not reproducible",
		made.Size, name, before.Size, at)
}
