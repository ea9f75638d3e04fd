// Package store keeps what is dear to make, by its content, and runs the steps that make it.
//
// A [Step] is a pure function of its parameters and of its inputs' contents. Its [Key] is the SHA-256 over both, so a step runs
// once, ever, whatever asks for it; and since the key has the inputs' contents and not how they came about, an input that is made
// anew with the same bytes causes no further work. A directory holds it all:
//
//	actions/<2 hex>/<key>    JSON: the digest and size of what the step of this key made
//	blobs/<2 hex>/<digest>   those bytes
//	in-use                   held (shared) by every process that has the store open
//	run/                     what nobody needs once no process has the store open; the first to open it and the last to close it clear it:
//	    tmp/                 what is being written; a file moves to its place by rename, complete or not at all
//	    transient/…          blobs that are cheap to make again but large
//	    locks/<key>          held while a process makes what the step of this key makes
//
// So a process that is killed leaves nothing that counts: its locks go with it, its files in run/ go with the last process.
//
// A [Remote] is asked for what is not in the directory, before a step runs.
//
// # Not supported
//
// File systems without locks between processes (some network mounts).
package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// Options of a store. The zero value but for Dir is fine.
type Options struct {
	Dir     string
	Workers int              // cores for steps; 0: one
	Memory  int64            // bytes for steps; 0: DefaultMemory
	Verify  bool             // run every step even if its output is stored, and compare
	Remote  Remote           // nil: none
	Observe func(Event)      // may be called from several goroutines
	Now     func() time.Time // for what prune goes by; nil: nothing is marked as used
	Log     *slog.Logger     // warnings; nil: none
}

// Store is a directory of results. It is safe for use by several goroutines and processes at once.
type Store struct {
	o      Options
	budget *budget
	calls  calls
	inUse  *flock.Flock

	verified sync.Map // keys whose steps ran in this run
}

// Folders in a store's directory.
const (
	actionsDir   = "actions"
	blobsDir     = "blobs"
	runDir       = "run"
	tmpDir       = "run/tmp"
	transientDir = "run/transient"
	locksDir     = "run/locks"
)

// Open opens a store, making its directories where they are missing.
func Open(o Options) (*Store, error) {
	if o.Dir == "" {
		return nil, errors.New("open store: no directory given")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{o: o, budget: newBudget(o.Workers, o.Memory)}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func (s *Store) open() error {
	if err := os.MkdirAll(s.o.Dir, 0o755); err != nil {
		return err
	}
	s.inUse = inUse(s.o.Dir)
	err := errors.Join(s.clearIfAlone(), s.inUse.Unlock())
	if err == nil { // should another process come between, it finds nothing to clear
		err = s.inUse.RLock()
	}
	for _, sub := range []string{actionsDir, blobsDir, tmpDir, transientDir, locksDir} {
		if err == nil {
			err = os.MkdirAll(filepath.Join(s.o.Dir, sub), 0o755)
		}
	}
	if err != nil {
		return errors.Join(err, s.inUse.Close())
	}
	return nil
}

func inUse(dir string) *flock.Flock { return flock.New(filepath.Join(dir, "in-use")) }

// clearIfAlone clears run/ unless another process has the store open. A shared lock that we hold is lost.
func (s *Store) clearIfAlone() error {
	alone, err := s.inUse.TryLock()
	if alone && err == nil {
		err = os.RemoveAll(filepath.Join(s.o.Dir, runDir))
	}
	return err
}

// Close drops transient content, unless another process has the store open: that one will.
func (s *Store) Close() error {
	return errors.Join(s.clearIfAlone(), s.inUse.Close())
}

// Lock waits for the lock of a name that all processes with this store share. It has nothing to do with steps.
func (s *Store) Lock(ctx context.Context, name string) (unlock func() error, err error) {
	sum := sha256.Sum256([]byte(name))
	return s.lock(ctx, "named-"+hex.EncodeToString(sum[:]), fmt.Sprintf("the lock of %q", name), func() {})
}

// lockPoll is how often a held lock is tried.
const lockPoll = 50 * time.Millisecond

func (s *Store) lock(ctx context.Context, file, what string, waits func()) (unlock func() error, err error) {
	lock := flock.New(filepath.Join(s.o.Dir, locksDir, file))
	if err := await(ctx, lock, waits); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for another process with %s: %w", what, err), lock.Close())
	}
	return lock.Close, nil
}

// await gets a lock, and tells of it if that takes time.
func await(ctx context.Context, lock *flock.Flock, waits func()) error {
	held, err := lock.TryLock()
	if held || err != nil {
		return err
	}
	waits()
	_, err = lock.TryLockContext(ctx, lockPoll)
	return err
}
