package source

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/talosmith/talosmith/pkg/tree"
)

// FromDirectory reads a directory of this machine, normalised, since version control keeps neither owners nor times: owner 0:0, modes 0755
// and 0644 by the owner's executable bit, every time the Unix epoch, no attributes, hard links as separate files.
// Symbolic links are kept as they are, and so are special files: see [Plain].
func FromDirectory(dir string) (*tree.Tree, error) {
	lim := Limits{}.withDefaults()
	st, err := os.Stat(dir)
	if err == nil && !st.IsDir() {
		err = fmt.Errorf("%s is no directory", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read directory: %w", err)
	}
	top, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("read directory: %w", err)
	}
	var nodes []tree.Node
	err = filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, name)
		if err != nil {
			return err
		}
		n, err := directoryNode(name, filepath.ToSlash(rel), d)
		if err != nil {
			return err
		}
		if strings.Count(n.Path, "/") >= lim.Depth || len(nodes) >= lim.Entries {
			return fmt.Errorf("%s: more than %d entries or %d directories deep", n.Path, lim.Entries, lim.Depth)
		}
		nodes = append(nodes, n)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", dir, err)
	}
	return tree.New(nodes)
}

func directoryNode(name, p string, d fs.DirEntry) (tree.Node, error) {
	n := tree.Node{Path: p, ModTime: time.Unix(0, 0).UTC()}
	if !utf8.ValidString(p) {
		return n, fmt.Errorf("%q: the name is not UTF-8", p)
	}
	info, err := d.Info()
	if err != nil {
		return n, err
	}
	switch mode := info.Mode(); mode.Type() {
	case fs.ModeDir:
		n.Mode = fs.ModeDir | 0o755
	case fs.ModeSymlink:
		n.Mode = fs.ModeSymlink | 0o777
		target, err := os.Readlink(name)
		if err != nil {
			return n, err
		}
		n.Link = filepath.ToSlash(target)
	case 0:
		n.Mode = 0o644
		if mode&0o100 != 0 {
			n.Mode = 0o755
		}
		if n.Content, err = tree.File(name); err != nil {
			return n, err
		}
	default:
		n.Mode = mode.Type() | 0o644
	}
	return n, nil
}

func resolveDirectory(dir string) (*Artifact, error) {
	t, err := FromDirectory(dir)
	if err != nil {
		return nil, err
	}
	return treeArtifact(t)
}

// treeArtifact is what a tree is resolved to.
func treeArtifact(t *tree.Tree) (*Artifact, error) {
	digest, err := Digest(t)
	if err != nil {
		return nil, err
	}
	return &Artifact{Index: digest, Manifest: digest, Dir: true}, nil
}

// unchangedTree reads a resolved directory or tree again.
func unchangedTree(a *Artifact, keep func(string) bool) (*tree.Tree, error) {
	t, err := readAgain(a)
	if err != nil {
		return nil, err
	}
	digest, err := Digest(t)
	if err != nil {
		return nil, err
	}
	if digest != a.Manifest {
		return nil, fmt.Errorf("read %s: it changed after it was resolved: %w: got %s, want %s", a.Ref, ErrDigest, digest, a.Manifest)
	}
	if keep == nil {
		return t, nil
	}
	return t.Filter(func(n tree.Node) bool { return n.Path != tree.Root && keep(n.Path) })
}

func readAgain(a *Artifact) (*tree.Tree, error) {
	if a.Ref.Tree != nil {
		return a.Ref.Tree.Files, nil
	}
	return FromDirectory(a.Ref.Path)
}
