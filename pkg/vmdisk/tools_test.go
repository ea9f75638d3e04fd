package vmdisk

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/internal/tooltest"
)

// qemuFormat is what QEMU calls formats.
var qemuFormat = map[Format]string{Raw: "raw", QCOW2: "qcow2", VHD: "vpc", VMDK: "vmdk"}

// TestQEMU lets QEMU check and read what was written.
func TestQEMU(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		format  Format
		cluster int64
		size    int64
		check   bool // QEMU can
	}{
		{QCOW2, 0, 16 * mib, true},
		{QCOW2, 8 << 10, 16*mib + sector, true},
		{QCOW2, minCluster, 16 * mib, true},
		{QCOW2, maxCluster, 16 * mib, true},
		{VHD, 0, 16 * mib, false},
		{VMDK, 0, 16*mib + sector, true},
	} {
		t.Run(fmt.Sprintf("%s-%d", test.format, test.cluster), func(t *testing.T) {
			t.Parallel()
			d := bootDisk(test.size, mib)
			raw := create(t, d, Options{})
			o := options(test.format, None)
			o.ClusterSize = test.cluster
			name, format := create(t, d, o), qemuFormat[test.format]
			if test.check {
				if out := tooltest.Run(t, "qemu-img", "check", "-f", format, name); !strings.Contains(out, "No errors were found on the image.") {
					t.Error(out)
				}
			}
			if out := tooltest.Run(t, "qemu-img", "compare", "-f", "raw", "-F", format, raw, name); out != "Images are identical.\n" {
				t.Error(out)
			}
		})
	}
}

// TestVHDFooter has QEMU's footer but for time, id and checksum.
func TestVHDFooter(t *testing.T) {
	t.Parallel()
	d := bootDisk(16*mib, mib)
	theirs := filepath.Join(t.TempDir(), "qemu.vhd")
	tooltest.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size", create(t, d, Options{}), theirs)
	want, err := os.ReadFile(theirs)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(create(t, d, options(VHD, None)))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []span{{24, 4}, {64, 4}, {68, 16}} {
		copy(want[16*mib+field.at:][:field.size], got[16*mib+field.at:])
	}
	if !bytes.Equal(got, want) {
		t.Errorf("footer\n%x\nQEMU\n%x", got[16*mib:], want[16*mib:])
	}
}

// TestReadQEMU reads disks that QEMU converted.
func TestReadQEMU(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		format Format
		args   []string
		size   int64
	}{
		{QCOW2, []string{"-o", "cluster_size=8k"}, 16*mib + sector},
		{QCOW2, []string{"-o", "compat=0.10,cluster_size=512"}, 16 * mib},
		{QCOW2, []string{"-c"}, 16*mib + sector},
		{QCOW2, []string{"-c", "-o", "compression_type=zstd,cluster_size=2M"}, 16 * mib},
		{QCOW2, []string{"-c", "-o", "cluster_size=512"}, 16 * mib},
		{VHD, []string{"-o", "subformat=fixed,force_size"}, 16 * mib},
		{VMDK, []string{"-o", "subformat=streamOptimized"}, 16*mib + sector},
	} {
		t.Run(fmt.Sprint(test.format, test.args), func(t *testing.T) {
			t.Parallel()
			raw := create(t, bootDisk(test.size, mib), Options{})
			want, err := os.ReadFile(raw)
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(t.TempDir(), "qemu")
			args := append([]string{"convert", "-f", "raw", "-O", qemuFormat[test.format]}, test.args...)
			tooltest.Run(t, "qemu-img", append(args, raw, name)...)
			compare(t, open(t, name), want)
		})
	}
}

// TestUnpack lets the usual tools unpack what was compressed.
func TestUnpack(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		compression Compression
		tool        string
	}{{Gzip, "gzip"}, {XZ, "xz"}, {Zstd, "zstd"}} {
		for _, f := range []Format{Raw, VHD} { // VHD ends with a short block
			t.Run(fmt.Sprintf("%s.%s", f, test.compression), func(t *testing.T) {
				t.Parallel()
				d := bootDisk(16*mib, mib)
				name := create(t, d, options(f, test.compression))
				tooltest.Run(t, test.tool, "-t", name)
				tooltest.Run(t, test.tool, "-d", name)
				if got, want := sum(t, strings.TrimSuffix(name, "."+string(test.compression))), sum(t, create(t, d, options(f, None))); got != want {
					t.Error("other bytes when unpacked")
				}
			})
		}
	}
}

// TestXZSizes is for xz -T, which needs the sizes in the blocks' headers.
func TestXZSizes(t *testing.T) {
	t.Parallel()
	out := tooltest.Run(t, "xz", "-lvv", create(t, bootDisk(16*mib+sector, mib), options(Raw, XZ)))
	if !strings.Contains(out, "Sizes in headers:  Yes") || !strings.Contains(out, "Blocks:            17") {
		t.Error(out)
	}
}

// TestGNUTar has the bytes of GNU tar's archive, and GNU tar finds the file in it.
func TestGNUTar(t *testing.T) {
	t.Parallel()
	block := func(n int64) part { return part{n * tarExtent, noise(tarExtent, uint64(n))} }
	var scattered []part
	for n := range int64(60) { // more than two further headers hold
		scattered = append(scattered, block(3*n))
	}
	for _, test := range []struct {
		name  string
		size  int64
		parts []part
	}{
		{"hole at the end", 3 * mib, []part{block(0), block(1), block(20)}},
		{"data at the end", 3 * mib, []part{block(5), block(47)}},
		{"hole only", 3 * mib, nil},
		{"scattered", 16 * mib, scattered},
		{"four extents", 3 * mib, []part{block(1), block(3), block(5), block(47)}},
		{"more than 8 GiB", 8*gib + mib, []part{block(0), block((8*gib+mib)/tarExtent - 2)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newDisk(test.size, mib, test.parts...)
			raw := create(t, d, Options{})
			want, err := exec.Command(tooltest.Need(t, "tar"), "--format=oldgnu", "--sparse", "--owner=0", "--group=0", "--numeric-owner", "--mode=0644",
				"--mtime=2026-11-22 18:46:07Z", "-C", filepath.Dir(raw), "-cf", "-", "disk.raw").Output()
			if err != nil {
				t.Fatal(err)
			}
			img, err := sparseTar(d.image(), "disk.raw", when.Unix())
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(t.TempDir(), "disk.tar")
			f, err := os.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			size, err := img(&formattest.Ordered{T: t, W: f})
			if err == nil {
				err = f.Truncate(size)
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				i := 0
				for i < min(len(got), len(want)) && got[i] == want[i] {
					i++
				}
				t.Errorf("%d bytes, GNU tar has %d; other ones from %d on", len(got), len(want), i)
			}
			if test.size > gib {
				return // for the sake of time
			}
			dir := t.TempDir()
			tooltest.Run(t, "tar", "-xf", name, "-C", dir)
			if sum(t, filepath.Join(dir, "disk.raw")) != sum(t, raw) {
				t.Error("other bytes when unpacked")
			}
		})
	}
}

// TestTarNames: what is not raw is not called so.
func TestTarNames(t *testing.T) {
	t.Parallel()
	for _, f := range []Format{QCOW2, OVA} {
		d := bootDisk(16*mib, mib)
		name, dir := create(t, d, options(f, TarGzip)), t.TempDir()
		tooltest.Run(t, "tar", "-xzf", name, "-C", dir)
		if sum(t, filepath.Join(dir, "disk."+string(f))) != sum(t, create(t, d, options(f, None))) {
			t.Errorf("%s: other bytes when unpacked", f)
		}
	}
}

// TestOVA checks what an OVA says of its parts.
func TestOVA(t *testing.T) {
	t.Parallel()
	d := bootDisk(16*mib, mib)
	b, err := os.ReadFile(create(t, d, options(OVA, None)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	members := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Format != tar.FormatUSTAR || h.Mode != 0o644 || h.ModTime.Unix() != when.Unix() || h.Uid != 0 || h.Uname != "" {
			t.Errorf("member %+v", h)
		}
		names = append(names, h.Name)
		if members[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(names, " "); got != "disk.ovf disk.mf disk.vmdk" {
		t.Errorf("members %s", got)
	}
	manifest := fmt.Sprintf("SHA256(disk.vmdk)= %x\nSHA256(disk.ovf)= %x\n", sha256.Sum256(members["disk.vmdk"]), sha256.Sum256(members["disk.ovf"]))
	if got := string(members["disk.mf"]); got != manifest {
		t.Errorf("manifest\n%swant\n%s", got, manifest)
	}
	vmdk, err := os.ReadFile(create(t, d, options(VMDK, None)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(members["disk.vmdk"], vmdk) {
		t.Error("the VMDK is not the one of a VMDK output")
	}
	var ovf struct {
		File struct {
			Href string `xml:"href,attr"`
			Size int    `xml:"size,attr"`
		} `xml:"References>File"`
		Disk struct {
			Capacity int64  `xml:"capacity,attr"`
			Units    string `xml:"capacityAllocationUnits,attr"`
		} `xml:"DiskSection>Disk"`
		Items []struct {
			Type string `xml:"ResourceType"`
			ID   string `xml:"InstanceID"`
		} `xml:"VirtualSystem>VirtualHardwareSection>Item"`
	}
	if err := xml.Unmarshal(members["disk.ovf"], &ovf); err != nil {
		t.Fatal(err)
	}
	if ovf.File.Href != "disk.vmdk" || ovf.File.Size != len(vmdk) || ovf.Disk.Capacity != 16 || ovf.Disk.Units != "byte * 2^20" {
		t.Errorf("OVF has %+v", ovf)
	}
	if got := fmt.Sprint(ovf.Items); got != "[{3 1} {4 2} {6 3} {17 4} {10 5} {24 6} {1 7}]" {
		t.Errorf("hardware %s", got)
	}
}

// TestTranscript compares what tools say with testdata/tools.txt, line by line; newer tools may say more.
func TestTranscript(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("testdata/tools.txt")
	if err != nil {
		t.Fatal(err)
	}
	d, names := bootDisk(16*mib, mib), map[string]string{}
	small := options(QCOW2, None)
	small.ClusterSize = 8192
	for _, o := range []Options{small, options(VHD, None), options(VMDK, None), options(OVA, None), options(Raw, TarGzip), options(Raw, XZ)} {
		name := create(t, d, o)
		names[filepath.Base(name)] = name
	}
	var out string
	for line := range strings.SplitSeq(strings.TrimSuffix(string(want), "\n"), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			words := strings.Fields(command)
			name := words[len(words)-1]
			words[len(words)-1] = names[name]
			out = strings.ReplaceAll(tooltest.Run(t, words[0], words[1:]...), names[name], name)
			continue
		}
		if !strings.Contains("\n"+out, "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, out)
		}
	}
}
