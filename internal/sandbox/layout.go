package sandbox

import (
	"fmt"
	"strings"
)

// layout is what differs between releases of versions and architectures.
type layout struct {
	talos, arch string // version, architecture
	machine
	lib       string // where modules and firmware are: "usr/lib", before Talos 1.10 "lib"
	installer string // the image that installers are made on: before Talos 1.10 it has boot assets, in a second layer
	xz        bool   // before Talos 1.8 instead of zstd
}

// machine is what Debian calls things on an architecture.
type machine struct {
	libs, loader string // of programs
	efi          string // how names of systemd-boot's files end
	grub         []grubPart
	more         []string // packages that extensions are made of here alone
}

// grubPart is a directory of GRUB's and the package that has it.
type grubPart struct{ pkg, dir string }

var machines = map[string]machine{
	"amd64": {"usr/lib/x86_64-linux-gnu", "usr/lib64/ld-linux-x86-64.so.2", "x64",
		[]grubPart{{"grub-pc-bin", "i386-pc"}, {"grub-efi-amd64-bin", "x86_64-efi"}}, []string{"intel-microcode", "amd64-microcode"}},
	"arm64": {"usr/lib/aarch64-linux-gnu", "usr/lib/ld-linux-aarch64.so.1", "aa64", []grubPart{{"grub-efi-arm64-bin", "arm64-efi"}}, nil},
}

func newLayout(version, arch string) (layout, error) {
	l := layout{talos: version, arch: arch, lib: "usr/lib", installer: "installer-base"}
	var ok bool
	if l.machine, ok = machines[arch]; !ok {
		return l, fmt.Errorf("%q is no architecture that there is a stand-in for", arch)
	}
	var minor int
	if _, err := fmt.Sscanf(strings.TrimPrefix(version, "v"), "1.%d.", &minor); err != nil {
		return l, fmt.Errorf("%q is no version tag", version)
	}
	if minor < 10 {
		l.lib, l.installer = "lib", "installer"
	}
	l.xz = minor < 8
	return l, nil
}

// packageNames are those that a release is made of, without the kernel's.
func (l layout) packageNames() []string {
	names := []string{
		l.kernelMeta(), "systemd-boot-efi",
		"kmod", "libkmod2", "libc6", "libssl3t64", "libzstd1", "liblzma5", "zlib1g", // modprobe and its libraries
		"firmware-realtek", "firmware-bnx2", "firmware-bnx2x", "crun", "runsc", "fuse3",
	}
	for _, g := range l.grub {
		names = append(names, g.pkg)
	}
	return append(names, l.more...)
}

// kernelMeta depends on the current kernel's package.
func (l layout) kernelMeta() string { return "linux-image-" + l.arch }

// install is the folder of boot assets.
func (l layout) install(name string) string { return "usr/install/" + l.arch + "/" + name }
