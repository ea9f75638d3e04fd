package iso9660_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/fat"
	"github.com/talosmith/talosmith/pkg/iso9660"
	"github.com/talosmith/talosmith/pkg/tree"
)

// payload is what UEFI firmware starts, and what comes with it: part of the tree and of the ESP.
func payload(t testing.TB) *tree.Tree {
	return newTree(t,
		file("EFI/BOOT/BOOTX64.EFI", strings.Repeat("systemd-boot", 9000)),
		file("EFI/Linux/Talos-v1.13.9.efi", strings.Repeat("UKI", 1<<20)),
		file("loader/loader.conf", "timeout 10\n"),
	)
}

// newESP is the payload as a FAT32 file system.
func newESP(t testing.TB) *fat.Image {
	t.Helper()
	esp, err := fat.Plan(payload(t), fat.Options{Size: 36 << 20, Label: "EFI", SectorsPerCluster: 1, FileAlign: 2048})
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

func uefiOptions(esp *fat.Image) iso9660.Options {
	return iso9660.Options{
		VolumeID: "TALOS_V1_13_9", VolumeSetID: "Talos-v1.13.9", ModTime: epoch,
		PreparerID:      "XORRISO-1.5.4 2021.01.30.150001, LIBISOBURN-1.5.4, LIBISOFS-1.5.4, LIBBURN-1.5.4",
		Boot:            []iso9660.BootEntry{{Platform: iso9660.UEFI}},
		Appended:        []iso9660.Content{esp},
		PartitionOffset: 16,
		Tail:            300 << 10, // as xorriso pads
	}
}

// writeUEFI composes an image as the imager does for UEFI.
func writeUEFI(t testing.TB, tr *tree.Tree, o iso9660.Options) (*iso9660.Image, *os.File) {
	t.Helper()
	im, f := write(t, tr, o)
	mbr, err := im.MBR()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(mbr[:], 0); err != nil {
		t.Fatal(err)
	}
	return im, f
}

func TestTmp(t *testing.T) {
	esp := newESP(t)
	_, f := writeUEFI(t, payload(t), uefiOptions(esp))
	os.Rename(f.Name(), "/tmp/h/iso/ours.iso")
	ef, _ := os.Create("/tmp/h/iso/esp.img")
	ef.Truncate(esp.Size())
	esp.Write(ef)
	ef.Close()
	os.RemoveAll("/tmp/h/iso/t")
	extractTree(t, payload(t), "/tmp/h/iso/t")
	_ = tooltest.Run
	_ = bytes.Equal
	_ = io.EOF
}

// extractTree puts a tree of files and directories into a directory of the host.
func extractTree(t testing.TB, tr *tree.Tree, to string) {
	t.Helper()
	for n := range tr.All() {
		name := filepath.Join(to, n.Path)
		if n.Mode.IsDir() {
			if err := os.MkdirAll(name, n.Mode.Perm()); err != nil {
				t.Fatal(err)
			}
			continue
		}
		b, err := tree.ReadAll(n.Content)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, n.Mode.Perm()); err != nil {
			t.Fatal(err)
		}
	}
}
