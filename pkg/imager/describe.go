package imager

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/talos"
)

// Description says what a build of a profile would make, as `mage plan` shows it. Its JSON form is documented in docs/plan.md and
// stable. What is not known before something is built or downloaded is null.
type Description struct {
	Talos  string             `json:"talos"`
	Images []ImageDescription `json:"images"`
	Work   *WorkDescription   `json:"work"` // on this machine; nil: nobody looked
}

// WorkDescription counts steps, equal ones once.
type WorkDescription struct {
	Stored   int    `json:"stored"`
	ToDo     int    `json:"todo"`
	Shared   int    `json:"shared"`   // in the profile's store
	Unknown  int    `json:"unknown"`  // an image that they depend on could not be looked up
	Download *int64 `json:"download"` // bytes, whatever is needed twice once
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
	Meta         []MetaDescription      `json:"meta"`
	Extensions   []ExtensionDescription `json:"extensions"`
	Overlay      *OverlayDescription    `json:"overlay"`
	Outputs      []OutputDescription    `json:"outputs"`
	Bases        []BaseDescription      `json:"bases"` // images of Talos itself
	Sizes        SizesDescription       `json:"sizes"`
	Limits       []LimitDescription     `json:"limits"`
	Steps        []StepDescription      `json:"steps"` // each behind what it depends on
}

// ArgDescription is a kernel argument and where it comes from; of a removed one, what removed it.
type ArgDescription struct {
	Arg     string       `json:"arg"`
	Origin  string       `json:"origin"`
	By      string       `json:"by,omitempty"`
	Reaches []talos.Kind `json:"reaches,omitempty"` // the image's outputs that have it in a kernel command line
	Misses  []talos.Kind `json:"misses,omitempty"`  // and those that have not
}

// MetaDescription is a META value, which is in a disk's partition, and in the kernel command line of other outputs. It can be a secret: its
// hash stands for it.
type MetaDescription struct {
	Key     uint8        `json:"key"`
	Name    *string      `json:"name"` // of a well-known key
	Size    int          `json:"size"` // bytes
	SHA256  string       `json:"sha256"`
	Reaches []talos.Kind `json:"reaches,omitempty"` // the image's outputs that carry it
	Misses  []talos.Kind `json:"misses,omitempty"`  // and those that don't
}

// ExtensionDescription is an extension of an image.
type ExtensionDescription struct {
	ID      string  `json:"id"` // as `talosctl get extensions` will show it
	Name    string  `json:"name"`
	Version *string `json:"version"`
	Tier    *string `json:"tier"` // "core", "extra", "contrib"; of an official one
	Digest  string  `json:"digest"`
	Size    *int64  `json:"size"` // of its compressed layers, in bytes
	From    string  `json:"from"`
	// What it becomes, in bytes; and how many kernel modules it has. 0 is none.
	Layer     *int64 `json:"layer"`
	Firmware  *int64 `json:"firmware"`
	Microcode *int64 `json:"microcode"`
	Modules   *int   `json:"modules"`
}

// OutputDescription is a file that a build makes.
type OutputDescription struct {
	Kind        talos.Kind             `json:"kind"`
	File        string                 `json:"file"`
	Cmdline     *string                `json:"cmdline"` // nil: it carries none
	Note        *string                `json:"note"`    // on that
	Adds        []ArgDescription       `json:"adds"`    // arguments that other outputs of the image do not have
	Bootloader  *talos.Bootloader      `json:"bootloader"`
	Size        *int64                 `json:"size"` // bytes
	Estimated   bool                   `json:"estimated"`
	SectorSize  *int64                 `json:"sector_size"` // bytes
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

// BaseDescription is an image that the artefacts are made of, one of Talos itself.
type BaseDescription struct {
	Name      string  `json:"name"` // as a lock has it; "base files" for those of the profile
	Reference string  `json:"reference"`
	Digest    *string `json:"digest"`
	Size      *int64  `json:"size"`     // of its compressed layers, in bytes
	Download  *int64  `json:"download"` // what of that is not there, and needed
}

// StepDescription is a step of the build.
type StepDescription struct {
	Name     string  `json:"name"`
	Of       string  `json:"of"`
	State    *string `json:"state"`    // "stored", "todo", "shared"
	Size     *int64  `json:"size"`     // of its output, in bytes
	Download *int64  `json:"download"` // bytes
}

// Describe says what a build of a resolution would make, on a machine as it looks there; nil leaves that out. It does no I/O.
func Describe(r *Resolution, jobs []Job, lock *profile.Lock, on *Outlook) (*Description, error) {
	d := &Description{Talos: r.Profile.Talos.Version.String(), Images: []ImageDescription{}}
	if on != nil {
		d.Work = &on.WorkDescription
	}
	for i, t := range r.Targets {
		v := targetOutlook{extensions: make([]extensionOutlook, len(t.Extensions))}
		if on != nil {
			v = on.targets[i]
		}
		w := &describer{target{targetSteps: targetSteps{Target: t}, overlay: v.overlay}, r, lock, v}
		image, err := w.image(outputsOf(jobs, i))
		if err != nil {
			return nil, err
		}
		d.Images = append(d.Images, image)
	}
	return d, nil
}

// describer describes one target.
type describer struct {
	target
	r    *Resolution
	lock *profile.Lock
	on   targetOutlook
}

func (t *describer) image(outputs []profile.Output) (ImageDescription, error) {
	// That of a disk has nothing that an output adds: META values are in their partition.
	c, err := t.cmdline(profile.Output{Kind: talos.KindDisk})
	d := ImageDescription{
		Name: t.Image.Name, Platform: t.Facts.Platform.Name, Architecture: t.Arch, Cmdline: c.String(),
		Args: describeArgs(c.Args), Removed: []ArgDescription{}, Extensions: []ExtensionDescription{}, Outputs: []OutputDescription{},
		Meta: t.meta(outputs), Bases: t.bases(outputs), Steps: append([]StepDescription{}, t.on.steps...),
	}
	if err != nil {
		return d, err
	}
	for _, r := range c.Removed {
		d.Removed = append(d.Removed, ArgDescription{Arg: r.String(), Origin: r.Origin, By: r.By})
	}
	for i := range t.Target.Extensions {
		d.Extensions = append(d.Extensions, t.extension(i))
	}
	d.Overlay = t.describeOverlay()
	for i, v := range t.virtuals() {
		d.Extensions = append(d.Extensions, ExtensionDescription{ID: layerID(len(t.Target.Extensions) + i), Name: v.Name, Version: &v.Version, From: "profile"})
	}
	for _, o := range outputs {
		out, err := t.output(o, d.Args)
		if err != nil {
			return d, err
		}
		d.Outputs = append(d.Outputs, out)
	}
	t.weigh(&d, outputs)
	return d, t.reach(d.Args, outputs)
}

func describeArgs(args []talos.Arg) []ArgDescription {
	all := []ArgDescription{}
	for _, a := range args {
		all = append(all, ArgDescription{Arg: a.String(), Origin: a.Origin})
	}
	return all
}

// reach says of each argument which outputs have it.
func (t *describer) reach(args []ArgDescription, outputs []profile.Output) error {
	seen := map[talos.Kind]bool{}
	for _, o := range outputs {
		if seen[o.Kind] {
			continue
		}
		seen[o.Kind] = true
		c, err := t.cmdline(o)
		if err != nil {
			return err
		}
		has := describeArgs(c.Args)
		if carries, _ := t.Facts.CarriesCmdline(o.Kind); !carries {
			has = nil
		}
		for i, a := range args {
			to := &args[i].Misses
			if slices.ContainsFunc(has, func(h ArgDescription) bool { return h.Arg == a.Arg && h.Origin == a.Origin }) {
				to = &args[i].Reaches
			}
			*to = append(*to, o.Kind)
		}
	}
	return nil
}

// meta says of each META value which outputs carry it.
func (t *describer) meta(outputs []profile.Output) []MetaDescription {
	all := []MetaDescription{}
	add := func(list []talos.Kind, k talos.Kind) []talos.Kind {
		if slices.Contains(list, k) {
			return list
		}
		return append(list, k)
	}
	for _, o := range outputs {
		for _, v := range t.Image.MetaOf(o) {
			sum := sha256.Sum256([]byte(v.Value))
			one := MetaDescription{Key: v.Key, Size: len(v.Value), SHA256: hex.EncodeToString(sum[:])}
			if name := talos.MetaName(v.Key); name != "" {
				one.Name = &name
			}
			i := slices.IndexFunc(all, func(d MetaDescription) bool { return d.Key == one.Key && d.SHA256 == one.SHA256 })
			if i < 0 {
				i, all = len(all), append(all, one)
			}
			all[i].Reaches = add(all[i].Reaches, o.Kind)
		}
	}
	for i := range all {
		for _, o := range outputs {
			if !slices.Contains(all[i].Reaches, o.Kind) {
				all[i].Misses = add(all[i].Misses, o.Kind)
			}
		}
	}
	return all
}

func (t *describer) extension(i int) ExtensionDescription {
	e, on := t.Target.Extensions[i], t.on.extensions[i]
	d := ExtensionDescription{
		ID: layerID(i), Name: e.Name, From: e.From, Version: t.version(e, on.info),
		Layer: on.layer, Firmware: on.firmware, Microcode: on.microcode(),
	}
	tier := e.Entry.Tier
	if on.info != nil {
		tier = talos.Tier(on.info.Manifest.Metadata.Description)
		if !on.info.Modules {
			d.Modules = new(0)
		} else if on.scan != nil {
			d.Modules = new(len(on.scan.Modules))
		}
	}
	if tier != "" {
		d.Tier = &tier
	}
	if a := e.Artifact; a != nil {
		d.Digest = a.Index
		if !a.Dir {
			d.Size = new(layersSize(a))
		}
	}
	return d
}

// version is that of an extension's manifest, as far as it is known: from what was unpacked, the lock, the profile or the catalogue.
func (t *describer) version(e Extension, info *extensionInfo) *string {
	version := ""
	pin, pinned := t.lock.Find(lockName(e.ExtensionRef))
	_, digest, _ := pin.For(t.Arch)
	switch {
	case info != nil:
		version = info.Manifest.Metadata.Version
	case e.Artifact != nil && pinned && digest == e.Artifact.Index:
		version = pin.Version
	case e.Artifact != nil && e.Entry.Digest == e.Artifact.Index:
		version = e.Entry.Tag
	case e.Declared != nil && e.Declared.For(t.Arch).Authored():
		version = e.Declared.For(t.Arch).Version
	}
	if version == "" {
		return nil
	}
	return &version
}

func layersSize(a *source.Artifact) (size int64) {
	for _, l := range a.Layers {
		size += l.Size
	}
	return size
}

// bases are what of Talos itself the outputs are made of: images, and files of the profile.
func (t *describer) bases(outputs []profile.Output) []BaseDescription {
	all := []BaseDescription{}
	if f := t.BaseFiles; f != nil {
		all = append(all, BaseDescription{Name: "base files", Reference: f.Ref.String(), Digest: &f.Index, Download: new(int64(0))})
	}
	if t.r.Imager != nil || t.needsImager(t.r.Profile, outputs) {
		all = append(all, t.baseImage(talos.ImagerImage, talos.AMD64, t.r.Imager, t.on.imager))
	}
	if slices.ContainsFunc(outputs, func(o profile.Output) bool { return o.Kind == talos.KindInstaller }) {
		all = append(all, t.baseImage(t.Facts.InstallerBase, t.Arch, t.Installer, t.on.installer))
	}
	return all
}

// baseImage describes one that was looked up, or what the lock says of it.
func (t *describer) baseImage(name, arch string, a *source.Artifact, download *int64) BaseDescription {
	d := BaseDescription{Name: talosName(name), Reference: t.r.Profile.BaseImage(name), Download: download}
	if a != nil {
		d.Digest, d.Size = &a.Index, new(layersSize(a))
		return d
	}
	pin, _ := t.lock.Find(d.Name)
	if reference, digest, ok := pin.For(arch); ok && reference == d.Reference {
		d.Digest, d.Size = &digest, new(pin.Architectures[arch].Size)
	}
	return d
}

func (t *describer) output(out profile.Output, image []ArgDescription) (OutputDescription, error) {
	d := OutputDescription{Kind: out.Kind, File: t.Image.FileName(out, t.Arch), Adds: []ArgDescription{}, Partitions: []PartitionDescription{}}
	c, err := t.cmdline(out)
	if err != nil {
		return d, err
	}
	carries, why := t.Facts.CarriesCmdline(out.Kind)
	if why != "" {
		d.Note = &why
	}
	if carries {
		d.Cmdline = new(c.String())
		for _, a := range describeArgs(c.Args) {
			if !slices.ContainsFunc(image, func(have ArgDescription) bool { return have.Arg == a.Arg && have.Origin == a.Origin }) {
				d.Adds = append(d.Adds, a)
			}
		}
	}
	switch out.Kind {
	case talos.KindISO, talos.KindDisk:
		b := t.bootloader(out)
		d.Bootloader = &b
	case talos.KindInstaller:
		d.Tag = &out.Tag
	case talos.KindCmdline:
		d.Size = new(int64(len(c.String())))
	}
	if out.Kind != talos.KindDisk {
		return d, nil
	}
	if t.anyBootloader(out) {
		d.Bootloader = nil
	}
	if t.Image.ImageCache == "" && d.Bootloader != nil || out.Size != 0 { // else it grows by the cache, or an overlay has a say
		d.Size = new(t.diskSize(out))
	}
	d.SectorSize = new(sectorSizeOf(out))
	d.Format = new(string(out.Format))
	d.Compression = new(string(out.Compression))
	if d.Bootloader == nil {
		return d, nil
	}
	for _, p := range t.Facts.Partitions(*d.Bootloader) {
		part := PartitionDescription{Label: p.Label}
		if p.Size != 0 {
			part.Size = new(p.Size)
		}
		d.Partitions = append(d.Partitions, part)
	}
	if t.Image.ImageCache != "" {
		d.Partitions = append(d.Partitions, PartitionDescription{Label: talos.LabelIMAGECACHE})
	}
	return d, nil
}
