package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/talosmith/talosmith/internal/debian/debiantest"
	"github.com/talosmith/talosmith/internal/sandbox"
	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/tree"
)

// TestManifest compares what the manifest says of the artefacts with the files.
func TestManifest(t *testing.T) {
	t.Parallel()
	b := build(t)
	var files []string
	for _, a := range b.manifest.Artefacts {
		files = append(files, a.File)
		if got := sumFile(t, filepath.Join(b.out, a.File)); got != a.SHA256 {
			t.Errorf("%s: SHA-256 %s, the manifest says %s", a.File, got, a.SHA256)
		}
		st, err := os.Stat(filepath.Join(b.out, a.File))
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() != a.Size || st.Mode() != 0o644 {
			t.Errorf("%s: %d bytes, mode %v; the manifest says %d bytes", a.File, st.Size(), st.Mode(), a.Size)
		}
		if a.Talos != sandboxtest.Version || a.Image != "metal" || a.Architecture != "amd64" || a.Platform != "metal" || !strings.Contains(a.Cmdline, "console=ttyS0") {
			t.Errorf("%+v", a)
		}
	}
	want := []string{"metal-amd64-cmdline", "metal-amd64-initramfs.xz", "metal-amd64-installer.tar", "metal-amd64-uki.efi", "metal-amd64-vmlinuz", "metal-amd64.iso", "metal-amd64.raw"}
	if !slices.Equal(files, want) {
		t.Errorf("artefacts %q, want %q", files, want)
	}
	if got := list(t, b.out); !slices.Equal(got, append([]string{"manifest.json"}, want...)) {
		t.Errorf("files %q", got)
	}
	if !strings.HasPrefix(b.manifest.Tool, "talosmith ") {
		t.Errorf("tool %q", b.manifest.Tool)
	}
}

// TestInitramfs takes the initramfs apart by cpio, zstd and unsquashfs, and compares what is in it with what went in.
func TestInitramfs(t *testing.T) {
	t.Parallel()
	b := build(t)
	r := sandboxtest.Open(t)
	a, name := b.artefact(t, "-initramfs.xz")
	image := read(t, name)
	segments, err := initramfs.Segments(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var epoch time.Time
	end := int64(0)
	for i, s := range segments {
		if between := image[end:s.Offset]; len(bytes.Trim(between, "\x00")) > 0 || len(between) >= 512 {
			t.Errorf("%d bytes before segment %d: % x", len(between), i, between[:min(len(between), 16)])
		}
		end = s.Offset + s.Size
		content := image[s.Offset:end]
		if i == 1 { // the base, as it is
			if !bytes.Equal(content, read(t, r.Initramfs())) {
				t.Error("the base is not the release's")
			}
		}
		if s.Compression == initramfs.Zstd {
			content = pipe(t, dir, content, "zstd", "-dc")
		}
		if out := pipe(t, dir, content, "cpio", "-idm", "--no-absolute-filenames", "--quiet"); len(out) > 0 {
			t.Errorf("cpio of segment %d: %s", i, out)
		}
		if i == 1 {
			epoch = stat(t, filepath.Join(dir, "init")).ModTime()
		}
	}
	if end != int64(len(image)) {
		t.Errorf("the last segment ends at %d of %d bytes", end, len(image))
	}
	compareLayers(t, dir, epoch, a, inputs(t, b))
	if said := tooltest.Run(t, "iucode_tool", "-l", "-tb", filepath.Join(dir, "kernel/x86/microcode/GenuineIntel.bin")); strings.Count(said, ": sig 0x") < 10 {
		t.Errorf("iucode_tool: %s", said)
	}
}

// compareLayers compares an unpacked initramfs with the extensions.
func compareLayers(t *testing.T, dir string, epoch time.Time, a imager.Artefact, want []input) {
	t.Helper()
	var config struct {
		Layers []struct {
			Image    string
			Metadata struct{ Name, Version, Author, Description string }
		}
	}
	if err := yaml.Unmarshal(read(t, filepath.Join(dir, "extensions.yaml")), &config); err != nil {
		t.Fatal(err)
	}
	if len(config.Layers) != len(a.Extensions) {
		t.Fatalf("extensions.yaml has %d layers, the manifest %d", len(config.Layers), len(a.Extensions))
	}
	firmware := map[string]tree.Node{}
	for i, l := range config.Layers {
		if e := a.Extensions[i]; l.Metadata.Name != e.Name || l.Metadata.Version != e.Version || l.Image != e.ID+".sqsh" || l.Metadata.Description == "" {
			t.Errorf("layer %d of extensions.yaml is %+v, the manifest says %+v", i, l, e)
		}
		image := filepath.Join(dir, l.Image)
		if at := stat(t, image).ModTime(); !at.Equal(epoch) {
			t.Errorf("%s has the time %v, the epoch is %v", l.Image, at, epoch)
		}
		root := filepath.Join(t.TempDir(), "root")
		tooltest.Run(t, "unsquashfs", "-no-progress", "-no-xattrs", "-d", root, image)
		if i == len(want) {
			compareModulesDep(t, dir, root, want)
			continue
		}
		rest, err := want[i].rootfs.Filter(func(n tree.Node) bool {
			rest, inside := belowFirmware(n.Path + "/")
			if inside && n.Mode.IsRegular() && !strings.HasPrefix(rest, "intel-ucode/") && !strings.HasPrefix(rest, "amd-ucode/") {
				firmware[n.Path] = n
			}
			return !inside
		})
		if err != nil {
			t.Fatal(err)
		}
		compareTree(t, l.Metadata.Name, rest, root)
	}
	for path, n := range firmware {
		if got := read(t, filepath.Join(dir, path)); !bytes.Equal(got, content(t, n)) {
			t.Errorf("firmware %s has other content", path)
		}
	}
	if len(firmware) < 10 {
		t.Errorf("%d files of firmware", len(firmware))
	}
}

// compareTree compares files on disk with a tree: what unsquashfs keeps of them.
func compareTree(t *testing.T, name string, want *tree.Tree, root string) {
	t.Helper()
	seen := list(t, root)
	for n := range want.All() {
		if n.Path == tree.Root {
			continue
		}
		i := slices.Index(seen, n.Path)
		if i < 0 {
			t.Errorf("%s: %s is not there", name, n.Path)
			continue
		}
		seen = slices.Delete(seen, i, i+1)
		path := filepath.Join(root, n.Path)
		st := stat(t, path)
		if st.Mode() != n.Mode && n.Mode.Type() != fs.ModeSymlink || st.Mode().Type() != n.Mode.Type() || st.ModTime().Unix() != n.ModTime.Unix() {
			t.Errorf("%s: %s is %v of %v, want %v of %v", name, n.Path, st.Mode(), st.ModTime().UTC(), n.Mode, n.ModTime.UTC())
		}
		if sys := st.Sys().(*syscall.Stat_t); os.Getuid() == 0 && (sys.Uid != 0 || sys.Gid != 0) {
			t.Errorf("%s: %s belongs to %d:%d", name, n.Path, sys.Uid, sys.Gid)
		}
		switch n.Mode.Type() {
		case fs.ModeSymlink:
			if to, err := os.Readlink(path); err != nil || to != n.Link {
				t.Errorf("%s: %s leads to %q, want %q (%v)", name, n.Path, to, n.Link, err)
			}
		case 0:
			if !bytes.Equal(read(t, path), content(t, n)) {
				t.Errorf("%s: %s has other content", name, n.Path)
			}
		}
		if n.IsHardLink() && !os.SameFile(st, stat(t, filepath.Join(root, n.Link))) {
			t.Errorf("%s: %s is no link of %s", name, n.Path, n.Link)
		}
	}
	if len(seen) > 0 {
		t.Errorf("%s: nobody brought %q", name, seen)
	}
}

// compareModulesDep lets Debian's depmod make what our layer has, of the base's modules and those of extensions.
func compareModulesDep(t *testing.T, initramfs, layer string, extensions []input) {
	t.Helper()
	base := t.TempDir()
	tooltest.Run(t, "unsquashfs", "-no-progress", "-no-xattrs", "-d", filepath.Join(base, "root"), filepath.Join(initramfs, "rootfs.sqsh"), "usr/lib/modules")
	for _, e := range extensions {
		for n := range e.rootfs.All() {
			if strings.HasPrefix(n.Path, "usr/lib/modules/") && n.Mode.IsRegular() {
				write(t, filepath.Join(base, "root", n.Path), string(content(t, n)))
			}
		}
	}
	releases, err := filepath.Glob(filepath.Join(base, "root/usr/lib/modules/*"))
	if err != nil || len(releases) != 1 {
		t.Fatalf("kernel releases %q: %v", releases, err)
	}
	release := filepath.Base(releases[0])
	ours := filepath.Join(layer, "usr/lib/modules", release)
	before := map[string][]byte{}
	for _, name := range list(t, ours) {
		before[name] = read(t, filepath.Join(ours, name))
		if name != "modules.order" && name != "modules.builtin" && name != "modules.builtin.modinfo" {
			os.Remove(filepath.Join(releases[0], name)) // else an old one would pass
		}
	}
	write(t, filepath.Join(base, "depmod.conf"), "search extras built-in\n")
	depmod(t, "--all", "--basedir", filepath.Join(base, "root/usr"), "--config", filepath.Join(base, "depmod.conf"), release)
	for _, name := range list(t, releases[0]) {
		if !strings.HasPrefix(name, "modules.") {
			continue
		}
		want := read(t, filepath.Join(releases[0], name))
		got, ok := before[name]
		delete(before, name)
		if !ok || !bytes.Equal(got, want) && !(!strings.HasSuffix(name, ".bin") && slices.Equal(sortedLines(got), sortedLines(want))) {
			t.Errorf("%s has %d bytes, depmod's %d", name, len(got), len(want))
		}
	}
	for name := range before {
		t.Errorf("depmod makes no %s", name)
	}
}

// depmod runs that of Debian trixie, by its own loader with its own libraries.
func depmod(t *testing.T, args ...string) {
	t.Helper()
	dir := debiantest.Unpack(t, "trixie", "amd64", "kmod", "libkmod2", "libc6", "libzstd1", "liblzma5", "libssl3t64", "zlib1g")
	lib := filepath.Join(dir, "usr/lib/x86_64-linux-gnu")
	cmd := exec.Command(filepath.Join(lib, "ld-linux-x86-64.so.2"), append([]string{"--library-path", lib, "--argv0", "depmod", filepath.Join(dir, "usr/bin/kmod")}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("depmod %q: %v\n%s", args, err, out)
	}
}

func sortedLines(b []byte) []string {
	lines := strings.Split(string(b), "\n")
	slices.Sort(lines)
	return lines
}

// TestUKI compares the sections of UKIs, as objdump sees them, with the parts.
func TestUKI(t *testing.T) {
	t.Parallel()
	b := build(t)
	_, kernel := b.artefact(t, "-vmlinuz")
	_, initrd := b.artefact(t, "-initramfs.xz")
	_, cmdline := b.artefact(t, "-cmdline")
	_, alone := b.artefact(t, "-uki.efi")
	iso, isoFile := b.artefact(t, ".iso")
	disk, diskFile := b.artefact(t, ".raw")
	fromISO := fatFile(t, isoFile, partition(t, isoFile, espType), ukiPath)
	fromDisk := fatFile(t, diskFile, partition(t, diskFile, espType), ukiPath)
	for _, c := range []struct {
		name, file, cmdline, reset string
	}{
		{"alone", alone, string(read(t, cmdline)), ""},
		{"ISO", fromISO, iso.Cmdline, "ID=reset\nTITLE=Reset system disk"},
		{"disk", fromDisk, disk.Cmdline, "ID=reset-maintenance\nTITLE=Reset to maintenance mode"},
	} {
		var names, texts []string
		for _, s := range sections(t, c.file) {
			names = append(names, s.name)
			switch s.name {
			case ".linux":
				if s.sum != sumFile(t, kernel) {
					t.Errorf("%s: the kernel is another", c.name)
				}
			case ".initrd":
				if s.sum != sumFile(t, initrd) {
					t.Errorf("%s: the initramfs is another", c.name)
				}
			case ".cmdline", ".profile":
				texts = append(texts, string(s.text))
			case ".osrel":
				if !strings.Contains(string(s.text), "\nVERSION_ID="+sandboxtest.Version+"\n") {
					t.Errorf("%s: .osrel %s", c.name, s.text)
				}
			case ".uname":
				if string(s.text) != iso.Kernel {
					t.Errorf("%s: .uname %s", c.name, s.text)
				}
			}
		}
		want, wantTexts := []string{".osrel", ".cmdline", ".uname", ".linux", ".initrd", ".profile"}, []string{c.cmdline, "ID=main"}
		if c.reset != "" {
			want = append(want, ".profile", ".cmdline")
			wipe := " talos.experimental.wipe=system"
			if c.name == "disk" {
				wipe += ":EPHEMERAL,STATE"
			}
			wantTexts = append(wantTexts, c.reset, c.cmdline+wipe)
		}
		if i := slices.Index(names, ".osrel"); i < 0 || !slices.Equal(names[i:], want) {
			t.Errorf("%s: sections %q end with %q?", c.name, names, want)
		}
		if !slices.Equal(texts, wantTexts) {
			t.Errorf("%s: texts %q, want %q", c.name, texts, wantTexts)
		}
	}
}

const ukiPath = "EFI/Linux/Talos-" + sandboxtest.Version + ".efi"

// section is a section of a PE file.
type section struct {
	name string
	sum  string // SHA-256
	text []byte // of a short one
}

var sectionLine = regexp.MustCompile(`(?m)^ *[0-9]+ (\S+) +([0-9a-f]{8}) +[0-9a-f]+ +[0-9a-f]+ +([0-9a-f]{8}) `)

func sections(t *testing.T, file string) (all []section) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, m := range sectionLine.FindAllStringSubmatch(tooltest.Run(t, "objdump", "-h", file), -1) {
		size, err1 := strconv.ParseInt(m[2], 16, 64)
		off, err2 := strconv.ParseInt(m[3], 16, 64)
		h := sha256.New()
		var text bytes.Buffer
		w := io.Writer(h)
		if size < 4096 {
			w = io.MultiWriter(h, &text)
		}
		if _, err := io.Copy(w, io.NewSectionReader(f, off, size)); err != nil || err1 != nil || err2 != nil {
			t.Fatal(m, err, err1, err2)
		}
		all = append(all, section{m[1], hex.EncodeToString(h.Sum(nil)), text.Bytes()})
	}
	return all
}

// TestISO reads the ISO by xorriso, fsck.fat and mtools.
func TestISO(t *testing.T) {
	t.Parallel()
	b := build(t)
	a, file := b.artefact(t, ".iso")
	_, initrd := b.artefact(t, "-initramfs.xz")
	_, kernel := b.artefact(t, "-vmlinuz")
	said := tooltest.Run(t, "xorriso", "-indev", file, "-report_el_torito", "plain", "-report_system_area", "plain", "-pvd_info")
	for _, want := range []string{
		`(?m)^Volume id    : 'TALOS_V1_13_9'$`, `(?m)^Volume Set Id: Talos-v1\.13\.9$`,
		`(?m)^El Torito boot img : +1  BIOS  y   none  0x0000  0x00      4 `,
		`(?m)^El Torito boot img : +2  UEFI  y   none `,
		`(?m)^El Torito img opts : +1  boot-info-table grub2-boot-info$`,
		`(?m)^System area summary: MBR protective-msdos-label grub2-mbr cyl-align-off GPT$`,
		`(?m)^Partition offset   : 16$`,
		`(?m)^GPT type GUID      :   2  28732ac11ff8d211ba4b00a0c93ec93b$`,
	} {
		if !regexp.MustCompile(want).MatchString(said) {
			t.Errorf("xorriso does not say %s:\n%s", want, said)
		}
	}
	for line := range strings.Lines(said) {
		if strings.Contains(line, "WARNING") || strings.Contains(line, "SORRY") || strings.Contains(line, "FAILURE") {
			t.Errorf("xorriso says %s", line)
		}
	}
	dir := t.TempDir()
	tooltest.Run(t, "xorriso", "-osirrox", "on", "-indev", file, "-extract", "/", filepath.Join(dir, "iso"))
	esp := partition(t, file, espType)
	checkESP(t, file, esp, filepath.Join(dir, "iso"), espFiles...)
	for path, want := range map[string]string{"boot/vmlinuz": kernel, "boot/initramfs.xz": initrd} {
		if sumFile(t, filepath.Join(dir, "iso", path)) != sumFile(t, want) {
			t.Errorf("%s is not %s", path, filepath.Base(want))
		}
	}
	config := string(read(t, filepath.Join(dir, "iso/boot/grub/grub.cfg")))
	checkGRUB(t, config, a.Cmdline, "Talos ISO", "Reset Talos installation", "talos.experimental.wipe=system")
	// What lies in the ISO and in the ESP is stored once.
	if limit := size(t, kernel) + size(t, initrd) + 16<<20; a.Size > limit {
		t.Errorf("%d bytes, kernel and initramfs and 16 MiB are %d", a.Size, limit)
	}
	epoch := epochOf(t, sandboxtest.Open(t))
	for _, path := range list(t, filepath.Join(dir, "iso")) {
		if at := stat(t, filepath.Join(dir, "iso", path)).ModTime(); !at.Equal(epoch) && path != "boot.catalog" {
			t.Errorf("%s has the time %v, the epoch is %v", path, at.UTC(), epoch.UTC())
		}
	}
}

// checkGRUB looks for the two entries of GRUB's menu.
func checkGRUB(t *testing.T, config, cmdline, entry, reset, wipe string) {
	t.Helper()
	var titles, linux []string
	for _, m := range regexp.MustCompile(`menuentry "([^"]+)"`).FindAllStringSubmatch(config, -1) {
		titles = append(titles, m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^\s*linux \S+ (.*)$`).FindAllStringSubmatch(config, -1) {
		linux = append(linux, m[1])
	}
	if !slices.Equal(titles, []string{entry, reset}) || !slices.Equal(linux, []string{cmdline, cmdline + " " + wipe}) {
		t.Errorf("GRUB's menu %q with %q", titles, linux)
	}
}

// TestDisk reads the disk by sgdisk, fsck.fat, mtools and GRUB's own XFS driver.
func TestDisk(t *testing.T) {
	t.Parallel()
	b := build(t)
	a, file := b.artefact(t, ".raw")
	_, initrd := b.artefact(t, "-initramfs.xz")
	_, kernel := b.artefact(t, "-vmlinuz")
	if a.Size != 8<<30 {
		t.Errorf("%d bytes, the profile says 8 GiB", a.Size)
	}
	if used := stat(t, file).Sys().(*syscall.Stat_t).Blocks * 512; used > 512<<20 {
		t.Errorf("%d MiB on disk: not sparse", used>>20)
	}
	if said := tooltest.Run(t, "sgdisk", "-v", file); !strings.Contains(said, "No problems found.") {
		t.Errorf("sgdisk: %s", said)
	}
	var names []string
	for _, p := range partitions(t, file) {
		names = append(names, p.Name)
	}
	if !slices.Equal(names, []string{"EFI", "BIOS", "BOOT", "META"}) {
		t.Errorf("partitions %q", names)
	}
	checkESP(t, file, partition(t, file, espType), "", espFiles...)
	meta := filepath.Join(t.TempDir(), "meta")
	copyRange(t, file, meta, partitions(t, file)[slices.Index(names, "META")])
	if !bytes.HasPrefix(read(t, meta), []byte("\x5a\x4b\x3c\x2d\x00\x00\x00\x11\x00\x00\x00\x09dual-boot\x00\x00\x00\x00")) {
		t.Errorf("META begins with %q", read(t, meta)[:64])
	}
	boot := filepath.Join(t.TempDir(), "boot")
	copyRange(t, file, boot, partitions(t, file)[slices.Index(names, "BOOT")])
	tooltest.Run(t, "xfs_repair", "-n", boot)
	dir := t.TempDir()
	for path, want := range map[string]string{"A/vmlinuz": kernel, "A/initramfs.xz": initrd} {
		to := filepath.Join(dir, filepath.Base(path))
		tooltest.Run(t, "grub-fstest", boot, "cp", "(loop0)/"+path, to)
		if sumFile(t, to) != sumFile(t, want) {
			t.Errorf("%s is not %s", path, filepath.Base(want))
		}
	}
	checkGRUB(t, tooltest.Run(t, "grub-fstest", boot, "cat", "(loop0)/grub/grub.cfg"), a.Cmdline,
		"A - Talos "+sandboxtest.Version, "Reset Talos installation and return to maintenance mode", "talos.experimental.wipe=system:EPHEMERAL,STATE")
}

// espFiles are those where systemd-boot starts a UKI.
var espFiles = []string{"EFI/BOOT/BOOTX64.EFI", ukiPath, "loader/loader.conf"}

// checkESP checks an EFI system partition with some files, and compares them with those of a folder.
func checkESP(t *testing.T, file string, p part, same string, want ...string) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "esp")
	copyRange(t, file, image, p)
	if said := tooltest.Run(t, "fsck.fat", "-n", "-v", image); strings.Contains(said, "differ") || strings.Contains(said, "dirty") || !strings.Contains(said, "32 bit entries") {
		t.Errorf("fsck.fat: %s", said)
	}
	out := t.TempDir()
	tooltest.Run(t, "mcopy", "-s", "-m", "-n", "-i", image, "::/", out)
	var files []string
	for _, name := range list(t, out) {
		if stat(t, filepath.Join(out, name)).Mode().IsRegular() {
			files = append(files, name)
			if same != "" && sumFile(t, filepath.Join(out, name)) != sumFile(t, filepath.Join(same, name)) {
				t.Errorf("%s differs between the ESP and %s", name, same)
			}
		}
	}
	if !slices.Equal(files, want) {
		t.Errorf("files of the ESP %q, want %q", files, want)
	}
}

// part is a partition.
type part struct {
	Start, Size int64 // 512-byte sectors
	Type, Name  string
}

const espType = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"

func partitions(t *testing.T, file string) []part {
	t.Helper()
	cmd := exec.Command(tooltest.Need(t, "sfdisk"), "-J", file)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sfdisk %s: %v", file, err)
	}
	var table struct{ PartitionTable struct{ Partitions []part } }
	if err := json.Unmarshal(out, &table); err != nil {
		t.Fatal(err)
	}
	return table.PartitionTable.Partitions
}

// partition returns the one of a type.
func partition(t *testing.T, file, kind string) part {
	t.Helper()
	all := partitions(t, file)
	i := slices.IndexFunc(all, func(p part) bool { return p.Type == kind })
	if i < 0 {
		t.Fatalf("%s has no partition %s: %+v", file, kind, all)
	}
	return all[i]
}

// copyRange copies a partition. Zeros become a hole.
func copyRange(t *testing.T, file, to string, p part) {
	t.Helper()
	w, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Truncate(p.Size * 512); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := io.NewSectionReader(f, p.Start*512, p.Size*512)
	block, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); at < r.Size(); at += int64(len(block)) {
		n, err := r.ReadAt(block, at)
		if err == io.EOF {
			err = nil
		}
		if err == nil && !bytes.Equal(block[:n], zeros[:n]) {
			_, err = w.WriteAt(block[:n], at)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// fatFile takes a file out of a FAT file system in a partition.
func fatFile(t *testing.T, file string, p part, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), filepath.Base(path))
	tooltest.Run(t, "mcopy", "-n", "-i", fmt.Sprintf("%s@@%d", file, p.Start*512), "::/"+path, to)
	return to
}

// epochOf is the time of init in the base initramfs.
func epochOf(t testing.TB, r *sandbox.Release) time.Time {
	t.Helper()
	dir := t.TempDir()
	pipe(t, dir, pipe(t, dir, read(t, r.Initramfs()), "zstd", "-dc"), "cpio", "-idm", "--quiet", "init")
	return stat(t, filepath.Join(dir, "init")).ModTime()
}

// pipe runs a tool in a folder, with bytes as its input.
func pipe(t testing.TB, dir string, in []byte, tool string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(tooltest.Need(t, tool), args...)
	cmd.Dir, cmd.Stdin, cmd.Env = dir, bytes.NewReader(in), append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, &stderr)
	}
	return out
}

func stat(t testing.TB, name string) os.FileInfo {
	t.Helper()
	st, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func size(t testing.TB, name string) int64 { t.Helper(); return stat(t, name).Size() }

func content(t testing.TB, n tree.Node) []byte {
	t.Helper()
	if n.Content == nil {
		return nil
	}
	b, err := tree.ReadAll(n.Content)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sumFile(t testing.TB, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(h, f, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}
