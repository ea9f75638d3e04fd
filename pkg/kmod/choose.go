package kmod

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// builtIn is the word for all directories that a search list does not name.
const builtIn = "built-in"

// search is a list of directories, the preferred one first.
type search []string

func newSearch(list []string) (search, error) {
	if len(list) == 0 {
		return search{"updates"}, nil
	}
	for _, dir := range list {
		if !fs.ValidPath(dir) || dir == "external" {
			return nil, fmt.Errorf("index modules: search %q: only %q and directories below the release directory are supported", dir, builtIn)
		}
	}
	return list, nil
}

// keeps tells whether a module stays when another one of its name is found later. The list is gone through from its end, and a directory
// that has both counts for the later one alone: so depmod prefers the last of them in a directory that is listed, and the
// first in others.
func (s search) keeps(have, found string) bool {
	unlisted, haveRank, foundRank := -1, -1, -1
	for i, dir := range slices.Backward(s) {
		rank := len(s) - 1 - i
		switch {
		case dir == builtIn:
			unlisted = rank
		case strings.HasPrefix(found, dir+"/"):
			foundRank = rank
		case strings.HasPrefix(have, dir+"/"):
			haveRank = rank
		}
	}
	if foundRank < 0 {
		foundRank = unlisted
	}
	if haveRank < 0 {
		haveRank = unlisted
	}
	return foundRank <= haveRank
}

// candidate is a module with what its file's path says.
type candidate struct {
	*Module
	orderPath string
}

// choose picks one module of each name. The files of a release directory must be those that were scanned.
func choose(list []file, modules []Module, names []string) (map[string]candidate, error) {
	s, err := newSearch(names)
	if err != nil {
		return nil, err
	}
	scanned := make(map[string]*Module, len(modules))
	for i := range modules {
		scanned[modules[i].Path] = &modules[i]
	}
	if len(scanned) != len(modules) {
		return nil, fmt.Errorf("index modules: the scan has a path twice; see Merge")
	}
	chosen := make(map[string]candidate, len(list))
	for _, f := range list {
		m, ok := scanned[f.path]
		if !ok {
			return nil, fmt.Errorf("index module %s: it was not scanned", f.path)
		}
		delete(scanned, f.path)
		if have, ok := chosen[f.name]; !ok || !s.keeps(have.Path, f.path) {
			chosen[f.name] = candidate{m, f.orderPath}
		}
	}
	for _, m := range modules {
		if _, left := scanned[m.Path]; left {
			return nil, fmt.Errorf("index module %s: it was scanned but is not in the release directory", m.Path)
		}
	}
	return chosen, nil
}
