package talos

// rule says from which version on (since) and until which (before, exclusive; none if zero) something holds.
type rule struct {
	since, before Version
	// quirk is the method of upstream's quirks.Quirks that this is (pkg/machinery/imager/quirks/quirks.go); a test calls it.
	// A method that holds where the rule doesn't has a "!" in front.
	quirk string
	// main marks rows that are on upstream's main branch only (1.14), where the v1.13.9 module can't confirm them.
	main bool
}

func (r rule) holds(v Version) bool {
	return v.CompareCore(r.since) >= 0 && (r.before == Version{} || v.CompareCore(r.before) < 0)
}

func minor(n uint64) Version { return Version{Major: 1, Minor: n} }

// Quirks: https://github.com/siderolabs/talos/blob/v1.13.9/pkg/machinery/imager/quirks/quirks.go
var (
	always = rule{}

	metaGzip         = rule{since: Version{1, 6, 3, ""}, quirk: "SupportsCompressedEncodedMETA"}
	overlays         = rule{since: minor(7), quirk: "SupportsOverlay"}
	zstd             = rule{since: minor(8), quirk: "UseZSTDCompression"}
	isoLabel         = rule{since: minor(8), quirk: "SupportsISOLabel"}
	metalSerial      = rule{before: minor(8), quirk: "SupportsMetalPlatformConsoleTTYS0"}
	metalNoSerial    = rule{since: minor(8), quirk: "!SupportsMetalPlatformConsoleTTYS0"}
	haltIfInstalled  = rule{since: minor(8), quirk: "SupportsHaltIfInstalled"}
	dataPartitions   = rule{before: minor(8), quirk: "!SkipDataPartitions"}
	ima              = rule{before: minor(11), quirk: "SupportsIMA"} // upstream writes <= 1.10.99
	seLinux          = rule{since: minor(10), quirk: "SupportsSELinux"}
	sdBootUEFI       = rule{since: minor(10), quirk: "UseSDBootForUEFI"}
	usrMerge         = rule{since: minor(10)} // KernelModulesPath, FirmwarePath
	ukiProfiles      = rule{since: minor(10), quirk: "SupportsUKIProfiles"}
	unifiedInstaller = rule{since: minor(10), quirk: "SupportsUnifiedInstaller"}
	bigBoot          = rule{since: minor(11)}  // PartitionSizes
	grubCmdline      = rule{before: minor(12)} // pkg/machinery/config/contract.go, GrubUseUKICmdlineDefault
	talosctl         = rule{since: minor(11), quirk: "SupportsFactoryTalosctlDownload"}
	imageCache       = rule{since: minor(9)} // no quirk: what Talos looks for
	embeddedConfig   = rule{since: minor(12), quirk: "SupportsEmbeddedConfig"}
	sigEnforce       = rule{since: minor(12), quirk: "SupportsDisablingModuleSignatureVerification"}
	isoBootloader    = rule{since: minor(12), quirk: "ISOSupportsSettingBootloader"}
	procMemNever     = rule{since: minor(13), quirk: "ProcMemOverrideNever"}

	// main branch: https://github.com/siderolabs/talos/blob/main/pkg/machinery/imager/quirks/quirks.go
	initOnAlloc    = rule{before: minor(14), quirk: "!DropInitOnAllocInArgs", main: true}
	nvmeTimeoutAll = rule{before: minor(14), quirk: "!NvmeCoreIoTimeoutAWSOnly", main: true}
	nvmeTimeoutAWS = rule{since: minor(14), quirk: "NvmeCoreIoTimeoutAWSOnly", main: true}
)

// mkfs.xfs configurations by the long-term kernel that reads them (quirks.XFSMkfsConfig), newest first.
var xfsConfigs = []struct {
	since Version
	name  string
}{
	{minor(13), "lts_6.18"},
	{minor(10), "lts_6.12"},
	{minor(8), "lts_6.6"},
	{oldest, "lts_6.1"},
}

// allowedPaths are the places where an extension may put files. Source: pkg/machinery/extensions/extensions.go of each release's tag.
var allowedPaths = []struct {
	path string
	rule rule
}{
	{"etc/cri/conf.d", always},
	{"lib/firmware", rule{before: minor(10)}},
	{"usr/lib/firmware", rule{since: minor(10)}},
	{"lib/modules", rule{before: minor(10)}},
	{"usr/lib/modules", rule{since: minor(10)}},
	{"lib64/ld-linux-x86-64.so.2", rule{before: minor(10)}},
	{"usr/lib/ld-linux-x86-64.so.2", rule{since: minor(10)}},
	{"usr/lib/ld-linux-aarch64.so.1", rule{since: minor(12)}},
	{"sbin/ldconfig", rule{since: minor(9), before: minor(10)}},
	{"usr/bin/ldconfig", rule{since: minor(10)}},
	{"etc/ld.so.conf", rule{since: minor(13)}},
	{"etc/ld.so.cache", rule{since: minor(13)}},
	{"usr/bin/nvidia-modprobe", rule{since: minor(13)}},
	{"usr/bin/nvidia-pcc", rule{since: minor(13)}},
	{"usr/bin/nvidia-smi", rule{since: minor(13)}},
	{"usr/bin/nvidia-ctk", rule{since: minor(13)}},
	{"usr/bin/nvidia-cdi-hook", rule{since: minor(13)}},
	{"usr/bin/nvme", rule{since: minor(13)}},
	{"usr/etc/udev/rules.d", rule{before: minor(9)}},
	{"usr/lib/udev/rules.d", rule{since: minor(9)}},
	{"usr/local", always},
	{"usr/share/glvnd", always},
	{"usr/share/egl", always},
	{"etc/vulkan", always},
}
