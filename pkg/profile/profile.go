package profile

import (
	"cmp"

	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/vmdisk"
)

// Profile is what a project wants to be built. It is plain data; nothing changes it after [Load].
type Profile struct {
	Talos Talos
	// Base is nil where the profile has none.
	Base       *Base
	Extensions []*Extension
	Registries []*Registry
	// Store is nil where the profile has none.
	Store *Store
	// Images in the order of the profile, a matrix expanded; without those that are only inherited from.
	Images []*Image

	// Dir is the directory of the profile. Paths in a Profile are already joined with it.
	Dir string
	// file is the profile's, as it was named; empty where it is a directory.
	file string
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
	// EmbedSchematic puts the Image Factory's schematic into every image.
	EmbedSchematic bool `hcl:"embed_schematic"`
	// Effort of compressing, for all images: they share what is compressed.
	Effort string `hcl:"effort"`
	Place
}

// Efforts of compressing.
const (
	EffortFast     = "fast"
	EffortBalanced = "balanced"
	EffortSmall    = "small"
)

// Facts are those of the release.
func (t Talos) Facts(platform, arch string) (talos.Facts, error) {
	if t.AllowUnknown {
		return talos.ForUnknown(t.Version, platform, arch)
	}
	return talos.For(t.Version, platform, arch)
}

// Facts are those of the profile's release, under the name and version of its base.
func (p *Profile) Facts(platform, arch string) (talos.Facts, error) {
	f, err := p.Talos.Facts(platform, arch)
	if b := p.Base; b != nil && err == nil {
		f.Name, f.Tag = cmp.Or(b.Name, f.Name), cmp.Or(b.Version, f.Tag)
	}
	return f, err
}

// BaseImage is the reference of an image that the base consists of, such as the imager.
func (p *Profile) BaseImage(name string) string {
	registry, version := p.Talos.Registry, p.Talos.Version.String()
	if p.Base != nil {
		registry, version = cmp.Or(p.Base.Registry, registry), cmp.Or(p.Base.Version, version)
	}
	return registry + "/" + name + ":" + version
}

// Base is a build of Talos in place of the release. What is empty is the release's.
type Base struct {
	Name     string               `hcl:"name"`
	Version  string               `hcl:"version"`
	Registry string               `hcl:"registry"`
	files    map[string]BaseFiles // by architecture
	Place
}

// BaseFiles are files of the host in place of those in the imager image; empty for those.
type BaseFiles struct {
	Kernel    string `hcl:"kernel"`
	Initramfs string `hcl:"initramfs"`
	SDBoot    string `hcl:"sd_boot"`
	SDStub    string `hcl:"sd_stub"`
}

// Files are those for an architecture.
func (b *Base) Files(arch string) BaseFiles {
	if b == nil {
		return BaseFiles{}
	}
	return b.files[arch]
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
	// Meta are the values of the META store that every output carries, sorted by key. See [Image.MetaOf].
	Meta MetaValues `hcl:"meta"`
	// EmbeddedConfig is a machine configuration; empty for none. It has secrets.
	EmbeddedConfig string `hcl:"embedded_config"`
	// ImageCache is the directory of an OCI layout; empty for none.
	ImageCache string `hcl:"image_cache"`
	// Splash is a BMP file that replaces Talos's; empty for that.
	Splash string `hcl:"splash"`
	// Overlay is nil for a machine that needs none.
	Overlay *Overlay
	Outputs []Output
	Place
}

// Overlay is what a single-board computer needs beside Talos. At most one of Image, Path, Tarball and OCILayout is set; none for an
// official overlay, found by its name.
type Overlay struct {
	Name      string `hcl:"name"`
	Image     string `hcl:"image"`
	Path      string `hcl:"path"`
	Tarball   string `hcl:"tarball"`
	OCILayout string `hcl:"oci_layout"`
	// Options are those of the board: maps, lists, strings, numbers (int64 or float64) and booleans.
	Options map[string]any `hcl:"options"`
	// Run the overlay's installer.
	Run bool `hcl:"run"`
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
	// Format and Compression of a disk.
	Format      vmdisk.Format      `hcl:"format"`
	Compression vmdisk.Compression `hcl:"compression"`
	// Size of a disk in bytes; 0 is the default of the platform and version.
	Size int64 `hcl:"size"`
	// SectorSize of a disk in bytes; 0 is 512.
	SectorSize int64 `hcl:"sector_size"`
	// Bootloader of an ISO or a disk; empty is the default of the architecture and version.
	Bootloader string `hcl:"bootloader"`
	// Meta are values beside the image's. See [Image.MetaOf].
	Meta MetaValues `hcl:"meta"`
	// BaseURL is where a PXE script finds the other files, without a slash at its end; empty for the script's own folder.
	BaseURL string `hcl:"base_url"`
	// Tag of an installer image.
	Tag string `hcl:"tag"`
	Place
}

// FileName returns the name of an output's file, without a folder.
func (i *Image) FileName(o Output, arch string) string {
	base := i.Name + "-" + arch
	switch o.Kind {
	case talos.KindDisk:
		name := base + "." + string(cmp.Or(o.Format, vmdisk.Raw))
		if c := cmp.Or(o.Compression, vmdisk.None); c != vmdisk.None {
			name += "." + string(c)
		}
		return name
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
	case talos.KindPXE:
		return base + ".ipxe"
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
