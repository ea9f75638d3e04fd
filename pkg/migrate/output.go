package migrate

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/vmdisk"
)

// enrollDefault is what the imager does where nothing is said.
const enrollDefault = "if-safe"

// imagerOutput is the one artefact that the imager makes.
func (m *image) imagerOutput(in *imagerFile, kind talos.Kind) {
	b := block{name: "output", labels: []string{string(kind)}}
	o := in.Output
	compression := strings.TrimPrefix(strings.ToLower(o.OutFormat), ".")
	switch compression {
	case "raw":
		compression = string(vmdisk.None)
	case "unknown":
		compression = ""
	}
	loader, enroll := o.ISOOptions.Bootloader, o.ISOOptions.SDBootEnrollKeys
	if kind == talos.KindDisk {
		loader, enroll = o.ImageOptions.Bootloader, o.ImageOptions.SDBootEnrollKeys
	}
	if kind != talos.KindDisk && o.ImageOptions != (imageOptions{}) {
		b.notes = append(b.notes, "imageOptions are for disks, and are left out.")
	}
	if kind != talos.KindISO && o.ISOOptions != (isoOptions{}) {
		b.notes = append(b.notes, "isoOptions are for ISOs, and are left out.")
	}
	if kind == talos.KindDisk || kind == talos.KindISO {
		m.bootloader(&b, strings.ToLower(loader))
	}
	if enroll = strings.ToLower(enroll); enroll != "" && enroll != enrollDefault {
		b.notes = append(b.notes, none("sdBootEnrollKeys "+quoted(enroll), "Keys for SecureBoot are not enrolled here."))
	}
	if kind == talos.KindDisk {
		m.disk(&b, in, compression)
	} else if compression != "" && compression != string(vmdisk.None) {
		b.notes = append(b.notes, none("outFormat "+quoted(o.OutFormat), "Only disks are compressed here."))
	}
	m.output = append(m.output, b)
}

// disk says what kind of file a disk is, and how large.
func (m *image) disk(b *block, in *imagerFile, compression string) {
	o := in.Output.ImageOptions
	own := m.facts.Platform.Disk
	format := cmp.Or(strings.ToLower(o.DiskFormat), own.Format)
	if format == "unknown" {
		format = own.Format
	}
	if wrong := profile.Refusal("output", "format", format); wrong != "" {
		b.notes = append(b.notes, none("diskFormat "+quoted(o.DiskFormat), "%s", wrong))
		format = own.Format
	}
	b.set("format", cty.StringVal(format))
	if compression == "" && in.BaseProfileName != "" {
		compression = own.Compression
	}
	compression = cmp.Or(compression, string(vmdisk.None))
	wrong := profile.Refusal("output", "compression", compression)
	if wrong == "" && compression == string(vmdisk.TarGzip) && format != string(vmdisk.Raw) {
		wrong = "Archives of disks hold raw ones."
	}
	if wrong != "" {
		b.notes = append(b.notes, none("outFormat "+quoted(in.Output.OutFormat), "%s", wrong))
		compression = string(vmdisk.None)
	}
	b.set("compression", cty.StringVal(compression))
	m.diskSize(b, o.DiskSize, vmdisk.Format(format))
	if s := o.DiskSectorSize; s != 0 && s != 512 {
		m.sectorSize(b, s, fmt.Sprintf("diskSectorSize %d", s), vmdisk.Format(format), in.Overlay != nil)
	}
	usual := map[string]string{"qcow2": "cluster_size=8k", "vhd": "subformat=fixed,force_size"}
	if s := o.DiskFormatOptions; s != "" && s != usual[format] {
		b.notes = append(b.notes, none("diskFormatOptions "+quoted(s), "A format is written in one way here."))
	}
}

// diskSize is what the imager ends at: it adds to the size that is given what BOOT has grown by, and what dual boot needs.
func (m *image) diskSize(b *block, given int64, format vmdisk.Format) {
	f := m.facts
	loader := cmp.Or(b.bootloader(), f.Bootloader(talos.KindDisk))
	usual := f.DiskSize(loader)
	added := usual - f.Platform.Disk.Size
	size := given + added
	switch {
	case given == 0 || size == usual:
		return
	case given == usual:
		b.notes = append(b.notes, fmt.Sprintf("diskSize %d is what the imager makes of the platform's size; so does this profile.", given))
		return
	}
	err := vmdisk.Options{Format: format, ID: [16]byte{1}, Time: time.Unix(0, 0)}.Check(size)
	if least := f.LeastDiskSize(loader); err == nil && (size < least || size > profile.MaxDiskSize) {
		err = fmt.Errorf("%d bytes are not between %d and %d", size, least, profile.MaxDiskSize)
	}
	if err != nil {
		b.notes = append(b.notes, none(fmt.Sprintf("diskSize %d", given), "%s", sentence(err)))
		return
	}
	note := fmt.Sprintf("This is the imager's diskSize, %d bytes.", given)
	if added > 0 {
		note = fmt.Sprintf("The imager adds %d bytes to its diskSize, %d, since partitions have grown.", added, given)
	}
	b.set("size", cty.StringVal(sizeOf(size)), note)
}

func sizeOf(n int64) string {
	for _, unit := range []struct {
		name  string
		bytes int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}} {
		if n%unit.bytes == 0 {
			return fmt.Sprintf("%d%s", n/unit.bytes, unit.name)
		}
	}
	return fmt.Sprint(n)
}
