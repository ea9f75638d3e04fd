package imager

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/talosmith/talosmith/pkg/ext4"
	"github.com/talosmith/talosmith/pkg/fat"
	"github.com/talosmith/talosmith/pkg/gpt"
	"github.com/talosmith/talosmith/pkg/grub"
	"github.com/talosmith/talosmith/pkg/meta"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
	"github.com/talosmith/talosmith/pkg/vmdisk"
	"github.com/talosmith/talosmith/pkg/xfs"
)

// sectorSize of disks, in bytes, unless they ask for another one; and of what an ISO has of a disk.
const sectorSize = 512

// diskPrefix is where GRUB's core image on a disk finds grub.cfg: on BOOT, the third partition.
const diskPrefix = "(hd0,gpt3)/grub"

// Files on BOOT. Talos keeps two installations there; a new disk has the first.
const (
	bootSlot   = "A"
	bootKernel = "vmlinuz"
	bootInitrd = "initramfs.xz"
)

// diskSize is the size that was asked for, else the default of the platform and version. The default grows by an image cache.
func (t *target) diskSize(out profile.Output) int64 {
	if out.Size != 0 {
		return out.Size
	}
	return t.Facts.DiskSize(t.bootloader(out))
}

// sectorSizeOf is the length of a disk's sectors in bytes.
func sectorSizeOf(out profile.Output) int64 { return cmp.Or(out.SectorSize, sectorSize) }

// metaValues are what META holds: the profile's, and one by which Talos knows that it may drop the boot loader that was not used.
func (t *target) metaValues(out profile.Output) (values []meta.Value) {
	for _, v := range t.Image.MetaOf(out) {
		values = append(values, meta.Value(v))
	}
	if t.bootloader(out) == talos.DualBoot {
		values = append(values, meta.Value{Key: talos.MetaDualBoot, Value: string(talos.DualBoot)})
	}
	return values
}

func (t *target) diskRecipe(ctx context.Context, out profile.Output) (recipe, error) {
	boot, err := t.bootRecipe(ctx, out)
	if err != nil {
		return nil, err
	}
	cache, err := t.imageCacheRecipe(ctx)
	if err != nil {
		return nil, err
	}
	o, err := t.overlayRecipe(ctx, out)
	if err != nil {
		return nil, err
	}
	r := recipe{"disk", gpt.Version, fat.Version, xfs.Version, ext4.Version, boot, t.epoch.Unix(), t.diskSize(out), t.Facts.Partitions(t.bootloader(out)), meta.Version, t.metaValues(out),
		cache, o, vmdisk.Version, out.Format, out.Compression}
	if n := sectorSizeOf(out); n != sectorSize {
		r = append(r, n)
	}
	return r, nil
}

// partition is a place on a disk and what is written there; nil for nothing.
type partition struct {
	label    string
	at, size int64 // bytes
	write    func(io.WriterAt) error
}

// diskPlan is a disk that is laid out.
type diskPlan struct {
	table      gpt.Table
	size       int64
	partitions []partition
	raw        []partition // what an overlay wrote between them
}

// placeDisk places the partitions of a disk: cmd/installer/pkg/install/install.go of siderolabs/talos.
func (t *target) placeDisk(out profile.Output, more []talos.Partition) (*diskPlan, error) {
	sector := sectorSizeOf(out)
	p := &diskPlan{size: t.diskSize(out), table: gpt.Table{DiskGUID: talos.GUID(talos.DiskLabel), SectorSize: int(sector), Skip: t.skipSectors()}}
	b := t.bootloader(out)
	least := t.Facts.LeastDiskSize(b)
	for _, part := range more {
		least += part.Size
		if out.Size == 0 {
			p.size += part.Size
		}
	}
	var sizes []int64
	for _, part := range append(t.Facts.Partitions(b), more...) {
		p.table.Partitions = append(p.table.Partitions, gpt.Partition{Name: part.Label, Type: part.Type, GUID: talos.GUID(part.Label), Attributes: part.Attributes})
		sizes = append(sizes, part.Size)
	}
	if p.size < least { // without an image cache, the profile is refused
		return nil, fmt.Errorf("size of %s is too small: the partitions take %d MiB (%s); write size = \"%[2]dMiB\", or more, or none",
			size(p.size), least/talos.MiB, talos.DescribePartitions(append(t.Facts.Partitions(b), more...)))
	}
	if p.size%sector != 0 {
		return nil, fmt.Errorf("size of %d bytes is not a multiple of %d", p.size, sector)
	}
	var err error
	if p.table, err = p.table.Place(p.size, sizes); err != nil {
		return nil, err
	}
	for _, part := range p.table.Partitions {
		p.partitions = append(p.partitions, partition{
			label: part.Name, at: int64(part.First) * sector, size: int64(part.Last-part.First+1) * sector,
		})
	}
	return p, nil
}

// planDisk lays out everything, and refuses what does not fit, before anything is written.
func (t *target) planDisk(ctx context.Context, out profile.Output) (*diskPlan, error) {
	more, cache, err := t.imageCachePartition(ctx)
	if err != nil {
		return nil, err
	}
	p, err := t.placeDisk(out, more)
	if err != nil {
		return nil, err
	}
	for i := range p.partitions {
		part := &p.partitions[i]
		switch part.label {
		case talos.LabelEFI:
			part.write, err = t.efiPartition(ctx, out, part.size)
		case talos.LabelBIOS:
			part.write, err = t.biosPartition(ctx, &p.table, part.at)
		case talos.LabelBOOT:
			part.write, err = t.bootPartition(ctx, out, part.size)
		case talos.LabelMETA:
			part.write, err = t.metaPartition(out)
		case talos.LabelIMAGECACHE:
			var image *ext4.Image
			if image, err = ext4.Plan(cache, t.imageCacheOptions(part.size)); err == nil {
				part.write = image.Write
			}
		}
		if err != nil {
			return nil, fmt.Errorf("partition %s: %w", part.label, err)
		}
	}
	return p, t.addOverlay(ctx, out, p)
}

func (t *target) efiPartition(ctx context.Context, out profile.Output, length int64) (func(io.WriterAt) error, error) {
	e, err := t.esp(ctx, out)
	if err != nil {
		return nil, err
	}
	if e.Tree, err = t.overlayFiles(ctx, out, e.Tree); err != nil {
		return nil, err
	}
	image, err := e.plan(fat.Options{Size: length, SectorSize: sectorSizeOf(out), Label: espLabel})
	if err != nil {
		return nil, err
	}
	return image.Write, nil
}

// biosPartition makes GRUB's core image; what starts it goes before the partition table. On arm64 the partition is there, empty.
func (t *target) biosPartition(ctx context.Context, table *gpt.Table, at int64) (func(io.WriterAt) error, error) {
	if t.Facts.GRUBBIOS == "" {
		return nil, nil
	}
	core, files, err := t.grubCore(ctx, grub.Disk, diskPrefix)
	if err != nil {
		return nil, err
	}
	sector := uint64(at / int64(table.SectorSize))
	if core, err = grub.PlaceCore(core, sector); err == nil {
		table.BootCode, err = grub.BootCode(files, sector)
	}
	if err != nil {
		return nil, fmt.Errorf("GRUB of %s: %w", t.Boot, err)
	}
	return func(w io.WriterAt) error {
		_, err := w.WriteAt(core, 0)
		return err
	}, nil
}

// bootPartition lays out what GRUB starts, in XFS: Talos looks for that by name when it upgrades.
func (t *target) bootPartition(ctx context.Context, out profile.Output, length int64) (func(io.WriterAt) error, error) {
	kernel, err := t.asset(ctx, t.Facts.Kernel)
	if err != nil {
		return nil, err
	}
	initrd, err := t.initramfs(ctx)
	if err != nil {
		return nil, err
	}
	title := fmt.Sprintf("%s - %s %s", bootSlot, talos.Name, t.Facts.Tag)
	kernelPath, initrdPath := path.Join(bootSlot, bootKernel), path.Join(bootSlot, bootInitrd)
	entries, err := t.grubEntries(out, title, "/"+kernelPath, "/"+initrdPath)
	if err != nil {
		return nil, err
	}
	config, err := grub.DiskConfig(entries...)
	if err != nil {
		return nil, err
	}
	files, err := tree.New([]tree.Node{
		{Path: kernelPath, Mode: 0o644, Content: kernel},
		{Path: initrdPath, Mode: 0o644, Content: initrd},
		{Path: "grub", Mode: fs.ModeDir | 0o700},
		{Path: "grub/grub.cfg", Mode: 0o600, Content: tree.Bytes(config)},
	})
	if err != nil {
		return nil, err
	}
	if files, err = atTime(files, t.epoch); err != nil {
		return nil, err
	}
	o := xfs.Options{Size: length, Label: talos.LabelBOOT, UUID: talos.GUID(talos.LabelBOOT), SectorSize: sectorSizeOf(out)}
	image, err := xfs.Plan(files, o)
	if err != nil {
		return nil, fmt.Errorf("kernel of %s and initramfs of %s in %s: %w", size(kernel.Size()), size(initrd.Size()), size(length), err)
	}
	return image.Write, nil
}

func (t *target) metaPartition(out profile.Output) (func(io.WriterAt) error, error) {
	values := t.metaValues(out)
	if len(values) == 0 {
		return nil, nil
	}
	content, err := meta.Write(values)
	if err != nil {
		return nil, err
	}
	return func(w io.WriterAt) error {
		_, err := w.WriteAt(content, 0)
		return err
	}, nil
}

// writeDisk writes a disk in its format.
func (t *target) writeDisk(ctx context.Context, w io.WriterAt, out profile.Output) (written, error) {
	if err := t.checkBootloader(out); err != nil {
		return written{}, err
	}
	if err := t.Facts.CheckSectorSize(t.bootloader(out), sectorSizeOf(out)); err != nil {
		return written{}, fmt.Errorf("image %s: %s: %w", t.Name(), out.At("sector_size"), err)
	}
	p, err := t.planDisk(ctx, out)
	if err != nil {
		return written{}, fmt.Errorf("image %s: %s: disk: %w", t.Name(), out.At("size"), err)
	}
	r, err := t.diskRecipe(ctx, out)
	if err != nil {
		return written{}, err
	}
	id, err := r.id()
	if err != nil {
		return written{}, err
	}
	o := vmdisk.Options{Format: out.Format, Compression: out.Compression, SectorSize: out.SectorSize, ID: talos.GUID(id), Time: t.epoch}
	if out.Format == vmdisk.QCOW2 {
		o.ClusterSize = talos.QCOW2ClusterSize
	}
	if out.Format == vmdisk.Raw && out.Compression == vmdisk.None {
		announce(w, p.size)
	}
	n, err := vmdisk.Write(w, vmdisk.Disk{Size: p.size, Write: p.write}, o)
	return written{size: n}, err
}

// write writes the raw disk: the partition table, the partitions, the table's copy at the end.
func (p *diskPlan) write(w io.WriterAt) error {
	pieces, err := p.pieces()
	if err != nil {
		return err
	}
	for _, piece := range pieces {
		if piece.write == nil {
			continue
		}
		if err := piece.write(tree.Offset(w, piece.at)); err != nil {
			return fmt.Errorf("%s: %w", piece, err)
		}
	}
	return nil
}
