package schematic

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
)

// Unsaid is something of a profile that no schematic can say.
type Unsaid struct {
	// Text is a sentence.
	Text  string
	Range hcl.Range
}

// Of returns the schematic of an image, and what it leaves unsaid, in the profile's order. Platform, architectures, version, formats and sizes are no part of any
// schematic: whoever asks the Factory gives them with the URL.
func Of(p *profile.Profile, img *profile.Image) (*Schematic, []Unsaid) {
	o := &of{profile: p, image: img}
	o.base()
	c := &o.schematic.Customization
	c.EmbeddedMachineConfiguration = img.EmbeddedConfig
	for _, a := range img.KernelArgs {
		c.ExtraKernelArgs = append(c.ExtraKernelArgs, a.Value)
	}
	for _, e := range img.Extensions {
		if e.Declared != nil {
			o.unsaid(e.Range, "The extension %s is declared in the profile, and the Factory has official ones alone.", e.Name)
			continue
		}
		c.SystemExtensions.OfficialExtensions = append(c.SystemExtensions.OfficialExtensions, e.Name)
	}
	o.overlay()
	c.Bootloader = o.bootloader()
	c.DiskImage.SectorSize = o.sectorSize()
	c.Meta = o.meta()
	slices.SortStableFunc(o.all, func(a, b Unsaid) int {
		return cmp.Or(cmp.Compare(a.Range.Filename, b.Range.Filename), cmp.Compare(a.Range.Start.Byte, b.Range.Start.Byte))
	})
	return &o.schematic, o.all
}

type of struct {
	profile   *profile.Profile
	image     *profile.Image
	schematic Schematic
	all       []Unsaid
}

func (o *of) unsaid(at hcl.Range, format string, args ...any) {
	o.all = append(o.all, Unsaid{fmt.Sprintf(format, args...), at})
}

// base looks at what the Factory always has from the release.
func (o *of) base() {
	t := o.profile.Talos
	if t.Registry != talos.Registry {
		o.unsaid(t.At("registry"), "Talos comes from %s here; the Factory takes it from %s.", t.Registry, talos.Registry)
	}
	if t.AllowMixedReleases {
		o.unsaid(t.At("allow_mixed_releases"), "Extensions may be of several Talos releases here; the Factory takes them from the catalogue of one.")
	}
	if b := o.profile.Base; b != nil {
		o.unsaid(b.Range, "The base is not the release, which is all that the Factory builds of.")
	}
	if o.image.Splash != "" {
		o.unsaid(o.image.At("splash"), "The Factory has Talos's own boot splash alone.")
	}
	if o.image.ImageCache != "" {
		o.unsaid(o.image.At("image_cache"), "The Factory puts no image cache into its images.")
	}
}

func (o *of) overlay() {
	v := o.image.Overlay
	if v == nil {
		return
	}
	for _, place := range []struct{ attribute, value string }{
		{"image", v.Image}, {"path", v.Path}, {"tarball", v.Tarball}, {"oci_layout", v.OCILayout},
	} {
		if place.value != "" {
			o.unsaid(v.At(place.attribute), "The overlay comes from a place of its own; the Factory finds official ones by their name.")
			return
		}
	}
	image, err := talos.OverlayImage(v.Name)
	if err != nil {
		o.unsaid(v.At("name"), "A schematic has the overlay's image, too: %v", err)
	}
	o.schematic.Overlay = Overlay{Image: image, Name: v.Name, Options: v.Options}
}

// bootloader is the one of all ISOs and disks.
func (o *of) bootloader() Bootloader {
	b := ""
	first := true
	for _, out := range o.image.Outputs {
		switch {
		case out.Kind != talos.KindISO && out.Kind != talos.KindDisk:
		case first:
			b, first = out.Bootloader, false
		case out.Bootloader != b:
			o.unsaid(out.At("bootloader"), "The boot loader is another one than that of an output before, and a schematic has one for all: give all ISOs and disks the same, or none any.")
		}
	}
	return Bootloader(b)
}

// sectorSize is the one of all disks.
func (o *of) sectorSize() uint {
	size := int64(0)
	first := true
	for _, out := range o.image.Outputs {
		switch {
		case out.Kind != talos.KindDisk:
		case first:
			size, first = out.SectorSize, false
		case out.SectorSize != size:
			o.unsaid(out.At("sector_size"), "The sectors have another size than those of a disk before, and a schematic has one for all: give all disks the same, or none any.")
		}
	}
	return uint(size)
}

// meta are the values that all outputs carry that can carry some.
func (o *of) meta() (all []MetaValue) {
	var values []talos.MetaValue
	first := true
	for _, out := range o.image.Outputs {
		theirs := o.image.MetaOf(out)
		switch {
		case talos.CheckMeta(out.Kind, []talos.MetaValue{{Key: 1}}) != nil: // can't carry any
		case first:
			values, first = theirs, false
		case !slices.Equal(values, theirs):
			o.unsaid(out.At("meta"), "The META values are others than those of an output before, and a schematic has the same for all.")
		}
	}
	for _, v := range values {
		all = append(all, MetaValue{v.Key, v.Value})
	}
	return all
}

// Place is where something stands, for a message.
func (u Unsaid) Place() string {
	return fmt.Sprintf("%s:%d", filepath.Base(u.Range.Filename), u.Range.Start.Line)
}
