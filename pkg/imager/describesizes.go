package imager

import (
	"slices"

	"github.com/talosmith/talosmith/pkg/preflight"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
)

// SizesDescription says how large what boots is, in bytes.
type SizesDescription struct {
	Initramfs *int64 `json:"initramfs"`
	UKI       *int64 `json:"uki"`
	Memory    *int64 `json:"memory"`    // that a machine needs to have, to unpack the initramfs
	Estimated bool   `json:"estimated"` // by the compressed layers of extensions that are not packed yet
}

// LimitDescription is a partition that what boots has to fit into, now or once it is installed.
type LimitDescription struct {
	Label     string `json:"label"`
	Holds     string `json:"holds"`
	Room      int64  `json:"room"` // bytes
	Need      *int64 `json:"need"`
	Percent   *int64 `json:"percent"`
	Estimated bool   `json:"estimated"`
}

// estimate is what is known of sizes, and guessed; nil where not even that.
func (t *describer) estimate() (s *preflight.Sizes, guessed bool) {
	if t.on.base == nil {
		return nil, false
	}
	s = &preflight.Sizes{Kernel: t.on.base.Kernel, Initramfs: t.on.base.Initramfs, SDBoot: t.on.base.SDBoot}
	if guessed = t.on.contents == nil; !guessed {
		s.Stub, s.Unpacked = t.on.contents.Stub, t.on.contents.Unpacked
	}
	if guessed = guessed || t.on.modulesDep == nil; t.on.modulesDep != nil {
		s.ModulesDep = *t.on.modulesDep
	}
	for i, x := range t.on.extensions {
		a := t.Target.Extensions[i].Artifact
		var cost preflight.Cost
		switch microcode := x.microcode(); {
		case x.layer != nil && x.firmware != nil && microcode != nil && x.info != nil:
			cost = preflight.Cost{Layer: *x.layer, Firmware: *x.firmware, Microcode: *microcode, Unpacked: x.info.FirmwareSize}
		case x.info != nil && a.Dir: // not compressed yet
			cost, guessed = preflight.Cost{Layer: x.info.Size}, true
		case !a.Dir:
			cost, guessed = preflight.Cost{Layer: layersSize(a)}, true
		default:
			return nil, false
		}
		s.Extensions = append(s.Extensions, cost)
	}
	return s, guessed
}

// weigh says how large everything is, and how full that makes partitions.
func (t *describer) weigh(d *ImageDescription, outputs []profile.Output) {
	d.Limits = []LimitDescription{}
	s, guessed := t.estimate()
	var kinds []preflight.Output
	for _, o := range outputs {
		if !t.anyBootloader(o) {
			kinds = append(kinds, preflight.Output{Kind: o.Kind, Bootloader: t.bootloader(o)})
		}
	}
	known := s
	if s == nil { // which partitions there are is known all the same
		known = &preflight.Sizes{Kernel: 1}
	}
	for _, f := range known.Fits(t.Facts, kinds) {
		l := LimitDescription{Label: f.Label, Holds: f.What, Room: f.Room}
		if s != nil {
			l.Need, l.Percent, l.Estimated = &f.Need, new(f.Percent()), guessed
		}
		d.Limits = append(d.Limits, l)
	}
	if s == nil {
		return
	}
	if slices.ContainsFunc(outputs, hasInitramfs) {
		d.Sizes = SizesDescription{Initramfs: new(s.FullInitramfs()), UKI: new(s.UKI()), Estimated: guessed}
		if s.Unpacked > 0 {
			d.Sizes.Memory = new(s.Memory())
		}
	}
	for i := range d.Outputs {
		o := &d.Outputs[i]
		switch o.Kind {
		case talos.KindKernel:
			o.Size = &s.Kernel
		case talos.KindInitramfs:
			o.Size, o.Estimated = d.Sizes.Initramfs, len(s.Extensions) > 0
		case talos.KindUKI:
			o.Size, o.Estimated = d.Sizes.UKI, true
		case talos.KindISO:
			o.Size, o.Estimated = t.isoSize(s, outputs[i]), true
		case talos.KindInstaller:
			o.Size, o.Estimated = t.installerSize(s), true
		}
	}
}

const (
	// isoRest is what an ISO has beside the kernel and the initramfs, in bytes: GRUB, free space, padding.
	isoRest = 4 << 20
	// leastISO has the smallest ESP: FAT32 wants 65,525 clusters.
	leastISO = 36 << 20
)

// isoSize is about how large an ISO becomes; nil where it holds a cache of images, which is known once it is there.
func (t *describer) isoSize(s *preflight.Sizes, o profile.Output) *int64 {
	switch {
	case t.ImageCache != nil && hasImageCache(o):
		return nil
	case t.bootloader(o) == talos.GRUB:
		return new(max(s.Kernel+s.FullInitramfs()+isoRest, leastISO))
	}
	return new(max(s.UKI()+s.SDBoot+isoRest, leastISO))
}

// installerSize is about how large an installer image becomes: the base's layers, and what boots; nil with an overlay's layer.
func (t *describer) installerSize(s *preflight.Sizes) *int64 {
	switch {
	case t.Installer == nil || t.Target.Overlay != nil:
		return nil
	case t.Facts.SDBootUEFI:
		return new(layersSize(withoutAssets(t.Installer)) + s.UKI() + s.SDBoot)
	}
	return new(layersSize(withoutAssets(t.Installer)) + s.Kernel + s.FullInitramfs())
}
