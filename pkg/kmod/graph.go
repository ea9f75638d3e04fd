package kmod

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/tree"
)

// graph is the modules in the order of modules.dep, and how they depend on each other.
type graph struct {
	modules []*Module
	// owners has the module that exports a symbol; of several, the last.
	owners map[string]int
	// deps are the modules that one needs itself, in the order of its imports.
	deps [][]int
	// rank is a module's place in an order in which each comes before those that it needs.
	rank []int
}

func newGraph(dir *tree.Tree, chosen map[string]candidate) (*graph, error) {
	modules, err := sortModules(dir, chosen)
	if err != nil {
		return nil, err
	}
	g := &graph{modules: modules, owners: map[string]int{}, deps: make([][]int, len(modules))}
	for i, m := range modules {
		for _, s := range m.Exports {
			g.owners[s.Name] = i
		}
	}
	for i, m := range modules {
		seen := map[int]bool{}
		for _, s := range m.Imports {
			owner, ok := g.owners[strings.TrimPrefix(s.Name, ".")] // PowerPC's .name is name; depmod asks no machine
			if ok && !seen[owner] {
				seen[owner] = true
				g.deps[i] = append(g.deps[i], owner)
			}
		}
	}
	return g, g.sort()
}

// sortModules orders modules as modules.order lists them. Those that it does not list come last, in the order of depmod's hash table.
func sortModules(dir *tree.Tree, chosen map[string]candidate) ([]*Module, error) {
	order, err := readText(dir, "modules.order")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(order) > 0 && order[len(order)-1] != '\n' {
		return nil, errors.New("read modules.order: its last line has no end: the file is cut off")
	}
	places := map[string]int{}
	for line := range bytes.Lines(order) {
		if _, twice := places[string(line[:len(line)-1])]; !twice {
			places[string(line[:len(line)-1])] = len(places)
		}
	}
	names := slices.Collect(maps.Keys(chosen))
	sortAsHashed(names, 512)
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(place(places, chosen[a].orderPath), place(places, chosen[b].orderPath))
	})
	modules := make([]*Module, len(names))
	for i, name := range names {
		modules[i] = chosen[name].Module
	}
	return modules, nil
}

func place(places map[string]int, path string) int {
	if at, ok := places[path]; ok {
		return at
	}
	return math.MaxInt
}

// sort ranks the modules: those that nobody needs any more are taken from the end of a stack. A loop is an error, as for depmod.
func (g *graph) sort() error {
	g.rank = make([]int, len(g.modules))
	users := make([]int, len(g.modules))
	for _, deps := range g.deps {
		for _, d := range deps {
			users[d]++
		}
	}
	var free []int
	for i, n := range users {
		if n == 0 {
			free = append(free, i)
		}
	}
	next := 0
	for ; len(free) > 0; next++ {
		i := free[len(free)-1]
		free = free[:len(free)-1]
		g.rank[i] = next
		for _, d := range g.deps[i] {
			if users[d]--; users[d] == 0 {
				free = append(free, d)
			}
		}
	}
	if next < len(g.modules) {
		return fmt.Errorf("index modules: they need each other in a loop: %s", strings.Join(g.loop(users), " -> "))
	}
	return nil
}

// loop names the modules of one loop. Each module that still has users has one among those that have: going from users to users ends in a loop.
func (g *graph) loop(users []int) []string {
	userOf := map[int]int{}
	at := -1
	for i, deps := range g.deps {
		if users[i] == 0 {
			continue
		}
		at = i
		for _, d := range deps {
			userOf[d] = i
		}
	}
	seen := map[int]bool{}
	for ; !seen[at]; at = userOf[at] {
		seen[at] = true
	}
	names := []string{g.modules[at].Name}
	for i := userOf[at]; i != at; i = userOf[i] {
		names = append(names, g.modules[i].Name)
	}
	names = append(names, g.modules[at].Name)
	slices.Reverse(names)
	return names
}

// closure returns all that a module needs, also through others, by rank.
func (g *graph) closure(i int) []int {
	all := slices.Clone(g.deps[i])
	seen := map[int]bool{}
	for _, d := range all {
		seen[d] = true
	}
	for next := 0; next < len(all); next++ {
		for _, d := range g.deps[all[next]] {
			if !seen[d] {
				seen[d] = true
				all = append(all, d)
			}
		}
	}
	slices.SortFunc(all, func(a, b int) int { return cmp.Compare(g.rank[a], g.rank[b]) })
	return all
}
