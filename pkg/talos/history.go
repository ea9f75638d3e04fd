package talos

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// release names what happened in the catalogue of official extensions with a stable release.
type release struct {
	version Version
	names   string // without "siderolabs/"
}

// appeared are the extensions that the catalogue of 1.5.0 had not, with the first release that has them. Those of 1.14 are in its
// pre-releases; what came later is not known here.
// Source: github.com/siderolabs/extensions, the targets in Makefile at every stable tag from v1.5.0 to v1.13.9, and at v1.14.0-rc.1.
var appeared = []release{
	{minor(6), "amdgpu-firmware binfmt-misc btrfs chelsio-drivers chelsio-firmware ecr-credential-provider fuse3 " +
		"intel-ice-firmware mdadm stargz-snapshotter util-linux-tools xe-guest-utilities"},
	{Version{1, 6, 5, ""}, "qlogic-firmware realtek-firmware"},
	{minor(7), "gvisor-debug kata-containers spin v4l-uvc-drivers vmtoolsd-guest-agent wasmedge xen-guest-agent"},
	{minor(8), "crun mei nonfree-kmod-nvidia-lts nonfree-kmod-nvidia-production nvidia-container-toolkit-lts " +
		"nvidia-container-toolkit-production nvidia-fabricmanager-lts nvidia-fabricmanager-production " +
		"nvidia-open-gpu-kernel-modules-lts nvidia-open-gpu-kernel-modules-production uinput"},
	{minor(9), "amdgpu cloudflared dvb-cx23885 glibc i915 lldpd metal-agent"},
	{minor(10), "amazon-ena ctr nebula nfsd nvme-cli panfrost revpi-firmware vc4 xdma-driver zerotier"},
	{Version{1, 10, 1, ""}, "youki"},
	{minor(11), "dvb-m88ds3103 hailort newt nfsrahead tenstorrent"},
	{minor(12), "bird2 mellanox-mstflint multipath-tools netbird nfs-utils nvidia-gdrdrv-device soci-snapshotter " +
		"trident-iscsi-tools usb-audio-drivers xe"},
	{Version{1, 12, 2, ""}, "gpio-pinctrl"},
	{minor(13), "intel-npu joydev px-fuse rockchip-rknn uhid"},
	{minor(14), "harbor-credential-provider hyperv-guest-agent kata-containers-snp"},
}

// vanished are the extensions that are not there any more, with the first release that is without them. Source: as above.
var vanished = []release{
	{minor(7), "xe-guest-utilities"},
	{minor(8), "nonfree-kmod-nvidia nvidia-container-toolkit nvidia-fabricmanager nvidia-open-gpu-kernel-modules"},
	{minor(9), "amdgpu-firmware i915-ucode"},
}

// in returns the release that names an extension.
func in(list []release, name string) (Version, bool) {
	for _, r := range list {
		if slices.Contains(strings.Fields(r.names), path.Base(name)) {
			return r.version, true
		}
	}
	return Version{}, false
}

// WhyAbsent says why a release's catalogue has no extension of a name, in whole sentences: it came later, or it is gone. Empty where nothing
// is known of it.
func WhyAbsent(name string, v Version) string {
	since, late := in(appeared, name)
	until, gone := in(vanished, name)
	switch {
	case late && v.CompareCore(since) < 0:
		return fmt.Sprintf("It came with Talos %s.", since)
	case gone && v.CompareCore(until) >= 0:
		s := fmt.Sprintf("It is gone since Talos %s.", until)
		for _, now := range renamed["siderolabs/"+path.Base(name)] {
			if came, ok := in(appeared, now); ok && came.CompareCore(until) <= 0 {
				s = fmt.Sprintf("It is called %q since Talos %s.", now, came)
			}
		}
		return s
	}
	return ""
}

// Extensions are the names of all official extensions that ever appeared or vanished since 1.5.0; those that were always there are in
// every catalogue.
func Extensions() []string {
	all := map[string]bool{}
	for _, r := range slices.Concat(appeared, vanished) {
		for name := range strings.FieldsSeq(r.names) {
			all["siderolabs/"+name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
