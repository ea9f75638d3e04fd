package tree

import "slices"

// Numbered is a node with the number of its inode, as the reader of a file system finds it.
type Numbered struct {
	Node
	Inode uint64
}

// Linked brings nodes into the order of a tree, and makes further names of a file hard links to its first one.
func Linked(found []Numbered) []Node {
	slices.SortFunc(found, func(a, b Numbered) int { return Compare(a.Path, b.Path) })
	first := map[uint64]string{}
	nodes := make([]Node, len(found))
	for i, n := range found {
		if name, ok := first[n.Inode]; ok && n.Mode.IsRegular() {
			n.Link = name
		} else if n.Mode.IsRegular() {
			first[n.Inode] = n.Path
		}
		nodes[i] = n.Node
	}
	return nodes
}
