package iso9660_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/fat"
	"github.com/talosmith/talosmith/pkg/gpt"
	"github.com/talosmith/talosmith/pkg/iso9660"
	"github.com/talosmith/talosmith/pkg/tree"
)

const mib = 1 << 20

// payload is what firmware and GRUB start: part of the ISO's tree and of the ESP.
func payload(t testing.TB) *tree.Tree {
	return newTree(t,
		file("EFI/BOOT/BOOTX64.EFI", strings.Repeat("systemd-boot", 9000)),
		file("EFI/Linux/Talos-v1.13.9.efi", strings.Repeat("UKI", mib)),
		file("loader/loader.conf", "timeout 10\n"),
	)
}

// hybridTree has GRUB's files beside the payload.
func hybridTree(t testing.TB) *tree.Tree {
	var nodes []tree.Node
	for n := range payload(t).All() {
		nodes = append(nodes, n)
	}
	return newTree(t, append(nodes,
		file("boot/grub/grub.cfg", "set timeout=3\n"),
		file(eltorito, strings.Repeat("cdboot.img and core image\xff", 2000)),
	)...)
}

const eltorito = "boot/grub/i386-pc/eltorito.img"

// bootHybrid stands for GRUB's: a boot sector with code and room for a partition table.
func bootHybrid() []byte {
	b := make([]byte, 512)
	copy(b, bytes.Repeat([]byte{0xeb}, 440))
	b[510], b[511] = 0x55, 0xaa
	return b
}

func newESP(t testing.TB) *fat.Image {
	t.Helper()
	esp, err := fat.Plan(payload(t), fat.Options{Size: 36 * mib, Label: "EFI", SectorsPerCluster: 1, FileAlign: 2048})
	if err != nil {
		t.Fatal(err)
	}
	return esp
}

// shared tells for every file of the payload where in the ESP it lies.
func shared(t testing.TB, esp *fat.Image) map[string]iso9660.Shared {
	t.Helper()
	m := map[string]iso9660.Shared{}
	for n := range payload(t).All() {
		if off, ok := esp.Offset(n.Path); ok {
			m[n.Path] = iso9660.Shared{Offset: off}
		}
	}
	return m
}

// uefiOptions are those of an ISO for UEFI alone.
func uefiOptions(esp *fat.Image) iso9660.Options {
	return iso9660.Options{
		VolumeID: "TALOS_V1_13_9", VolumeSetID: "Talos-v1.13.9", ModTime: epoch,
		Boot:            []iso9660.BootEntry{{Platform: iso9660.UEFI}},
		Appended:        []iso9660.Content{esp},
		PartitionOffset: 16,
		Tail:            300 << 10, // as xorriso pads
	}
}

// hybridOptions are those of an ISO that starts by BIOS as well.
func hybridOptions(esp *fat.Image) iso9660.Options {
	o := uefiOptions(esp)
	o.Boot = append([]iso9660.BootEntry{{
		Platform: iso9660.BIOS, Path: eltorito, LoadSectors: 4, BootInfoTable: true, GRUB2BootInfo: true,
	}}, o.Boot...)
	o.Tail += 32 << 10 // GPT backup
	return o
}

// writeUEFI composes an ISO as the imager does for UEFI alone.
func writeUEFI(t testing.TB, tr *tree.Tree, o iso9660.Options) (*iso9660.Image, *os.File) {
	t.Helper()
	im, f := write(t, tr, o)
	mbr, err := im.MBR()
	if err != nil {
		t.Fatal(err)
	}
	writeAt(t, f, mbr[:], 0)
	return im, f
}

// writeHybrid composes a hybrid ISO as the imager does: the GPT is that of xorriso.
func writeHybrid(t testing.TB, tr *tree.Tree, o iso9660.Options) (*iso9660.Image, *os.File) {
	t.Helper()
	im, f := write(t, tr, o)
	code, err := im.HybridBootCode(bootHybrid())
	if err != nil {
		t.Fatal(err)
	}
	// xorriso's GUIDs of a given date: its digits as bytes, with the version and the partition's number put in.
	guid := func(i int) gpt.GUID {
		return gpt.MustParseGUID(fmt.Sprintf("33323032-3131-4431-b2%02x-303231333230", 0x30+i))
	}
	sectors, esp := uint64(im.Size()/512), uint64(im.AppendedOffset(0)/512)
	gap := esp + 36*mib/512
	table := gpt.Table{
		DiskGUID: guid(0), Entries: 248, FirstUsable: 64, LastUsable: sectors - 64, BootCode: code,
		Partitions: []gpt.Partition{
			{Name: "ISO9660", Type: gpt.TypeBasicData, GUID: guid(1), Attributes: gpt.AttrReadOnly | gpt.AttrRequired, First: 64, Last: esp - 1},
			{Name: "Appended2", Type: gpt.TypeESP, GUID: guid(2), First: esp, Last: gap - 1},
			{Name: "Gap1", Type: gpt.TypeBasicData, GUID: guid(3), Attributes: gpt.AttrReadOnly | gpt.AttrRequired, First: gap, Last: gap + 600 - 1},
		},
	}
	primary, err := table.Primary(im.Size())
	if err != nil {
		t.Fatal(err)
	}
	backup, at, err := table.Backup(im.Size())
	if err != nil {
		t.Fatal(err)
	}
	writeAt(t, f, primary, 0)
	writeAt(t, f, backup, at)
	return im, f
}

func writeAt(t testing.TB, f *os.File, b []byte, at int64) {
	t.Helper()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// unpack puts a tree of files and directories into a directory of the host.
func unpack(t testing.TB, tr *tree.Tree, to string) {
	t.Helper()
	for n := range tr.All() {
		name := filepath.Join(to, n.Path)
		var err error
		if n.Mode.IsDir() {
			err = os.MkdirAll(name, n.Mode.Perm())
		} else {
			var b []byte
			if b, err = tree.ReadAll(n.Content); err == nil {
				err = os.WriteFile(name, b, n.Mode.Perm())
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// xorrisofs makes an image of a tree with upstream's dates and names, and returns its file.
func xorrisofs(t testing.TB, tr *tree.Tree, flags ...string) *os.File {
	t.Helper()
	tmp := t.TempDir()
	unpack(t, tr, filepath.Join(tmp, "tree"))
	name := filepath.Join(tmp, "xorriso.iso")
	args := append([]string{"-as", "mkisofs"}, flags...)
	args = append(args, "-iso-level", "3", "-o", name, "-r", filepath.Join(tmp, "tree"), "--",
		"-volume_date", "uuid", "2023111422132000", "-volume_date", "all_file_dates", "=1700000000",
		"-volid", "TALOS_V1_13_9", "-volset_id", "Talos-v1.13.9")
	cmd := exec.Command(tooltest.Need(t, "xorriso"), args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C", "SOURCE_DATE_EPOCH=1700000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("xorriso %q: %v\n%s", args, err, out)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// espFile is an ESP in a file of the host.
func espFile(t testing.TB, esp *fat.Image) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "efiboot.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(esp.Size()); err != nil {
		t.Fatal(err)
	}
	if err := esp.Write(f); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// readOnly makes the modes those of xorriso -r.
func readOnly(t testing.TB, tr *tree.Tree) *tree.Tree {
	var nodes []tree.Node
	for n := range tr.All() {
		n.Mode &^= 0o222
		nodes = append(nodes, n)
	}
	return newTree(t, nodes...)
}

// sameBytes compares two images block by block.
func sameBytes(t *testing.T, got, want *os.File) {
	t.Helper()
	g, w := make([]byte, 2048), make([]byte, 2048)
	for block, bad := 0, 0; bad < 8; block++ {
		n, gerr := io.ReadFull(got, g)
		m, werr := io.ReadFull(want, w)
		if gerr != nil || werr != nil {
			if gerr != io.EOF || werr != io.EOF {
				t.Errorf("block %d: got %d bytes (%v), want %d (%v)", block, n, gerr, m, werr)
			}
			return
		}
		if !bytes.Equal(g, w) {
			bad++
			i := 0
			for g[i] == w[i] {
				i++
			}
			t.Errorf("block %d, byte %d: got %x, want %x", block, i, g[i:min(i+16, 2048)], w[i:min(i+16, 2048)])
		}
	}
}

// The flags are upstream's. With xorriso's own text as preparer id there is no difference: not a single byte.
func TestUEFISameAsXorriso(t *testing.T) {
	t.Parallel()
	esp := newESP(t)
	want := xorrisofs(t, payload(t), "-e", "--interval:appended_partition_2:all::", "-append_partition", "2", "0xef", espFile(t, esp),
		"-partition_cyl_align", "all", "-partition_offset", "16", "-iso_mbr_part_type", "0x83", "-no-emul-boot", "-m", "efiboot.img")
	r, err := iso9660.NewReader(want)
	if err != nil {
		t.Fatal(err)
	}
	o := uefiOptions(esp)
	o.PreparerID = r.PreparerID
	_, got := writeUEFI(t, readOnly(t, payload(t)), o)
	sameBytes(t, got, want)
}

// The flags are those with which grub-mkrescue calls xorriso for upstream, but for --sort-weight (which stores /boot first), and
// one difference is left: pkg/gpt gives the protective partition the end FF FF FF in cylinders, heads and sectors, as upstream's
// disk images have it, while xorriso calculates it. GUIDs are the same as well. What upstream's own GRUB adds to the tree (fonts, translations) is the imager's matter.
func TestHybridSameAsXorriso(t *testing.T) {
	t.Parallel()
	esp := newESP(t)
	mbr := filepath.Join(t.TempDir(), "boot_hybrid.img")
	if err := os.WriteFile(mbr, bootHybrid(), 0o644); err != nil {
		t.Fatal(err)
	}
	want := xorrisofs(t, hybridTree(t), "-graft-points", "-b", eltorito, "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table",
		"--grub2-boot-info", "--grub2-mbr", mbr, "--protective-msdos-label", "-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::",
		"-append_partition", "2", "0xef", espFile(t, esp), "-appended_part_as_gpt", "-partition_cyl_align", "all", "-partition_offset", "16",
		"-iso_mbr_part_type", "0x83", "-no-emul-boot")
	r, err := iso9660.NewReader(want)
	if err != nil {
		t.Fatal(err)
	}
	o := hybridOptions(esp)
	o.PreparerID = r.PreparerID
	_, got := writeHybrid(t, readOnly(t, hybridTree(t)), o)
	end := make([]byte, 3)
	if _, err := want.ReadAt(end, 0x1be+5); err != nil {
		t.Fatal(err)
	}
	writeAt(t, got, end, 0x1be+5)
	sameBytes(t, got, want)
}
