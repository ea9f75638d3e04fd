package talos

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/facts.golden")

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Version{
		"v1.13.9":                            {1, 13, 9, ""},
		"1.13.9":                             {1, 13, 9, ""},
		"v1.14.0-beta.1":                     {1, 14, 0, "beta.1"},
		"v1.7.0-alpha.0-75-gff08e2821":       {1, 7, 0, "alpha.0-75-gff08e2821"},
		"v18446744073709551615.0.0":          {18446744073709551615, 0, 0, ""},
		"v1.0.0-" + strings.Repeat("a", 121): {1, 0, 0, strings.Repeat("a", 121)},
	} {
		got, err := ParseVersion(in)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
		if s := got.String(); s != "v"+strings.TrimPrefix(in, "v") {
			t.Errorf("%s prints as %s", in, s)
		}
	}
	for in, want := range map[string]string{
		"":                                   "write it like v1.13.9",
		"1.13":                               "write it like v1.13.9",
		"vv1.13.9":                           "write it like v1.13.9",
		"v1.13.9 ":                           "write it like v1.13.9",
		"V1.13.9":                            "write it like v1.13.9",
		"v01.13.9":                           "write it like v1.13.9",
		"latest":                             "write it like v1.13.9",
		"v1.13.-1":                           "write it like v1.13.9",
		"v18446744073709551616.0.0":          "write it like v1.13.9",
		"v1.13.9+dirty":                      "can't be part of an image's tag",
		"v1.0.0-" + strings.Repeat("a", 122): "has at most 128",
	} {
		if v, err := ParseVersion(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v, want %q", in, v, err, want)
		}
	}
}

func TestVersionOrder(t *testing.T) {
	t.Parallel()
	order := []string{"v1.9.9", "v1.14.0-alpha.1", "v1.14.0-alpha.2", "v1.14.0-alpha.10", "v1.14.0-beta.1", "v1.14.0-rc.0", "v1.14.0", "v1.14.1-alpha.0", "v2.0.0"}
	for i, a := range order {
		for j, b := range order {
			got := mustVersion(t, a).Compare(mustVersion(t, b))
			if (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%s compared with %s: %d", a, b, got)
			}
		}
	}
	if mustVersion(t, "v1.14.0-alpha.1").CompareCore(mustVersion(t, "v1.14.0")) != 0 {
		t.Error("a pre-release doesn't count as its release")
	}
}

func TestKnown(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]error{
		"v1.4.8": ErrVersionOld, "v1.5.0-alpha.0": nil, "v1.5.0": nil, "v1.13.9": nil, "v1.14.0-rc.1": nil, "v1.14.99": nil,
		"v1.15.0-alpha.0": ErrVersionUnknown, "v2.0.0": ErrVersionUnknown, "v0.14.3": ErrVersionOld,
	} {
		if err := mustVersion(t, in).Known(); !errors.Is(err, want) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestForRefusals(t *testing.T) {
	t.Parallel()
	v113, v115, v14 := mustVersion(t, "1.13.9"), mustVersion(t, "1.15.0"), mustVersion(t, "1.4.0")
	for _, tt := range []struct {
		v              Version
		platform, arch string
		want           []string
	}{
		{v113, "digitalocean", AMD64, []string{`unknown platform "digitalocean": did you mean "digital-ocean"?`}},
		{v113, "container", AMD64, []string{`unknown platform "container": must be one of akamai, `}},
		{v113, "metal", "x86_64", []string{`unknown architecture "x86_64": must be one of amd64, arm64`}},
		{v113, "meta1", "arm46", []string{`did you mean "metal"?`, `did you mean "arm64"?`}},
		{v115, "metall", AMD64, []string{"v1.15.0: not known yet: 1.14 is the newest known", "talos { allow_unknown = true }", `"metal"`}},
		{v14, "metal", AMD64, []string{"v1.4.0: not supported: 1.5 is the oldest"}},
		{v113, "alibabacloud", AMD64, []string{"platform alibabacloud: not there yet in Talos v1.13.9: it came with v1.14.0"}},
		{v113, strings.Repeat("a", 5000), AMD64, []string{"…\": must be one of"}},
	} {
		_, err := For(tt.v, tt.platform, tt.arch)
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %s %s: %v, want %q", tt.v, cut(tt.platform), tt.arch, err, want)
			}
		}
	}
	newer, err := ForUnknown(v115, "metal", AMD64)
	if err != nil || !newer.Newer {
		t.Fatalf("the newest rules for 1.15: %v", err)
	}
	newest := mustFor(t, "v1.14.0", "metal", AMD64)
	if newest.Newer {
		t.Error("1.14 counts as unknown")
	}
	newest.Version, newest.Tag, newest.Newer = newer.Version, newer.Version.String(), true
	if d := cmp.Diff(newest, newer, cmp.AllowUnexported(Platform{}), cmp.Comparer(func(a, b platformArgs) bool { return a == b })); d != "" {
		t.Error(d)
	}
	if _, err := ForUnknown(v14, "metal", AMD64); !errors.Is(err, ErrVersionOld) {
		t.Errorf("too old stays too old: %v", err)
	}
}

// Source: the tables of upstream's own test data (pkg/imager/profile/testdata) and the arithmetic of Output.FillDefaults.
func TestDiskSize(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		version, platform string
		loader            Bootloader
		mib               int64
	}{
		{"v1.9.5", "metal", GRUB, 1246}, {"v1.10.0", "metal", SDBoot, 1246}, {"v1.10.0", "metal", DualBoot, 2247},
		{"v1.13.0", "metal", SDBoot, 2246}, {"v1.13.0", "metal", GRUB, 2246}, {"v1.13.0", "metal", DualBoot, 4247},
		{"v1.9.5", "aws", GRUB, 8192}, {"v1.10.0", "aws", DualBoot, 9193}, {"v1.11.0", "aws", SDBoot, 9192}, {"v1.11.0", "aws", DualBoot, 11193},
		{"v1.10.0", "exoscale", SDBoot, 10240}, {"v1.10.0", "exoscale", DualBoot, 11241}, {"v1.12.0", "exoscale", GRUB, 11240},
		{"v1.12.0", "exoscale", DualBoot, 13241},
	} {
		if got := mustFor(t, tt.version, tt.platform, AMD64).DiskSize(tt.loader); got != tt.mib*MiB {
			t.Errorf("%s %s %s: %d MiB, want %d", tt.version, tt.platform, tt.loader, got/MiB, tt.mib)
		}
	}
	if got := mustFor(t, "v1.13.0", "metal", AMD64).DiskSize(DualBoot); got != 4453302272 {
		t.Errorf("metal-amd64-1.13.0: %d bytes", got)
	}
}

func TestGUID(t *testing.T) {
	t.Parallel()
	for label, want := range map[string]string{
		DiskLabel:       "d92d45b3-cde9-8760-be9f-a2a71fac8d11",
		LabelEFI:        "bca5174b-0118-8a6a-af0b-2c6e1585acae",
		LabelBIOS:       "a2a02ff5-d88d-8e6e-9c95-26b9b6c80bc3",
		LabelBOOT:       "24c73076-4092-85dd-9d98-686a2dbf6d81",
		LabelMETA:       "cf04f137-101e-8ec6-9627-fa3f51cdabb8",
		LabelSTATE:      "f7f88648-df7c-8acb-b4d2-6f124659d923",
		LabelEPHEMERAL:  "c5e02400-0e5e-80bc-99ec-53b3e45ad6c4",
		LabelIMAGECACHE: "3b5449bc-c21f-8009-8b51-18945967f8df",
	} {
		if got := uuid(GUID(label)); got != want {
			t.Errorf("%s: %s, want %s", label, got, want)
		}
	}
	for got, want := range map[[16]byte]string{
		TypeESP:   "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
		TypeBIOS:  "21686148-6449-6e6f-744e-656564454649",
		TypeLinux: "0fc63daf-8483-4772-8e79-3d69d8477de4",
	} {
		if uuid(got) != want {
			t.Errorf("type %s, want %s", uuid(got), want)
		}
	}
}

func uuid(g [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", g[:4], g[4:6], g[6:8], g[8:10], g[10:])
}

func TestBootloader(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		version, arch string
		kind          Kind
		want          Bootloader
	}{
		{"v1.9.5", AMD64, KindDisk, GRUB}, {"v1.9.5", ARM64, KindISO, GRUB},
		{"v1.10.0", AMD64, KindDisk, DualBoot}, {"v1.10.0", ARM64, KindDisk, SDBoot}, {"v1.10.0", AMD64, KindISO, DualBoot},
		{"v1.12.0", AMD64, KindISO, DualBoot}, {"v1.12.0", ARM64, KindISO, SDBoot},
		{"v1.13.9", AMD64, KindInstaller, ""}, {"v1.13.9", AMD64, KindUKI, ""},
	} {
		f := mustFor(t, tt.version, "metal", tt.arch)
		got := f.Bootloader(tt.kind)
		if got != tt.want {
			t.Errorf("%s %s %s: %q, want %q", tt.version, tt.arch, tt.kind, got, tt.want)
		}
		if got != "" {
			if err := f.CheckBootloader(got); err != nil {
				t.Errorf("its own default is refused: %v", err)
			}
		}
	}
	for want, tt := range map[string]struct {
		version, arch string
		loader        Bootloader
	}{
		"arm64 has no BIOS; use sd-boot":               {"v1.13.9", ARM64, DualBoot},
		"boots through grub only; sd-boot came with v": {"v1.9.0", AMD64, SDBoot},
		`did you mean "grub"?`:                         {"v1.13.9", AMD64, "grub2"},
	} {
		if err := mustFor(t, tt.version, "metal", tt.arch).CheckBootloader(tt.loader); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := mustFor(t, "v1.13.9", "metal", ARM64).CheckBootloader(GRUB); err != nil {
		t.Errorf("GRUB stays possible, overlays need it: %v", err)
	}
}

func TestCheckSectorSize(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		version, arch string
		loader        Bootloader
		size          int64
		want          string // "" for nothing
	}{
		{"v1.5.0", AMD64, GRUB, 512, ""},
		{"v1.9.6", ARM64, GRUB, 4096, "sectors of 4096 bytes: Talos v1.9.6 boots through grub only, which needs those of 512; use v1.10.0 or newer"},
		{"v1.13.9", AMD64, GRUB, 4096, "sectors of 4096 bytes: boot loader grub needs those of 512; use sd-boot"},
		{"v1.13.9", AMD64, DualBoot, 4096, ""},
		{"v1.10.0", AMD64, SDBoot, 4096, ""},
		{"v1.14.0", ARM64, SDBoot, 4096, ""},
		{"v1.14.0", ARM64, SDBoot, 520, "sectors of 520 bytes: disks have those of 512 or 4096"},
		{"v1.14.0", ARM64, SDBoot, 0, "sectors of 0 bytes"},
	} {
		err := mustFor(t, tt.version, "metal", tt.arch).CheckSectorSize(tt.loader, tt.size)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

func TestCheckMeta(t *testing.T) {
	t.Parallel()
	full := []MetaValue{{10, strings.Repeat("x", MetaRoom-8)}}
	for _, tt := range []struct {
		kind   Kind
		values []MetaValue
		want   string
	}{
		{KindInstaller, nil, ""},
		{KindInstaller, []MetaValue{{10, "x"}}, "output installer can't carry any"},
		{KindKernel, []MetaValue{{10, "x"}}, "output kernel can't carry any"},
		{KindDisk, []MetaValue{{10, "a;b"}, {12, ""}}, ""},
		{KindISO, []MetaValue{{10, "a;b"}}, `key 10: its value has a ";"`},
		{KindDisk, []MetaValue{{0, "x"}}, "keys are 1 to 255"},
		{KindDisk, []MetaValue{{12, "x"}, {12, "x"}}, "key 12: given twice"},
		{KindDisk, full, ""},
		{KindDisk, append(full, MetaValue{11, ""}), "they take 262112 bytes, there is room for 262104"},
	} {
		err := CheckMeta(tt.kind, tt.values)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.kind, err, tt.want)
		}
	}
}

// The golden file has every version × platform × architecture: what differs is seen in a review.
// Write it with: go test ./pkg/talos -run TestGolden -update
func TestGolden(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, version := range []string{"v1.5.5", "v1.6.2", "v1.6.8", "v1.7.7", "v1.8.4", "v1.9.6", "v1.10.9", "v1.11.6", "v1.12.4", "v1.13.9", "v1.14.0-beta.1"} {
		for _, arch := range Architectures() {
			f := mustFor(t, version, "metal", arch)
			fmt.Fprintf(&b, "# %s %s\n", version, arch)
			fmt.Fprintf(&b, "compression %s, lib %s, installer on %s %v\n", f.Compression, f.LibDir, f.InstallerBase, f.InstallerFiles())
			fmt.Fprintf(&b, "boot iso=%s disk=%s, grub %q %s, efi %s, xfs %s\n", f.Bootloader(KindISO), f.Bootloader(KindDisk),
				f.GRUBBIOS, f.GRUBEFI, f.EFIBoot, f.XFSConfig)
			for _, loader := range []Bootloader{SDBoot, DualBoot, GRUB} {
				fmt.Fprintf(&b, "partitions %s:", loader)
				for _, p := range f.Partitions(loader) {
					fmt.Fprintf(&b, " %s=%d", p.Label, p.Size/MiB)
				}
				b.WriteByte('\n')
			}
			id, set := f.ISOVolume()
			fmt.Fprintf(&b, "iso %s %q, uki %s, meta gzip=%v overlays=%v profiles=%v embedded=%v signatures=%v selinux=%v iso loader=%v\n", id, set,
				f.UKIName(), f.MetaGzip, f.Overlays, f.UKIProfiles, f.EmbeddedConfig, f.ModuleSignatures, f.SELinux, f.ISOBootloader)
			fmt.Fprintf(&b, "extensions %s\n", strings.Join(f.ExtensionPaths, " "))
			for _, platform := range Platforms() {
				f, err := For(mustVersion(t, version), platform, arch)
				if errors.Is(err, ErrPlatformOld) {
					fmt.Fprintf(&b, "%s: not there yet\n", platform)
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				c, err := f.Cmdline(CmdlineInput{Kind: KindDisk})
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "%s: %d MiB %s %s: %s\n", platform, f.DiskSize(f.Bootloader(KindDisk))/MiB, f.Platform.Disk.Format,
					f.Platform.Disk.Compression, c)
			}
			b.WriteByte('\n')
		}
	}
	const golden = "testdata/facts.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(b.String(), "\n")); d != "" {
		t.Error(d)
	}
}

// What the file AllowedPaths of upstream's release tags has.
func TestExtensionPaths(t *testing.T) {
	t.Parallel()
	const (
		common = "etc/cri/conf.d usr/local usr/share/glvnd usr/share/egl etc/vulkan "
		merged = common + "usr/lib/firmware usr/lib/modules usr/lib/ld-linux-x86-64.so.2 usr/bin/ldconfig usr/lib/udev/rules.d "
		before = common + "lib/firmware lib/modules lib64/ld-linux-x86-64.so.2 "
	)
	for version, want := range map[string]string{
		"v1.5.0":  before + "usr/etc/udev/rules.d",
		"v1.8.4":  before + "usr/etc/udev/rules.d",
		"v1.9.6":  before + "usr/lib/udev/rules.d sbin/ldconfig",
		"v1.10.0": merged,
		"v1.11.0": merged,
		"v1.12.0": merged + "usr/lib/ld-linux-aarch64.so.1",
		"v1.13.9": merged + "usr/lib/ld-linux-aarch64.so.1 etc/ld.so.conf etc/ld.so.cache usr/bin/nvidia-modprobe usr/bin/nvidia-pcc " +
			"usr/bin/nvidia-smi usr/bin/nvidia-ctk usr/bin/nvidia-cdi-hook usr/bin/nvme",
	} {
		got := map[string]bool{}
		for _, p := range mustFor(t, version, "metal", AMD64).ExtensionPaths {
			got[p] = true
		}
		for _, p := range strings.Fields(want) {
			if !got[p] {
				t.Errorf("%s: %s is missing", version, p)
			}
			delete(got, p)
		}
		if len(got) > 0 {
			t.Errorf("%s: too many: %v", version, got)
		}
	}
}
