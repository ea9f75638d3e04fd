package imager

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"github.com/talosmith/talosmith/pkg/fat"
	"github.com/talosmith/talosmith/pkg/gpt"
	"github.com/talosmith/talosmith/pkg/grub"
	"github.com/talosmith/talosmith/pkg/iso9660"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

const (
	isoBlock           = 2048
	isoPartitionOffset = 16        // blocks; what a USB stick's first partition starts with
	isoPadding         = 300 << 10 // bytes that drives may read ahead of what is asked for, as xorriso's
	espSlack           = 2 << 20   // bytes in the ESP that are free
)

// Files that GRUB starts from, as on upstream's ISOs.
const (
	isoKernel   = "boot/vmlinuz"
	isoInitrd   = "boot/initramfs.xz"
	isoGRUBConf = "boot/grub/grub.cfg"
	isoElTorito = "boot/grub/i386-pc/eltorito.img"
)

// The table of a hybrid ISO, as xorriso writes it.
const (
	isoGPTEntries = 248
	isoFirstLBA   = 64       // behind 248 entries
	isoGPTBackup  = 32 << 10 // bytes: entries and header, in whole blocks
)

func (t *target) isoRecipe(ctx context.Context, out profile.Output) (recipe, error) {
	boot, err := t.bootRecipe(ctx, out)
	if err != nil {
		return nil, err
	}
	volume, set := t.Facts.ISOVolume()
	cache, err := t.imageCacheRecipe(ctx)
	if err != nil {
		return nil, err
	}
	return recipe{"iso", iso9660.Version, fat.Version, gpt.Version, boot, t.epoch.Unix(), volume, set, cache}, nil
}

// isoPlan is an ISO that is laid out: the ESP and, for BIOS, GRUB in front of it.
type isoPlan struct {
	*iso9660.Image
	boot []byte // system area and partition table at the start
	tail []byte // copy of a GPT
	at   int64  // where the tail begins
}

// writeISO writes an image that boots from CD-ROM and from a USB stick: siderolabs/talos pkg/imager/iso. All that the ISO's tree has
// is in the ESP already (the kernel and the initramfs as sections of the UKI, where there is one), so the tree points there: nothing is
// stored twice.
func (t *target) writeISO(ctx context.Context, w io.WriterAt, out profile.Output) (written, error) {
	if err := t.checkBootloader(out); err != nil {
		return written{}, err
	}
	p, err := t.planISO(ctx, out)
	if err != nil {
		return written{}, fmt.Errorf("image %s: iso: %w", t.Name(), err)
	}
	announce(w, p.Size())
	if _, err := w.WriteAt(p.boot, 0); err != nil {
		return written{}, err
	}
	if err := p.Write(w); err != nil {
		return written{}, err
	}
	_, err = w.WriteAt(p.tail, p.at)
	return written{size: p.Size()}, err
}

func (t *target) planISO(ctx context.Context, out profile.Output) (*isoPlan, error) {
	e, err := t.esp(ctx, out)
	switch {
	case err != nil:
		return nil, err
	case t.bootloader(out) != talos.SDBoot && t.Facts.GRUBBIOS != "":
		return t.planHybrid(ctx, out, e)
	}
	return t.planUEFI(ctx, e)
}

// isoOptions are what both kinds of ISO have: the ESP appended, and where the files of its tree lie in it.
func (t *target) isoOptions(e *esp) (iso9660.Options, *fat.Image, error) {
	volume, set := t.Facts.ISOVolume()
	o := iso9660.Options{
		VolumeID: volume, VolumeSetID: set, ModTime: t.epoch, PartitionOffset: isoPartitionOffset, Tail: isoPadding, Shared: map[string]iso9660.Shared{},
	}
	layout := fat.Options{Label: espLabel, FileAlign: isoBlock, SectorsPerCluster: clusterFor(e.size())}
	least, err := fat.MinSize(e.Tree, layout)
	if err != nil {
		return o, nil, err
	}
	layout.Size = least + espSlack
	partition, err := fat.Plan(e.Tree, layout)
	if err != nil {
		return o, nil, err
	}
	for n := range e.All() {
		if at, ok := partition.Offset(n.Path); ok {
			o.Shared[n.Path] = iso9660.Shared{Offset: at}
		}
	}
	o.Appended = []iso9660.Content{partition}
	o.Boot = []iso9660.BootEntry{{Platform: iso9660.UEFI}}
	return o, partition, nil
}

// clusterFor chooses the largest cluster, in sectors up to 8, with which a FAT32 of that size has enough of them (65525, and some
// for safety), as upstream's main branch does (pkg/makefs/vfat.go): the tables stay small.
func clusterFor(size int64) int {
	for n := 8; n > 1; n /= 2 {
		if size/sectorSize/int64(n) >= 65525+2048 {
			return n
		}
	}
	return 1
}

// isoTree is the tree of an ISO: what the ESP has, an image cache, and what GRUB reads.
func (t *target) isoTree(ctx context.Context, e *esp, more ...tree.Node) (*tree.Tree, error) {
	nodes, err := t.imageCacheNodes(ctx, isoImageCache)
	if err != nil {
		return nil, err
	}
	for n := range e.All() {
		nodes = append(nodes, n)
	}
	return tree.New(append(nodes, more...))
}

func (t *target) planUEFI(ctx context.Context, e *esp) (*isoPlan, error) {
	o, _, err := t.isoOptions(e)
	if err != nil {
		return nil, err
	}
	files, err := t.isoTree(ctx, e)
	if err != nil {
		return nil, err
	}
	img, err := iso9660.Plan(files, o)
	if err != nil {
		return nil, err
	}
	mbr, err := img.MBR()
	return &isoPlan{Image: img, boot: mbr[:], at: img.Size()}, err
}

func (t *target) planHybrid(ctx context.Context, out profile.Output, e *esp) (*isoPlan, error) {
	core, modules, err := t.grubCore(ctx, grub.ElTorito, isoPrefix)
	if err != nil {
		return nil, err
	}
	o, partition, err := t.isoOptions(e)
	if err != nil {
		return nil, err
	}
	o.Boot = append([]iso9660.BootEntry{{
		Platform: iso9660.BIOS, Path: isoElTorito, LoadSectors: 4, BootInfoTable: true, GRUB2BootInfo: true,
	}}, o.Boot...)
	o.Tail += isoGPTBackup

	var nodes []tree.Node
	add := func(path string, content tree.Blob) {
		nodes = append(nodes, tree.Node{Path: path, Mode: 0o644, ModTime: t.epoch, Content: content})
	}
	add(isoElTorito, tree.Bytes(core))
	if e.uki != nil {
		config, err := t.isoConfig(out)
		if err != nil {
			return nil, err
		}
		at, _ := partition.Offset(e.ukiPath)
		o.Shared[isoKernel] = iso9660.Shared{Offset: at + e.uki.Offset(e.places.linux)}
		o.Shared[isoInitrd] = iso9660.Shared{Offset: at + e.uki.Offset(e.places.initrd)}
		add(isoKernel, e.places.kernel)
		add(isoInitrd, e.places.initramfs)
		add(isoGRUBConf, config)
	}
	for _, dir := range []string{"boot", "boot/grub", "boot/grub/i386-pc"} {
		if _, ok := e.Lookup(dir); !ok {
			nodes = append(nodes, tree.Node{Path: dir, Mode: fs.ModeDir | 0o755, ModTime: t.epoch})
		}
	}
	files, err := t.isoTree(ctx, e, nodes...)
	if err != nil {
		return nil, err
	}
	img, err := iso9660.Plan(files, o)
	if err != nil {
		return nil, err
	}
	code, err := grub.BootHybrid(modules)
	if err != nil {
		return nil, fmt.Errorf("GRUB of %s: %w", t.Boot, err)
	}
	if code, err = img.HybridBootCode(code); err != nil {
		return nil, err
	}
	return hybridTable(img, partition.Size(), code)
}

// hybridTable gives an ISO a GPT as xorriso does: what is a partition on a USB stick is a file system on a CD.
func hybridTable(img *iso9660.Image, espSize int64, code []byte) (*isoPlan, error) {
	guid := func(name string) gpt.GUID { return talos.GUID("talos-iso " + name) }
	sectors, first := uint64(img.Size()/sectorSize), uint64(img.AppendedOffset(0)/sectorSize)
	gap := first + uint64(roundUp(espSize, talos.MiB)/sectorSize)
	const attributes = gpt.AttrReadOnly | gpt.AttrRequired
	table := gpt.Table{
		DiskGUID: guid("disk"), Entries: isoGPTEntries, FirstUsable: isoFirstLBA, LastUsable: sectors - isoFirstLBA, BootCode: code,
		Partitions: []gpt.Partition{
			{Name: "ISO9660", Type: gpt.TypeBasicData, GUID: guid("ISO9660"), Attributes: attributes, First: isoFirstLBA, Last: first - 1},
			{Name: "Appended2", Type: gpt.TypeESP, GUID: guid("Appended2"), First: first, Last: gap - 1},
			{Name: "Gap1", Type: gpt.TypeBasicData, GUID: guid("Gap1"), Attributes: attributes, First: gap, Last: gap + isoPadding/sectorSize - 1},
		},
	}
	primary, err := table.Primary(img.Size())
	if err != nil {
		return nil, err
	}
	backup, at, err := table.Backup(img.Size())
	return &isoPlan{Image: img, boot: primary, tail: backup, at: at}, err
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
