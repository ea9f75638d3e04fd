package kmod

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Options of [Index].
type Options struct {
	// Search orders the directories of the release directory as "search" of depmod.d(5) does: of two modules with one name, that of
	// the directory listed first stays. "built-in" stands for every directory that is not listed. Default: updates.
	Search []string
	// ModTime is that of the files that are made. Default: the epoch.
	ModTime time.Time
}

// maxText is the largest file that is read or made; the binary format cannot hold more.
const maxText = nodePlace

// Index makes the release directory's indexes and returns them as a tree with the files alone, together with those files of dir
// that begin with "modules." and are not made here (modules.builtin, modules.order, …). The modules are those of dir,
// from [Scan], or from scans of its parts and [Merge].
func Index(dir *tree.Tree, modules []Module, o Options) (*tree.Tree, error) {
	list, err := files(dir)
	if err != nil {
		return nil, err
	}
	chosen, err := choose(list, modules, o.Search)
	if err != nil {
		return nil, err
	}
	g, err := newGraph(dir, chosen)
	if err != nil {
		return nil, err
	}
	made, err := g.outputs(dir)
	if err != nil {
		return nil, err
	}
	if o.ModTime.IsZero() {
		o.ModTime = time.Unix(0, 0)
	}
	var nodes []tree.Node
	for n := range dir.Children(tree.Root) {
		if _, ours := made[n.Path]; !ours && n.Mode.IsRegular() && strings.HasPrefix(n.Path, "modules.") {
			n.Link = "" // its first name may be left out
			nodes = append(nodes, n)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(made)) {
		nodes = append(nodes, tree.Node{Path: name, Mode: 0o644, ModTime: o.ModTime, Content: tree.Bytes(made[name])})
	}
	return tree.New(nodes)
}

// outputs are the files to make, by name.
func (g *graph) outputs(dir *tree.Tree) (map[string][]byte, error) {
	deps, err := g.dependencies()
	if err != nil {
		return nil, err
	}
	made := map[string][]byte{
		"modules.dep":     depText(deps),
		"modules.alias":   g.aliasText(),
		"modules.softdep": g.softdepText(),
		"modules.weakdep": g.weakdepText(),
		"modules.symbols": g.symbolText(),
		"modules.devname": g.devnameText(),
		// empty, without even a header, where dir does not have what they are made of
		"modules.builtin.bin":       nil,
		"modules.builtin.alias.bin": nil,
	}
	bins := map[string][]Entry{
		"modules.dep.bin":     deps,
		"modules.alias.bin":   g.aliasEntries(),
		"modules.symbols.bin": g.symbolEntries(),
	}
	if names, err := Builtins(dir); err == nil {
		bins["modules.builtin.bin"] = builtinEntries(names)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if info, err := readText(dir, "modules.builtin.modinfo"); err == nil {
		if bins["modules.builtin.alias.bin"], err = builtinAliasEntries(info); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(bins)) {
		if made[name], err = buildTrie(bins[name], nodePlace); err != nil {
			return nil, fmt.Errorf("make %s: %w", name, err)
		}
	}
	return made, nil
}
