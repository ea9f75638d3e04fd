package tree

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// Limits of what [Walk] reads, far above what a boot partition or an image cache has.
const (
	maxWalkNodes = 1 << 20
	maxWalkPaths = 64 << 20 // bytes in all
)

// Volume is a file system that somebody made and [Walk] reads. An F is what it knows a file by, such as the number of an inode.
type Volume[F comparable] interface {
	// Node reads a file, but for its path. It is called once for each file.
	Node(f F) (Node, error)
	// Entries calls found for everything that a directory has, but for "." and "..", and returns found's errors.
	Entries(dir F, found func(name string, f F) error) error
}

// Walk reads everything from the root directory on. Further names of a file are hard links.
func Walk[F comparable](v Volume[F], root F) (*Tree, error) {
	top, err := v.Node(root)
	if err == nil && !top.Mode.IsDir() {
		err = errors.New("is none")
	}
	if err != nil {
		return nil, fmt.Errorf("root directory: %w", err)
	}
	top.Path = Root
	w := walk[F]{v: v, nodes: []Node{top}, files: []F{root}, first: map[F]int{root: 0}}
	for i := 0; i < len(w.nodes); i++ {
		dir := w.nodes[i]
		if !dir.Mode.IsDir() {
			continue
		}
		if err := v.Entries(w.files[i], func(name string, f F) error { return w.add(dir.Path, name, f) }); err != nil {
			return nil, fmt.Errorf("directory %s: %w", dir.Path, err)
		}
	}
	return New(w.linked())
}

// walk is what was found.
type walk[F comparable] struct {
	v         Volume[F]
	nodes     []Node
	files     []F       // of the nodes
	first     map[F]int // to the first node of a file
	pathBytes int
}

func (w *walk[F]) add(dir, name string, f F) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("name %q: not possible", name)
	}
	p := path.Join(dir, name)
	if w.pathBytes += len(p); len(w.nodes) == maxWalkNodes || w.pathBytes > maxWalkPaths {
		return fmt.Errorf("not supported: more than %d files or %d bytes of paths", maxWalkNodes, maxWalkPaths)
	}
	i, known := w.first[f]
	var n Node
	var err error
	switch {
	case !known:
		w.first[f] = len(w.nodes)
		n, err = w.v.Node(f)
	case w.nodes[i].Mode.IsDir():
		err = errors.New("this directory is also elsewhere")
	default:
		n = w.nodes[i]
	}
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	n.Path = p
	w.nodes, w.files = append(w.nodes, n), append(w.files, f)
	return nil
}

// linked makes further names of a file hard links to its first one in the order of trees.
func (w *walk[F]) linked() []Node {
	for i, f := range w.files {
		if Compare(w.nodes[i].Path, w.nodes[w.first[f]].Path) < 0 {
			w.first[f] = i
		}
	}
	for i, f := range w.files {
		if j := w.first[f]; j != i && w.nodes[i].Mode.IsRegular() {
			w.nodes[i].Link = w.nodes[j].Path
		}
	}
	return w.nodes
}
