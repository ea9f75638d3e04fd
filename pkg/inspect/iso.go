package inspect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/talosmith/talosmith/pkg/gpt"
	"github.com/talosmith/talosmith/pkg/iso9660"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// openISO opens an ISO: its tree, then the EFI system partition, which has the same files again or, with GRUB, its own.
func (a *Artefact) openISO(ctx context.Context, c content) error {
	r, err := iso9660.NewReader(c)
	if err != nil {
		return err
	}
	a.Report.Kind = KindISO
	v := &Volume{ID: r.VolumeID, SetID: r.VolumeSetID}
	if !r.ModTime.IsZero() {
		v.Created = r.ModTime.UTC().Format(time.RFC3339)
	}
	a.Report.Volume = v
	if err := a.addVolume(ctx, "iso", r.Tree); err != nil {
		return err
	}
	for _, b := range r.Boot {
		v.BIOS = v.BIOS || b.Platform == iso9660.BIOS && b.Bootable
		v.UEFI = v.UEFI || b.Platform == iso9660.UEFI && b.Bootable
	}
	if err := a.isoPartitions(ctx, c); err != nil {
		return err
	}
	if err := a.elTorito(ctx, c, r); err != nil {
		return err
	}
	if v.BIOS {
		return a.addISOGRUB(ctx, c, r)
	}
	return nil
}

// isoPartitions adds the partitions of a hybrid image.
func (a *Artefact) isoPartitions(ctx context.Context, c content) error {
	if table, _, err := gpt.Read(c, c.Size()); err == nil {
		a.Report.Disk = &Disk{GUID: table.DiskGUID.String(), Size: c.Size(), SectorSize: table.SectorSize}
		for i, p := range table.Partitions {
			if p.Type.IsZero() {
				continue
			}
			if err := a.addPartition(ctx, c, newPartition(i+1, p, table.SectorSize)); err != nil {
				return err
			}
		}
		return nil
	}
	mbr, err := head(c, 512)
	if err != nil || len(mbr) < 512 || binary.LittleEndian.Uint16(mbr[510:]) != 0xaa55 {
		return err
	}
	for i := range 4 {
		e := mbr[446+16*i:]
		if e[4] == 0 {
			continue
		}
		p := Partition{
			Number: i + 1, Type: fmt.Sprintf("%#02x", e[4]),
			Offset: int64(binary.LittleEndian.Uint32(e[8:])) * 512, Size: int64(binary.LittleEndian.Uint32(e[12:])) * 512,
		}
		if err := a.addPartition(ctx, c, p); err != nil {
			return err
		}
	}
	return nil
}

// elTorito adds the ESP of the boot catalog, unless it is a partition that was added already.
func (a *Artefact) elTorito(ctx context.Context, c content, r *iso9660.Reader) error {
	for _, b := range r.Boot {
		known := func(p Partition) bool { return p.Offset == b.Offset && p.FileSystem == "vfat" }
		if b.Platform != iso9660.UEFI || slices.ContainsFunc(a.Report.Partitions, known) {
			continue
		}
		size := int64(b.Sectors) * 512
		if n, ok := fileIn(r.Tree, b.Path); ok && b.Path != "" {
			size = n.Content.Size()
		} else if size == 0 {
			size = c.Size() - b.Offset // up to the end
		}
		esp, err := espAt(c, b.Offset, size)
		if err != nil {
			a.problem("boot entry for UEFI: %v", err)
			continue
		}
		t, err := esp.Tree()
		if err != nil {
			a.problem("boot entry for UEFI: %v", err)
			continue
		}
		if err := a.addVolume(ctx, "esp", t); err != nil {
			return err
		}
	}
	return nil
}

// addISOGRUB adds GRUB for BIOS: its image is the boot entry, its version stands beside its modules.
func (a *Artefact) addISOGRUB(ctx context.Context, c content, r *iso9660.Reader) error {
	l := Loader{Name: string(talos.GRUB), Firmware: "bios"}
	for _, b := range r.Boot {
		if b.Platform == iso9660.BIOS && strings.HasPrefix(b.Path, "boot/grub/") {
			l.Path = "iso:/" + b.Path
		}
	}
	mbr, err := head(c, 512)
	if l.Path == "" && (err != nil || !grubInMBR(mbr)) {
		a.note("the boot entry for BIOS is not GRUB's")
		return nil
	}
	if n, ok := fileIn(r.Tree, "boot/grub/i386-pc/modinfo.sh"); ok {
		l.Version = grubVersion(n)
	}
	if n, ok := fileIn(r.Tree, strings.TrimPrefix(l.Path, "iso:/")); ok {
		if l.Content, err = a.file(ctx, l.Path, n.Content); err != nil {
			return err
		}
	}
	a.addLoaderEntry(l, nil)
	return nil
}

// grubVersion reads modinfo.sh, which grub-mkrescue may compress. It says: grub_package_version="2.12-9".
func grubVersion(n tree.Node) string {
	text, err := readText(n.Content)
	if err == nil && sniff([]byte(text)) == formXZ {
		text, err = unpackText(section(strings.NewReader(text), 0, int64(len(text))))
	}
	if err != nil {
		return ""
	}
	version := ""
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key == "grub_package_version" || key == "grub_version" && version == "" {
			version = strings.Trim(value, `"'`)
		}
	}
	return version
}

func unpackText(c content) (string, error) {
	r, err := decompress(c, formXZ)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(r, maxText))
	return string(b), errors.Join(err, r.Close())
}
