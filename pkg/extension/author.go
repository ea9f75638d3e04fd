package extension

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

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
// root. Where its entrypoint is one of the files, but outside of that root, the file goes there, and a link stays where it was: a program that
// needs nothing else works as it is.
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
		_, twice := files[f.Path]
		switch {
		case !path.IsAbs(f.Path) || f.Path == "/" || path.Clean(f.Path) != f.Path || f.Mode&^fs.ModePerm != 0:
			errs = append(errs, fmt.Errorf("file %q, mode %v: want a clean absolute path, and nothing but permissions", f.Path, f.Mode))
		case twice:
			errs = append(errs, fmt.Errorf("file %q is there twice", f.Path))
		default:
			files[f.Path] = n
		}
	}
	linked := map[string]string{} // files that went into a service's root, and where
	for _, s := range a.Services {
		more, err := serviceNodes(s, files, linked)
		errs = append(errs, err)
		nodes = append(nodes, more...)
	}
	for name, n := range files {
		if target, ok := linked[name]; ok {
			n = tree.Node{Path: n.Path, Mode: fs.ModeSymlink | 0o777, Link: target}
		}
		nodes = append(nodes, n)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return tree.New(nodes)
}

// serviceNodes are a service's specification, its root, and there the entrypoint where the profile has it elsewhere.
func serviceNodes(s Service, files map[string]tree.Node, linked map[string]string) ([]tree.Node, error) {
	if !serviceName.MatchString(s.Name) {
		return nil, fmt.Errorf("service %q: a name has small letters, digits, \"-\" and \"_\" only", s.Name)
	}
	spec, err := WriteService(s)
	if err != nil {
		return nil, err
	}
	nodes := []tree.Node{{Path: path.Join(rootDir, ServicePath(s.Name)), Mode: 0o644, Content: tree.Bytes(spec)}}
	root := path.Join("/", ServiceRoot(s.Name))
	empty := true
	for name := range files {
		empty = empty && !below(name, root)
	}
	if empty {
		nodes = append(nodes, tree.Node{Path: path.Join(rootDir, root), Mode: fs.ModeDir | 0o755})
	}
	entry := path.Join("/", s.Container.Entrypoint)
	inside := path.Join(root, entry)
	program, ok := files[entry]
	if _, taken := files[inside]; !ok || taken {
		return nodes, nil
	}
	if linked[entry] == "" { // of several services the first
		linked[entry] = inside
	}
	program.Path = path.Join(rootDir, inside)
	return append(nodes, program), nil
}
