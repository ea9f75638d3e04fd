package imager

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/overlay"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// What an overlay's installer has done reaches every disk. The official imager leaves it out where systemd-boot boots alone, so that its
// disks lack the firmware; on a machine it runs the installer there, too.

// skipSectors is how many sectors the partition table's entries lie behind its header.
func (t *target) skipSectors() uint64 {
	if t.overlay == nil {
		return 0
	}
	return t.overlay.options.Offset
}

// overlayRecipe says what a disk has of its overlay.
func (t *target) overlayRecipe(ctx context.Context, out profile.Output) (recipe, error) {
	if t.overlay == nil {
		return nil, nil
	}
	step, _, err := t.installStep(ctx, out)
	if err != nil {
		return nil, err
	}
	r, err := t.o.Store.Resolve(ctx, step)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", t.Name(), err)
	}
	return recipe{"overlay", overlay.Version, t.skipSectors(), r.Digest}, nil
}

// overlayFiles adds what the overlay has for the EFI system partition of a disk. As on the official imager's disks, its files win.
func (t *target) overlayFiles(ctx context.Context, out profile.Output, files *tree.Tree) (*tree.Tree, error) {
	if t.overlay == nil {
		return files, nil
	}
	e, err := t.effects(ctx, out)
	if err != nil {
		return nil, err
	}
	var nodes []tree.Node
	for n := range e.ESP.All() {
		old, there := files.Lookup(n.Path)
		switch {
		case there && n.Mode.IsDir() && old.Mode.IsDir():
			continue
		case there && n.Mode.IsDir() != old.Mode.IsDir():
			return nil, fmt.Errorf("overlay %s: its installer makes %s a %s: it is in the way of one of Talos's", t.Target.Overlay.Name, n.Path, kindOf(n))
		case there:
			t.o.note("image %s: the overlay %s brings a %s of its own, which replaces Talos's", t.Name(), t.Target.Overlay.Name, n.Path)
		}
		nodes = append(nodes, n)
	}
	for n := range files.All() {
		if theirs, there := e.ESP.Lookup(n.Path); !there || theirs.Mode.IsDir() {
			nodes = append(nodes, n)
		}
	}
	merged, err := tree.New(nodes)
	if err != nil {
		return nil, err
	}
	return atTime(merged, t.epoch)
}

func kindOf(n tree.Node) string {
	if n.Mode.IsDir() {
		return "directory"
	}
	return "file"
}

// mbrCode is how much of the first sector a boot loader may have; behind it is the table of partitions.
const mbrCode = 446

// addOverlay adds what the overlay's installer wrote to the disk itself: boot loaders between the partition table and the first partition.
// What it wrote elsewhere would be lost on the official imager's disks, and is refused here.
func (t *target) addOverlay(ctx context.Context, out profile.Output, p *diskPlan) error {
	if t.overlay == nil {
		return nil
	}
	e, err := t.effects(ctx, out)
	if err != nil {
		return err
	}
	name := t.Target.Overlay.Name
	pieces, err := p.pieces()
	if err != nil {
		return err
	}
	for _, x := range e.Raw {
		at, content := x.At, x.Content
		if at == 0 {
			var err error
			if content, err = p.takeBootCode(content); err != nil {
				return fmt.Errorf("overlay %s: its installer writes to the first sector of the disk: %w", name, err)
			}
			if at = sectorSize; content.Size() == 0 {
				continue
			}
		}
		end := at + content.Size()
		for _, other := range pieces {
			if at < other.at+other.size && other.at < end {
				return fmt.Errorf("overlay %s: its installer writes bytes %d to %d of the disk: %s lies at bytes %d to %d; tell whoever made the overlay",
					name, at, end-1, other, other.at, other.at+other.size-1)
			}
		}
		p.raw = append(p.raw, partition{label: "what the overlay " + name + " wrote", at: at, size: content.Size(), write: func(w io.WriterAt) error {
			_, err := tree.CopyAt(w, 0, content)
			return err
		}})
	}
	return nil
}

// takeBootCode takes what an installer wrote to the first sector, and returns what follows that.
func (p *diskPlan) takeBootCode(content tree.Blob) (rest tree.Blob, err error) {
	r, ok := content.(io.ReaderAt)
	if !ok {
		return nil, fmt.Errorf("it can't be read")
	}
	b := make([]byte, sectorSize)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, err
	}
	switch {
	case strings.Trim(string(b[mbrCode:]), "\x00") != "":
		return nil, fmt.Errorf("bytes %d to %d are the table of partitions; tell whoever made the overlay", mbrCode, sectorSize-1)
	case p.table.BootCode != nil:
		return nil, fmt.Errorf("GRUB is there: write bootloader = %q", talos.SDBoot)
	}
	p.table.BootCode = b[:mbrCode]
	return tree.Section(r, sectorSize, content.Size()-sectorSize), nil
}

// String names a piece of the disk in messages.
func (p partition) String() string {
	if p.label == tableLabel || p.label == backupLabel {
		return p.label
	}
	return "the partition " + p.label
}

// Pieces of a disk that are no partitions.
const (
	tableLabel  = "the partition table"
	backupLabel = "the copy of the partition table"
)

// pieces are everything on the disk, in ascending order.
func (p *diskPlan) pieces() ([]partition, error) {
	primary, err := p.table.Primary(p.size)
	if err != nil {
		return nil, err
	}
	apart, apartAt, err := p.table.Apart(p.size)
	if err != nil {
		return nil, err
	}
	backup, backupAt, err := p.table.Backup(p.size)
	if err != nil {
		return nil, err
	}
	piece := func(label string, at int64, b []byte) partition {
		return partition{label, at, int64(len(b)), func(w io.WriterAt) error {
			_, err := w.WriteAt(b, 0)
			return err
		}}
	}
	all := slices.Concat([]partition{piece(tableLabel, 0, primary), piece(backupLabel, backupAt, backup)}, p.partitions, p.raw)
	if len(apart) > 0 {
		all = append(all, piece(tableLabel, apartAt, apart))
	}
	slices.SortFunc(all, func(a, b partition) int { return cmp.Compare(a.at, b.at) })
	return all, nil
}
