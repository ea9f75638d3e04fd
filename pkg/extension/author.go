package extension

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Authored is an extension that is written down, rather than built.
type Authored struct {
	Metadata Metadata
	Files    []File
	Services []Service
}

// File of an authored extension.
type File struct {
	// Path in the root file system, absolute.
	Path    string
	Mode    fs.FileMode // permissions
	Content tree.Blob
}

// Author makes the tree of an extension, as [Load] reads it. Owners are 0:0, times the Unix epoch. A service gets its specification and its
// root; where its entrypoint is one of the files outside of that root, the root gets it, too: a program that needs nothing else works as it is.
func Author(a Authored) (*tree.Tree, error) {
	t, err := a.tree()
	if err != nil {
		return nil, fmt.Errorf("extension %s: %w", a.Metadata.Name, err)
	}
	return t, nil
}

func (a Authored) tree() (*tree.Tree, error) {
	manifest, err := WriteManifest(Manifest{Version: ManifestVersion, Metadata: a.Metadata})
	if err != nil {
		return nil, err
	}
	nodes := []tree.Node{
		{Path: manifestFile, Mode: 0o644, Content: tree.Bytes(manifest)},
		{Path: rootDir, Mode: fs.ModeDir | 0o755},
	}
	files := map[string]tree.Node{}
	var errs []error
	for _, f := range a.Files {
		n := tree.Node{Path: path.Join(rootDir, f.Path), Mode: f.Mode, Content: f.Content}
		if !path.IsAbs(f.Path) || f.Path == "/" || path.Clean(f.Path) != f.Path || f.Mode&^fs.ModePerm != 0 {
			errs = append(errs, fmt.Errorf("file %q, mode %v: want a clean absolute path, and nothing but permissions", f.Path, f.Mode))
			continue
		}
		files[f.Path] = n
		nodes = append(nodes, n)
	}
	for _, s := range a.Services {
		more, err := serviceNodes(s, files)
		errs = append(errs, err)
		nodes = append(nodes, more...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return tree.New(nodes)
}

// serviceNodes are a service's specification, its root, and there the entrypoint where only the machine would have it.
func serviceNodes(s Service, files map[string]tree.Node) ([]tree.Node, error) {
	if !serviceName.MatchString(s.Name) {
		return nil, fmt.Errorf("service %q: a name has small letters, digits, \"-\" and \"_\" only", s.Name)
	}
	spec, err := WriteService(s)
	if err != nil {
		return nil, err
	}
	root := path.Join(rootDir, ServiceRoot(s.Name))
	nodes := []tree.Node{{Path: path.Join(rootDir, ServicePath(s.Name)), Mode: 0o644, Content: tree.Bytes(spec)}}
	empty := true
	for name := range files {
		empty = empty && !below(strings.TrimPrefix(name, "/"), ServiceRoot(s.Name))
	}
	if empty {
		nodes = append(nodes, tree.Node{Path: root, Mode: fs.ModeDir | 0o755})
	}
	entry := path.Join("/", s.Container.Entrypoint)
	_, inside := files[path.Join("/", ServiceRoot(s.Name), entry)]
	if program, outside := files[entry]; outside && !inside {
		program.Path = path.Join(root, entry)
		nodes = append(nodes, program)
	}
	return nodes, nil
}
