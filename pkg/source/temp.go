package source

import (
	"errors"
	"os"
)

// Temp returns a file without a name, which is gone once it is closed: for what is unpacked. It lies on the disk of the cache, which
// has room for large things; the folder for temporary files may be memory.
func (s *Sources) Temp() (*os.File, error) {
	dir := os.TempDir()
	if s.cache != "" {
		dir = s.partialDir()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, cacheError{err}
		}
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
