package profile

import (
	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/talos"
)

// Profile is what a project wants to be built. It is plain data; nothing changes it after [Load].
type Profile struct {
	Talos      Talos
	Extensions []*Extension
	Registries []*Registry
	// Store is nil where the profile has none.
	Store *Store
	// Images in the order of the profile, a matrix expanded; without those that are only inherited from.
	Images []*Image

	// Dir is the directory of the profile. Paths in a Profile are already joined with it.
	Dir string
	// Files are the sources, by the name that ranges have, for [WriteDiagnostics].
	Files map[string]*hcl.File
}

// Place is where a block stands in the profile.
type Place struct {
	// Range is the block's header.
	Range      hcl.Range
	attributes map[string]hcl.Range
}

// At returns the range of an attribute's value, or the block's where it isn't written out.
func (p Place) At(attribute string) hcl.Range {
	if r, ok := p.attributes[attribute]; ok {
		return r
	}
	return p.Range
}

// Text is a string of the profile.
type Text struct {
	Value string
	Range hcl.Range
}

// Talos is the release that images are made of.
type Talos struct {
	Version      talos.Version
	Registry     string `hcl:"registry"`
	AllowUnknown bool   `hcl:"allow_unknown"`
	// AllowMixedReleases lets one image have extensions of several Talos releases' catalogues.
	AllowMixedReleases bool `hcl:"allow_mixed_releases"`
	Place
}

// Facts are those of the profile's Talos version.
func (t Talos) Facts(platform, arch string) (talos.Facts, error) {
	if t.AllowUnknown {
		return talos.ForUnknown(t.Version, platform, arch)
	}
	return talos.For(t.Version, platform, arch)
}

// Registry is how to reach a registry.
type Registry struct {
	Host string
	// Mirrors are asked first, in order.
	Mirrors []Text `hcl:"mirrors"`
	// CA, ClientCert and ClientKey are PEM files.
	CA         string `hcl:"ca"`
	ClientCert string `hcl:"client_cert"`
	ClientKey  string `hcl:"client_key"`
	Insecure   bool   `hcl:"insecure"`
	Place
}

// Store is where machines share what building steps made.
type Store struct {
	// Registry is a repository, with its host.
	Registry string `hcl:"registry"`
	Write    bool   `hcl:"write"`
	Place
}

// Image is a variant of Talos with its outputs.
type Image struct {
	Name string
	// Label is that of the block; the images of a matrix share it.
	Label         string
	Platform      string         `hcl:"platform"`
	Architectures []string       `hcl:"architectures"`
	Extensions    []ExtensionRef `hcl:"extensions"`
	// Override are the paths, absolute, where a later extension's files may replace an earlier one's.
	Override   []Text `hcl:"override"`
	KernelArgs []Text `hcl:"kernel_args"`
	// Splash is a BMP file that replaces Talos's; empty for that.
	Splash  string `hcl:"splash"`
	Outputs []Output
	Place
}

// ExtensionRef is an extension that an image has.
type ExtensionRef struct {
	// Name is an official one, "siderolabs/gvisor", or that of a declared extension.
	Name string
	// Declared is nil for an official extension.
	Declared *Extension
	Range    hcl.Range
}

// Output is an artefact of an image, one for each architecture.
type Output struct {
	Kind talos.Kind
	// Size of a disk in bytes; 0 is the default of the platform and version.
	Size        int64  `hcl:"size"`
	Compression string `hcl:"compression"`
	// Bootloader of an ISO or a disk; empty is the default of the architecture and version.
	Bootloader string `hcl:"bootloader"`
	// Tag of an installer image.
	Tag string `hcl:"tag"`
	Place
}

// FileName returns the name of an output's file, without a folder.
func (i *Image) FileName(o Output, arch string) string {
	base := i.Name + "-" + arch
	switch o.Kind {
	case talos.KindDisk:
		return base + ".raw"
	case talos.KindInstaller:
		return base + "-installer.tar"
	case talos.KindUKI:
		return base + "-uki.efi"
	case talos.KindInitramfs:
		return base + "-initramfs.xz" // also where the content is zstd, as upstream
	case talos.KindKernel:
		return base + "-vmlinuz"
	case talos.KindCmdline:
		return base + "-cmdline"
	}
	return base + ".iso"
}

// IndexName returns the name of the file that joins the installers of several architectures; empty where there is none.
func (i *Image) IndexName(o Output) string {
	if o.Kind != talos.KindInstaller || len(i.Architectures) < 2 {
		return ""
	}
	return i.Name + "-installer.oci.tar"
}

// FileNames returns the names of all of an output's files.
func (i *Image) FileNames(o Output) []string {
	var names []string
	for _, arch := range i.Architectures {
		names = append(names, i.FileName(o, arch))
	}
	if index := i.IndexName(o); index != "" {
		names = append(names, index)
	}
	return names
}
