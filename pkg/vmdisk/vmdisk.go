package vmdisk

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Format is what a hypervisor takes. Its text is the usual end of a file name.
type Format string

// The formats. The zero value is Raw.
const (
	Raw   Format = "raw"
	QCOW2 Format = "qcow2"
	VHD   Format = "vhd"
	VMDK  Format = "vmdk"
	OVA   Format = "ova"
)

// Compression is what is done to a disk in its format. Its text is the usual end of a file name.
type Compression string

// The compressions. The zero value is None.
const (
	None    Compression = "none"
	Gzip    Compression = "gz"
	XZ      Compression = "xz"
	Zstd    Compression = "zst"
	TarGzip Compression = "tar.gz"
)

// Formats and Compressions are all that there are.
var (
	Formats      = []Format{Raw, QCOW2, VHD, VMDK, OVA}
	Compressions = []Compression{None, Gzip, XZ, Zstd, TarGzip}
)

const (
	sector         = 512
	longSector     = 4096
	mib            = 1 << 20
	gib            = 1 << 30
	tib            = 1 << 40
	maxSize        = 64 * tib // far above what a cloud takes
	defaultCluster = 64 << 10
)

// Disk is a raw disk that can write itself.
type Disk struct {
	// Size in bytes.
	Size int64
	// Write writes the disk in ascending order, no byte twice; what it leaves out reads as zeros. It is called up to twice, or
	// four times for an OVA in a .tar.gz, and must write the same each time. It ends with the first error of w.
	Write func(w io.WriterAt) error
}

// Options say what becomes of a disk.
type Options struct {
	Format      Format
	Compression Compression
	// ClusterSize of QCOW2 in bytes, a power of two from 512 to 2 MiB: 64 KiB by default.
	ClusterSize int64
	// SectorSize is that of the disk in bytes, 512 or 4096; 0 is 512. RAW and QCOW2 do not say it: whoever attaches the disk does.
	SectorSize int64
	// ID tells the disk from others, in VHD, VMDK and OVA: it must not be zero there.
	ID [16]byte
	// Time of VHD (the year 2000 where it is earlier) and of what is in OVA and .tar.gz archives; full seconds count.
	Time time.Time
}

func (o Options) withDefaults() Options {
	if o.Format == "" {
		o.Format = Raw
	}
	if o.Compression == "" {
		o.Compression = None
	}
	if o.Format == QCOW2 && o.ClusterSize == 0 {
		o.ClusterSize = defaultCluster
	}
	if o.SectorSize == 0 {
		o.SectorSize = sector
	}
	return o
}

// FieldError is an option that [Write] refuses. Field is "size", "format", "compression", "cluster_size", "sector_size", "id" or "time".
type FieldError struct{ Field, Problem string }

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// Refusals are what an error of [Options.Check] consists of.
func Refusals(err error) (all []*FieldError) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			all = append(all, Refusals(e)...)
		}
	}
	if e := (*FieldError)(nil); all == nil && errors.As(err, &e) {
		all = append(all, e)
	}
	return all
}

// Check returns all that [Write] would refuse of a disk of size bytes, as joined [FieldError]s.
func (o Options) Check(size int64) error {
	o = o.withDefaults()
	var errs []error
	refuse := func(field, format string, a ...any) {
		errs = append(errs, &FieldError{field, fmt.Sprintf(format, a...)})
	}
	if !slices.Contains(Formats, o.Format) {
		refuse("format", "%q is none of %v", o.Format, Formats)
	}
	if !slices.Contains(Compressions, o.Compression) {
		refuse("compression", "%q is none of %v", o.Compression, Compressions)
	}
	unit, most, why := o.SectorSize, int64(maxSize), "a disk consists of sectors"
	switch {
	case unit != sector && unit != longSector:
		refuse("sector_size", "%d is neither %d nor %d", unit, sector, longSector)
		unit = sector
	case unit != sector && o.Format != Raw && o.Format != QCOW2:
		refuse("sector_size", "its disks have sectors of %d bytes, not of %d: take %s or %s", sector, unit, Raw, QCOW2)
	}
	switch o.Format {
	case QCOW2:
		if c := o.ClusterSize; c < minCluster || c > maxCluster || c&(c-1) != 0 {
			refuse("cluster_size", "%d is not a power of two from %d to %d", c, minCluster, maxCluster)
		} else if most = qcow2MaxSize(c); size > most && c < defaultCluster {
			refuse("cluster_size", "%d bytes are too few for a disk of %d bytes: take more, such as %d", c, size, defaultCluster)
			most = size // one refusal is enough
		}
	case VHD:
		unit, most, why = mib, vhdMaxSize, "Azure takes only full MiB"
	case VMDK:
		most = vmdkMaxSize
	case OVA:
		unit, most, why = mib, vmdkMaxSize, "the OVF descriptor counts in MiB"
	}
	if most = min(most, maxSize); size <= 0 || size > most {
		refuse("size", "%d bytes are not between 1 and %d (%d GiB), the most for %s", size, most, most/gib, o.Format)
	} else if size%unit != 0 {
		refuse("size", "%d bytes are not a multiple of %d: %s", size, unit, why)
	}
	if o.ClusterSize != 0 && o.Format != QCOW2 {
		refuse("cluster_size", "%s has no clusters: only qcow2 has", o.Format)
	}
	if o.ID == [16]byte{} && (o.Format == VHD || o.Format == VMDK || o.Format == OVA) {
		refuse("id", "%s needs one that is not zero", o.Format)
	}
	if (o.Format == VMDK || o.Format == OVA) && [4]byte(o.ID[12:]) == [4]byte{0xff, 0xff, 0xff, 0xff} {
		refuse("id", "%x: its last four bytes mean that there is no disk", o.ID)
	}
	if o.Format == VHD || o.Format == OVA || o.Compression == TarGzip {
		last := int64(maxTarTime)
		if o.Format == VHD {
			last = vhdLastTime
		}
		if t := o.Time.Unix(); t < 0 || t > last {
			refuse("time", "%s is not between %s and %s", o.Time.UTC().Format(time.RFC3339),
				time.Unix(0, 0).UTC().Format(time.RFC3339), time.Unix(last, 0).UTC().Format(time.RFC3339))
		}
	}
	return errors.Join(errs...)
}

// Write writes a disk as the options say, in ascending order; holes of w must read as zeros. It returns the size of the output,
// which may end in a hole.
func Write(w io.WriterAt, d Disk, o Options) (int64, error) {
	o = o.withDefaults()
	size, err := write(w, d, o)
	if err != nil {
		subject := string(o.Format)
		if o.Compression != None {
			subject += "." + string(o.Compression)
		}
		return 0, fmt.Errorf("write %s: %w", subject, err)
	}
	return size, nil
}

func write(w io.WriterAt, d Disk, o Options) (int64, error) {
	if err := o.Check(d.Size); err != nil {
		return 0, err
	}
	img, err := inFormat(d, o)
	if err != nil {
		return 0, err
	}
	switch o.Compression {
	case Gzip:
		return compress(w, img, &gzipStream{})
	case XZ:
		return compress(w, img, &xzStream{})
	case Zstd:
		return compress(w, img, zstdStream{})
	case TarGzip:
		if img, err = sparseTar(img, "disk."+string(o.Format), o.Time.Unix()); err != nil {
			return 0, err
		}
		return compress(w, img, &gzipStream{})
	}
	return img(w)
}

// image writes something in ascending order, the same each time, and returns its size.
type image func(w io.WriterAt) (int64, error)

func inFormat(d Disk, o Options) (image, error) {
	raw := d.image()
	switch o.Format {
	case QCOW2:
		return newQCOW2(raw, o.ClusterSize)
	case VHD:
		return newVHD(raw, o), nil
	case VMDK:
		return newVMDK(raw, d.Size, o.ID), nil
	case OVA:
		return newOVA(raw, d.Size, o), nil
	}
	return raw, nil
}

func (d Disk) image() image {
	return func(w io.WriterAt) (int64, error) {
		return d.Size, d.Write(tree.Before(w, (&guard{size: d.Size}).check))
	}
}

// guard holds a disk to its promises.
type guard struct{ at, size int64 }

func (g *guard) check(off, size int64) error {
	if off < g.at {
		return fmt.Errorf("disk: a write at byte %d after one up to byte %d: a disk must be written in ascending order", off, g.at)
	}
	if off > g.size || size > g.size-off {
		return fmt.Errorf("disk: a write of %d bytes at byte %d ends behind the disk's %d bytes", size, off, g.size)
	}
	g.at = off + size
	return nil
}
