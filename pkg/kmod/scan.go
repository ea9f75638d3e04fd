package kmod

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Limits of a release directory.
const (
	// maxModules is depmod's own: it counts in 16 bits.
	maxModules = 1<<16 - 2
	// maxMetadata is how many bytes all modules together may say. A kernel of a distribution says some 20 MiB.
	maxMetadata = 256 << 20
)

// extensions of module files; the first bytes tell how one is really compressed.
var extensions = []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"}

// file is a module in a release directory.
type file struct {
	path string
	name string // of the module
	// orderPath is what modules.order calls it: the path without compression.
	orderPath string
	content   tree.Blob
}

// files lists the modules of a release directory as depmod does: directories "build" and "source" are left out, at any depth. With an
// error it lists those that it is not about.
func files(dir *tree.Tree) ([]file, error) {
	var found []file
	var errs []error
	var walk func(p string)
	walk = func(p string) {
		for n := range dir.Children(p) {
			if n.Name() == "build" || n.Name() == "source" {
				continue
			}
			if n.Mode.IsDir() {
				walk(n.Path)
				continue
			}
			stem, ok := moduleStem(n.Name())
			if !ok {
				continue
			}
			f, err := newFile(dir, n, stem)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			found = append(found, f)
		}
	}
	walk(tree.Root)
	if len(found) > maxModules {
		return nil, fmt.Errorf("list modules: there are %d, and depmod's indexes hold at most %d", len(found), maxModules)
	}
	return found, errors.Join(errs...)
}

// moduleStem cuts the extension of a module file.
func moduleStem(name string) (string, bool) {
	for _, ext := range extensions {
		if stem, ok := strings.CutSuffix(name, ext); ok && stem != "" {
			return stem, true
		}
	}
	return "", false
}

func newFile(dir *tree.Tree, n tree.Node, stem string) (file, error) {
	if strings.ContainsFunc(n.Path, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) {
		return file{}, &ModuleError{n.Path, errors.New("modules.dep cannot hold a path with white space, a colon or a byte outside ASCII: rename it")}
	}
	if strings.Contains(stem, ".") {
		return file{}, &ModuleError{n.Path, errors.New("a module's name cannot have a dot: rename it")}
	}
	content, err := follow(dir, n)
	return file{
		path:      n.Path,
		name:      strings.ReplaceAll(stem, "-", "_"),
		orderPath: path.Join(path.Dir(n.Path), stem+".ko"),
		content:   content,
	}, err
}

// follow returns the content of a regular file, also behind symbolic links within the tree.
func follow(dir *tree.Tree, n tree.Node) (tree.Blob, error) {
	first := n
	for range 40 { // as many links as Linux follows
		if n.Mode.IsRegular() {
			return n.Content, nil
		}
		if n.Mode.Type() != fs.ModeSymlink || path.IsAbs(n.Link) {
			break
		}
		var ok bool
		if n, ok = dir.Lookup(path.Join(path.Dir(n.Path), n.Link)); !ok {
			break
		}
	}
	return nil, &ModuleError{first.Path, errors.New("it is neither a regular file nor a link to one in the release directory")}
}

// ModuleError says why one module cannot be read or indexed. The errors of [Scan] are joined of these.
type ModuleError struct {
	// Path is relative to the release directory.
	Path string
	Err  error
}

func (e *ModuleError) Error() string {
	name := e.Path
	if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		name = strconv.Quote(name)
	}
	return "scan module " + name + ": " + e.Err.Error()
}

func (e *ModuleError) Unwrap() error { return e.Err }

// Scan reads every module of a release directory (lib/modules/<release>), each once, with that many workers (below 1: one for each
// processor). The result is in tree order; the error names every module that cannot be read, and the result has the others.
func Scan(dir *tree.Tree, workers int) ([]Module, error) {
	list, unlisted := files(dir)
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	modules := make([]Module, len(list))
	errs := make([]error, len(list))
	var next, said atomic.Int64
	var group sync.WaitGroup
	for range min(workers, len(list)) {
		group.Go(func() {
			r := newReader()
			defer r.close()
			for i := int(next.Add(1)) - 1; i < len(list) && said.Load() <= maxMetadata; i = int(next.Add(1)) - 1 {
				m, err := r.read(list[i].content)
				if err != nil {
					errs[i] = &ModuleError{list[i].path, err}
					continue
				}
				m.Path, m.Name = list[i].path, list[i].name
				said.Add(m.size())
				modules[i] = m
			}
		})
	}
	group.Wait()
	if said.Load() > maxMetadata {
		return nil, fmt.Errorf("scan modules: their symbols and aliases take over %d MiB", maxMetadata>>20)
	}
	err := errors.Join(append([]error{unlisted}, errs...)...)
	return slices.DeleteFunc(modules, func(m Module) bool { return m.Path == "" }), err
}

// size is roughly what a module takes in memory.
func (m Module) size() int64 {
	n := len(m.Vermagic)
	for _, list := range [][]string{m.Depends, m.Aliases, m.Softdeps, m.Weakdeps, m.Firmware} {
		for _, s := range list {
			n += len(s) + 16
		}
	}
	for _, list := range [][]Symbol{m.Exports, m.Imports} {
		for _, s := range list {
			n += len(s.Name) + 24
		}
	}
	return int64(n)
}
