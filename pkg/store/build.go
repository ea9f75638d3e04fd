package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Resolve returns a step's digest and size, running it only if that is not known yet: its bytes may no longer be there.
func (s *Store) Resolve(ctx context.Context, st *Step) (Result, error) {
	o, err := s.do(ctx, st, false)
	return o.result, err
}

// Build returns what a step makes, running it and its inputs as far as they are not stored.
func (s *Store) Build(ctx context.Context, st *Step) (tree.Blob, error) {
	o, err := s.do(ctx, st, true)
	return o.blob, err
}

// BuildAll builds steps side by side; the blobs are in the steps' order.
func (s *Store) BuildAll(ctx context.Context, steps []*Step) ([]tree.Blob, error) {
	all, err := s.doAll(ctx, steps, true)
	blobs := make([]tree.Blob, len(steps))
	for i, o := range all {
		blobs[i] = o.blob
	}
	return blobs, err
}

// outcome of a step; the blob is nil where only the result was wanted.
type outcome struct {
	result Result
	blob   tree.Blob
}

func (s *Store) doAll(ctx context.Context, steps []*Step, needBlob bool) ([]outcome, error) {
	all := make([]outcome, len(steps))
	g, ctx := errgroup.WithContext(ctx)
	for i, st := range steps {
		g.Go(func() (err error) {
			all[i], err = s.do(ctx, st, needBlob)
			return err
		})
	}
	return all, g.Wait()
}

// errStale says that an input that had to be made again has other bytes than those that the key was computed with.
var errStale = errors.New("an input has other bytes each time it is made: some step is not reproducible, which TALOSMITH_VERIFY=1 names")

// staleTries bounds how often a key is computed again.
const staleTries = 3

func (s *Store) do(ctx context.Context, st *Step, needBlob bool) (o outcome, err error) {
	for range staleTries {
		inputs, err := s.doAll(ctx, st.Inputs, false)
		if err != nil {
			return outcome{}, err
		}
		digests := make([]Digest, len(inputs))
		for i, in := range inputs {
			digests[i] = in.result.Digest
		}
		key, err := st.key(digests)
		if err != nil {
			return outcome{}, err
		}
		if o, err = s.once(ctx, &job{Step: st, key: key, inputs: digests, needBlob: needBlob}); !errors.Is(err, errStale) {
			return o, err
		}
	}
	return outcome{}, fmt.Errorf("%s: %w", st, errStale)
}

// job is a step with all that its key depends on known.
type job struct {
	*Step
	key      Key
	inputs   []Digest
	needBlob bool
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

// begin returns the call of a key, and whether it is the caller's to make.
func (c *calls) begin(k Key) (_ *call, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if running, ok := c.running[k]; ok {
		return running, false
	}
	if c.running == nil {
		c.running = map[Key]*call{}
	}
	c.running[k] = &call{done: make(chan struct{})}
	return c.running[k], true
}

func (c *calls) end(k Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.running[k].done)
	delete(c.running, k)
}

// once returns what another goroutine makes of the same key at this moment, or makes it.
func (s *Store) once(ctx context.Context, j *job) (outcome, error) {
	for {
		c, mine := s.calls.begin(j.key)
		if mine {
			c.outcome, c.err = s.obtain(ctx, j)
			s.calls.end(j.key)
			return c.outcome, c.err
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			return outcome{}, ctx.Err()
		}
		gaveUp := errors.Is(c.err, context.Canceled) || errors.Is(c.err, context.DeadlineExceeded)
		switch {
		case gaveUp && ctx.Err() == nil: // the other one, not this
		case c.err == nil && j.needBlob && c.blob == nil: // the other one wanted less
		default:
			return c.outcome, c.err
		}
	}
}

// obtain finds, fetches or makes what a job is about.
func (s *Store) obtain(ctx context.Context, j *job) (outcome, error) {
	if err := ctx.Err(); err != nil {
		return outcome{}, err
	}
	if o, ok := s.find(j); ok {
		return o, nil
	}
	// Whoever holds the lock of a step waits for locks of steps below it only, so there is no circle.
	unlock, err := s.lock(ctx, string(j.key), j.String(), func() { s.observe(j, Waiting, 0, 0) })
	if err != nil {
		return outcome{}, err
	}
	o, err := s.obtainLocked(ctx, j)
	return o, errors.Join(err, unlock())
}

func (s *Store) obtainLocked(ctx context.Context, j *job) (outcome, error) {
	if o, ok := s.find(j); ok { // another process was faster
		return o, nil
	}
	if o, ok := s.fetch(ctx, j); ok {
		return o, nil
	}
	inputs, err := s.doAll(ctx, j.Inputs, true)
	if err != nil {
		return outcome{}, err
	}
	in := make([]tree.Blob, len(inputs))
	for i, o := range inputs {
		if in[i] = o.blob; o.result.Digest != j.inputs[i] {
			return outcome{}, errStale
		}
	}
	share, err := s.budget.acquire(ctx, j.Step)
	if err != nil {
		return outcome{}, err
	}
	defer share.release()
	if share.waited { // another machine may have been faster
		if o, ok := s.fetch(ctx, j); ok {
			return o, nil
		}
	}
	o, err := s.run(context.WithValue(ctx, coresKey{}, share.cores), j, in)
	switch {
	case err == nil:
		s.observe(j, Done, o.result.Size, 0)
		return o, nil
	case errors.Is(err, syscall.ENOSPC):
		err = fmt.Errorf("%w: `go tool mage cache -prune -size=SIZE` makes room", err)
	}
	s.observe(j, Failed, 0, 0)
	return outcome{}, fmt.Errorf("%s: %w", j, err)
}

func (s *Store) observe(j *job, state State, bytes, total int64) {
	if s.o.Observe != nil {
		s.o.Observe(Event{state, j.key, j.Step, bytes, total})
	}
}

// find returns what is in the directory. To verify, every step runs once.
func (s *Store) find(j *job) (outcome, bool) {
	if _, fresh := s.verified.Load(j.key); s.o.Verify && !fresh {
		return outcome{}, false
	}
	r, ok := s.readAction(j.key)
	if !ok {
		return outcome{}, false
	}
	o, ok := s.settle(j, r)
	if ok {
		s.markUsed(s.actionPath(j.key))
		s.observe(j, Stored, r.Size, 0)
	}
	return o, ok
}

// settle returns an outcome, if the blob is there or not needed.
func (s *Store) settle(j *job, r Result) (outcome, bool) {
	b, have := s.stored(j.Step, r)
	if !have {
		return outcome{result: r}, !j.needBlob
	}
	return outcome{r, b}, true
}
