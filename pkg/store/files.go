package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

func (s *Store) path(kind, hex string) string { return filepath.Join(s.o.Dir, kind, hex[:2], hex) }

func (s *Store) actionPath(k Key) string { return s.path(actionsDir, string(k)) }

func (s *Store) blobPath(st *Step, d Digest) string {
	if st.Transient {
		return s.path(transientDir, string(d))
	}
	return s.path(blobsDir, string(d))
}

// maxAction bounds what is read of an action, in bytes; it is three times the longest.
const maxAction = 512

// readAction returns what a step made. A damaged file counts as none: the step runs again.
func (s *Store) readAction(k Key) (r Result, ok bool) {
	name := s.actionPath(k)
	if st, err := os.Stat(name); err != nil || !st.Mode().IsRegular() || st.Size() > maxAction {
		return Result{}, false
	}
	b, err := os.ReadFile(name)
	if err != nil || json.Unmarshal(b, &r) != nil || !r.valid() {
		return Result{}, false
	}
	return r, true
}

func (s *Store) writeAction(k Key, r Result) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.create(func(f *os.File) (string, error) {
		_, err := f.Write(b)
		return s.actionPath(k), err
	})
}

// stored returns the blob of a result that is there with the right size.
func (s *Store) stored(st *Step, r Result) (tree.Blob, bool) {
	name := s.blobPath(st, r.Digest)
	b, err := tree.File(name)
	if err != nil || b.Size() != r.Size {
		return nil, false
	}
	s.markUsed(name)
	return b, true
}

// keep puts what write wrote in its place by its digest, unless that is there, and records it.
func (s *Store) keep(j *job, write func(*os.File) (Result, error)) (o outcome, err error) {
	err = s.create(func(f *os.File) (name string, err error) {
		if o.result, err = write(f); err != nil {
			return "", err
		}
		if _, have := s.stored(j.Step, o.result); have {
			return "", nil
		}
		if !j.Transient { // after a power cut, a file of the right size must have the right bytes
			err = f.Sync()
		}
		return s.blobPath(j.Step, o.result.Digest), err
	})
	if err == nil {
		err = s.writeAction(j.key, o.result)
	}
	if err != nil {
		return outcome{}, err
	}
	b, ok := s.stored(j.Step, o.result)
	if !ok {
		return outcome{}, fmt.Errorf("store %s: what was just written is gone", s.blobPath(j.Step, o.result.Digest))
	}
	return outcome{o.result, b}, nil
}

// create makes a file that appears complete, under the name that write returns, or not at all; with no name not at all.
func (s *Store) create(write func(*os.File) (name string, err error)) error {
	f, err := os.CreateTemp(filepath.Join(s.o.Dir, tmpDir), "*")
	if err != nil {
		return err
	}
	name, err := write(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	err = errors.Join(err, f.Close())
	if err == nil && name != "" {
		if err = place(f.Name(), name); err == nil {
			return nil
		}
	}
	return errors.Join(err, os.Remove(f.Name()))
}

// place moves a file to its place in the store, where no folder belongs.
func place(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	err := os.Rename(from, to)
	if st, errStat := os.Lstat(to); err != nil && errStat == nil && st.IsDir() {
		err = errors.Join(os.RemoveAll(to), os.Rename(from, to))
	}
	return err
}

// usedResolution is how exactly a file's time tells when it was used last.
const usedResolution = time.Hour

func (s *Store) markUsed(name string) {
	if s.o.Now == nil {
		return
	}
	now := s.o.Now()
	if st, err := os.Stat(name); err == nil && now.Sub(st.ModTime()).Abs() > usedResolution { // a clock that was wrong may have set it ahead
		_ = os.Chtimes(name, now, now) // another user's file is pruned by its older time then
	}
}
