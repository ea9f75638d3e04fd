package source

import (
	"errors"
	"os"
)

// TempDir returns the folder for what is needed for a while. It lies on the disk of the cache, which has room for large things; the
// system's folder for temporary files may be memory.
func (s *Sources) TempDir() (string, error) {
	if s.cache == "" {
		return os.TempDir(), nil
	}
	dir := s.partialDir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", cacheError{err}
	}
	return dir, nil
}

// Temp returns a file in that folder without a name, which is gone once it is closed: for what is unpacked.
func (s *Sources) Temp() (*os.File, error) {
	dir, err := s.TempDir()
	if err != nil {
		return nil, err
	}
	if f, err := nameless(dir); err == nil {
		return f, nil
	}
	f, err := os.CreateTemp(dir, "temporary-")
	if err != nil {
		return nil, cacheError{err}
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(cacheError{err}, f.Close())
	}
	return f, nil
}
