package talos

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/imager/quirks"
	"github.com/siderolabs/talos/pkg/machinery/kernel"
	"github.com/siderolabs/talos/pkg/machinery/meta"
	upstream "github.com/siderolabs/talos/pkg/machinery/platforms"
)

// released are versions up to the newest minor that upstream's module (v1.13.9) knows: more patches than any release had.
func released(t testing.TB) []Version {
	t.Helper()
	var all []Version
	for m := oldest.Minor; m <= 13; m++ {
		for p := range uint64(21) {
			v := Version{Major: 1, Minor: m, Patch: p}
			all = append(all, v)
			if p == 0 {
				for _, pre := range []string{"alpha.0", "alpha.3", "beta.1", "rc.0", "alpha.0-75-gff08e2821"} {
					v.Pre = pre
					all = append(all, v)
				}
			}
		}
	}
	return append(all, Version{1, 10, 99, ""}, Version{1, 10, 100, ""})
}

// quirkRules are the rules that claim to be a predicate of upstream's.
var quirkRules = []rule{metaGzip, overlays, zstd, isoLabel, metalSerial, metalNoSerial, haltIfInstalled, dataPartitions, ima, seLinux,
	sdBootUEFI, ukiProfiles, unifiedInstaller, talosctl, embeddedConfig, sigEnforce, isoBootloader, procMemNever}

// mainRules are those of the 1.14 line, which the module doesn't have.
var mainRules = []rule{initOnAlloc, nvmeTimeoutAll, nvmeTimeoutAWS}

func TestRulesAgainstQuirks(t *testing.T) {
	t.Parallel()
	covered := map[string]bool{}
	for _, r := range quirkRules {
		name, negated := strings.CutPrefix(r.quirk, "!")
		covered[name] = true
		if r.main {
			t.Errorf("%s: marked as being on main only, but the module has it", name)
		}
		for _, v := range released(t) {
			if v.Patch == 100 && name == "SupportsIMA" {
				continue // upstream writes <= 1.10.99 for "before 1.11"; there is no such release
			}
			out := reflect.ValueOf(quirks.New(v.String())).MethodByName(name).Call(nil)
			if got, want := r.holds(v), out[0].Bool() != negated; got != want {
				t.Errorf("%s at %s: %v, upstream says %v", r.quirk, v, got, want)
			}
		}
	}
	// Of the others, two hold for all that can be built and the rest give values.
	for _, v := range released(t) {
		q := quirks.New(v.String())
		f := mustFor(t, v.String(), "metal", AMD64)
		sizes := q.PartitionSizes()
		grub, sdBoot := f.Partitions(GRUB), f.Partitions(SDBoot)
		type values struct {
			Reset, UKI, Multidoc    bool
			Modules, Firmware, XFS  string
			EFI, BIOS, Boot, UKIEFI uint64
			Meta, State             uint64
		}
		got := values{true, true, true, "/" + f.Modules(), "/" + f.Firmware(), "/usr/share/xfsprogs/mkfs/" + f.XFSConfig + ".conf",
			uint64(grub[0].Size), uint64(grub[1].Size), uint64(grub[2].Size), uint64(sdBoot[0].Size), uint64(grub[3].Size), stateSize}
		want := values{q.SupportsResetGRUBOption(), q.SupportsUKI(), q.SupportsMultidoc(), q.KernelModulesPath(), q.FirmwarePath(),
			q.XFSMkfsConfig(), sizes.GrubEFISize(), sizes.GrubBIOSSize(), sizes.GrubBootSize(), sizes.UKIEFISize(), sizes.METASize(), sizes.StateSize()}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", v, d)
		}
		if (len(grub) == 6) == q.SkipDataPartitions() {
			t.Errorf("%s: %d partitions", v, len(grub))
		}
	}
	for _, name := range []string{"Version", "SupportsResetGRUBOption", "SupportsUKI", "SupportsMultidoc", "KernelModulesPath", "FirmwarePath",
		"XFSMkfsConfig", "PartitionSizes"} {
		covered[name] = true
	}
	for m := range reflect.TypeFor[quirks.Quirks]().Methods() {
		if !covered[m.Name] {
			t.Errorf("upstream's %s is not looked at", m.Name)
		}
	}
	for _, r := range mainRules {
		name := strings.TrimPrefix(r.quirk, "!")
		if _, has := reflect.TypeFor[quirks.Quirks]().MethodByName(name); has || !r.main {
			t.Errorf("%s: the module has it now: compare it", name)
		}
	}
}

func TestArgsAgainstUpstream(t *testing.T) {
	t.Parallel()
	for _, v := range released(t) {
		c, err := mustFor(t, v.String(), "metal", AMD64).Cmdline(CmdlineInput{})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string][]string{}
		for _, a := range c.Args {
			got[a.Origin] = append(got[a.Origin], a.Key+"="+a.Value)
		}
		q := quirks.New(v.String())
		if v.Patch != 100 { // see TestRulesAgainstQuirks
			if d := cmp.Diff(kernel.DefaultArgs(q), got["default"]); d != "" {
				t.Errorf("%s: %s", v, d)
			}
		}
	}
	for _, key := range []string{constants.KernelParamPlatform, constants.KernelParamHaltIfInstalled, constants.KernelParamEnvironment} {
		c, err := mustFor(t, "v1.13.9", "metal", AMD64).Cmdline(CmdlineInput{Kind: KindISO, Meta: []MetaValue{{10, "x"}}})
		if err != nil || !slices.ContainsFunc(c.Args, func(a Arg) bool { return a.Key == key }) {
			t.Errorf("%s is missing (%v)", key, err)
		}
	}
}

func TestPathsAgainstUpstream(t *testing.T) {
	t.Parallel()
	for _, arch := range Architectures() {
		f := mustFor(t, "v1.13.9", "metal", arch)
		uki := f.InstallerFiles()[1].Path
		for got, format := range map[string]string{
			f.Kernel: constants.KernelAssetPath, f.Initramfs: constants.InitramfsAssetPath, f.SDStub: constants.SDStubAssetPath,
			f.SDBoot: constants.SDBootAssetPath, uki: constants.UKIAssetPath,
		} {
			if want := fmt.Sprintf(format, arch); "/"+got != want {
				t.Errorf("/%s, upstream says %s", got, want)
			}
		}
	}
	for got, want := range map[string]string{
		LabelEFI: constants.EFIPartitionLabel, LabelBIOS: constants.BIOSGrubPartitionLabel, LabelBOOT: constants.BootPartitionLabel,
		LabelMETA: constants.MetaPartitionLabel, LabelSTATE: constants.StatePartitionLabel, LabelEPHEMERAL: constants.EphemeralPartitionLabel,
		LabelIMAGECACHE: constants.ImageCachePartitionLabel, MetaEnv: constants.MetaValuesEnvVar,
	} {
		if got != want {
			t.Errorf("label %s, upstream says %s", got, want)
		}
	}
}

func TestPlatformsAgainstUpstream(t *testing.T) {
	t.Parallel()
	theirs := append(upstream.CloudPlatforms(), upstream.MetalPlatform())
	for _, u := range theirs {
		p, err := FindPlatform(u.Name)
		if err != nil {
			t.Error(err)
			continue
		}
		if d := cmp.Diff(u.Architectures, p.Architectures); d != "" {
			t.Errorf("%s: %s", u.Name, d)
		}
		since := Version{u.MinVersion.Major, u.MinVersion.Minor, u.MinVersion.Patch, ""}
		if since.CompareCore(oldest) < 0 {
			since = oldest
		}
		if p.Since != since {
			t.Errorf("%s: since %s, upstream says %s", u.Name, p.Since, since)
		}
	}
	for _, name := range Platforms() {
		if name != "alibabacloud" && !slices.ContainsFunc(theirs, func(u upstream.Platform) bool { return u.Name == name }) {
			t.Errorf("%s: upstream hasn't it", name)
		}
	}
}

func TestMetaAgainstUpstream(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("interfaces: [eth0]\n", 20)
	for _, values := range [][]MetaValue{
		{{10, "foo"}},
		{{255, "a=b"}, {1, ""}, {12, "ü\x00\n"}},
		{{10, long}, {11, "x"}},
		{{10, strings.Repeat("x", 252)}}, // 256 bytes with its key
		{{10, strings.Repeat("x", 253)}}, // the first that is compressed
	} {
		var want meta.Values
		for _, v := range values {
			want = append(want, meta.Value{Key: v.Key, Value: v.Value})
		}
		for _, zip := range []bool{false, true} {
			got, err := EncodeMeta(values, zip)
			if err != nil {
				t.Fatal(err)
			}
			compressed := zip && len(values[0].Value) > 252
			if !compressed && got != want.Encode(zip) {
				t.Errorf("%q: %s, upstream says %s", values, got, want.Encode(zip))
			}
			if compressed != strings.HasPrefix(got, "H4sI") {
				t.Errorf("%q: compressed or not: %s", values, got)
			}
			back, err := meta.DecodeValues(got)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, back); d != "" {
				t.Error(d)
			}
		}
	}
	for name, want := range map[string]uint8{"upgrade": meta.Upgrade, "network": meta.MetalNetworkPlatformConfig, "url_code": meta.DownloadURLCode,
		"user1": meta.UserReserved1, "uuid": meta.UUIDOverride, "machine_token": meta.UniqueMachineToken, "disk_bootloader": meta.DiskImageBootloader,
		"state_encryption": meta.StateEncryptionConfig, "staged_upgrade_image": meta.StagedUpgradeImageRef} {
		if got, err := MetaKey(name); got != want || err != nil {
			t.Errorf("%s: %d, %v, upstream says %d", name, got, err, want)
		}
	}
}
