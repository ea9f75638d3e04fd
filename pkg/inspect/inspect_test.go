package inspect_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/inspect"
)

func open(t *testing.T, ref string) *inspect.Artefact {
	t.Helper()
	a, err := inspect.Open(context.Background(), ref, inspect.Options{Temp: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// Every kind of artefact that boots says the same, whatever made it and however it is packed.
func TestKinds(t *testing.T) {
	w := newWorld(t)
	raw := w.disk()
	small := w.smallDisk()
	vmdk := w.packed("disk.vmdk", "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw)
	layout := w.file("layout", func(p string) {
		tooltest.Run(t, "skopeo", "--insecure-policy", "copy", "-q", "docker-archive:"+w.dockerSave(), "oci:"+p+":"+talosVersion)
	})
	for _, c := range []struct {
		path, kind, packed, loaders string
		cmdline                     bool
	}{
		{w.isoUEFI(), "iso", "", "sd-boot", true},
		{w.isoGRUB(), "iso", "", "grub", true},
		{raw, "disk", "", "sd-boot grub", true},
		{w.packed("disk.qcow2", "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=8k", raw), "disk", "qcow2", "sd-boot grub", true},
		{vmdk, "disk", "vmdk", "sd-boot grub", true},
		{w.packed("disk.vhd", "qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size", raw), "disk", "vhd", "sd-boot grub", true},
		{w.file("disk.ova", func(p string) {
			w.write(filepath.Join(w.dir, "disk.ovf"), "<Envelope/>")
			tar(t, p, w.dir, "disk.ovf", "disk.vmdk")
		}), "disk", "ova vmdk", "sd-boot grub", true},
		{w.zst(), "disk", "zstd", "sd-boot", true},
		{w.file("disk.xz", func(p string) { w.pipe(p, "", w.dir, "xz", "-0", "-T2", "-c", small) }), "disk", "xz", "sd-boot", true},
		{w.file("disk.gz", func(p string) { w.pipe(p, "", w.dir, "gzip", "-1", "-c", small) }), "disk", "gzip", "sd-boot", true},
		{w.file("disk.tar.gz", func(p string) { w.pipe(p, "", w.dir, "tar", "--sparse", "-czf", "-", "small.raw") }), "disk", "gzip tar", "sd-boot", true},
		{w.file("disk.qcow2.gz", func(p string) { w.pipe(p, "", w.dir, "gzip", "-1", "-c", "disk.qcow2") }), "disk", "gzip qcow2", "sd-boot grub", true},
		{w.uki(""), "uki", "", "", true},
		{w.initramfs(""), "initramfs", "", "", false},
		{w.dockerSave(), "installer", "", "sd-boot", true},
		{w.file("installer.tar.gz", func(p string) { w.pipe(p, "", w.dir, "gzip", "-1", "-c", w.dockerSave()) }), "installer", "gzip", "sd-boot", true},
		{layout, "installer", "", "sd-boot", true},
		{layout + ":" + talosVersion, "installer", "", "sd-boot", true},
	} {
		t.Run(filepath.Base(c.path), func(t *testing.T) {
			r := open(t, c.path).Report
			if got := strings.Join(r.Packed, " "); r.Kind != c.kind || got != c.packed {
				t.Errorf("%s in %q", r.Kind, got)
			}
			if got := slices.Sorted(slices.Values(r.Bootloaders)); !slices.Equal(got, slices.Sorted(slices.Values(strings.Fields(c.loaders)))) {
				t.Errorf("boot loaders %q", got)
			}
			if c.cmdline && (r.Cmdline != cmdline || r.Platform != "metal") {
				t.Errorf("command line %q of platform %q", r.Cmdline, r.Platform)
			}
			if r.Talos != talosVersion || r.Kernel != release || r.Architecture != "amd64" {
				t.Errorf("Talos %q, kernel %q, architecture %q", r.Talos, r.Kernel, r.Architecture)
			}
			var exts []string
			for _, e := range r.Extensions {
				exts = append(exts, e.Name+"@"+e.Layer)
			}
			if got := strings.Join(exts, " "); got != "iscsi-tools@0.sqsh gvisor@1.sqsh schematic@2.sqsh embedded-config@3.sqsh modules.dep@modules.dep.sqsh" {
				t.Errorf("extensions %s", got)
			}
			if len(r.Problems) > 0 || len(r.Notes) > 0 {
				t.Errorf("problems %q, notes %q", r.Problems, r.Notes)
			}
		})
	}
}

// A disk with sectors of 4096 bytes is read as any other. No BIOS boots from it.
func TestLongSectors(t *testing.T) {
	w := newWorld(t)
	long, usual := open(t, w.longDisk()).Report, open(t, w.disk()).Report
	for i, p := range usual.Partitions {
		p.GUID, p.Attributes = long.Partitions[i].GUID, 0
		if i > 0 { // the ESP is larger
			p.Offset += 196 << 20
		} else {
			p.Size += 196 << 20
		}
		if long.Partitions[i] != p {
			t.Errorf("partition %+v, want %+v", long.Partitions[i], p)
		}
	}
	if long.Disk.SectorSize != 4096 || len(long.Partitions) != len(usual.Partitions) || long.Disk.BootCode != usual.Disk.BootCode {
		t.Errorf("disk %+v", long.Disk)
	}
	if long.Cmdline != usual.Cmdline || long.Talos != talosVersion || !slices.Equal(long.Meta, usual.Meta) || !slices.Equal(long.Entries, usual.Entries) {
		t.Errorf("command line %q of %s, META %+v, menu %+v", long.Cmdline, long.Talos, long.Meta, long.Entries)
	}
	if len(long.Problems) > 0 || len(long.Notes) != 1 || !strings.Contains(long.Notes[0], "no BIOS reads a disk with sectors of 4096 bytes") {
		t.Errorf("problems %q, notes %q", long.Problems, long.Notes)
	}
	for _, l := range long.Loaders {
		if l.Firmware == "bios" {
			t.Errorf("boot loader %+v", l)
		}
	}
	var text strings.Builder
	if err := long.WriteText(&text); err != nil || !strings.Contains(text.String(), "partitions, in sectors of 4096 bytes") {
		t.Errorf("%v:\n%s", err, &text)
	}
	changes := section(diff(t, w.disk(), w.longDisk()), "artefact")
	if !slices.ContainsFunc(changes, func(c inspect.Change) bool {
		return c.Name == "disk" && strings.Contains(c.From, "sectors of 512, ") && strings.Contains(c.To, "sectors of 4096, ")
	}) {
		t.Errorf("changes %+v", changes)
	}
}

// The details of a dual-boot disk.
func TestDisk(t *testing.T) {
	w := newWorld(t)
	a := open(t, w.disk())
	r := a.Report
	type p = inspect.Partition
	const mib = 1 << 20
	want := []p{
		{Number: 1, Label: "EFI", Type: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", Offset: mib, Size: 64 * mib, FileSystem: "vfat", FSLabel: "EFI"},
		{Number: 2, Label: "BIOS", Type: "21686148-6449-6e6f-744e-656564454649", Attributes: 4, Offset: 65 * mib, Size: mib},
		{Number: 3, Label: "BOOT", Type: "0fc63daf-8483-4772-8e79-3d69d8477de4", Offset: 66 * mib, Size: 300 * mib, FileSystem: "xfs", FSLabel: "BOOT"},
		{Number: 4, Label: "META", Type: "0fc63daf-8483-4772-8e79-3d69d8477de4", Offset: 366 * mib, Size: mib, FileSystem: "meta"},
	}
	for i := range r.Partitions {
		if len(r.Partitions[i].GUID) != 36 {
			t.Errorf("GUID %q", r.Partitions[i].GUID)
		}
		r.Partitions[i].GUID = "" // random
	}
	if !slices.Equal(r.Partitions, want) {
		t.Errorf("partitions\n%+v, want\n%+v", r.Partitions, want)
	}
	if want := []inspect.MetaValue{{Key: 17, Value: "dual-boot", From: "partition"}, {Key: 10, Value: "foo", From: "cmdline"}, {Key: 11, Value: "bar", From: "cmdline"}}; !slices.Equal(r.Meta, want) {
		t.Errorf("META %+v", r.Meta)
	}
	if r.Schematic == nil || *r.Schematic != (inspect.Schematic{ID: schematicID, Body: schematic}) {
		t.Errorf("schematic %+v", r.Schematic)
	}
	if c := r.Configuration; c == nil || c.Size != int64(len(config)) || c.SHA256 != r.Extensions[3].Version {
		t.Errorf("configuration %+v", c)
	}
	if len(r.Modules) != 1 || r.Modules[0] != (inspect.Modules{Release: release, Count: 3, Layer: "modules.dep"}) {
		t.Errorf("modules %+v", r.Modules)
	}
	if len(r.Microcode) != 1 || r.Microcode[0].Path != "kernel/x86/microcode/GenuineIntel.bin" || r.Microcode[0].Size != 9 {
		t.Errorf("microcode %+v", r.Microcode)
	}
	if r.Firmware == nil || *r.Firmware != (inspect.Sum{Files: 1, Size: 8}) {
		t.Errorf("firmware %+v", r.Firmware)
	}
	if e := r.Extensions[0]; e.Tier != "core" || e.Author != "Sidero Labs" || e.Size == 0 || e.Size%4096 != 0 || e.Files != 2 || e.Unpacked != 21 || e.Compression != "zstd" {
		t.Errorf("extension %+v", e)
	}
	var entries []string
	for _, e := range r.Entries {
		entries = append(entries, e.Loader+" "+e.ID+e.Title+" "+strings.TrimPrefix(e.Cmdline, cmdline))
	}
	if want := []string{"uki main ", "grub A - Talos v1.13.9 ", "grub Reset Talos installation and return to maintenance mode  talos.experimental.wipe=system:EPHEMERAL,STATE"}; !slices.Equal(entries, want) {
		t.Errorf("menu %q", entries)
	}
	if len(r.UKIs) != 1 || r.UKIs[0].Signed || r.UKIs[0].Paths[0] != "esp:/EFI/Linux/Talos-v1.13.9.efi" || !strings.HasPrefix(r.UKIs[0].Stub, "257") {
		t.Errorf("UKIs %+v", r.UKIs)
	}
	for _, l := range r.Loaders {
		if l.Name == "sd-boot" && (l.Firmware != "uefi" || l.Signed || !strings.HasPrefix(l.Version, "257")) || l.SHA256 == "" {
			t.Errorf("loader %+v", l)
		}
	}
	if len(r.Keys) != 1 || r.Keys[0].Path != "esp:/loader/keys/auto/PK.auth" {
		t.Errorf("keys %+v", r.Keys)
	}
	if n := len(r.Initramfs.Segments); n != 3 || r.Initramfs.Segments[0].Compression != "plain" || r.Initramfs.Segments[2].Compression != "zstd" {
		t.Errorf("segments %+v", r.Initramfs.Segments)
	}
}

// The same UKI in the tree of an ISO and in its ESP is one.
func TestISO(t *testing.T) {
	w := newWorld(t)
	r := open(t, w.isoUEFI()).Report
	if len(r.UKIs) != 1 || !slices.Equal(r.UKIs[0].Paths, []string{"iso:/EFI/Linux/Talos-v1.13.9.efi", "esp:/EFI/Linux/Talos-v1.13.9.efi"}) {
		t.Errorf("UKIs %+v", r.UKIs)
	}
	if v := r.Volume; v == nil || v.ID != "TALOS_V1_13_9" || v.SetID != "Talos-v1.13.9" || v.BIOS || !v.UEFI {
		t.Errorf("volume %+v", v)
	}
	if len(r.Partitions) != 2 || r.Partitions[1].Type != "0xef" || r.Partitions[1].FileSystem != "vfat" {
		t.Errorf("partitions %+v", r.Partitions)
	}
	r = open(t, w.isoGRUB()).Report
	if len(r.Loaders) != 1 || r.Loaders[0].Version != "2.12-9" || r.Loaders[0].Firmware != "bios" || r.Loaders[0].Path != "iso:/boot/grub/i386-pc/eltorito.img" {
		t.Errorf("loaders %+v", r.Loaders)
	}
	if !r.Entries[0].Default || r.Entries[1].Default || r.Entries[0].Kernel != "/boot/vmlinuz" {
		t.Errorf("entries %+v", r.Entries)
	}
}

func TestSigned(t *testing.T) {
	w := newWorld(t)
	signed := w.file("signed.efi", func(p string) {
		tooltest.Run(t, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-keyout", p+".key", "-out", p+".crt")
		tooltest.Run(t, "osslsigncode", "sign", "-certs", p+".crt", "-key", p+".key", "-in", w.uki(""), "-out", p)
	})
	r := open(t, signed).Report
	if len(r.UKIs) != 1 || !r.UKIs[0].Signed || r.Cmdline != cmdline {
		t.Errorf("%+v", r.UKIs)
	}
	from, to := open(t, w.uki("")), open(t, signed)
	d, err := inspect.Diff(context.Background(), from, to)
	if err != nil || d.Same || len(d.Sections) != 1 || d.Sections[0].Changes[0] != (inspect.Change{Change: "changed", Name: "signed", From: "false", To: "true"}) {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestSmallKinds(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		path, kind string
		check      func(r inspect.Report) bool
	}{
		"kernel":  {w.kernel(), "kernel", func(r inspect.Report) bool { return r.Kernel == release && r.Architecture == "amd64" }},
		"cmdline": {w.write(filepath.Join(w.dir, "cmdline"), cmdline), "cmdline", func(r inspect.Report) bool { return r.Cmdline == cmdline && len(r.Meta) == 2 }},
		"sd-boot": {w.systemd("systemd-bootx64.efi"), "bootloader", func(r inspect.Report) bool { return r.Bootloaders[0] == "sd-boot" }},
		"extension": {w.extension(), "extension", func(r inspect.Report) bool {
			return len(r.Extensions) == 1 && r.Extensions[0].Name == "gvisor" && r.Extensions[0].Tier == "extra"
		}},
		"extension's folder": {w.extension() + ".root", "extension", func(r inspect.Report) bool { return len(r.Extensions) == 1 && r.Extensions[0].Version == "1" }},
	} {
		r := open(t, c.path).Report
		if r.Kind != c.kind || !c.check(r) || len(r.Problems) > 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestArch: an architecture that was asked for is the artefact's, also where there is one alone.
func TestArch(t *testing.T) {
	w := newWorld(t)
	for arch, want := range map[string]string{"amd64": "", "arm64": "it is for amd64, not for arm64"} {
		for _, ref := range []string{w.kernel(), w.uki("")} {
			a, err := inspect.Open(context.Background(), ref, inspect.Options{Temp: t.TempDir(), Arch: arch})
			if err == nil {
				err = a.Close()
			}
			if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%s as %s: %v", ref, arch, err)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	for ref, want := range map[string]string{
		w.write(filepath.Join(dir, "nothing"), "just a text"): "nothing known begins like this",
		w.write(filepath.Join(dir, "empty"), ""):              "nothing known begins like this",
		dir:                                                   "neither an OCI layout",
		filepath.Join(dir, "x.iso"):                           "no such file",
		"metal-amd64.iso":                                     "a registry reference begins with a host",
		"./a.b/c":                                             "a registry reference begins with a host",
		"ghcr.io/siderolabs/installer:x":                      "registries are not asked",
		os.DevNull:                                            "not a regular file",
		w.file("text.gz", func(p string) { w.pipe(p, "some text", dir, "gzip", "-c") }): "holds no initramfs, disk or archive",
		w.file("text.tar", func(p string) { tar(t, p, dir, "nothing") }):                "holds no disk",
	} {
		a, err := inspect.Open(context.Background(), ref, inspect.Options{Temp: t.TempDir()})
		if err == nil {
			t.Errorf("%s: no error: %+v, %v", ref, a.Report, a.Close())
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", ref, err)
		}
	}
}
