// Package debian fetches packages of Debian without root, for tests and for the stand-in release of the demo, and reads them.
//
// It runs the machine's own apt-get with private directories below the cache, so nothing of the system changes and any user
// may do it. The mirror is the one that apt's configuration names; indexes are checked against the archive's keyring by apt, and
// packages against the SHA-256 of the index. What was fetched once is used from then on, without network and without apt: to
// get newer versions, remove the cache.
//
// On Ubuntu apt's configuration names no Debian mirror: give [Options].Mirror, and install the package debian-archive-keyring.
//
// # Layout of the cache
//
//	<suite>-<arch>/packages.json     name, version, SHA-256 and file of each package
//	<suite>-<arch>/<package>.deb     as downloaded
//	<suite>-<arch>/<package>.deb.tar its files, uncompressed: made by the first Open
//	<suite>-<arch>/apt/              configuration, indexes
//
// # Not supported
//
// Dependencies are not followed (Package.Depends names them), nothing is installed, no maintainer script runs.
package debian

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// Options say from where and to where packages are fetched.
type Options struct {
	Cache  string // a directory of this package's own, made when it is missing
	Suite  string // "trixie" (default), "bookworm", "sid"
	Arch   string // Debian's name, "amd64" (default)
	Mirror string // URI of a Debian archive; default: the one in apt's configuration

	Log func(message string) // is told before something is downloaded; may be nil
}

// Package is a fetched package.
type Package struct {
	Name, Version, Arch string
	SHA256              string // of the .deb, as the archive's signed index has it
	Size                int64
	Depends             []string // names only, the first of alternatives
	Path                string   `json:"-"`

	File     string    // the .deb's name in the cache
	Verified time.Time // the file's mtime when it was hashed: a changed one is hashed again
}

// ErrNoApt is wrapped by errors on machines without apt.
var ErrNoApt = errors.New("apt-get is missing: this needs Debian or Ubuntu, whose apt-get fetches the packages")

// A name as Debian's policy has it: no option of apt-get, no path.
var nameRule = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*$`)

// Fetch returns packages in the order in which they are named. Those that the cache has cost no network access.
func Fetch(ctx context.Context, o Options, names ...string) ([]Package, error) {
	o.Suite, o.Arch = cmp.Or(o.Suite, "trixie"), cmp.Or(o.Arch, "amd64")
	for _, n := range append([]string{o.Suite, o.Arch}, names...) {
		if !nameRule.MatchString(n) {
			return nil, fmt.Errorf("fetch Debian package %q: not a name of a package, suite or architecture", n)
		}
	}
	c := cache{dir: filepath.Join(o.Cache, o.Suite+"-"+o.Arch)}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(c.dir, "lock"))
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return nil, fmt.Errorf("lock %s: %w", c.dir, err)
	}
	defer lock.Unlock()
	if err := c.load(); err != nil {
		return nil, err
	}
	var missing []string
	for _, n := range names {
		ok, err := c.verify(n)
		if err != nil {
			return nil, err
		}
		if !ok && !slices.Contains(missing, n) {
			missing = append(missing, n)
		}
	}
	if len(missing) > 0 {
		if err := c.download(ctx, o, missing); err != nil {
			return nil, fmt.Errorf("fetch Debian packages %s of %s/%s: %w", strings.Join(missing, ", "), o.Suite, o.Arch, err)
		}
	}
	packages := make([]Package, len(names))
	for i, n := range names {
		packages[i] = c.packages[n]
		packages[i].Path = filepath.Join(c.dir, packages[i].File)
	}
	return packages, c.save()
}

type cache struct {
	dir      string
	packages map[string]Package // by name
	changed  bool
}

func (c *cache) indexFile() string { return filepath.Join(c.dir, "packages.json") }

func (c *cache) load() error {
	c.packages = map[string]Package{}
	b, err := os.ReadFile(c.indexFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &c.packages); err != nil {
		return fmt.Errorf("read %s: %w: remove the folder to fetch again", c.indexFile(), err)
	}
	return nil
}

func (c *cache) save() error {
	if !c.changed {
		return nil
	}
	b, err := json.MarshalIndent(c.packages, "", "\t")
	if err != nil {
		return err
	}
	tmp := c.indexFile() + ".tmp" // alone: the lock is held
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, c.indexFile())
}

// verify tells whether the cache has a package, whole. A file that is gone or damaged is fetched again.
func (c *cache) verify(name string) (bool, error) {
	p, ok := c.packages[name]
	if !ok {
		return false, nil
	}
	file := filepath.Join(c.dir, p.File)
	st, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if st.Size() != p.Size {
		return false, nil
	}
	if st.ModTime().Equal(p.Verified) {
		return true, nil
	}
	if err := p.checkFile(file); err != nil {
		return false, nil
	}
	c.add(p, st)
	return true, nil
}

func (c *cache) add(p Package, st fs.FileInfo) {
	p.Verified = st.ModTime()
	c.packages[p.Name] = p
	c.changed = true
}
