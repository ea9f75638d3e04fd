package talos

import "slices"

// Architectures that Talos runs on.
const (
	AMD64 = "amd64"
	ARM64 = "arm64"
)

// Architectures returns every architecture.
func Architectures() []string { return []string{AMD64, ARM64} }

// MiB is 2^20 bytes.
const MiB = 1 << 20

// DiskDefaults are what upstream's profile of a platform makes of a disk image.
type DiskDefaults struct {
	// Size in bytes before what [Facts.DiskSize] adds.
	Size int64
	// Format is raw, qcow2, vhd or ova.
	Format string
	// Compression is none, gz, zst or tar.gz.
	Compression string
}

// QCOW2ClusterSize is the cluster size in bytes of all qcow2 images of upstream.
const QCOW2ClusterSize = 8 << 10

// Platform is a cloud, a hypervisor or bare metal.
type Platform struct {
	// Name as it stands in talos.platform=.
	Name string
	// Since is the first version that boots there.
	Since Version
	// Architectures are those that upstream publishes images for; another one can be built all the same.
	Architectures []string
	Disk          DiskDefaults

	args []platformArgs
}

// platformArgs are kernel arguments for an architecture (any, if empty) and versions.
type platformArgs struct {
	arch string
	rule rule
	args string
}

func anyArch(args string) []platformArgs { return []platformArgs{{rule: always, args: args}} }

const (
	smallDisk   = 1246 * MiB // upstream's MinRAWDiskSize
	defaultDisk = 8192 * MiB // upstream's DefaultRAWDiskSize

	consoleThenSerial = "console=tty1 console=ttyS0 net.ifnames=0"
	serialThenConsole = "console=ttyS0 console=tty0 console=tty1 net.ifnames=0"
	noDashboard       = " talos.dashboard.disabled=1"
	noKexec           = " sysctl.kernel.kexec_load_disabled=1"
)

var (
	bothArchs = []string{AMD64, ARM64}
	amd64Only = []string{AMD64}
)

// Sources, in siderolabs/talos v1.13.9: disk defaults pkg/imager/profile/default.go; architectures pkg/machinery/platforms/platforms.go;
// arguments KernelArgs of internal/app/machined/pkg/runtime/v1alpha1/platform/<name>/<name>.go; since: the first release whose tag has
// that folder. Marked "main": from that branch.
var platforms = []Platform{
	{"akamai", minor(7), amd64Only, DiskDefaults{smallDisk, "raw", "gz"}, anyArch(serialThenConsole)},
	{"alibabacloud", minor(14), bothArchs, DiskDefaults{smallDisk, "qcow2", "none"}, anyArch(consoleThenSerial)}, // main
	{"aws", oldest, bothArchs, DiskDefaults{defaultDisk, "raw", "zst"}, []platformArgs{
		{"", always, consoleThenSerial},
		{"", nvmeTimeoutAWS, "nvme_core.io_timeout=4294967295"}, // main
	}},
	{"azure", oldest, bothArchs, DiskDefaults{defaultDisk, "vhd", "zst"},
		anyArch("console=ttyS0,115200n8 earlyprintk=ttyS0,115200 rootdelay=300 net.ifnames=0" + noDashboard + noKexec)},
	{"cloudstack", minor(8), bothArchs, DiskDefaults{defaultDisk, "raw", "zst"}, anyArch(consoleThenSerial)},
	{"digital-ocean", oldest, amd64Only, DiskDefaults{defaultDisk, "raw", "gz"}, anyArch(serialThenConsole)},
	{"equinixMetal", oldest, bothArchs, DiskDefaults{defaultDisk, "raw", "zst"}, []platformArgs{ // PXE only: no disk upstream
		{AMD64, always, "console=ttyS1,115200n8"},
		{ARM64, always, "console=ttyAMA0,115200"},
	}},
	{"exoscale", oldest, bothArchs, DiskDefaults{10240 * MiB, "qcow2", "zst"}, anyArch(consoleThenSerial)},
	{"gcp", oldest, bothArchs, DiskDefaults{defaultDisk, "raw", "tar.gz"}, anyArch("console=ttyS0 net.ifnames=0" + noDashboard + noKexec)},
	{"hcloud", oldest, amd64Only, DiskDefaults{smallDisk, "raw", "zst"}, anyArch(consoleThenSerial)},
	{"metal", oldest, bothArchs, DiskDefaults{smallDisk, "raw", "zst"}, []platformArgs{
		{AMD64, metalSerial, "console=ttyS0 console=tty0"},
		{AMD64, metalNoSerial, "console=tty0"},
		{ARM64, always, "console=ttyAMA0 console=tty0"},
	}},
	{"nocloud", oldest, bothArchs, DiskDefaults{smallDisk, "raw", "zst"}, anyArch(consoleThenSerial)},
	{"opennebula", minor(7), bothArchs, DiskDefaults{smallDisk, "raw", "zst"}, anyArch(consoleThenSerial)},
	{"openstack", oldest, bothArchs, DiskDefaults{smallDisk, "raw", "zst"}, anyArch(consoleThenSerial)},
	{"oracle", oldest, bothArchs, DiskDefaults{defaultDisk, "qcow2", "zst"}, anyArch(consoleThenSerial + noDashboard)},
	{"scaleway", oldest, bothArchs, DiskDefaults{smallDisk, "raw", "zst"}, anyArch(consoleThenSerial + noDashboard)},
	{"upcloud", oldest, amd64Only, DiskDefaults{defaultDisk, "raw", "zst"}, anyArch("net.ifnames=0")},
	{"vmware", oldest, bothArchs, DiskDefaults{defaultDisk, "ova", "none"}, []platformArgs{
		{AMD64, always, "talos.config=guestinfo console=tty0 console=ttyS0 earlyprintk=ttyS0,115200 net.ifnames=0"},
		{ARM64, always, "talos.config=guestinfo console=tty0 console=ttyAMA0 net.ifnames=0"},
	}},
	{"vultr", oldest, amd64Only, DiskDefaults{defaultDisk, "raw", "zst"}, anyArch("net.ifnames=0")},
}

// Platforms returns the names of all platforms, sorted.
func Platforms() []string {
	names := make([]string, len(platforms))
	for i, p := range platforms {
		names[i] = p.Name
	}
	return names
}

// FindPlatform returns the platform of a name ("packet" is an old name of equinixMetal), or a [*UnknownError].
func FindPlatform(name string) (Platform, error) {
	if name == "packet" {
		name = "equinixMetal"
	}
	i := slices.IndexFunc(platforms, func(p Platform) bool { return p.Name == name })
	if i < 0 {
		return Platform{}, unknown("platform", name, Platforms())
	}
	p := platforms[i]
	p.Architectures = slices.Clone(p.Architectures)
	return p, nil
}

// CheckArchitecture returns a [*UnknownError] for what is no architecture of Talos.
func CheckArchitecture(name string) error {
	if !slices.Contains(Architectures(), name) {
		return unknown("architecture", name, Architectures())
	}
	return nil
}

func (p Platform) kernelArgs(v Version, arch string) []string {
	var args []string
	for _, a := range p.args {
		if (a.arch == "" || a.arch == arch) && a.rule.holds(v) {
			args = append(args, a.args)
		}
	}
	return args
}
