package talos

import (
	"errors"
	"fmt"
	"path"
)

// Names of images below a registry's namespace, tagged with the Talos version.
// Source: pkg/images/images.go.
const (
	// Registry is where upstream publishes its images.
	Registry = "ghcr.io/siderolabs"
	// ImagerImage holds the boot assets of a release.
	ImagerImage = "imager"
	// ExtensionsImage is the catalogue of official extensions.
	ExtensionsImage = "extensions"
	// OverlaysImage is the catalogue of official overlays (Talos 1.7 and later).
	OverlaysImage = "overlays"
)

// Name is what Talos calls itself in os-release, boot menus, labels and file names.
const Name = "Talos"

// Compression of squashfs layers and of the initramfs segments that hold them.
type Compression string

const (
	XZ   Compression = "xz" // with CRC32: the kernel accepts no other check but none
	Zstd Compression = "zstd"
)

// Facts are all that depends on a Talos version, platform and architecture. Paths have no leading slash.
type Facts struct {
	Version  Version
	Platform Platform
	Arch     string
	// Name and Tag are what a build calls itself: "Talos" and the version, unless it is a custom one.
	Name, Tag string
	// Newer is true where the version is newer than the newest known one, whose rules it was given.
	Newer bool

	// Compression of extension layers and initramfs segments, and of the base initramfs.
	Compression Compression
	// LibDir is where the root file system keeps firmware and kernel modules: "usr/lib", or "lib" before the merge (1.10).
	LibDir string

	// What the imager image has for this architecture.
	Kernel, Initramfs, SDStub, SDBoot string
	// GRUBDir has GRUB's modules, a folder for each target; GRUBBIOS (empty where there is no BIOS) and GRUBEFI are two of them.
	GRUBDir, GRUBBIOS, GRUBEFI string
	// EFIBoot is the name of the loader that firmware starts from a medium's EFI/BOOT.
	EFIBoot string

	// InstallerBase is the image that an installer is built on, tagged with the version.
	InstallerBase string

	// MetaGzip: META values of more than 256 bytes are compressed in the kernel command line.
	MetaGzip bool
	// Overlays for single-board computers exist.
	Overlays bool
	// DataPartitions: a disk image has STATE and EPHEMERAL, too.
	DataPartitions bool
	// SDBootUEFI: UEFI boots through systemd-boot and a UKI; before that through GRUB.
	SDBootUEFI bool
	// GRUBCmdline: who installs for GRUB composes the kernel command line on the machine; later the default is the UKI's.
	GRUBCmdline bool
	// UKIProfiles: a UKI has profiles (a boot menu entry each).
	UKIProfiles bool
	// ImageCache: Talos looks for a cache of container images.
	ImageCache bool
	// EmbeddedConfig: a machine configuration can be built in.
	EmbeddedConfig bool
	// ModuleSignatures: the kernel refuses modules without a valid signature (module.sig_enforce=1).
	ModuleSignatures bool
	// SELinux is on.
	SELinux bool
	// ISOBootloader: upstream lets the boot loader of an ISO be chosen.
	ISOBootloader bool
	// FactoryTalosctl: the Image Factory serves talosctl of this version.
	FactoryTalosctl bool

	// XFSConfig names the mkfs.xfs configuration that upstream makes BOOT with.
	XFSConfig string
	// BootSize is the size of the BOOT partition in bytes.
	BootSize int64
	// ExtensionPaths are where an extension's files may be: each a file or a directory.
	ExtensionPaths []string
}

// For returns the facts of a version, platform ("metal") and architecture ("amd64"). Errors name everything that is wrong:
// [ErrVersionOld], [ErrVersionUnknown], [*UnknownError], [ErrPlatformOld].
func For(v Version, platform, arch string) (Facts, error) {
	return facts(v, platform, arch, v.Known())
}

// ForUnknown is [For], but gives a version newer than the newest known one the newest rules.
func ForUnknown(v Version, platform, arch string) (Facts, error) {
	err := v.Known()
	if v.newer() {
		err = nil
	}
	return facts(v, platform, arch, err)
}

// ErrPlatformOld is wrapped by what is said of a platform that the version doesn't know yet.
var ErrPlatformOld = errors.New("not there yet")

func facts(v Version, platform, arch string, bad error) (Facts, error) {
	p, err := FindPlatform(platform)
	if err == nil && bad == nil && v.CompareCore(p.Since) < 0 {
		err = fmt.Errorf("platform %s: %w in Talos %s: it came with %s", p.Name, ErrPlatformOld, v, p.Since)
	}
	if err := errors.Join(bad, err, CheckArchitecture(arch)); err != nil {
		return Facts{}, err
	}
	f := Facts{
		Version: v, Platform: p, Arch: arch, Newer: v.newer(),
		Name: Name, Tag: v.String(),
		Compression:   XZ,
		LibDir:        "lib",
		Kernel:        install(arch, "vmlinuz"),
		Initramfs:     install(arch, "initramfs.xz"), // the name stays when the content is zstd
		SDStub:        install(arch, "systemd-stub.efi"),
		SDBoot:        install(arch, "systemd-boot.efi"),
		GRUBDir:       "usr/lib/grub",
		GRUBEFI:       "arm64-efi",
		EFIBoot:       "BOOTAA64.EFI",
		InstallerBase: "installer",
		BootSize:      1000 * MiB,

		MetaGzip:         metaGzip.holds(v),
		Overlays:         overlays.holds(v),
		DataPartitions:   dataPartitions.holds(v),
		SDBootUEFI:       sdBootUEFI.holds(v),
		GRUBCmdline:      grubCmdline.holds(v),
		UKIProfiles:      ukiProfiles.holds(v),
		ImageCache:       imageCache.holds(v),
		EmbeddedConfig:   embeddedConfig.holds(v),
		ModuleSignatures: sigEnforce.holds(v),
		SELinux:          seLinux.holds(v),
		ISOBootloader:    isoBootloader.holds(v),
		FactoryTalosctl:  talosctl.holds(v),
	}
	if arch == AMD64 {
		f.GRUBBIOS, f.GRUBEFI, f.EFIBoot = "i386-pc", "x86_64-efi", "BOOTX64.EFI"
	}
	if zstd.holds(v) {
		f.Compression = Zstd
	}
	if usrMerge.holds(v) {
		f.LibDir = "usr/lib"
	}
	if unifiedInstaller.holds(v) {
		f.InstallerBase = "installer-base"
	}
	if bigBoot.holds(v) {
		f.BootSize = 2000 * MiB
	}
	for _, c := range xfsConfigs {
		if v.CompareCore(c.since) >= 0 {
			f.XFSConfig = c.name
			break
		}
	}
	for _, a := range allowedPaths {
		if a.rule.holds(v) {
			f.ExtensionPaths = append(f.ExtensionPaths, a.path)
		}
	}
	return f, nil
}

// install is the folder of boot assets in imager and installer images.
func install(arch, name string) string { return path.Join("usr/install", arch, name) }

// Firmware is the directory that the kernel loads firmware from.
func (f Facts) Firmware() string { return f.LibDir + "/firmware" }

// Modules is the directory of kernel modules; it has one folder for each kernel release.
func (f Facts) Modules() string { return f.LibDir + "/modules" }

// UKIName is the file name of the UKI on an ESP, in EFI/Linux.
func (f Facts) UKIName() string { return fmt.Sprintf("%s-%s.efi", Name, f.Tag) }

// InstallerPart is a boot asset in an installer image.
type InstallerPart string

const (
	PartKernel    InstallerPart = "kernel"
	PartInitramfs InstallerPart = "initramfs"
	PartUKI       InstallerPart = "uki"
	PartSDBoot    InstallerPart = "sd-boot"
)

// InstallerFile is a file of the layer that is put on the installer's base.
type InstallerFile struct {
	Path string
	Part InstallerPart
}

// InstallerFiles returns the boot assets of an installer image by path. Source: pkg/imager/out.go (outInstaller).
func (f Facts) InstallerFiles() []InstallerFile {
	if f.SDBootUEFI {
		return []InstallerFile{
			{install(f.Arch, "systemd-boot.efi"), PartSDBoot},
			{install(f.Arch, "vmlinuz.efi"), PartUKI},
		}
	}
	return []InstallerFile{
		{install(f.Arch, "initramfs.xz"), PartInitramfs},
		{install(f.Arch, "vmlinuz"), PartKernel},
	}
}
