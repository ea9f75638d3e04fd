package inspect

// Kinds of artefacts.
const (
	KindISO       = "iso"
	KindDisk      = "disk"
	KindInstaller = "installer"
	KindUKI       = "uki"
	KindInitramfs = "initramfs"
	KindKernel    = "kernel"
	KindCmdline   = "cmdline"
	KindLoader    = "bootloader" // a boot loader's file by itself
	KindImager    = "imager"     // the image that boot assets come from
	KindExtension = "extension"  // a system extension
	KindImage     = "image"      // any other OCI image
)

// Report is what [Open] found. Its JSON stays: fields come, none goes. What is not known is empty, what is not there left out.
type Report struct {
	Kind         string      `json:"kind"`
	Packed       []string    `json:"packed,omitempty"` // what is around it, the outermost first: "zstd", "qcow2"
	Size         int64       `json:"size"`             // bytes as it is there, packed; of an image its layers'
	Architecture string      `json:"architecture"`
	Platform     string      `json:"platform"`
	Talos        string      `json:"talos"`  // version
	Kernel       string      `json:"kernel"` // release
	Cmdline      string      `json:"cmdline"`
	Bootloaders  []string    `json:"bootloaders"` // "sd-boot", "grub"
	Partitions   []Partition `json:"partitions"`
	Extensions   []Extension `json:"extensions"`

	Volume        *Volume     `json:"volume,omitempty"`        // of an ISO
	Disk          *Disk       `json:"disk,omitempty"`          // of a partitioned one
	Loaders       []Loader    `json:"loaders,omitempty"`       // what Bootloaders names, in full
	Entries       []Entry     `json:"entries,omitempty"`       // everything that a boot menu offers
	UKIs          []UKI       `json:"ukis,omitempty"`          //
	KernelFile    *Content    `json:"kernel_file,omitempty"`   //
	Initramfs     *Initramfs  `json:"initramfs,omitempty"`     //
	Microcode     []Content   `json:"microcode,omitempty"`     // what the kernel loads first
	Firmware      *Sum        `json:"firmware,omitempty"`      // what lies in the initramfs
	Modules       []Modules   `json:"modules,omitempty"`       //
	Schematic     *Schematic  `json:"schematic,omitempty"`     // of the Image Factory, if embedded
	Configuration *Content    `json:"configuration,omitempty"` // embedded machine configuration: its hash, never the text
	Meta          []MetaValue `json:"meta,omitempty"`
	Keys          []Content   `json:"keys,omitempty"`  // for SecureBoot, to be enrolled
	Image         *Image      `json:"image,omitempty"` // OCI

	Notes    []string `json:"notes,omitempty"`    // remarkable
	Problems []string `json:"problems,omitempty"` // damaged or not readable: the report is not complete
}

func newReport() Report {
	return Report{Bootloaders: []string{}, Partitions: []Partition{}, Extensions: []Extension{}}
}

// Partition of a disk or an ISO. Offset and Size are in bytes.
type Partition struct {
	Number     int    `json:"number"`
	Label      string `json:"label"`
	Type       string `json:"type"` // GUID; of an MBR's the number, "0xef"
	GUID       string `json:"guid,omitempty"`
	Attributes uint64 `json:"attributes,omitempty"`
	Offset     int64  `json:"offset"`
	Size       int64  `json:"size"`
	FileSystem string `json:"filesystem,omitempty"` // "vfat", "xfs", "ext4", "iso9660", "squashfs", "meta"; empty: none known
	FSLabel    string `json:"filesystem_label,omitempty"`
}

// Volume is what an ISO's descriptor says.
type Volume struct {
	ID      string `json:"id"`
	SetID   string `json:"set_id,omitempty"`
	Created string `json:"created,omitempty"` // RFC 3339
	BIOS    bool   `json:"bios"`              // it has a boot entry for that
	UEFI    bool   `json:"uefi"`
}

// Disk is a partition table.
type Disk struct {
	GUID       string `json:"guid"`
	Size       int64  `json:"size"` // bytes
	SectorSize int    `json:"sector_size"`
	BootCode   string `json:"boot_code,omitempty"` // SHA-256 of what a BIOS runs, before the table
}

// Loader is a boot loader.
type Loader struct {
	Name     string `json:"name"` // as in [Report.Bootloaders]; another program's is "efi"
	Version  string `json:"version,omitempty"`
	Firmware string `json:"firmware"` // "uefi" or "bios"
	Signed   bool   `json:"signed"`   // for SecureBoot; nobody checked by whom
	Content
}

// Content is a file, or what one would be.
type Content struct {
	Path   string `json:"path,omitempty"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
}

// Entry of a boot menu.
type Entry struct {
	Loader  string `json:"loader"` // "grub", or "uki" for a profile of one
	ID      string `json:"id,omitempty"`
	Title   string `json:"title,omitempty"`
	Default bool   `json:"default"`
	Cmdline string `json:"cmdline"`
	Kernel  string `json:"kernel,omitempty"` // path, of GRUB's
	Initrd  string `json:"initrd,omitempty"`
}

// UKI is a unified kernel image. The same one in several places is one.
type UKI struct {
	Paths    []string     `json:"paths,omitempty"`
	Size     int64        `json:"size"`
	Signed   bool         `json:"signed"`         // for SecureBoot; nobody checked by whom
	PCRs     bool         `json:"pcr_signed"`     // it has signatures of what the TPM will measure
	Stub     string       `json:"stub,omitempty"` // version of systemd-stub
	Sections []UKISection `json:"sections"`
	Profiles []string     `json:"profiles,omitempty"`
}

// UKISection is a PE section.
type UKISection struct {
	Name    string `json:"name"`
	Profile string `json:"profile,omitempty"` // that it belongs to; empty: to all
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
}

// Initramfs is what the kernel unpacks.
type Initramfs struct {
	Content
	Segments []Segment `json:"segments"`
}

// Segment of an initramfs.
type Segment struct {
	Offset      int64  `json:"offset"`
	Size        int64  `json:"size"`
	Compression string `json:"compression"`
	Members     int    `json:"members"`
}

// Extension is a layer over Talos's root file system.
type Extension struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	Author      string `json:"author,omitempty"`
	Description string `json:"description,omitempty"`
	Tier        string `json:"tier,omitempty"` // "core", "extra", "contrib": what the description starts with
	Layer       string `json:"layer"`          // file in the initramfs
	Size        int64  `json:"size"`           // bytes of that file
	Unpacked    int64  `json:"unpacked"`       // bytes of its files
	Files       int    `json:"files"`
	Compression string `json:"compression,omitempty"`
	SHA256      string `json:"sha256,omitempty"`
}

// Sum of files.
type Sum struct {
	Files int   `json:"files"`
	Size  int64 `json:"size"`
}

// Modules are the kernel modules of a release.
type Modules struct {
	Release string `json:"release"`
	Count   int    `json:"count"` // in modules.dep
	Layer   string `json:"layer"` // that modules.dep is from
}

// Schematic is what an image of the Image Factory was made of.
type Schematic struct {
	ID   string `json:"id"`
	Body string `json:"body,omitempty"` // YAML
}

// MetaValue is one of Talos's META store.
type MetaValue struct {
	Key   uint8  `json:"key"`
	Value string `json:"value"`
	From  string `json:"from"` // "partition" or "cmdline"
}

// Image is an OCI image.
type Image struct {
	Index    string            `json:"index,omitempty"`    // digest behind the reference, if it is another one
	Manifest string            `json:"manifest,omitempty"` // digest
	Labels   map[string]string `json:"labels,omitempty"`
	Layers   []ImageLayer      `json:"layers"`
	Overlay  bool              `json:"overlay,omitempty"` // an installer's, for a single-board computer
}

// ImageLayer is a layer of an image.
type ImageLayer struct {
	Digest    string `json:"digest"`
	MediaType string `json:"media_type"`
	Size      int64  `json:"size"`
}
