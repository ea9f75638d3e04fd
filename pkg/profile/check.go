package profile

import (
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/vmdisk"
)

// notPossible is the summary of what each for itself would be fine.
const notPossible = "Not possible"

// check reports what the image's Talos version, platform and architectures can't have.
func (d *decoder) check(img *Image, t *Talos) {
	if errors.Is(t.Version.Known(), talos.ErrVersionOld) { // reported; so is a version that isn't one
		return
	}
	p, err := talos.FindPlatform(img.Platform)
	if err == nil && t.Version.CompareCore(p.Since) < 0 {
		d.add(img.At("platform"), "Unknown platform",
			"The platform %q came with Talos %s, but the profile's version is %s. Use a newer one.", p.Name, p.Since, t.Version)
	}
	c := &checker{d: d, img: img}
	for _, arch := range img.Architectures {
		f, err := t.Facts(img.Platform, arch)
		if err != nil {
			continue // reported
		}
		c.image(f)
		for _, o := range img.Outputs {
			c.output(f, o)
		}
	}
}

// checker says everything once, whatever number of architectures it is true for.
type checker struct {
	d    *decoder
	img  *Image
	said []hcl.Range
}

func (c *checker) add(at hcl.Range, summary, format string, args ...any) {
	if !slices.Contains(c.said, at) {
		c.said = append(c.said, at)
		c.d.add(at, summary, format, args...)
	}
}

func (c *checker) image(f talos.Facts) {
	img := c.img
	if img.EmbeddedConfig != "" && !f.EmbeddedConfig {
		c.add(img.At("embedded_config"), notPossible,
			"Talos %s does not look for an embedded machine configuration; v1.12.0 was the first that does. Use a newer one, or remove it.", f.Version)
	}
	if img.Overlay != nil && !f.Overlays {
		c.add(img.Overlay.Range, notPossible, "Overlays came with Talos v1.7.0, but the profile's version is %s. Use a newer one.", f.Version)
	}
	if img.ImageCache != "" && !f.ImageCache {
		c.add(img.At("image_cache"), notPossible, "Talos %s does not look for an image cache; v1.9.0 was the first that does. Use a newer one, or remove it.", f.Version)
	}
	has := func(kinds ...talos.Kind) bool {
		return slices.ContainsFunc(img.Outputs, func(o Output) bool { return slices.Contains(kinds, o.Kind) })
	}
	if img.ImageCache != "" && !has(talos.KindISO, talos.KindDisk) {
		c.add(img.At("image_cache"), notPossible, "An ISO or a disk can hold an image cache, and the image has neither. Add one of these outputs, or remove the cache.")
	}
	if len(img.Meta) > 0 && has(talos.KindInstaller) {
		c.add(img.At("meta"), notPossible,
			"An installer can't carry META values: a machine keeps its own when it is upgraded. Write \"meta\" in the outputs that can, such as disk and iso.")
	}
}

func (c *checker) output(f talos.Facts, o Output) {
	values := c.img.MetaOf(o)
	if o.Bootloader != "" {
		if err := f.CheckBootloader(talos.Bootloader(o.Bootloader)); err != nil {
			remedy := ""
			if len(c.img.Architectures) > 1 {
				remedy = " Without the attribute each architecture has its own."
			}
			c.add(o.At("bootloader"), notPossible, "In the output %q: %v.%s", o.Kind, err, remedy)
		}
	}
	if o.Kind == talos.KindDisk {
		c.disk(f, o, values)
	}
	at := o.At("meta")
	if len(o.Meta) == 0 {
		at = c.img.At("meta")
	}
	if err := talos.CheckMeta(o.Kind, values); err != nil {
		c.add(at, notPossible, "In the output %q: %v.", o.Kind, err)
	}
}

func (c *checker) disk(f talos.Facts, o Output, values []talos.MetaValue) {
	b := f.Bootloader(o.Kind)
	switch {
	case o.Bootloader != "":
		b = talos.Bootloader(o.Bootloader)
	case c.img.Overlay != nil: // which has a say in that, when it is built; with GRUB a disk is smallest
		b = talos.GRUB
	}
	if err := f.CheckBootloader(b); err != nil {
		return // said
	}
	if b == talos.DualBoot && slices.ContainsFunc(values, func(v talos.MetaValue) bool { return v.Key == talos.MetaDualBoot }) {
		at := c.img.At("meta")
		if len(o.Meta) > 0 {
			at = o.At("meta")
		}
		c.add(at, notPossible, "The META key %d of a disk with the boot loader %s is taken: it tells the first boot to drop the loader that was not used. Remove it.", talos.MetaDualBoot, b)
	}
	if known := o.Bootloader != "" || c.img.Overlay == nil; known && o.SectorSize != 0 {
		if err := f.CheckSectorSize(b, o.SectorSize); err != nil {
			c.add(o.At("sector_size"), notPossible, "In the output %q: %v.", o.Kind, err)
			return
		}
	}
	size := o.Size
	if size == 0 {
		size = f.DiskSize(b)
	}
	if least := f.LeastDiskSize(b); size < least {
		c.add(o.At("size"), "Bad size", "The partitions of Talos %s with the boot loader %s take %d MiB, and %d MiB are asked for: %s. Write size = \"%[3]dMiB\", or more.",
			f.Version, b, least/talos.MiB, size/talos.MiB, talos.DescribePartitions(f.Partitions(b)))
		return
	}
	if o.Compression == vmdisk.TarGzip && o.Format != vmdisk.Raw {
		c.add(o.At("compression"), notPossible, "tar.gz is the archive with a disk.raw that Google Cloud takes. Write format = \"raw\", or compression = \"gz\".")
		return
	}
	options := vmdisk.Options{Format: o.Format, Compression: o.Compression, SectorSize: o.SectorSize, ID: [16]byte{1}, Time: time.Unix(0, 0)}
	for _, wrong := range vmdisk.Refusals(options.Check(size)) {
		summary := notPossible
		if wrong.Field == "size" {
			summary = "Bad size"
		}
		c.add(o.At(wrong.Field), summary, "The format %s: %s.", o.Format, wrong.Problem)
	}
}
