package inspect_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/talosmith/talosmith/internal/debian"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/meta"
	"github.com/talosmith/talosmith/pkg/tree"
)

// What every artefact of the tests says.
const (
	talosVersion = "v1.13.9"
	release      = "6.18.44-talos"
	cmdline      = "talos.platform=metal console=ttyS0 console=tty0 slab_nomerge talos.environment=INSTALLER_META_BASE64=MHhhPWZvbzsweGI9YmFy"
	resetArgs    = "talos.experimental.wipe=system"
	schematic    = "customization:\n    extraKernelArgs:\n        - vga=791\n"
	schematicID  = "eea1f9534c46d95c4715a2f13d17eacb927c13a42ef087c79b22c3bd0c49d073" // factory.md
	config       = "version: v1alpha1\n# secret\n"
	grubConfig   = `set default="A - Talos v1.13.9"

set timeout=3

insmod all_video

menuentry "A - Talos v1.13.9" {
  set gfxmode=auto
  set gfxpayload=text
  linux /A/vmlinuz %[1]s
  initrd /A/initramfs.xz
}
menuentry "Reset Talos installation and return to maintenance mode" {
  linux /A/vmlinuz %[1]s talos.experimental.wipe=system:EPHEMERAL,STATE
  initrd /A/initramfs.xz
}
`
)

var shared = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "talosmith-inspect-test-*") })

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := shared(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// world makes artefacts, each once, of parts that other tools made: mksquashfs, GNU cpio, zstd, objcopy, xorriso, mkfs, sgdisk, qemu-img.
type world struct {
	t   testing.TB
	dir string
}

// newWorld is for tests that do not run in parallel: they share what was made.
func newWorld(t testing.TB) *world {
	t.Helper()
	dir, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return &world{t, dir}
}

// file is the path of an artefact; make makes it where it is not there yet.
func (w *world) file(name string, make func(path string)) string {
	w.t.Helper()
	p := filepath.Join(w.dir, name)
	if _, err := os.Stat(p); err == nil {
		return p
	}
	make(p)
	if _, err := os.Stat(p); err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) write(path, content string) string {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) read(path string) string {
	w.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// pipe runs a tool with a standard input and writes its standard output to a file.
func (w *world) pipe(path, in, dir, tool string, args ...string) {
	w.t.Helper()
	out, err := os.Create(path)
	if err != nil {
		w.t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(tooltest.Need(w.t, tool), args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, strings.NewReader(in), out, &stderr
	if err := errors.Join(cmd.Run(), out.Close()); err != nil {
		w.t.Fatalf("%s %q: %v\n%s", tool, args, err, &stderr)
	}
}

// sparse makes a file of a size, a hole, with other files' content in it, at multiples of 1 MiB.
func (w *world) sparse(path string, size int64, parts map[int64]string) {
	w.t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err == nil {
		err = f.Truncate(size)
	}
	for at, name := range parts {
		b, err2 := tree.File(name)
		if err = errors.Join(err, err2); err != nil {
			break
		}
		_, err = tree.CopyAt(holes{f}, at<<20, b)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		w.t.Fatal(err)
	}
}

var zeros [1 << 20]byte

// holes leaves out zeros.
type holes struct{ *os.File }

func (h holes) WriteAt(p []byte, off int64) (int, error) {
	if bytes.Equal(p, zeros[:len(p)]) {
		return len(p), nil
	}
	return h.File.WriteAt(p, off)
}

// files writes a folder.
func (w *world) files(dir string, files map[string]string) string {
	for name, content := range files {
		w.write(filepath.Join(dir, name), content)
	}
	return dir
}

func (w *world) squashfs(path string, files map[string]string) {
	dir := w.files(path+".d", files)
	tooltest.Run(w.t, "mksquashfs", dir, path, "-all-root", "-noappend", "-no-progress", "-comp", "zstd", "-quiet",
		"-all-time", "0", "-mkfs-time", "0") // or the clock shows in the size
}

// cpio makes an archive of a folder as upstream does; name order, without ".".
func (w *world) cpio(path, dir string) {
	w.t.Helper()
	var names []string
	if err := fs.WalkDir(os.DirFS(dir), ".", func(p string, _ fs.DirEntry, err error) error {
		names = append(names, p)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	w.pipe(path, strings.Join(names[1:], "\n"), dir, "cpio", "--quiet", "-H", "newc", "--create", "--reproducible", "-R", "+0:+0")
}

type ext struct{ layer, name, version, description, extra string }

func layersYAML(exts ...ext) string {
	var b strings.Builder
	b.WriteString("layers:\n")
	for _, e := range exts {
		fmt.Fprintf(&b, "    - image: %s\n      metadata:\n        name: %s\n        version: %q\n        author: Sidero Labs\n", e.layer, e.name, e.version)
		fmt.Fprintf(&b, "        description: |\n            %s\n        compatibility:\n            talos:\n                version: '>= v1.0.0'\n", e.description)
		if e.extra != "" {
			b.WriteString("        extraInfo: |\n")
			for line := range strings.Lines(e.extra) {
				b.WriteString("            " + line)
			}
		}
	}
	return b.String()
}

const modulesDep = "kernel/a.ko:\nkernel/b.ko: kernel/a.ko\n"

// base is what a release's initramfs holds.
func (w *world) base() string {
	return w.file("base.zst", func(p string) {
		w.squashfs(filepath.Join(w.dir, "base.d/rootfs.sqsh"), map[string]string{
			"usr/lib/os-release":                          "NAME=\"Talos\"\nID=talos\nVERSION_ID=" + talosVersion + "\n",
			"usr/lib/modules/" + release + "/modules.dep": modulesDep,
			"usr/bin/init":                                "init of the root\n",
		})
		if err := os.RemoveAll(filepath.Join(w.dir, "base.d/rootfs.sqsh.d")); err != nil {
			w.t.Fatal(err)
		}
		w.write(filepath.Join(w.dir, "base.d/init"), "\x7fELF\x02\x01\x01"+strings.Repeat("\x00", 9)+"\x02\x00\x3e\x00 the init of the initramfs")
		w.cpio(p+".cpio", filepath.Join(w.dir, "base.d"))
		tooltest.Run(w.t, "zstd", "-q", p+".cpio", "-o", p)
	})
}

// initramfs is that of the official imager: early microcode, the base, all else in one compressed segment. Another variant has
// other extensions.
func (w *world) initramfs(variant string) string {
	return w.file("initramfs"+variant, func(p string) {
		base := w.base()
		early := w.files(p+".early", map[string]string{"kernel/x86/microcode/GenuineIntel.bin": "microcode"})
		w.cpio(p+".early.cpio", early)
		d := p + ".c"
		sum := sha256.Sum256([]byte(config))
		exts := []ext{
			{"0.sqsh", "iscsi-tools", "v0.1.6", "[core] iSCSI", ""},
			{"1.sqsh", "gvisor", "20260101.0", "[core] gVisor", ""},
			{"2.sqsh", "schematic", schematicID, "Virtual extension", schematic},
			{"3.sqsh", "embedded-config", fmt.Sprintf("%x", sum), "Virtual extension which embeds the machine configuration.", ""},
			{"modules.dep.sqsh", "modules.dep", release, "Combined modules.dep for all extensions", ""},
		}
		runsc := "runsc"
		if variant != "" { // without iscsi-tools, with another gVisor
			exts = append(exts[1:2:2], exts[2:]...)
			exts[0].layer, exts[0].version, runsc = "0.sqsh", "20260202.0", "runsc, changed"
			exts[1].layer, exts[2].layer = "1.sqsh", "2.sqsh"
		}
		for _, e := range exts {
			w.squashfs(filepath.Join(d, e.layer), map[string]map[string]string{
				"iscsi-tools": {"usr/local/etc/containers/iscsid.yaml": "name: iscsid\n", "usr/local/bin/iscsiadm": "iscsiadm"},
				"gvisor":      {"usr/local/bin/runsc": runsc, "usr/local/share/doc": "the same"},
				"schematic":   {"usr/local/share/schematic/" + schematicID: ""},

				"embedded-config": {"usr/local/etc/talos/config.yaml": config},
				"modules.dep":     {"usr/lib/modules/" + release + "/modules.dep": modulesDep + "extras/c.ko:\n"},
			}[e.name])
			if err := os.RemoveAll(filepath.Join(d, e.layer+".d")); err != nil {
				w.t.Fatal(err)
			}
		}
		w.write(filepath.Join(d, "extensions.yaml"), layersYAML(exts...))
		w.write(filepath.Join(d, "usr/lib/firmware/bnx2x/a.fw"), "firmware")
		w.cpio(p+".c.cpio", d)
		tooltest.Run(w.t, "zstd", "-q", "-18", p+".c.cpio", "-o", p+".c.zst")
		w.write(p, w.read(p+".early.cpio")+w.read(base)+w.read(p+".c.zst"))
	})
}

// kernel has the header of an x86 kernel.
func (w *world) kernel() string {
	return w.file("vmlinuz", func(p string) {
		b := make([]byte, 64<<10)
		copy(b, "MZ")
		copy(b[0x202:], "HdrS")
		b[0x1f1] = 4
		binary.LittleEndian.PutUint16(b[0x20e:], 0x300)
		copy(b[0x500:], release+" (builder) #1 SMP\x00")
		w.write(p, string(b))
	})
}

// systemd is a file of Debian's systemd-boot.
func (w *world) systemd(name string) string {
	return w.file(name, func(p string) {
		files, err := debian.Open(tooltest.Debian(w.t, "trixie", "systemd-boot-efi")[0].Path)
		if err != nil {
			w.t.Fatal(err)
		}
		n, ok := files.Lookup("usr/lib/systemd/boot/efi/" + name)
		if !ok {
			w.t.Fatal("not in the package")
		}
		b, err := tree.ReadAll(n.Content)
		if err != nil {
			w.t.Fatal(err)
		}
		w.write(p, string(b))
	})
}

// uki is made by objcopy.
func (w *world) uki(variant string) string {
	return w.file("uki"+variant+".efi", func(p string) {
		args := []string{}
		at := 0x14e000000
		for _, s := range []struct{ name, file string }{
			{".osrel", w.write(p+".osrel", "NAME=\"Talos\"\nID=talos\nVERSION_ID="+talosVersion+"\n")},
			{".cmdline", w.write(p+".cmdline", cmdline)},
			{".uname", w.write(p+".uname", release)},
			{".linux", w.kernel()},
			{".initrd", w.initramfs(variant)},
			{".profile", w.write(p+".profile", "ID=main")},
		} {
			args = append(args, "--add-section", s.name+"="+s.file, "--change-section-vma", fmt.Sprintf("%s=%#x", s.name, at))
			at += 0x1000000
		}
		tooltest.Run(w.t, "objcopy", append(args, w.systemd("linuxx64.efi.stub"), p)...)
	})
}

// esp is made by mkfs.vfat and mcopy.
func (w *world) esp(mib int64) string { return w.espOf(mib, 512) }

func (w *world) espOf(mib int64, sector int) string {
	return w.file(fmt.Sprintf("esp%d-%d.img", mib, sector), func(p string) {
		d := p + ".d"
		w.write(filepath.Join(d, "EFI/Linux/Talos-"+talosVersion+".efi"), w.read(w.uki("")))
		w.write(filepath.Join(d, "EFI/boot/BOOTX64.efi"), w.read(w.systemd("systemd-bootx64.efi")))
		w.write(filepath.Join(d, "loader/loader.conf"), "timeout 10\n")
		w.write(filepath.Join(d, "loader/keys/auto/PK.auth"), "PK")
		w.sparse(p, mib<<20, nil)
		tooltest.Run(w.t, "mkfs.vfat", "-F", "32", "-S", fmt.Sprint(sector), "-n", "EFI", "--invariant", p)
		tooltest.Run(w.t, "mcopy", "-s", "-p", "-Q", "-m", "-i", p, d+"/EFI", d+"/loader", "::")
	})
}

// isoUEFI is a UEFI ISO, with the official imager's options.
func (w *world) isoUEFI() string {
	return w.file("uefi.iso", func(p string) {
		tooltest.Run(w.t, "xorriso", "-as", "mkisofs", "-e", "--interval:appended_partition_2:all::", "-append_partition", "2", "0xef", w.esp(40),
			"-partition_cyl_align", "all", "-partition_offset", "16", "-iso_mbr_part_type", "0x83", "-no-emul-boot", "-iso-level", "3",
			"-o", p, w.esp(40)+".d", "--", "-volid", "TALOS_V1_13_9", "-volset_id", "Talos-v1.13.9")
	})
}

// isoGRUB is an ISO that boots kernel and initramfs through GRUB: its image is a stand-in, its menu the official one.
func (w *world) isoGRUB() string {
	return w.file("grub.iso", func(p string) {
		d := p + ".d"
		w.write(filepath.Join(d, "boot/vmlinuz"), w.read(w.kernel()))
		w.write(filepath.Join(d, "boot/initramfs.xz"), w.read(w.initramfs("")))
		w.write(filepath.Join(d, "boot/grub/i386-pc/eltorito.img"), strings.Repeat("GRUB", 4096))
		w.write(p+".modinfo", "#!/bin/sh\n\ngrub_version=\"2.12\"\ngrub_package_version=\"2.12-9\"\n")
		w.pipe(filepath.Join(d, "boot/grub/i386-pc/modinfo.sh"), "", w.dir, "xz", "--check=none", "-c", p+".modinfo") // as grub-mkrescue --compress=xz
		menu := fmt.Sprintf(grubConfig, cmdline)
		menu = strings.ReplaceAll(strings.ReplaceAll(menu, "/A/", "/boot/"), "set default=\"A - Talos v1.13.9\"", "set default=0")
		w.write(filepath.Join(d, "boot/grub/grub.cfg"), strings.ReplaceAll(menu, "A - Talos v1.13.9", "Talos ISO"))
		tooltest.Run(w.t, "xorriso", "-as", "mkisofs", "-r", "-b", "boot/grub/i386-pc/eltorito.img", "-no-emul-boot", "-boot-load-size", "4",
			"-o", p, d, "--", "-volid", "TALOS_V1_13_9", "-volset_id", "Talos-v1.13.9")
	})
}

// disk is a dual-boot disk: sgdisk's table, mkfs.vfat's ESP, mkfs.xfs's BOOT, a META partition.
func (w *world) disk() string {
	return w.file("disk.raw", func(p string) {
		boot, core, values, code := w.diskParts(p, 512)
		w.sparse(p, 8<<30, map[int64]string{1: w.esp(64), 65: core, 66: boot, 366: values})
		tooltest.Run(w.t, "sgdisk", "-n", "1:2048:+64M", "-t", "1:ef00", "-c", "1:EFI", "-n", "2:0:+1M", "-t", "2:ef02", "-c", "2:BIOS", "-A", "2:set:2",
			"-n", "3:0:+300M", "-t", "3:8300", "-c", "3:BOOT", "-n", "4:0:+1M", "-t", "4:8300", "-c", "4:META", p)
		w.bootCode(p, code)
	})
}

// longDisk is the same with sectors of 4096 bytes: fdisk's table, an ESP with enough clusters, 564 MiB long.
func (w *world) longDisk() string {
	return w.file("long.raw", func(p string) {
		boot, core, values, code := w.diskParts(p, 4096)
		w.sparse(p, 564<<20, map[int64]string{1: w.espOf(260, 4096), 261: core, 262: boot, 562: values})
		script := "g\n"
		for i, end := range []int{261, 262, 562, 563} {
			script += fmt.Sprintf("n\n%d\n%d\n%d\n", i+1, 256*[]int{1, 261, 262, 562}[i], 256*end-1)
		}
		script += "t\n1\n1\nt\n2\n4\nx\nn\n1\nEFI\nn\n2\nBIOS\nn\n3\nBOOT\nn\n4\nMETA\nr\nw\n"
		w.pipe(p+".said", script, w.dir, "fdisk", "-b", "4096", "-w", "never", p)
		w.bootCode(p, code)
	})
}

// bootCode puts it before the partition table.
func (w *world) bootCode(p, code string) {
	f, err := os.OpenFile(p, os.O_WRONLY, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = f.WriteString(code)
	if err := errors.Join(err, f.Close()); err != nil {
		w.t.Fatal(err)
	}
}

// diskParts are files with BOOT, GRUB's core and META, and GRUB's code for the disk's start.
func (w *world) diskParts(p string, sector int) (boot, core, values, code string) {
	boot = p + ".boot"
	w.write(p+".cfg", fmt.Sprintf(grubConfig, cmdline))
	w.write(boot+".proto", fmt.Sprintf("/\n0 0\nd--755 0 0\nA d--755 0 0\nvmlinuz ---644 0 0 %s\ninitramfs.xz ---644 0 0 %s\n$\ngrub d--700 0 0\ngrub.cfg ---600 0 0 %s\n$\n$\n",
		w.kernel(), w.initramfs(""), p+".cfg"))
	w.sparse(boot, 300<<20, nil)
	tooltest.Run(w.t, "mkfs.xfs", "-q", "-s", fmt.Sprint("size=", sector), "-L", "BOOT", "-p", boot+".proto", boot)
	content, err := meta.Write([]meta.Value{{Key: 17, Value: "dual-boot"}})
	if err != nil {
		w.t.Fatal(err)
	}
	mbr := make([]byte, 440)
	copy(mbr[0x180:], "GRUB \x00Geom\x00Hard Disk\x00Read\x00 Error")
	return boot, w.write(p+".core", strings.Repeat("core", 1000)), w.write(p+".meta", string(content)), string(mbr)
}

// smallDisk is for what is slow to pack: not 8 GiB, but 68 MiB long, and with an ESP only.
func (w *world) smallDisk() string {
	return w.file("small.raw", func(p string) {
		w.sparse(p, 68<<20, map[int64]string{1: w.esp(64)})
		tooltest.Run(w.t, "sgdisk", "-n", "1:2048:+64M", "-t", "1:ef00", "-c", "1:EFI", p)
	})
}

func (w *world) zst() string {
	return w.file("disk.zst", func(p string) { tooltest.Run(w.t, "zstd", "-q", "-1", w.smallDisk(), "-o", p) })
}

// dockerSave is an archive as `docker save` writes it, of an installer.
func (w *world) dockerSave() string {
	return w.file("installer.tar", func(p string) {
		root := p + ".root"
		w.write(filepath.Join(root, "usr/install/amd64/vmlinuz.efi"), w.read(w.uki("")))
		w.write(filepath.Join(root, "usr/install/amd64/systemd-boot.efi"), w.read(w.systemd("systemd-bootx64.efi")))
		w.write(filepath.Join(root, "bin/installer"), "installer")
		d := p + ".d"
		if err := os.MkdirAll(filepath.Join(d, "0"), 0o755); err != nil {
			w.t.Fatal(err)
		}
		tar(w.t, filepath.Join(d, "0/layer.tar"), root, "bin", "usr")
		w.dockerArchive(p, d, map[string]any{"Entrypoint": []string{"/bin/installer"}, "Labels": map[string]string{"alpha.talos.dev/version": talosVersion}})
	})
}

// dockerArchive writes a folder with the layer 0/layer.tar as an archive.
func (w *world) dockerArchive(p, d string, config map[string]any) {
	w.t.Helper()
	layer := w.read(filepath.Join(d, "0/layer.tar"))
	text, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "config": config,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(layer)))}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(filepath.Join(d, "config.json"), string(text))
	w.write(filepath.Join(d, "manifest.json"), `[{"Config":"config.json","RepoTags":["example.com/image:`+talosVersion+`"],"Layers":["0/layer.tar"]}]`)
	tar(w.t, p, d, "config.json", "0/layer.tar", "manifest.json")
}

func tar(t testing.TB, p, dir string, names ...string) {
	t.Helper()
	tooltest.Run(t, "tar", append([]string{"-C", dir, "--sort=name", "--owner=0", "--group=0", "--mtime=@0", "-cf", p}, names...)...)
}

// extension is an archive of an extension's image.
func (w *world) extension() string {
	return w.file("extension.tar", func(p string) {
		root := p + ".root"
		w.write(filepath.Join(root, "manifest.yaml"), "version: v1alpha1\nmetadata:\n  name: gvisor\n  version: \"1\"\n  author: me\n  description: |\n    [extra] gVisor\n")
		w.write(filepath.Join(root, "rootfs/usr/local/bin/runsc"), "runsc")
		d := p + ".d"
		if err := os.MkdirAll(filepath.Join(d, "0"), 0o755); err != nil {
			w.t.Fatal(err)
		}
		tar(w.t, filepath.Join(d, "0/layer.tar"), root, "manifest.yaml", "rootfs")
		w.dockerArchive(p, d, nil)
	})
}

// packed is a file after a tool packed it.
func (w *world) packed(name, tool string, args ...string) string {
	return w.file(name, func(p string) { tooltest.Run(w.t, tool, append(args, p)...) })
}
