package imager_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/talosmith/talosmith/pkg/ext4"
	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/inspect"
	"github.com/talosmith/talosmith/pkg/iso9660"
)

func (r *run) inspect(file string) *inspect.Report {
	r.t.Helper()
	report, err := inspect.Inspect(context.Background(), filepath.Join(r.out(), file), inspect.Options{})
	r.check(err)
	if len(report.Problems) > 0 {
		r.t.Errorf("%s: %q", file, report.Problems)
	}
	return report
}

// imageCache writes an OCI layout with an image cache for an architecture.
func (w *world) imageCache(dir, arch string, files map[string]string) {
	w.t.Helper()
	l, err := layout.Write(filepath.Join(w.dir, dir), empty.Index)
	w.check(err)
	w.check(l.AppendImage(w.image(arch, files), layout.WithPlatform(v1.Platform{OS: "linux", Architecture: arch})))
}

const secret = "gQw3kXkWmJ6pbRzL"

// TestEmbedded builds an image with a machine configuration, META values and an image cache, and a PXE script.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1.13.9")
	r := w.run()
	w.imageCache("cache", "amd64", map[string]string{"blob/sha256-1": "blob", "manifests/ghcr.io/siderolabs/kubelet/reference/v1.34.0": "manifest"})
	r.check(os.WriteFile(filepath.Join(r.dir, "machine.yaml"), []byte("version: v1alpha1\ntoken: "+secret+"\n"), 0o600))
	m := r.build(`
talos {
  version = "v1.13.9"
}
image "metal" {
  extensions      = ["siderolabs/tiny"]
  embedded_config = file("machine.yaml")
  image_cache     = "cache"
  meta            = { 12 = "a", network = "b" }
  output "iso" {
    bootloader = "sd-boot"
    meta       = { user1 = "c" }
  }
  output "pxe" {
    base_url = "http://boot.example.com/talos/"
    meta     = { 13 = "d" }
  }
}
`, imager.Request{})
	if got, want := files(m), []string{"metal-amd64-cmdline", "metal-amd64-initramfs.xz", "metal-amd64-vmlinuz", "metal-amd64.ipxe", "metal-amd64.iso"}; !slices.Equal(got, want) {
		t.Fatalf("artefacts %q", got)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("version: v1alpha1\ntoken: "+secret+"\n")))
	iso := r.inspect("metal-amd64.iso")
	if e := iso.Extensions; len(e) != 2 || e[1].Name != "embedded-config" || e[1].Version != sum || e[1].Layer != "1.sqsh" {
		t.Errorf("extensions %+v", e)
	}
	if c := iso.Configuration; c == nil || c.SHA256 != sum {
		t.Errorf("configuration %+v", c)
	}
	got := layer(t, r.read("metal-amd64-initramfs.xz"), "1.sqsh")
	if !strings.Contains(got, "-r-------- 0:0 usr/local/etc/talos/config.yaml \"version") || !strings.Contains(got, "drwxr-xr-x 0:0 .") {
		t.Errorf("layer:\n%s", got)
	}
	if want := []inspect.MetaValue{{Key: 10, Value: "b", From: "cmdline"}, {Key: 12, Value: "c", From: "cmdline"}}; !reflect.DeepEqual(iso.Meta, want) {
		t.Errorf("META %+v", iso.Meta)
	}
	files, err := iso9660.NewReader(bytes.NewReader(r.read("metal-amd64.iso")))
	r.check(err)
	cached, err := fs.ReadFile(files, "imagecache/manifests/ghcr.io/siderolabs/kubelet/reference/v1.34.0")
	if err != nil || string(cached) != "manifest" {
		t.Errorf("image cache: %q, %v", cached, err)
	}

	cmdline := string(r.read("metal-amd64-cmdline"))
	script := "#!ipxe\n\nimgfree\nkernel http://boot.example.com/talos/metal-amd64-vmlinuz " + cmdline + "\ninitrd http://boot.example.com/talos/metal-amd64-initramfs.xz\nboot\n"
	if got := string(r.read("metal-amd64.ipxe")); got != script || !strings.Contains(cmdline, "INSTALLER_META_BASE64=MHhhPWI7MHhjPWE7MHhkPWQ=") { // 0xa=b;0xc=a;0xd=d
		t.Errorf("script %s, command line %s", got, cmdline)
	}

	// No secret is kept.
	err = filepath.WalkDir(filepath.Join(w.dir, "store"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("%s has the configuration", name)
		}
		return err
	})
	r.check(err)
}

// TestImageCacheOnDisk builds disks with an image cache: the default size grows by its partition, one that was asked for has to hold it.
func TestImageCacheOnDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1.10.9")
	r := w.run()
	w.imageCache("cache", "amd64", map[string]string{"blob/sha256-1": strings.Repeat("blob", 2<<20), "manifests/ghcr.io/siderolabs/kubelet/reference/v1.34.0": "manifest"})
	const profile = "talos {\n version = \"v1.10.9\"\n}\nimage \"metal\" {\n image_cache = \"cache\"\n output \"disk\" {\n bootloader = \"sd-boot\"\n compression = \"none\"\n %s\n }\n}\n"
	r.build(fmt.Sprintf(profile, ""), imager.Request{})
	disk := r.inspect("metal-amd64.raw")
	last := disk.Partitions[len(disk.Partitions)-1]
	if last.Label != "IMAGECACHE" || last.FileSystem != "ext4" || last.FSLabel != "IMAGECACHE" || last.Size != 10<<20 { // 8 MiB and a fifth
		t.Errorf("partition %+v", last)
	}
	if disk.Size != (1246+10)<<20 {
		t.Errorf("the disk has %d bytes", disk.Size)
	}
	f, err := os.Open(filepath.Join(r.out(), "metal-amd64.raw"))
	r.check(err)
	t.Cleanup(func() { r.check(f.Close()) })
	volume, err := ext4.NewReader(io.NewSectionReader(f, last.Offset, last.Size))
	r.check(err)
	got, err := fs.ReadFile(volume, "manifests/ghcr.io/siderolabs/kubelet/reference/v1.34.0")
	if err != nil || string(got) != "manifest" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err = r.try(fmt.Sprintf(profile, `size = "1110MiB"`), imager.Request{}); err == nil || !strings.Contains(err.Error(), "1114 MiB (EFI 1101, META 1, IMAGECACHE 10)") {
		t.Errorf("error %v", err)
	}
}

// TestBase builds of files of one's own, with no imager image anywhere.
func TestBase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.run()
	for name, content := range map[string]string{
		"vmlinuz-amd64": fakeKernel("6.99.0-acme"), "initramfs": w.baseInitramfs("v1.13.9"), "stub": fakeStub(0x8664), "boot": fakeStub(0x8664),
	} {
		r.check(os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o600))
	}
	const profile = `
talos {
  version = "v1.13.9"
}
base {
  name      = "Acme Talos"
  version   = "v1.13.9-acme.1"
  registry  = "registry.example.com/acme"
  kernel    = "vmlinuz-${arch}"
  initramfs = "initramfs"
  sd_stub   = "stub"
  sd_boot   = "boot"
}
image "metal" {
  output "iso" {
    bootloader = "sd-boot"
  }
  output "uki" {}
}
`
	m := r.build(profile, imager.Request{})
	if a := m.Artefacts[0]; a.Talos != "v1.13.9-acme.1" || a.Kernel != "6.99.0-acme" {
		t.Errorf("artefact %+v", a)
	}
	iso := r.inspect("metal-amd64.iso")
	if iso.Volume.ID != "TALOS_V1_13_9_ACME_1" || iso.Kernel != "6.99.0-acme" || len(iso.UKIs) == 0 {
		t.Errorf("iso %+v", iso)
	}
	if !bytes.Contains(r.read("metal-amd64-uki.efi"), []byte("Acme Talos (v1.13.9-acme.1)")) {
		t.Error("os-release says something else")
	}
	// Another kernel makes another image; GRUB comes from the imager image.
	r.check(os.WriteFile(filepath.Join(r.dir, "vmlinuz-amd64"), []byte(fakeKernel("6.99.1-acme")), 0o600))
	if m = r.build(profile, imager.Request{}); m.Artefacts[0].Kernel != "6.99.1-acme" {
		t.Errorf("artefact %+v", m.Artefacts[0])
	}
	_, err := r.try(strings.Replace(profile, `bootloader = "sd-boot"`, "", 1), imager.Request{})
	if err == nil || !strings.Contains(diagText(err), "registry.example.com/acme/imager:v1.13.9-acme.1") {
		t.Errorf("error %v", err)
	}
}

// TestDiskFormats builds one disk in several formats: all are the same disk.
func TestDiskFormats(t *testing.T) {
	t.Parallel()
	r := newWorld(t, "v1.10.9").run()
	m := r.build(`
talos {
  version = "v1.10.9"
}
image "_disk" {
  extensions = ["siderolabs/tiny"]
  meta       = { network = "a;b" }
}
image "metal" {
  inherits = ["_disk"]
  output "disk" {
    bootloader  = "sd-boot"
    compression = "none"
    size        = "1200MiB"
  }
  output "disk" {
    bootloader  = "sd-boot"
    format      = "qcow2"
    compression = "xz"
    size        = "1200MiB"
  }
  output "disk" {
    bootloader  = "sd-boot"
    format      = "vmdk"
    size        = "1200MiB"
  }
  output "disk" {
    bootloader = "sd-boot"
    format     = "vhd"
    size       = "1200MiB"
  }
}
image "gcp" {
  inherits = ["_disk"]
  platform = "gcp"
  output "disk" {
    bootloader = "sd-boot"
    size       = "1200MiB"
  }
}
image "vmware" {
  inherits = ["_disk"]
  platform = "vmware"
  output "disk" {
    bootloader = "sd-boot"
    size       = "1200MiB"
  }
}
`, imager.Request{})
	want := []string{"gcp-amd64.raw.tar.gz", "metal-amd64.qcow2.xz", "metal-amd64.raw", "metal-amd64.vhd", "metal-amd64.vmdk", "vmware-amd64.ova"}
	if got := files(m); !slices.Equal(got, want) {
		t.Fatalf("artefacts %q", got)
	}
	raw := r.inspect("metal-amd64.raw")
	if len(raw.Meta) != 1 || raw.Meta[0] != (inspect.MetaValue{Key: 10, Value: "a;b", From: "partition"}) || len(raw.Extensions) != 1 {
		t.Errorf("%+v", raw)
	}
	for _, file := range want {
		got := r.inspect(file)
		if !reflect.DeepEqual(got.Disk, raw.Disk) || !reflect.DeepEqual(got.Partitions, raw.Partitions) || !reflect.DeepEqual(got.Meta, raw.Meta) || !reflect.DeepEqual(got.Extensions, raw.Extensions) {
			t.Errorf("%s: %+v, want %+v", file, got, raw)
		}
	}
}
