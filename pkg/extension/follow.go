package extension

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/talosmith/talosmith/pkg/tree"
)

// maxLinks is the number of symbolic links that Linux follows in one path.
const maxLinks = 40

// follow resolves a path as a process does whose root directory is root: links are followed, ".." ends at root. Where something is
// missing or links go in circles, it returns an error and the path at which it stopped.
func follow(t *tree.Tree, root, p string) (string, error) {
	at := root
	rest := strings.Split(strings.TrimPrefix(p, root+"/"), "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if at != root {
				at = path.Dir(at)
			}
			continue
		}
		next := path.Join(at, part)
		n, ok := t.Lookup(next)
		if !ok {
			return next, fmt.Errorf("the link leads to %q, where nothing is", "/"+next)
		}
		if n.Mode.Type() != fs.ModeSymlink {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return next, fmt.Errorf("more than %d links one after another, or a circle", maxLinks)
		}
		if strings.HasPrefix(n.Link, "/") {
			at = root
		}
		rest = append(strings.Split(n.Link, "/"), rest...)
	}
	return at, nil
}
