package imager

import (
	"context"
	"fmt"
	"io"

	"github.com/talosmith/talosmith/pkg/fat"
	"github.com/talosmith/talosmith/pkg/gpt"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
)

// sectorSize of disks, in bytes.
const sectorSize = 512

// diskSize is the size that was asked for, else the default of the platform and version.
func (t *target) diskSize(out profile.Output) int64 {
	if out.Size != 0 {
		return out.Size
	}
	return t.Facts.DiskSize(talos.SDBoot)
}

func (t *target) diskRecipe(ctx context.Context, out profile.Output) (recipe, error) {
	u, err := t.ukiRecipe(ctx, talos.KindDisk)
	if err != nil {
		return nil, err
	}
	return recipe{"disk", gpt.Version, fat.Version, u, t.epoch.Unix(), t.diskSize(out), t.Facts.Partitions(talos.SDBoot)}, nil
}

// diskTable is the partition table of a disk: cmd/installer/pkg/install/install.go of siderolabs/talos.
func (t *target) diskTable(size int64) (gpt.Table, error) {
	table := gpt.Table{DiskGUID: talos.GUID(talos.DiskLabel)}
	var sizes []int64
	least := int64(2 * talos.MiB) // before the first partition, and behind the last
	for _, p := range t.Facts.Partitions(talos.SDBoot) {
		table.Partitions = append(table.Partitions, gpt.Partition{Name: p.Label, Type: p.Type, GUID: talos.GUID(p.Label), Attributes: p.Attributes})
		sizes = append(sizes, p.Size)
		least += max(p.Size, talos.MiB)
	}
	if size < least {
		return table, fmt.Errorf("size %d bytes is too small for the partitions of Talos %s: at least %d bytes (%d MiB)",
			size, t.Facts.Version, least, least/talos.MiB)
	}
	if size%sectorSize != 0 {
		return table, fmt.Errorf("size %d bytes is not a multiple of %d", size, sectorSize)
	}
	return table.Place(size, sizes)
}

// writeDisk writes a raw disk: the partition table, the ESP, META without values, the table's copy at the end.
func (t *target) writeDisk(ctx context.Context, w io.WriterAt, out profile.Output) (written, error) {
	size := t.diskSize(out)
	table, err := t.diskTable(size)
	if err != nil {
		return written{}, fmt.Errorf("image %s: %s: disk: %w", t.Name(), out.At("size"), err)
	}
	primary, err := table.Primary(size)
	if err != nil {
		return written{}, err
	}
	backup, backupAt, err := table.Backup(size)
	if err != nil {
		return written{}, err
	}
	e, err := t.esp(ctx, talos.KindDisk)
	if err != nil {
		return written{}, err
	}
	partition := table.Partitions[0] // EFI
	at, length := int64(partition.First)*sectorSize, int64(partition.Last-partition.First+1)*sectorSize
	image, err := e.plan(fat.Options{Size: length})
	if err != nil {
		return written{}, fmt.Errorf("image %s: disk: %w", t.Name(), err)
	}
	if _, err := w.WriteAt(primary, 0); err != nil {
		return written{}, err
	}
	if err := image.Write(offsetWriter(w, at)); err != nil {
		return written{}, err
	}
	_, err = w.WriteAt(backup, backupAt)
	return written{size: size}, err
}
