package imager

import (
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
)

// Description says what a build of a profile would make, as `mage plan` shows it. Its JSON form is documented in docs/plan.md and
// stable. What is not known before something is built or downloaded is null.
type Description struct {
	Talos  string             `json:"talos"`
	Images []ImageDescription `json:"images"`
}

// ImageDescription is an image for one architecture.
type ImageDescription struct {
	Name         string                 `json:"name"`
	Platform     string                 `json:"platform"`
	Architecture string                 `json:"architecture"`
	SecureBoot   bool                   `json:"secureboot"`
	Cmdline      string                 `json:"cmdline"` // without what an output adds
	Args         []ArgDescription       `json:"args"`    // the same, with who asked for each
	Removed      []ArgDescription       `json:"removed"`
	Extensions   []ExtensionDescription `json:"extensions"`
	Outputs      []OutputDescription    `json:"outputs"`
}

// ArgDescription is a kernel argument and where it comes from; of a removed one, what removed it.
type ArgDescription struct {
	Arg    string `json:"arg"`
	Origin string `json:"origin"`
	By     string `json:"by,omitempty"`
}

// ExtensionDescription is an extension of an image.
type ExtensionDescription struct {
	ID      string  `json:"id"` // as `talosctl get extensions` will show it
	Name    string  `json:"name"`
	Version *string `json:"version"`
	Digest  string  `json:"digest"`
	Size    *int64  `json:"size"` // of its compressed layers, in bytes
	From    string  `json:"from"`
}

// OutputDescription is a file that a build makes.
type OutputDescription struct {
	Kind        talos.Kind             `json:"kind"`
	File        string                 `json:"file"`
	Cmdline     string                 `json:"cmdline"`
	Adds        []ArgDescription       `json:"adds"` // arguments that other outputs of the image do not have
	Bootloader  *talos.Bootloader      `json:"bootloader"`
	Size        *int64                 `json:"size"` // bytes
	Format      *string                `json:"format"`
	Compression *string                `json:"compression"`
	Tag         *string                `json:"tag"`
	Partitions  []PartitionDescription `json:"partitions"`
}

// PartitionDescription is a partition of a disk. The size in bytes is null for what is left.
type PartitionDescription struct {
	Label string `json:"label"`
	Size  *int64 `json:"size"`
}

// Describe says what a build of a resolution would make. It does no I/O.
func Describe(r *Resolution, jobs []Job, lock *profile.Lock) (*Description, error) {
	d := &Description{Talos: r.Profile.Talos.Version.String(), Images: []ImageDescription{}}
	for i, t := range r.Targets {
		w := &target{targetSteps: targetSteps{Target: t}}
		image, err := w.describeImage(lock)
		if err != nil {
			return nil, err
		}
		for _, j := range jobs {
			if j.Target != i {
				continue
			}
			out, err := w.describeOutput(j.Output, image.Args)
			if err != nil {
				return nil, err
			}
			image.Outputs = append(image.Outputs, out)
		}
		d.Images = append(d.Images, image)
	}
	return d, nil
}

func (t *target) describeImage(lock *profile.Lock) (ImageDescription, error) {
	// That of a disk has nothing that an output adds: META values are in their partition.
	c, err := t.cmdline(profile.Output{Kind: talos.KindDisk})
	d := ImageDescription{
		Name: t.Image.Name, Platform: t.Facts.Platform.Name, Architecture: t.Arch, Cmdline: c.String(),
		Args: describeArgs(c.Args), Removed: []ArgDescription{}, Extensions: []ExtensionDescription{}, Outputs: []OutputDescription{},
	}
	for _, r := range c.Removed {
		d.Removed = append(d.Removed, ArgDescription{r.String(), r.Origin, r.By})
	}
	for i, e := range t.Target.Extensions {
		x := ExtensionDescription{ID: layerID(i), Name: e.Name, From: e.From}
		if pin, ok := lock.Find(lockName(e.ExtensionRef)); ok && pin.Version != "" {
			x.Version = &pin.Version
		}
		if e.Artifact != nil {
			x.Digest = e.Artifact.Index
			if !e.Artifact.Dir {
				size := int64(0)
				for _, l := range e.Artifact.Layers {
					size += l.Size
				}
				x.Size = &size
			}
		}
		d.Extensions = append(d.Extensions, x)
	}
	for i, v := range virtuals(t.Image) {
		d.Extensions = append(d.Extensions, ExtensionDescription{ID: layerID(len(t.Target.Extensions) + i), Name: v.Name, Version: &v.Version, From: "profile"})
	}
	return d, err
}

func describeArgs(args []talos.Arg) []ArgDescription {
	all := []ArgDescription{}
	for _, a := range args {
		all = append(all, ArgDescription{Arg: a.String(), Origin: a.Origin})
	}
	return all
}

func (t *target) describeOutput(out profile.Output, image []ArgDescription) (OutputDescription, error) {
	c, err := t.cmdline(out)
	d := OutputDescription{Kind: out.Kind, File: t.Image.FileName(out, t.Arch), Cmdline: c.String(), Adds: []ArgDescription{}, Partitions: []PartitionDescription{}}
	if err != nil {
		return d, err
	}
	have := map[ArgDescription]bool{}
	for _, a := range image {
		have[a] = true
	}
	for _, a := range describeArgs(c.Args) {
		if !have[a] {
			d.Adds = append(d.Adds, a)
		}
	}
	switch out.Kind {
	case talos.KindISO, talos.KindDisk:
		b := t.bootloader(out)
		d.Bootloader = &b
	case talos.KindInstaller:
		d.Tag = &out.Tag
	}
	if out.Kind != talos.KindDisk {
		return d, nil
	}
	d.Size = new(t.diskSize(out))
	d.Format = new(string(out.Format))
	d.Compression = new(string(out.Compression))
	for _, p := range t.Facts.Partitions(*d.Bootloader) {
		part := PartitionDescription{Label: p.Label}
		if p.Size != 0 {
			part.Size = new(p.Size)
		}
		d.Partitions = append(d.Partitions, part)
	}
	return d, nil
}
