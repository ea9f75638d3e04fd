package inspect

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/talosmith/talosmith/pkg/fat"
	"github.com/talosmith/talosmith/pkg/gpt"
	"github.com/talosmith/talosmith/pkg/meta"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
	"github.com/talosmith/talosmith/pkg/xfs"
)

// openDisk opens a disk with a GUID partition table.
func (a *Artefact) openDisk(ctx context.Context, c content) error {
	table, notes, err := gpt.Read(c, c.Size())
	if err != nil {
		return err
	}
	a.Report.Kind, a.disk = KindDisk, c
	for _, n := range notes {
		a.note("partition table: %s", n)
	}
	a.Report.Disk = &Disk{GUID: table.DiskGUID.String(), Size: c.Size(), SectorSize: table.SectorSize}
	mbr, err := head(c, usualSector)
	if err != nil {
		return err
	}
	if code := mbr[:bootCode]; !bytes.Equal(code, zeroPage[:bootCode]) {
		a.Report.Disk.BootCode = fmt.Sprintf("%x", sha256.Sum256(code))
	}
	for i, p := range table.Partitions {
		if p.Type.IsZero() {
			continue
		}
		part := newPartition(i+1, p, table.SectorSize)
		if err := a.addPartition(ctx, c, part); err != nil {
			return err
		}
		if p.Type == gpt.TypeBIOSBoot && grubInMBR(mbr) && table.SectorSize != usualSector {
			a.note("GRUB for BIOS is on it, but no BIOS reads a disk with sectors of %d bytes", table.SectorSize)
		} else if p.Type == gpt.TypeBIOSBoot && grubInMBR(mbr) {
			if err := a.addDiskGRUB(ctx, c, part); err != nil {
				return err
			}
		}
	}
	return nil
}

// Disk is the content of a disk, out of all that it is packed in, as a machine sees it; nil for other kinds. It can be read until
// Close, and is also an [io.ReaderAt].
func (a *Artefact) Disk() tree.Blob {
	if a.disk == nil {
		return nil // no typed nil in the interface
	}
	return a.disk
}

// usualSector is the length in bytes of the sectors of most disks, and of those that a BIOS reads.
const usualSector = 512

// bootCode is the number of bytes before a disk's signature and partition table.
const bootCode = 440

// maxCore is the most that is read of a partition for GRUB's core image, in bytes.
const maxCore = 16 << 20

// addDiskGRUB adds GRUB for BIOS: its first sector is the disk's, all else a partition's.
func (a *Artefact) addDiskGRUB(ctx context.Context, c content, p Partition) error {
	core, err := a.file(ctx, volumeName(p), section(c, p.Offset, min(p.Size, maxCore)))
	if err != nil {
		return err
	}
	a.addLoaderEntry(Loader{Name: string(talos.GRUB), Firmware: "bios", Content: core}, nil)
	return nil
}

func newPartition(number int, p gpt.Partition, sector int) Partition {
	return Partition{
		Number: number, Label: p.Name, Type: p.Type.String(), GUID: p.GUID.String(), Attributes: p.Attributes,
		Offset: int64(p.First) * int64(sector), Size: int64(p.Last-p.First+1) * int64(sector),
	}
}

// addPartition adds a partition and looks into those that boot. Of the others no more than the first sectors is read.
func (a *Artefact) addPartition(ctx context.Context, c content, p Partition) error {
	if p.Offset < 0 || p.Size <= 0 || p.Offset > c.Size()-p.Size {
		a.problem("partition %d (%s): it ends behind the disk", p.Number, p.Label)
		a.Report.Partitions = append(a.Report.Partitions, p)
		return nil
	}
	part := section(c, p.Offset, p.Size)
	err := a.readPartition(ctx, part, &p)
	a.Report.Partitions = append(a.Report.Partitions, p)
	if errors.Is(err, errLimit) {
		return err
	}
	if err != nil {
		a.problem("partition %d (%s): %v", p.Number, p.Label, err)
	}
	return context.Cause(ctx)
}

func (a *Artefact) readPartition(ctx context.Context, part content, p *Partition) error {
	b, err := head(part, sniffSize)
	if err != nil {
		return err
	}
	p.FileSystem = fileSystem(b)
	switch p.FileSystem {
	case "vfat":
		r, err := fat.NewReader(part)
		if err != nil {
			return err
		}
		p.FSLabel = r.Label
		t, err := r.Tree()
		if err != nil {
			return err
		}
		return a.addVolume(ctx, volumeName(*p), t)
	case "xfs":
		if p.Label != talos.LabelBOOT {
			return nil // the data of a node that ran
		}
		r, err := xfs.NewReader(part)
		if err != nil {
			return err
		}
		p.FSLabel = r.Label
		t, err := r.Tree()
		if err != nil {
			return err
		}
		return a.addVolume(ctx, volumeName(*p), t)
	case "ext4":
		p.FSLabel = strings.TrimRight(string(b[1024+120:1024+136]), "\x00")
	case "meta":
		return a.addMeta(part)
	}
	return nil
}

// volumeName is what a partition's files are told by: the same for ISOs and disks of any maker.
func volumeName(p Partition) string {
	switch {
	case p.Type == gpt.TypeESP.String() || p.Type == mbrESP:
		return "esp"
	case p.Label == "":
		return fmt.Sprintf("partition%d", p.Number)
	}
	return strings.ToLower(printable(p.Label))
}

const mbrESP = "0xef"

// fileSystem tells what begins with these bytes.
func fileSystem(b []byte) string {
	has := func(at int, magic string) bool { return len(b) >= at && bytes.HasPrefix(b[at:], []byte(magic)) }
	switch {
	case has(0, "XFSB"):
		return "xfs"
	case has(510, "\x55\xaa") && (has(82, "FAT32") || has(54, "FAT")):
		return "vfat"
	case has(1024+56, "\x53\xef") && len(b) >= 2048:
		return "ext4"
	case has(0, "\x5a\x4b\x3c\x2d"):
		return "meta"
	case has(0, "hsqs"):
		return "squashfs"
	case has(32769, "CD001"):
		return "iso9660"
	}
	return ""
}

func (a *Artefact) addMeta(part content) error {
	values, err := meta.Read(part)
	if err != nil {
		return err
	}
	for _, v := range values {
		a.Report.Meta = append(a.Report.Meta, MetaValue{v.Key, v.Value, "partition"})
	}
	a.addPart("META.img", section(part, 0, min(part.Size(), meta.Size)))
	return nil
}

// espAt opens the FAT file system at a place of an ISO, if there is one.
func espAt(c content, off, size int64) (*fat.Reader, error) {
	if off < 0 || size <= 0 || off > c.Size()-size {
		return nil, io.ErrUnexpectedEOF
	}
	return fat.NewReader(section(c, off, size))
}
