package imager

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

	"github.com/talosmith/talosmith/internal/atomicfile"
)

// outFile writes an artefact in one pass: format writers go through it in ascending order, and it hashes as it writes. What they
// leave out is a hole on disk and hashed from memory. The file appears under its name complete, or not at all.
type outFile struct {
	ctx  context.Context
	f    *os.File
	name string
	lock *flock.Flock // tells other runs that somebody is at it
	hash hash.Hash
	at   int64 // what has been hashed

	total  int64                   // bytes that there will be; 0 where that is not known
	report func(done, total int64) // is told now and then; nil: nobody
}

// announce tells a file that is being written how long it becomes, for those who wait.
func announce(w io.WriterAt, size int64) {
	if o, ok := w.(*outFile); ok {
		o.total = size
		o.advance(0)
	}
}

// advance counts what has been hashed, and tells of every MiB.
func (o *outFile) advance(n int64) {
	before := o.at
	o.at += n
	if o.report != nil && (n == 0 || before>>20 != o.at>>20) {
		o.report(o.at, o.total)
	}
}

// createOut makes the folder of a file, too.
func createOut(ctx context.Context, name string) (*outFile, error) {
	if err := makeFolder(filepath.Dir(name)); err != nil {
		return nil, err
	}
	for {
		f, err := os.CreateTemp(filepath.Dir(name), atomicfile.Prefix+filepath.Base(name)+".")
		if err != nil {
			return nil, fmt.Errorf("write %s: %w: choose another folder", name, atomicfile.Cause(err))
		}
		o := &outFile{ctx: ctx, f: f, name: name, lock: flock.New(f.Name()), hash: sha256.New()}
		own, err := o.own()
		if own {
			return o, nil
		}
		if discarded := o.discard(); err != nil || discarded != nil && !errors.Is(discarded, fs.ErrNotExist) {
			return nil, errors.Join(err, discarded)
		}
	}
}

// own locks a new file. It is not ok if another run took it for left before that, and so it has lost its name.
func (o *outFile) own() (ok bool, err error) {
	if ok, err = o.lock.TryLock(); !ok || err != nil {
		return false, err
	}
	here, err := o.f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(o.f.Name())
	return err == nil && os.SameFile(here, named), nil
}

// makeFolder makes a folder that somebody asked for.
func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make folder %s: %w: choose another one", dir, atomicfile.Cause(err))
	}
	return nil
}

// zeroPage is what holes are hashed from. Hashing cannot be interrupted, and holds up the garbage collector: it goes by pieces.
var zeroPage [64 << 10]byte

// WriteAt implements io.WriterAt for ascending offsets, and fails once the build is cancelled.
func (o *outFile) WriteAt(p []byte, off int64) (int, error) {
	if err := o.reach(off); err != nil {
		return 0, err
	}
	n, err := o.f.WriteAt(p, off)
	o.pass(p[:n])
	return n, err
}

// reach hashes the hole up to an offset that is next.
func (o *outFile) reach(off int64) error {
	if err := o.ctx.Err(); err != nil {
		return err
	}
	if off < o.at {
		return fmt.Errorf("write %s at byte %d: bytes up to %d are written already", o.name, off, o.at)
	}
	return o.hashZeros(off)
}

// pass hashes what is next in the file.
func (o *outFile) pass(p []byte) {
	o.hash.Write(p)
	o.advance(int64(len(p)))
}

func (o *outFile) hashZeros(to int64) error {
	for o.at < to {
		if err := o.ctx.Err(); err != nil {
			return err
		}
		n := min(to-o.at, int64(len(zeroPage)))
		o.hash.Write(zeroPage[:n])
		o.advance(n)
	}
	return nil
}

// end ends the content at size bytes. It returns the SHA-256 as hexadecimal digits.
func (o *outFile) end(size int64) (sum string, err error) {
	if size < o.at {
		return "", fmt.Errorf("write %s: %d bytes were written, %d announced", o.name, o.at, size)
	}
	if err := o.hashZeros(size); err != nil {
		return "", err
	}
	return hex.EncodeToString(o.hash.Sum(nil)), o.f.Truncate(size)
}

// commit ends the file at size bytes and gives it its name. It returns the SHA-256 as hexadecimal digits, and the file's time.
func (o *outFile) commit(size int64) (sum string, modified time.Time, err error) {
	if sum, err = o.end(size); err == nil {
		err = o.f.Chmod(0o644)
	}
	if err == nil {
		var st os.FileInfo
		if st, err = o.f.Stat(); err == nil {
			modified = st.ModTime()
		}
	}
	if err = errors.Join(err, o.f.Close()); err == nil {
		if err = os.Rename(o.f.Name(), o.name); err != nil {
			err = fmt.Errorf("write %s: %w", o.name, atomicfile.Cause(err))
			if st, err2 := os.Lstat(o.name); err2 == nil && st.IsDir() {
				err = fmt.Errorf("write %s: a folder is in its place: remove it", o.name)
			}
		}
	}
	if err != nil {
		return "", modified, errors.Join(err, o.lock.Close(), os.Remove(o.f.Name()))
	}
	return sum, modified, o.lock.Close()
}

// discard gives up.
func (o *outFile) discard() error {
	return errors.Join(o.f.Close(), o.lock.Close(), os.Remove(o.f.Name()))
}

// prepareOut makes the output folder, removes what killed runs left in it, and keeps other runs from changing its manifest until
// unlock is called.
func prepareOut(ctx context.Context, o Options) (unlock func() error, err error) {
	if err := makeFolder(o.Out); err != nil {
		return nil, err
	}
	if unlock, err = lockOut(ctx, o); err != nil {
		return nil, err
	}
	if err := removeLeft(o.Out, atomicfile.Prefix); err != nil {
		return nil, errors.Join(err, unlock())
	}
	return unlock, nil
}

// lockOut keeps other runs from changing the output folder's manifest, however they call the folder.
func lockOut(ctx context.Context, o Options) (unlock func() error, err error) {
	dir, err := filepath.Abs(o.Out)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("find folder %s: %w", o.Out, atomicfile.Cause(err))
	}
	return o.Store.Lock(ctx, "out "+dir)
}

// removeLeft removes those files of a folder that nobody is writing, of which the names begin so. Of a folder that can't be listed they
// stay: writing tells what is wrong with it.
func removeLeft(dir, prefix string) (err error) {
	left, _ := os.ReadDir(dir)
	for _, e := range left {
		if !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		name := filepath.Join(dir, e.Name())
		lock := flock.New(name)
		if held, err2 := lock.TryLock(); held && err2 == nil {
			if err2 = os.Remove(name); !errors.Is(err2, fs.ErrNotExist) { // another run was faster
				err = errors.Join(err, err2)
			}
		}
		err = errors.Join(err, lock.Close())
	}
	return err
}
