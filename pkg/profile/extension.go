package profile

import (
	"io/fs"

	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/talos"
)

// Extension is one that the profile declares.
type Extension struct {
	Name    string
	sources map[string]*Source // by architecture
	Place
}

// For returns where the extension for an architecture comes from; nil for an architecture that Talos doesn't have.
func (e *Extension) For(arch string) *Source { return e.sources[arch] }

// Directory declares an extension that lies in a directory, as a block with `path` does.
func Directory(name, dir string) *Extension {
	e := &Extension{Name: name, sources: map[string]*Source{}}
	for _, arch := range talos.Architectures() {
		e.sources[arch] = &Source{Path: dir}
	}
	return e
}

// Source is where an extension comes from: exactly one of Path, Image, Tarball, OCILayout, or, if all of them are empty, it is
// written in the profile (Version, Files, Services).
type Source struct {
	// Path of a directory with manifest.yaml and rootfs.
	Path      string `hcl:"path"`
	Image     string `hcl:"image"`
	Tarball   string `hcl:"tarball"`
	OCILayout string `hcl:"oci_layout"`

	Version     string `hcl:"version"`
	Description string `hcl:"description"`
	Author      string `hcl:"author"`
	// Files sorted by path.
	Files    []File `hcl:"files"`
	Services []Service

	// Tag is the name of the image that can be made of a directory or an authored extension.
	Tag string `hcl:"tag"`
}

// Authored says whether the extension is written in the profile.
func (s *Source) Authored() bool {
	return s.Path == "" && s.Image == "" && s.Tarball == "" && s.OCILayout == ""
}

// Local says whether the extension is made of plain files of this machine: a directory's, or those that the profile names.
func (s *Source) Local() bool { return s.Authored() || s.Path != "" }

// File of an authored extension.
type File struct {
	// Path in the root file system, absolute and clean.
	Path string
	// Source is a file of the host. Where it is empty, Content is the file's.
	Source, Content string
	// Mode is 0 where the profile gives none: 0755 if the source is executable, else 0644.
	Mode  fs.FileMode
	Range hcl.Range
}

// Service is an extension service: https://www.talos.dev/latest/advanced/extension-services/.
type Service struct {
	Name            string
	Entrypoint      string       `hcl:"entrypoint"`
	Args            []string     `hcl:"args"`
	Environment     []string     `hcl:"environment"`
	EnvironmentFile string       `hcl:"environment_file"`
	Mounts          []Mount      `hcl:"mounts"`
	Depends         []Dependency `hcl:"depends"`
	Restart         string       `hcl:"restart"`
	LogToConsole    bool         `hcl:"log_to_console"`
	// Security is nil where the profile has no such block.
	Security *Security
	Place
}

// Mount of a service's container.
type Mount struct {
	Source, Destination, Type string
	Options                   []string
}

// Dependency is what a service waits for: exactly one of its fields is set.
type Dependency struct {
	Service, Path       string
	Network             []string
	Time, Configuration bool
}

// Security of a service's container.
type Security struct {
	WriteableRootfs   bool     `hcl:"writeable_rootfs"`
	WriteableSysfs    bool     `hcl:"writeable_sysfs"`
	MaskedPaths       []string `hcl:"masked_paths"`
	ReadonlyPaths     []string `hcl:"readonly_paths"`
	RootfsPropagation string   `hcl:"rootfs_propagation"`
	Place
}
