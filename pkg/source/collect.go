package source

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/talosmith/talosmith/pkg/tree"
)

// collector turns the entries that are left after the last layer into nodes, in tree order.
type collector struct {
	f       *flattener
	spool   Spool
	layers  []Content
	first   map[*inode]string // a file's first name
	nodes   []tree.Node
	missing []origin // kept files whose bytes were not
	err     error
}

// dir adds a directory and what is kept below it; a directory without any is left out unless it is kept itself.
func (c *collector) dir(e *entry, p string) {
	at := len(c.nodes)
	c.nodes = append(c.nodes, e.at(p))
	for _, name := range slices.Sorted(maps.Keys(e.kids)) {
		kid, path := e.kids[name], name
		if p != tree.Root {
			path = p + "/" + name
		}
		if kid.kids != nil {
			c.dir(kid, path)
		} else if c.f.keep(path) {
			c.file(kid, path)
		}
		if c.err != nil {
			return
		}
	}
	if len(c.nodes) == at+1 && p != tree.Root && !c.f.keep(p) {
		c.nodes = c.nodes[:at]
	} else if !utf8.ValidString(p) {
		c.fail(e, p, "a name that is not UTF-8")
	}
}

func (e *entry) at(p string) tree.Node {
	n := e.node
	n.Path = p
	return n
}

func (c *collector) file(e *entry, p string) {
	n := e.at(p)
	if !utf8.ValidString(p) {
		c.fail(e, p, "a name that is not UTF-8")
		return
	}
	if n.Mode.IsRegular() {
		if !e.stored {
			c.missing = append(c.missing, e.from)
			return
		}
		n.Content = tree.Section(c.spool, e.off, e.size)
		if first, ok := c.first[e.inode]; ok {
			n.Link = first
		} else {
			c.first[e.inode] = p
		}
	}
	c.nodes = append(c.nodes, n)
}

func (c *collector) fail(e *entry, p, what string) {
	if c.err != nil {
		return
	}
	i := e.from.layer
	c.err = fmt.Errorf("flatten layer %s: entry %q: %s", layerName(i, c.layers[i].Layer), printable(p), what)
}

// Plain refuses special files, and symbolic links that climb above the root.
func Plain(t *tree.Tree) error {
	for n := range t.All() {
		switch n.Mode.Type() {
		case 0, fs.ModeDir:
		case fs.ModeSymlink:
			if climbs(n.Path, n.Link) {
				return fmt.Errorf("%q: a symbolic link to %q, which is above the root", printable(n.Path), printable(n.Link))
			}
		default:
			return fmt.Errorf("%q: a %s, where only files, directories and links may be", printable(n.Path), kind(n.Mode))
		}
	}
	return nil
}

// climbs tells whether a symbolic link's target goes above the root. (An absolute one starts at the root, as at boot.)
func climbs(p, target string) bool {
	depth := strings.Count(p, "/")
	if strings.HasPrefix(target, "/") {
		depth = 0
	}
	for el := range strings.SplitSeq(target, "/") {
		switch el {
		case "", ".":
		case "..":
			depth--
		default:
			depth++
		}
		if depth < 0 {
			return true
		}
	}
	return false
}

func kind(m fs.FileMode) string {
	switch {
	case m&fs.ModeCharDevice != 0:
		return "character device"
	case m&fs.ModeDevice != 0:
		return "block device"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	}
	return "special file"
}
