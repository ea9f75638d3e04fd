// Package store keeps what is dear to make, by its content, and runs the steps that make it.
//
// A [Step] is a pure function of its parameters and of its inputs' contents. Its [Key] is the SHA-256 over both, so a step runs
// once, ever, whatever asks for it; and since the key has the inputs' contents and not how they came about, an input that is made
// anew with the same bytes causes no further work. A directory holds it all:
//
//	actions/<2 hex>/<key>    JSON: the digest and size of what the step of this key made
//	blobs/<2 hex>/<digest>   those bytes
//	transient/…              the same, for what is cheap to make again but large: gone when the last user of the store closes it
//	locks/<key>              held while a process runs the step
//	tmp/                     what is being written; a file moves to its place by rename, complete or not at all
//	in-use                   held (shared) by every process that has the store open
//
// A process that is killed leaves at most files in tmp/, which the next one removes once nobody holds their lock.
//
// # Not supported
//
// File systems without locks between processes (some network mounts).
package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Digest names content: the SHA-256 of its bytes, as 64 hexadecimal digits.
type Digest string

// Key names a step with its inputs: a SHA-256, as 64 hexadecimal digits. It is never the digest of any content.
type Key string

// Output is where a step writes. What it never wrote reads as zeros; the last byte written ends it.
type Output interface {
	io.WriterAt
	io.ReaderAt
}

// Step is one piece of work. Two steps of the same name, parameters and inputs are the same step.
type Step struct {
	Name   string // what kind of work, such as "squashfs": part of the key
	Label  string // what on, for people: not part of the key
	Params any    // plain data that JSON encodes the same way every time; includes the version constants of the packages in use
	Inputs []*Step

	// Run writes the output. It must depend on Params and in, which are the inputs' contents in order, only.
	Run func(ctx context.Context, out Output, in []tree.Blob) error

	// Transient output is dropped when the store is closed; its digest stays known, so what was made of it stays found.
	Transient bool

	// Given instead of Run: content that lies elsewhere, such as a layer in a registry. Open is called only when a step that
	// wants it has to run.
	Given Digest
	Open  func(ctx context.Context) (tree.Blob, error)
}

// Result is what a step made.
type Result struct {
	Digest Digest `json:"digest"`
	Size   int64  `json:"size"` // bytes
}

// State of a step, as [Options].Observe hears of it.
type State int

// A step is stored already, or it runs and is done (or failed, which Build returns).
const (
	Stored State = iota
	Started
	Done
)

// Options of a store. The zero value but for Dir is fine.
type Options struct {
	Dir     string
	Workers int                        // steps that run at once; 0: one
	Verify  bool                       // run every step even if its output is stored, and compare
	Observe func(State, *Step, Result) // may be called from several goroutines
	Now     func() time.Time           // for what prune goes by; nil: nothing is marked as used
}

// Store is a directory of results. It is safe for use by several goroutines and processes at once.
type Store struct {
	o     Options
	slots chan struct{}
	calls calls
	inUse *flock.Flock

	verified sync.Map // keys whose steps ran in this run
}

// Open opens a store, making its directories where they are missing.
func Open(o Options) (*Store, error) {
	if o.Dir == "" {
		return nil, errors.New("open store: no directory given")
	}
	for _, sub := range []string{"actions", "blobs", "transient", "locks", "tmp"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	s := &Store{o: o, slots: make(chan struct{}, max(o.Workers, 1)), inUse: flock.New(filepath.Join(o.Dir, "in-use"))}
	if err := s.inUse.RLock(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, s.sweep()
}

// Close drops transient content, unless another process has the store open: that one will.
func (s *Store) Close() error {
	alone, err := s.inUse.TryLock() // turns the shared lock into an exclusive one
	if alone && err == nil {
		dir := filepath.Join(s.o.Dir, "transient")
		err = errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755))
	}
	return errors.Join(err, s.inUse.Close())
}

// Lock waits for the lock of a name that all processes with this store share. It has nothing to do with steps.
func (s *Store) Lock(ctx context.Context, name string) (unlock func() error, err error) {
	sum := sha256.Sum256([]byte(name))
	lock := flock.New(s.lockPath(Key("named-" + hex.EncodeToString(sum[:]))))
	if ok, err := lock.TryLockContext(ctx, lockPoll); err != nil || !ok {
		return nil, fmt.Errorf("wait for another process with the lock of %q: %w", name, err)
	}
	return lock.Close, nil
}

// lockPoll is how often a held lock is tried.
const lockPoll = 50 * time.Millisecond

func (s *Store) path(kind, hex string) string {
	if len(hex) < 2 {
		hex = "00" + hex // no key or digest; a path that is never there
	}
	return filepath.Join(s.o.Dir, kind, hex[:2], hex)
}

func (s *Store) actionPath(k Key) string { return s.path("actions", string(k)) }

func (s *Store) blobPath(st *Step, d Digest) string {
	if st.Transient {
		return s.path("transient", string(d))
	}
	return s.path("blobs", string(d))
}

// sweep removes what killed processes left in tmp.
func (s *Store) sweep() error {
	dir := filepath.Join(s.o.Dir, "tmp")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	for _, e := range entries {
		key, _, _ := strings.Cut(e.Name(), ".")
		lock := flock.New(s.lockPath(Key(key)))
		if held, err := lock.TryLock(); err != nil || !held {
			continue // somebody works on it
		}
		err := os.Remove(filepath.Join(dir, e.Name()))
		if err := errors.Join(err, lock.Unlock()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("open store: %w", err)
		}
	}
	return nil
}

func (s *Store) lockPath(k Key) string { return filepath.Join(s.o.Dir, "locks", string(k)) }

// key computes a step's key from its inputs' digests.
func (st *Step) key(inputs []Digest) (Key, error) {
	params, err := json.Marshal(st.Params)
	if err != nil {
		return "", fmt.Errorf("step %s: parameters: %w", st.Name, err)
	}
	h := sha256.New()
	// Lengths make it impossible for two different steps to feed the same bytes.
	fmt.Fprintf(h, "talosmith step\n%d %s\n%d %s\n%d\n", len(st.Name), st.Name, len(params), params, len(inputs))
	for _, d := range inputs {
		fmt.Fprintf(h, "%d %s\n", len(d), d)
	}
	return Key(hex.EncodeToString(h.Sum(nil))), nil
}

func (s *Store) readAction(k Key) (Result, bool) {
	b, err := os.ReadFile(s.actionPath(k))
	if err != nil {
		return Result{}, false
	}
	var r Result
	if json.Unmarshal(b, &r) != nil || len(r.Digest) != sha256.Size*2 || r.Size < 0 {
		return Result{}, false // damaged: made again
	}
	return r, true
}

func (s *Store) writeAction(k Key, r Result) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Join(s.o.Dir, "tmp"), string(k)+".")
	if err != nil {
		return err
	}
	_, err = tmp.Write(b)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return moveTo(tmp.Name(), s.actionPath(k))
}

func moveTo(tmp, name string) error {
	err := os.MkdirAll(filepath.Dir(name), 0o755)
	if err == nil {
		err = os.Rename(tmp, name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

// stored returns the blob of a result that is there with the right size.
func (s *Store) stored(st *Step, r Result) (tree.Blob, bool) {
	name := s.blobPath(st, r.Digest)
	b, err := tree.File(name)
	if err != nil || b.Size() != r.Size {
		return nil, false
	}
	if s.o.Now != nil {
		s.markUsed(name)
	}
	return b, true
}

// usedResolution is how exactly a file's time tells when it was used last.
const usedResolution = time.Hour

func (s *Store) markUsed(name string) {
	now := s.o.Now()
	if st, err := os.Stat(name); err == nil && now.Sub(st.ModTime()) > usedResolution {
		_ = os.Chtimes(name, now, now) // a read-only store works too; it is pruned by older times then
	}
}
