package preflight_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talosmith/talosmith/pkg/preflight"
	"github.com/talosmith/talosmith/pkg/talos"
)

const mib = 1 << 20

func sizes(layer int64) *preflight.Sizes {
	return &preflight.Sizes{
		Kernel: 20 * mib, Stub: mib, SDBoot: mib, Initramfs: 80 * mib, Unpacked: 100 * mib, ModulesDep: mib,
		Extensions: []preflight.Cost{{Layer: layer}, {Firmware: 10 * mib, Unpacked: 30 * mib, Microcode: 5 * mib}},
	}
}

func TestSizesAddUp(t *testing.T) {
	t.Parallel()
	s := sizes(3 * mib)
	got := []int64{s.FullInitramfs() / mib, s.UKI() / mib, s.Memory() / mib, s.Extensions[1].Packed() / mib, s.Extensions[1].Memory() / mib}
	if d := cmp.Diff([]int64{80 + 1 + 3 + 15, 99 + 20 + 1 + 1, 2 * (100 + 1 + 3 + 35), 15, 35}, got); d != "" {
		t.Error(d)
	}
}

// TestFits: which partitions are looked at depends on what is made.
func TestFits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		version, arch string
		output        preflight.Output
		want          string
	}{
		{"v1.13.9", "amd64", preflight.Output{Kind: talos.KindDisk, Bootloader: talos.DualBoot}, "EFI 2096 BOOT 1934 "},
		{"v1.13.9", "amd64", preflight.Output{Kind: talos.KindDisk, Bootloader: talos.SDBoot}, "EFI 2096 "},
		{"v1.13.9", "amd64", preflight.Output{Kind: talos.KindInstaller}, "EFI 2096 BOOT 1934 "},
		{"v1.13.9", "arm64", preflight.Output{Kind: talos.KindInstaller}, "EFI 2096 "},
		{"v1.13.9", "amd64", preflight.Output{Kind: talos.KindUKI}, "EFI 2096 "},
		{"v1.13.9", "amd64", preflight.Output{Kind: talos.KindISO}, ""},
		{"v1.13.9", "amd64", preflight.Output{Kind: talos.KindInitramfs}, ""},
		{"v1.10.4", "amd64", preflight.Output{Kind: talos.KindDisk, Bootloader: talos.DualBoot}, "EFI 1098 BOOT 934 "},
		{"v1.9.0", "amd64", preflight.Output{Kind: talos.KindInstaller}, "BOOT 934 "},
	} {
		got := ""
		for _, f := range sizes(0).Fits(facts(t, c.version, c.arch), []preflight.Output{c.output}) {
			got += f.Label + " " + cmpInt(f.Room/mib) + " "
		}
		if got != c.want {
			t.Errorf("%s %s %v: %s", c.version, c.arch, c.output, got)
		}
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	dual := []preflight.Output{{Kind: talos.KindDisk, Bootloader: talos.DualBoot}}
	for _, c := range []struct {
		layer int64
		want  []string
	}{
		{200, []string{}},
		{300, []string{"image 0: warning memory: a machine needs 872 MiB of memory to unpack the initramfs, of which half at most is for it"}},
		{660, []string{
			"image 0: warning memory: a machine needs 1592 MiB of memory to unpack the initramfs, of which half at most is for it",
			"image 0: warning size: BOOT of 1934 MiB: two kernels and initramfs images take 1552 MiB, 81 %",
		}},
		{900, []string{
			"image 0: error size: BOOT of 1934 MiB: two kernels and initramfs images take 2032 MiB, 106 %",
			"image 0: warning memory: a machine needs 2072 MiB of memory to unpack the initramfs, of which half at most is for it",
			"image 0: warning size: EFI of 2097 MiB: two UKIs take 2037 MiB, 98 %",
		}},
		{10_000, []string{
			"image 0: error size: BOOT of 1934 MiB: two kernels and initramfs images take 19.8 GiB, 1047 %",
			"image 0: error size: EFI of 2097 MiB: two UKIs take 19.8 GiB, 966 %",
			"image 0: warning memory: a machine needs 19.8 GiB of memory to unpack the initramfs, of which half at most is for it",
		}},
	} {
		f := facts(t, "v1.13.9", "amd64")
		got := text(preflight.Check(preflight.Target{Facts: f, Sizes: sizes(c.layer * mib), Outputs: dual, Extensions: []preflight.Extension{{Name: "a"}, {Name: "b"}}}))
		if d := cmp.Diff(c.want, append([]string{}, got...)); d != "" {
			t.Errorf("%d MiB: %s", c.layer, d)
		}
	}
}

// TestFull: exactly 80 and 100 percent.
func TestFull(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ need, percent int64 }{{800, 80}, {799, 80}, {790, 79}, {1000, 100}, {1001, 101}, {0, 0}} {
		if got := (preflight.Fit{Need: c.need, Room: 1000}).Percent(); got != c.percent {
			t.Errorf("%d of 1000: %d %%", c.need, got)
		}
	}
}
