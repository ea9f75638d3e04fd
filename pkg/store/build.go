package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Resolve returns a step's digest and size, running it only if that is not known yet: its bytes may no longer be there.
func (s *Store) Resolve(ctx context.Context, st *Step) (Result, error) {
	c, err := s.do(ctx, st, false)
	return c.result, err
}

// Build returns what a step makes, running it and its inputs as far as they are not stored.
func (s *Store) Build(ctx context.Context, st *Step) (tree.Blob, error) {
	c, err := s.do(ctx, st, true)
	return c.blob, err
}

// BuildAll builds steps side by side; the blobs are in the steps' order.
func (s *Store) BuildAll(ctx context.Context, steps []*Step) ([]tree.Blob, error) {
	blobs := make([]tree.Blob, len(steps))
	g, ctx := errgroup.WithContext(ctx)
	for i, st := range steps {
		g.Go(func() (err error) {
			blobs[i], err = s.Build(ctx, st)
			return err
		})
	}
	return blobs, g.Wait()
}

type outcome struct {
	result Result
	blob   tree.Blob
}

// calls makes sure that a step runs once in this process, however many ask for it.
type calls struct {
	mu      sync.Mutex
	running map[Key]*call
}

type call struct {
	done chan struct{}
	outcome
	err error
}

func (s *Store) do(ctx context.Context, st *Step, needBlob bool) (outcome, error) {
	if st.Given != "" {
		if !needBlob {
			return outcome{result: Result{Digest: st.Given}}, nil
		}
		b, err := st.Open(ctx)
		if err != nil {
			return outcome{}, err
		}
		return outcome{Result{st.Given, b.Size()}, b}, nil
	}
	digests := make([]Digest, len(st.Inputs))
	g, gctx := errgroup.WithContext(ctx)
	for i, in := range st.Inputs {
		g.Go(func() error {
			r, err := s.Resolve(gctx, in)
			digests[i] = r.Digest
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return outcome{}, err
	}
	key, err := st.key(digests)
	if err != nil {
		return outcome{}, err
	}
	return s.once(ctx, st, key, needBlob)
}

// once returns the stored result of a key, or runs the step unless another goroutine does already.
func (s *Store) once(ctx context.Context, st *Step, key Key, needBlob bool) (outcome, error) {
	for {
		s.calls.mu.Lock()
		c, busy := s.calls.running[key]
		if busy {
			s.calls.mu.Unlock()
			select {
			case <-c.done:
			case <-ctx.Done():
				return outcome{}, ctx.Err()
			}
			if c.err != nil && (errors.Is(c.err, context.Canceled) || errors.Is(c.err, context.DeadlineExceeded)) && ctx.Err() == nil {
				continue // the other asker gave up, not this one
			}
			if c.err == nil && needBlob && c.blob == nil {
				continue // it only wanted the digest
			}
			return c.outcome, c.err
		}
		c = &call{done: make(chan struct{})}
		if s.calls.running == nil {
			s.calls.running = map[Key]*call{}
		}
		s.calls.running[key] = c
		s.calls.mu.Unlock()

		c.outcome, c.err = s.obtain(ctx, st, key, needBlob)
		s.calls.mu.Lock()
		delete(s.calls.running, key)
		s.calls.mu.Unlock()
		close(c.done)
		return c.outcome, c.err
	}
}

func (s *Store) obtain(ctx context.Context, st *Step, key Key, needBlob bool) (outcome, error) {
	_, fresh := s.verified.Load(key)
	again := s.o.Verify && !fresh
	if o, ok := s.find(st, key, needBlob); ok && !again {
		s.observe(Stored, st, o.result)
		return o, nil
	}
	in := make([]tree.Blob, len(st.Inputs))
	g, gctx := errgroup.WithContext(ctx)
	for i, input := range st.Inputs {
		g.Go(func() (err error) {
			in[i], err = s.Build(gctx, input)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return outcome{}, err
	}
	lock := flock.New(s.lockPath(key))
	if ok, err := lock.TryLockContext(ctx, lockPoll); err != nil || !ok {
		return outcome{}, fmt.Errorf("%s %s: wait for another process: %w", st.Name, st.Label, err)
	}
	defer lock.Unlock()
	if o, ok := s.find(st, key, needBlob); ok && !again { // another process was faster
		s.observe(Stored, st, o.result)
		return o, nil
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return outcome{}, ctx.Err()
	}
	s.observe(Started, st, Result{})
	o, err := s.run(ctx, st, key, in)
	if err != nil {
		return outcome{}, fmt.Errorf("%s %s: %w", st.Name, st.Label, err)
	}
	s.observe(Done, st, o.result)
	return o, nil
}

func (s *Store) observe(state State, st *Step, r Result) {
	if s.o.Observe != nil {
		s.o.Observe(state, st, r)
	}
}

func (s *Store) find(st *Step, key Key, needBlob bool) (outcome, bool) {
	r, ok := s.readAction(key)
	if !ok {
		return outcome{}, false
	}
	b, have := s.stored(st, r)
	if needBlob && !have {
		return outcome{}, false
	}
	if s.o.Now != nil {
		s.markUsed(s.actionPath(key))
	}
	if !have {
		return outcome{result: r}, true
	}
	return outcome{r, b}, true
}

// run writes a step's output to tmp, and moves it to its place by its digest.
func (s *Store) run(ctx context.Context, st *Step, key Key, in []tree.Blob) (outcome, error) {
	tmp, err := os.CreateTemp(filepath.Join(s.o.Dir, "tmp"), string(key)+".")
	if err != nil {
		return outcome{}, err
	}
	result, err := write(ctx, tmp, st, in)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return outcome{}, errors.Join(err, os.Remove(tmp.Name()))
	}
	if s.o.Verify {
		if err := s.verify(st, key, tmp.Name(), result); err != nil {
			return outcome{}, errors.Join(err, os.Remove(tmp.Name()))
		}
		s.verified.Store(key, true)
	}
	if _, have := s.stored(st, result); have {
		err = os.Remove(tmp.Name())
	} else {
		err = moveTo(tmp.Name(), s.blobPath(st, result.Digest))
	}
	if err != nil {
		return outcome{}, err
	}
	if err := s.writeAction(key, result); err != nil {
		return outcome{}, err
	}
	b, ok := s.stored(st, result)
	if !ok {
		return outcome{}, fmt.Errorf("store %s: what was just written is gone", s.blobPath(st, result.Digest))
	}
	return outcome{result, b}, nil
}

func write(ctx context.Context, f *os.File, st *Step, in []tree.Blob) (Result, error) {
	if err := st.Run(ctx, f, in); err != nil {
		return Result{}, err
	}
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Result{}, err
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return Result{}, err
	}
	return Result{Digest(hex.EncodeToString(h.Sum(nil))), n}, f.Chmod(0o644)
}

// verify compares what a step made now with what it made before, if that is known.
func (s *Store) verify(st *Step, key Key, name string, now Result) error {
	old, ok := s.readAction(key)
	if !ok {
		return nil
	}
	before, have := s.stored(st, old)
	if !have {
		if old == now {
			return nil
		}
		return fmt.Errorf("verify: made %s (%d bytes) before and %s (%d bytes) now from the same inputs", old.Digest, old.Size, now.Digest, now.Size)
	}
	after, err := tree.File(name)
	if err != nil {
		return err
	}
	at, same, err := firstDifference(before, after)
	if err != nil || same {
		return err
	}
	return fmt.Errorf("verify: the output of %d bytes differs from the stored %s of %d bytes, first at byte %d: the step is not reproducible, or the store is damaged",
		now.Size, s.blobPath(st, old.Digest), old.Size, at)
}

// firstDifference returns where two blobs begin to differ.
func firstDifference(a, b tree.Blob) (at int64, same bool, err error) {
	ra, err := a.Open()
	if err != nil {
		return 0, false, err
	}
	defer ra.Close()
	rb, err := b.Open()
	if err != nil {
		return 0, false, err
	}
	defer rb.Close()
	bufA, bufB := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errA := io.ReadFull(ra, bufA)
		m, errB := io.ReadFull(rb, bufB)
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			i := 0
			for i < min(n, m) && bufA[i] == bufB[i] {
				i++
			}
			return at + int64(i), false, nil
		}
		at += int64(n)
		if ended(errA) || ended(errB) {
			return at, true, nil
		}
		if err := errors.Join(errA, errB); err != nil {
			return at, false, err
		}
	}
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
