package migrate

import (
	"fmt"
	"slices"

	"github.com/zclconf/go-cty/cty"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/schematic"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/vmdisk"
)

// Schematic returns the profile that says what a schematic does. The schematic of its image has the same ID, or a comment says why not.
func Schematic(s *schematic.Schematic, o Options) ([]byte, error) {
	arch := talos.AMD64
	if s.Overlay.Name != "" {
		arch = talos.ARM64 // as all of those boards are
	}
	f, err := facts(o.Talos, o.Platform, arch)
	if err != nil {
		return nil, err
	}
	id, err := s.ID()
	if err != nil {
		return nil, err
	}
	m := newImage(f)
	m.head = []string{
		"Schematic " + id + " of the Image Factory, by `mage import`.",
		"A schematic says nothing of version, platform, architectures and outputs: look whether these are yours.",
	}
	c := s.Customization
	if s.Owner != "" {
		m.lost("owner "+quoted(s.Owner), "It is the Enterprise Factory's.")
	}
	if c.SecureBoot != (schematic.SecureBoot{}) {
		m.lost("secureboot", "Images for SecureBoot are not built here.")
	}
	m.official(c.SystemExtensions.OfficialExtensions)
	m.kernelArgs(c.ExtraKernelArgs)
	m.embeddedConfig(c.EmbeddedMachineConfiguration)
	m.metaValues(c.Meta)
	m.outputs(s)
	if err := m.overlay(s.Overlay); err != nil {
		m.talos.notes = append(m.talos.notes, none("the schematic itself, embed_schematic = true", "The image of the overlay belongs to it, and is not known here. %s", sentence(err)))
		return m.write()
	}
	kept, err := m.kept.ID()
	if err != nil {
		return nil, err
	}
	note := "`mage schematic` gives the ID above, and Talos and Omni see it in images."
	if kept != id {
		note = "`mage schematic` gives another ID, " + kept + ": what has no equivalent is told below; an order or a number may be written otherwise, too."
	}
	m.talos.set("embed_schematic", cty.True, note)
	return m.write()
}

func (m *image) official(names []string) {
	var kept, notes []string
	for _, name := range names {
		switch {
		case !profile.Official(name):
			notes = append(notes, none("extension "+quoted(name), "Official extensions are named as \"siderolabs/gvisor\"."))
		case slices.Contains(kept, name):
			notes = append(notes, none("a second "+name, "An image has an extension once."))
		case len(kept) == profile.MaxList:
			notes = append(notes, none("extension "+quoted(name), "A list has at most %d elements.", profile.MaxList))
		default:
			kept = append(kept, name)
		}
	}
	m.image.list("extensions", stringsOf(kept), notes...)
	m.kept.Customization.SystemExtensions.OfficialExtensions = kept
}

// overlay is the official one of that name, as for the Factory. The error says that it is not known.
func (m *image) overlay(o schematic.Overlay) error {
	if o.Name == "" {
		if o.Image != "" || len(o.Options) > 0 {
			m.lost("overlay without a name", "The Factory does nothing for it either.")
		}
		return nil
	}
	b, ok := m.overlayBlock(o.Name)
	if !ok {
		return nil
	}
	image, err := talos.OverlayImage(o.Name)
	if err == nil && image != o.Image {
		b.notes = append(b.notes, none("image "+quoted(o.Image), "As with the Factory, the name alone says which overlay it is."))
	}
	m.kept.Overlay = schematic.Overlay{Image: image, Name: o.Name}
	m.overlayOptions(&b, o.Options)
	m.image.blocks = append(m.image.blocks, b)
	return err
}

// outputs are those that most machines want.
func (m *image) outputs(s *schematic.Schematic) {
	kinds := []talos.Kind{talos.KindISO, talos.KindDisk, talos.KindInstaller}
	if s.Overlay.Name != "" {
		kinds = kinds[1:]
	}
	for _, kind := range kinds {
		b := block{name: "output", labels: []string{string(kind)}}
		c := s.Customization
		if kind != talos.KindInstaller && m.bootloader(&b, string(c.Bootloader)) {
			m.kept.Customization.Bootloader = c.Bootloader
		}
		size := c.DiskImage.SectorSize
		if kind == talos.KindDisk && size != 0 && m.sectorSize(&b, size, fmt.Sprintf("diskImage.sectorSize %d", size), vmdisk.Format(m.facts.Platform.Disk.Format), s.Overlay.Name != "") {
			m.kept.Customization.DiskImage = c.DiskImage
		}
		m.output = append(m.output, b)
	}
}
