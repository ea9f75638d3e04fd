package sandbox

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/talosmith/talosmith/pkg/tree"
)

const author = "talosmith stand-in"

// extension is a system extension of the release.
type extension struct {
	name, version string // the image's
	description   string // begins with the tier
	fill          func(f *files) error

	docker, index, zstd bool
	// second makes a second layer, over the one of fill.
	second func(f *files) error
}

type manifest struct {
	Version  string `yaml:"version"`
	Metadata struct {
		Name          string `yaml:"name"`
		Version       string `yaml:"version"`
		Author        string `yaml:"author"`
		Description   string `yaml:"description"`
		Compatibility struct {
			Talos struct {
				Version string `yaml:"version"`
			} `yaml:"talos"`
		} `yaml:"compatibility"`
	} `yaml:"metadata"`
}

func (e extension) image() (image, error) {
	i := image{repository: namespace + e.name, tag: e.version, docker: e.docker, index: e.index}
	m := manifest{Version: "v1alpha1"}
	m.Metadata.Name, m.Metadata.Version, m.Metadata.Author, m.Metadata.Description = e.name, e.version, author, e.description
	m.Metadata.Compatibility.Talos.Version = ">= v1.0.0"
	text, err := yaml.Marshal(m)
	if err != nil {
		return i, err
	}
	var f files
	f.blob("manifest.yaml", 0o644, tree.Bytes(text))
	f.dirs("rootfs")
	if err := e.fill(&f); err != nil {
		return i, err
	}
	if e.second == nil {
		return i.with(imageLayer{zstd: e.zstd}, &f)
	}
	var s files
	if err := e.second(&s); err != nil {
		return i, err
	}
	return i.with(imageLayer{zstd: e.zstd}, &f, imageLayer{zstd: true}, &s)
}

// extensions are described in the package comment.
func extensions(p *parts, m *modules, own *programs) []extension {
	// from copies a file or directory of a package.
	from := func(f *files, pkg, path, to string) error {
		t, err := p.open(pkg)
		if err == nil {
			f.copy(t, path, "rootfs/"+to)
		}
		return err
	}
	const debian = "usr/lib/firmware"
	firmware, modules := p.lib+"/firmware", "rootfs/"+p.lib+"/modules"
	all := []extension{
		{
			name: "crun", version: p.version("crun", `[0-9.]+[0-9]`), index: true,
			description: "[extra] The container runtime crun, of Debian.\n",
			fill: func(f *files) error {
				f.text("rootfs/etc/cri/conf.d/10-crun.part", runtimeConfig("crun", "io.containerd.runc.v2"))
				return from(f, "crun", "usr/bin/crun", "usr/local/bin/crun")
			},
		},
		{
			name: "gvisor", version: p.version("runsc", `[0-9]{8}\.[0-9]+`), zstd: true,
			description: "[core] gVisor's runsc, of Debian: containers with a kernel of their own.\n",
			fill: func(f *files) error {
				f.text("rootfs/etc/cri/conf.d/10-gvisor.part", runtimeConfig("runsc", "io.containerd.runsc.v1"))
				return from(f, "runsc", "usr/bin/runsc", "usr/local/bin/runsc")
			},
		},
		{
			name: "tailscale", version: "1.0.0", docker: true,
			description: "[extra] An extension service. It is not Tailscale, but talosmith's own program, and there is no network.\n",
			fill: func(f *files) error {
				const bin = "rootfs/usr/local/lib/containers/tailscale/usr/local/bin/"
				f.text("rootfs/usr/local/etc/containers/tailscale.yaml", serviceSpec("tailscale", "./usr/local/bin/tailscaled"))
				f.blob(bin+"tailscale", 0o755, own.service)
				f.hardLink(bin+"tailscaled", bin+"tailscale")
				return nil
			},
		},
		{
			name: "realtek-firmware", version: p.version("firmware-realtek", `[0-9]{8}`), index: true,
			description: "[core] Firmware of Realtek's network adapters, of Debian.\n",
			fill: func(f *files) error {
				dir := "rootfs/" + firmware
				f.text(dir+"/rtl_bt/removed-by-the-second-layer", "x\n")
				f.text(dir+"/rtl_nic/removed-by-the-second-layer", "x\n")
				f.text(dir+"/rtl_nic/rtl8153a-3.fw", "replaced by the second layer\n")
				return from(f, "firmware-realtek", debian+"/rtw88", firmware+"/rtw88")
			},
			second: func(f *files) error {
				f.text("rootfs/"+firmware+"/.wh.rtl_bt", "")
				f.text("rootfs/"+firmware+"/rtl_nic/.wh..wh..opq", "")
				return from(f, "firmware-realtek", debian+"/rtl_nic", firmware+"/rtl_nic")
			},
		},
		{
			name: "bnx2-bnx2x", version: p.version("firmware-bnx2x", `[0-9]{8}`),
			description: "[core] Firmware of Broadcom's NetXtreme II network adapters, of Debian.\n",
			fill: func(f *files) error {
				if err := from(f, "firmware-bnx2", debian+"/bnx2", firmware+"/bnx2"); err != nil {
					return err
				}
				return from(f, "firmware-bnx2x", debian+"/bnx2x", firmware+"/bnx2x")
			},
		},
		{
			name: "intel-ucode", version: p.version("intel-microcode", `[0-9]{8}`), index: true, docker: true,
			description: "[core] Intel's microcode, of Debian.\n",
			fill: func(f *files) error {
				return from(f, "intel-microcode", debian+"/intel-ucode", firmware+"/intel-ucode")
			},
		},
		{
			name: "amd-ucode", version: p.version("amd64-microcode", `[0-9]{8}`), zstd: true,
			description: "[core] AMD's microcode, of Debian.\n",
			fill: func(f *files) error {
				if err := from(f, "amd64-microcode", debian+"/amd", firmware+"/amd"); err != nil {
					return err
				}
				return from(f, "amd64-microcode", debian+"/amd-ucode", firmware+"/amd-ucode")
			},
		},
		{
			name: "btrfs", version: "v" + kernelVersion(m.release), index: true,
			description: "[extra] The kernel module btrfs, of Debian.\n",
			fill:        func(f *files) error { return m.pack(f, modules, "btrfs") },
		},
		{
			name: "usb-modem-drivers", version: "v" + kernelVersion(m.release),
			description: "[extra] The kernel module cdc-acm, of Debian.\n",
			fill:        func(f *files) error { return m.pack(f, modules, "cdc_acm") },
		},
		{
			name: "uinput", version: "v" + kernelVersion(m.release),
			description: "[extra] The kernel module uinput, of Debian.\n",
			fill: func(f *files) error {
				var unpacked files
				if err := m.unpack(&unpacked, "uinput"); err != nil {
					return err
				}
				f.blob(modules+"/"+m.release+"/extras/uinput.ko", 0o644, unpacked.nodes[0].Content)
				return nil
			},
		},
		{
			name: "fuse3", version: p.version("fuse3", `[0-9.]+[0-9]`), zstd: true,
			description: "[core] FUSE's mount programs, of Debian.\n",
			fill: func(f *files) error {
				err := from(f, "fuse3", "usr/bin/fusermount3", "usr/local/bin/fusermount3")
				f.text("rootfs/usr/local/etc/fuse.conf", "user_allow_other\n")
				f.label("rootfs/usr/local/bin/fusermount3", "system_u:object_r:fusermount_exec_t:s0")
				f.label("rootfs/usr/local/etc/fuse.conf", "system_u:object_r:etc_t:s0")
				return err
			},
		},
	}
	return slices.DeleteFunc(all, func(e extension) bool { return p.arch != "amd64" && strings.HasSuffix(e.name, "-ucode") })
}

// kernelVersion is 6.12.107 of 6.12.107+deb13-amd64.
func kernelVersion(release string) string {
	version, _, _ := strings.Cut(release, "+")
	return version
}

func runtimeConfig(name, kind string) string {
	return fmt.Sprintf("[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.%s]\n  runtime_type = %q\n", name, kind)
}

func serviceSpec(name, entrypoint string) string {
	return fmt.Sprintf("name: %s\ncontainer:\n  entrypoint: %s\ndepends:\n  - path: /usr/local/etc/containers\nrestart: always\n", name, entrypoint)
}
