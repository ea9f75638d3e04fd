package imager

import (
	"context"
	"fmt"
	"io"

	"github.com/talosmith/talosmith/pkg/fat"
	"github.com/talosmith/talosmith/pkg/iso9660"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
)

const (
	isoBlock           = 2048
	isoPartitionOffset = 16       // blocks; what a USB stick's first partition starts with
	espSlack           = 10 << 20 // bytes beyond the files, as upstream's ESP on an ISO
)

func (t *target) isoRecipe(ctx context.Context, _ profile.Output) (recipe, error) {
	u, err := t.ukiRecipe(ctx, talos.KindISO)
	if err != nil {
		return nil, err
	}
	volume, set := t.Facts.ISOVolume()
	return recipe{"iso", iso9660.Version, fat.Version, u, t.epoch.Unix(), volume, set}, nil
}

// writeISO writes an image that UEFI boots from CD-ROM and from a USB stick: siderolabs/talos pkg/imager/iso/uefi.go. The files
// of the ESP are in the ISO's tree, too, where their bytes are those in the ESP.
func (t *target) writeISO(ctx context.Context, w io.WriterAt, _ profile.Output) (written, error) {
	e, err := t.esp(ctx, talos.KindISO)
	if err != nil {
		return written{}, err
	}
	img, err := t.planISO(e)
	if err != nil {
		return written{}, fmt.Errorf("image %s: iso: %w", t.Name(), err)
	}
	mbr, err := img.MBR()
	if err != nil {
		return written{}, err
	}
	if _, err := w.WriteAt(mbr[:], 0); err != nil {
		return written{}, err
	}
	return written{size: img.Size()}, img.Write(w)
}

func (t *target) planISO(e *esp) (*iso9660.Image, error) {
	content := int64(0)
	for n := range e.All() {
		content += roundUp(n.Size(), 1<<20)
	}
	partition, err := e.plan(fat.Options{Size: content + espSlack, FileAlign: isoBlock})
	if err != nil {
		return nil, err
	}
	shared := map[string]iso9660.Shared{}
	for n := range e.All() {
		if at, ok := partition.Offset(n.Path); ok {
			shared[n.Path] = iso9660.Shared{Offset: at}
		}
	}
	volume, set := t.Facts.ISOVolume()
	return iso9660.Plan(e.Tree, iso9660.Options{
		VolumeID: volume, VolumeSetID: set, ModTime: t.epoch,
		Boot:            []iso9660.BootEntry{{Platform: iso9660.UEFI}},
		Appended:        []iso9660.Content{partition},
		Shared:          shared,
		PartitionOffset: isoPartitionOffset,
	})
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
