package imager

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/tree"
)

// Ref says where a declared extension lies for an architecture. One that is written in the profile lies in memory: its manifest, services
// and files, whose contents stay on the disk.
func Ref(e *profile.Extension, arch string) (source.Ref, error) {
	s := e.For(arch)
	switch {
	case s == nil:
		return source.Ref{}, fmt.Errorf("extension %s: it has no source for %s", e.Name, arch)
	case !s.Authored():
		return source.Ref{Path: s.Path, Image: s.Image, Tarball: s.Tarball, OCILayout: s.OCILayout}, nil
	}
	a := extension.Authored{Metadata: extension.Metadata{Name: e.Name, Version: s.Version, Author: s.Author, Description: s.Description}}
	for _, f := range s.Files {
		file, err := authoredFile(f)
		if err != nil {
			return source.Ref{}, fmt.Errorf("extension %s: file %s: %w", e.Name, f.Path, err)
		}
		a.Files = append(a.Files, file)
	}
	for _, service := range s.Services {
		a.Services = append(a.Services, authoredService(service))
	}
	t, err := extension.Author(a)
	if err != nil {
		return source.Ref{}, err
	}
	return source.Ref{Tree: &source.Tree{Name: "written in " + filepath.Base(e.Range.Filename), Files: t}}, nil
}

func authoredFile(f profile.File) (extension.File, error) {
	file := extension.File{Path: f.Path, Mode: f.Mode, Content: tree.String(f.Content)}
	executable := fs.FileMode(0)
	if f.Source != "" {
		st, err := os.Stat(f.Source)
		if err != nil {
			return file, err
		}
		executable = st.Mode() & 0o100
		if file.Content, err = tree.File(f.Source); err != nil {
			return file, err
		}
	}
	if file.Mode == 0 {
		file.Mode = 0o644
		if executable != 0 {
			file.Mode = 0o755
		}
	}
	return file, nil
}

func authoredService(s profile.Service) extension.Service {
	out := extension.Service{
		Name: s.Name, Restart: s.Restart, LogToConsole: s.LogToConsole,
		Container: extension.Container{Entrypoint: s.Entrypoint, Environment: s.Environment, EnvironmentFile: s.EnvironmentFile, Args: s.Args},
	}
	for _, m := range s.Mounts {
		out.Container.Mounts = append(out.Container.Mounts, extension.Mount{Destination: m.Destination, Type: m.Type, Source: m.Source, Options: m.Options})
	}
	for _, d := range s.Depends {
		out.Depends = append(out.Depends, extension.Dependency(d))
	}
	if c := s.Security; c != nil {
		out.Container.Security = extension.Security{
			WriteableSysfs: c.WriteableSysfs, MaskedPaths: c.MaskedPaths, ReadonlyPaths: c.ReadonlyPaths,
			WriteableRootfs: c.WriteableRootfs, RootfsPropagation: c.RootfsPropagation,
		}
	}
	return out
}
