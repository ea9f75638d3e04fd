// Package atomicfile replaces files so that a reader sees the old content or the new, never a part. What is wrong with a
// file it says without the name that it has meanwhile.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Prefix is what the name of a file begins with while it is written.
const Prefix = ".tmp-"

// Cause is an error about a file without the operation and the name, for a sentence that has both.
func Cause(err error) error {
	if p := (*os.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	if l := (*os.LinkError)(nil); errors.As(err, &l) {
		return l.Err
	}
	return err
}

// Write replaces a file, which everybody may read, or leaves it as it was.
func Write(name string, content []byte) error { return WriteMode(name, content, 0o644) }

// WriteMode is [Write] for other permissions, whatever the umask.
func WriteMode(name string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), Prefix+filepath.Base(name)+".")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
