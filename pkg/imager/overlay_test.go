package imager_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/internal/sandbox"
	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/fat"
	"github.com/talosmith/talosmith/pkg/gpt"
	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/overlay"
	"github.com/talosmith/talosmith/pkg/overlay/confine"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// boardTree is the overlay of the stand-in's board for an architecture.
func (w *world) boardTree(arch string) *tree.Tree {
	w.t.Helper()
	t, err := sandbox.OverlayTree("board", tree.Bytes(sandboxtest.Board(w.t, arch)), "sd-boot")
	w.check(err)
	return t
}

// boardImage is an image with that.
func (w *world) boardImage(arch string) v1.Image {
	w.t.Helper()
	return w.imageOf(arch, slices.Collect(w.boardTree(arch).All()))
}

// overlays publishes the board's overlay for some architectures, and the catalogue that has it.
func (w *world) overlays(version string, archs ...string) {
	w.t.Helper()
	digest := w.push("siderolabs/sbc-board:v1", w.boardImage, archs...)
	w.digests["sbc-board:v1"] = digest
	w.publish("overlays:"+version, func(string) map[string]string {
		return map[string]string{"overlays.yaml": fmt.Sprintf("overlays:\n  - name: board\n    image: ghcr.io/siderolabs/sbc-board:v1\n    digest: %s\n", digest)}
	})
}

const boardProfile = `
talos {
  version = "v1.13.9"
}
image "board" {
  architectures = ["amd64", "arm64"]
  kernel_args   = ["-console=tty0", "own=1"]
  overlay {
    name = "board"
    run  = true
    options = {
      configTxt = "own=1\n"
      %s
    }
  }
  output "disk" {
    format      = "raw"
    compression = "none"
    size        = "2200MiB"
  }
  output "installer" {}
  output "cmdline" {}
  output "iso" {
    bootloader = "sd-boot"
  }
}
`

func withBoard(t testing.TB) *world {
	t.Helper()
	w := newWorld(t, "v1.13.9")
	w.overlays("v1.13.9", architectures...)
	return w
}

// disk opens a raw disk, which is large and mostly holes, and the EFI system partition of it.
func (r *run) disk(name string) (*os.File, gpt.Table, *fat.Reader) {
	r.t.Helper()
	f, err := os.Open(filepath.Join(r.out(), name))
	r.check(err)
	r.t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	r.check(err)
	table, notes, err := gpt.Read(f, st.Size())
	if err != nil || len(notes) > 0 {
		r.t.Fatal(notes, err)
	}
	p := table.Partitions[0]
	files, err := fat.NewReader(io.NewSectionReader(f, int64(p.First*512), int64(p.Last-p.First+1)*512))
	r.check(err)
	return f, table, files
}

// TestOverlay builds everything of an image with an official overlay, for both architectures.
func TestOverlay(t *testing.T) {
	w := withBoard(t)
	r := w.run()
	m := r.build(fmt.Sprintf(boardProfile, ""), imager.Request{})
	if len(r.notes) != 2 { // no boot splash, on each architecture
		t.Errorf("notes %q", r.notes)
	}
	if r.ran["overlay-options"] != 1 || r.ran["overlay-install"] != 1 || r.ran["overlay"] != 2 {
		t.Errorf("ran %v", r.ran)
	}
	for _, arch := range architectures {
		a := m.Artefacts[slices.Index(files(m), "board-"+arch+".raw")]
		if a.Overlay == nil || *a.Overlay != (imager.ArtefactOverlay{Name: "board", Digest: w.digests["sbc-board:v1"]}) {
			t.Errorf("%s: overlay %+v", arch, a.Overlay)
		}
		const args = "console=ttyBOARD0,115200 "
		if got := string(r.read("board-" + arch + "-cmdline")); !strings.HasPrefix(got, "talos.platform=metal "+args) || !strings.Contains(got, " talos.dashboard.disabled=1 ") || !strings.HasSuffix(got, " own=1") {
			t.Errorf("%s: command line %s", arch, got)
		}
		if !bytes.Contains(r.read("board-"+arch+".iso"), []byte("talos.platform=metal "+args+"talos.halt_if_installed=1")) {
			t.Errorf("%s: the ISO lacks the overlay's kernel arguments", arch)
		}
		disk, table, files := r.disk("board-" + arch + ".raw")
		if table.Skip != 20480 || table.Partitions[0].First != 22528 || table.BootCode != nil {
			t.Errorf("%s: table %+v", arch, table)
		}
		uboot := strings.Repeat("u-boot!!", 4000) + strings.Repeat("\x00", 2048) + "its end\n"
		skipped := make([]byte, 20480*512)
		if _, err := disk.ReadAt(skipped, 1024); err != nil {
			t.Fatal(err)
		}
		if string(bytes.Trim(skipped, "\x00")) != uboot || string(skipped[31<<10:][:8]) != "u-boot!!" {
			t.Errorf("%s: before the entries lies %.100q", arch, bytes.Trim(skipped, "\x00"))
		}
		for path, want := range map[string]string{"config.txt": "own=1\n", "overlays/disable-bt.dtbo": "device tree\n", "start4.elf": strings.Repeat("firmware ", 5000)} {
			b, err := fs.ReadFile(files, path)
			info, errInfo := fs.Stat(files, path)
			if err != nil || errInfo != nil || string(b) != want || info.ModTime().Unix() != fakeEpoch {
				t.Errorf("%s: %s is %.20q, %v, of %v", arch, path, b, errors.Join(err, errInfo), info)
			}
		}
		if _, err := fs.Stat(files, "EFI/Linux/Talos-v1.13.9.efi"); err != nil {
			t.Error(err)
		}
		if out := tooltest.Run(t, "sgdisk", "-v", filepath.Join(r.out(), "board-"+arch+".raw")); !strings.Contains(out, "No problems found") {
			t.Errorf("%s: sgdisk: %s", arch, out)
		}
	}

	// Nothing is run again.
	again := w.run()
	again.build(fmt.Sprintf(boardProfile, ""), imager.Request{})
	if len(again.ran) > 0 {
		t.Errorf("a second build ran %v", again.ran)
	}
	// Another option is another disk.
	again.build(fmt.Sprintf(boardProfile, "kernelArgs = []"), imager.Request{Kinds: []talos.Kind{talos.KindDisk}})
	if again.ran["overlay-options"] != 1 || again.ran["overlay-install"] != 1 || again.ran["overlay"] != 0 {
		t.Errorf("another option ran %v", again.ran)
	}
}

// TestOverlayIsTheSame builds twice, with nothing in common.
func TestOverlayIsTheSame(t *testing.T) {
	one := withBoard(t).run()
	m := one.build(fmt.Sprintf(boardProfile, ""), imager.Request{})
	t.Setenv("TMPDIR", t.TempDir())
	two := withBoard(t).run()
	m2 := two.build(fmt.Sprintf(boardProfile, ""), imager.Request{})
	for i, a := range m.Artefacts {
		if b := m2.Artefacts[i]; a.File != b.File || a.SHA256 != b.SHA256 || a.SHA256 == "" {
			t.Errorf("%s differs: %s and %s", a.File, a.SHA256, b.SHA256)
		}
	}
}

// TestOverlayOnlyWhereWanted: what has no kernel command line needs no overlay, and what is no disk no installer.
func TestOverlayOnlyWhereWanted(t *testing.T) {
	r := withBoard(t).run()
	m := r.build(strings.Replace(fmt.Sprintf(boardProfile, ""), "run  = true", "run = false", 1), imager.Request{Kinds: []talos.Kind{talos.KindKernel, talos.KindInitramfs}, Undeclared: true})
	if r.ran["overlay"]+r.ran["overlay-options"] != 0 || m.Artefacts[0].Overlay != nil || m.Artefacts[0].Cmdline != "" || len(r.notes) > 0 {
		t.Errorf("ran %v, %+v, notes %q", r.ran, m.Artefacts[0], r.notes)
	}
	r.build(fmt.Sprintf(boardProfile, ""), imager.Request{Kinds: []talos.Kind{talos.KindUKI, talos.KindCmdline, talos.KindISO, talos.KindInstaller}, Undeclared: true})
	if r.ran["overlay-options"] != 1 || r.ran["overlay-install"] != 0 {
		t.Errorf("ran %v", r.ran)
	}
}

// TestOverlayCmdline is the tenth example of what the official imager prints: a Raspberry Pi.
func TestOverlayCmdline(t *testing.T) {
	r := withBoard(t).run()
	r.build(strings.Replace(fmt.Sprintf(boardProfile, `kernelArgs = ["console=tty0", "console=ttyAMA0,115200", "sysctl.kernel.kexec_load_disabled=1", "talos.dashboard.disabled=1"]`),
		`kernel_args   = ["-console=tty0", "own=1"]`, "", 1), imager.Request{Kinds: []talos.Kind{talos.KindCmdline}, Arch: "arm64"})
	const want = "talos.platform=metal console=tty0 console=ttyAMA0,115200 sysctl.kernel.kexec_load_disabled=1 talos.dashboard.disabled=1 init_on_alloc=1 slab_nomerge pti=on " +
		"consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on selinux=1 module.sig_enforce=1 proc_mem.force_override=never"
	if got := string(r.read("board-arm64-cmdline")); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestOverlayInstaller lets tar list the layer of an installer image, and runs the program in it.
func TestOverlayInstaller(t *testing.T) {
	r := withBoard(t).run()
	r.build(fmt.Sprintf(boardProfile, ""), imager.Request{Kinds: []talos.Kind{talos.KindInstaller}})
	for _, arch := range architectures {
		archive := filepath.Join(r.out(), "board-"+arch+"-installer.tar")
		img, err := tarball.ImageFromPath(archive, nil)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := img.Layers()
		if err != nil || len(layers) != 3 {
			t.Fatalf("%d layers, %v", len(layers), err)
		}
		config, err := img.ConfigFile()
		if err != nil || !strings.HasPrefix(config.History[2].CreatedBy, "overlay board of ghcr.io/siderolabs/sbc-board@sha256:") {
			t.Errorf("history %+v, %v", config.History, err)
		}
		content, err := layers[2].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(content)
		if err != nil {
			t.Fatal(err)
		}
		layer := filepath.Join(t.TempDir(), "layer.tar")
		r.check(os.WriteFile(layer, b, 0o600))
		var got []string
		for line := range strings.Lines(tooltest.Run(t, "tar", "--numeric-owner", "--utc", "-tvf", layer)) {
			f := strings.Fields(line)
			if f[5] == "overlay/installers/default" {
				f[2] = "SIZE"
			}
			got = append(got, strings.Join(f, " "))
		}
		want := []string{
			"-rw-r--r-- 0/0 18 1970-01-01 00:00 overlay/artifacts/arm64/README",
			"drwxr-xr-x 0/0 0 1970-01-01 00:00 overlay/artifacts/arm64/",
			"drwxr-xr-x 0/0 0 1970-01-01 00:00 overlay/artifacts/firmware/",
			"drwxr-xr-x 0/0 0 1970-01-01 00:00 overlay/artifacts/firmware/boot/",
			"drwxr-xr-x 0/0 0 1970-01-01 00:00 overlay/artifacts/firmware/boot/overlays/",
			"-rw-r--r-- 0/0 12 1970-01-01 00:00 overlay/artifacts/firmware/boot/overlays/disable-bt.dtbo",
			"-rw-r--r-- 0/0 45000 1970-01-01 00:00 overlay/artifacts/firmware/boot/start4.elf",
			"drwxr-xr-x 0/0 0 1970-01-01 00:00 overlay/artifacts/u-boot/",
			"drwxr-xr-x 0/0 0 1970-01-01 00:00 overlay/artifacts/u-boot/board/",
			"-rw-r--r-- 0/0 34056 1970-01-01 00:00 overlay/artifacts/u-boot/board/u-boot.bin",
			"-rw-r--r-- 0/0 34056 1970-01-01 00:00 overlay/artifacts/u-boot/latest.bin",
			"-rw-r--r-- 0/0 23 1970-01-01 00:00 overlay/extra-options",
			"-rwxr-xr-x 0/0 SIZE 1970-01-01 00:00 overlay/installers/default",
		}
		want[0], want[1] = want[1], want[0]
		if !slices.Equal(got, want) {
			t.Errorf("%s: layer\n%s", arch, strings.Join(got, "\n"))
		}
		dir := t.TempDir()
		tooltest.Run(t, "tar", "-xf", layer, "-C", dir)
		if options, err := os.ReadFile(filepath.Join(dir, "overlay", "extra-options")); err != nil || string(options) != "configTxt: |\n    own=1\n" {
			t.Errorf("%s: extra-options %q, %v", arch, options, err)
		}
		if arch != runtime.GOARCH {
			continue
		}
		cmd := exec.Command(filepath.Join(dir, "overlay", "installers", "default"), "get-options")
		cmd.Stdin = strings.NewReader("{}\n")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "name: board\n") {
			t.Errorf("the program says %s, %v", out, err)
		}
	}
	dir := t.TempDir()
	for _, arch := range architectures {
		tooltest.Run(t, "skopeo", "--insecure-policy", "copy", "-q", "docker-archive:"+filepath.Join(r.out(), "board-"+arch+"-installer.tar"), "dir:"+filepath.Join(dir, arch))
	}
}

// directory writes an overlay's files into a directory.
func (w *world) directory(files *tree.Tree) string {
	w.t.Helper()
	dir := filepath.Join(w.dir, "overlay")
	for n := range files.All() {
		name := filepath.Join(dir, filepath.FromSlash(n.Path))
		switch n.Mode.Type() {
		case fs.ModeDir:
			w.check(os.MkdirAll(name, 0o755))
		case fs.ModeSymlink:
			w.check(os.Symlink(n.Link, name))
		default:
			b, err := tree.ReadAll(n.Content)
			w.check(err)
			w.check(os.WriteFile(name, b, n.Mode.Perm()))
		}
	}
	return dir
}

const ownOverlay = `
talos {
  version = "v1.13.9"
}
image "own" {
  overlay {
    name = "board"
    path = "overlay"
    run  = true
    options = {
      misbehave = "%s"
      %s
    }
  }
  output "disk" {
    format      = "raw"
    compression = "none"
    size        = "2200MiB"
    bootloader  = "sd-boot"
  }
}
`

// TestOverlayDirectory takes an overlay from a directory; it needs no catalogue.
func TestOverlayDirectory(t *testing.T) {
	w := newWorld(t, "v1.13.9")
	dir := w.directory(w.boardTree(runtime.GOARCH))
	r := w.run()
	r.build(fmt.Sprintf(ownOverlay, "", ""), imager.Request{})
	_, _, files := r.disk("own-amd64.raw")
	if b, err := fs.ReadFile(files, "config.txt"); err != nil || string(b) != "arm_64bit=1\n" {
		t.Errorf("config.txt %q, %v", b, err)
	}
	// A change of the directory reaches the disk.
	w.check(os.WriteFile(filepath.Join(dir, "artifacts", "firmware", "boot", "new"), []byte("new"), 0o600))
	r = w.run()
	r.build(fmt.Sprintf(ownOverlay, "", ""), imager.Request{})
	_, _, files = r.disk("own-amd64.raw")
	if b, err := fs.ReadFile(files, "new"); err != nil || string(b) != "new" {
		t.Errorf("new %q, %v", b, err)
	}
}

// TestOverlaySectors builds for a disk with sectors of 4096 bytes, in which the overlay's offset counts then; and refuses what the overlay's
// profile alone tells.
func TestOverlaySectors(t *testing.T) {
	w := newWorld(t, "v1.13.9")
	dir := w.directory(w.boardTree(runtime.GOARCH))
	r := w.run()
	text := strings.Replace(strings.Replace(fmt.Sprintf(ownOverlay, "", ""), `bootloader  = "sd-boot"`, "sector_size = 4096", 1), "2200MiB", "2300MiB", 1)
	r.build(text, imager.Request{})
	disk, err := os.Open(filepath.Join(r.out(), "own-amd64.raw"))
	w.check(err)
	defer disk.Close()
	table, notes, err := gpt.Read(disk, 2300<<20)
	if err != nil || len(notes) > 0 || table.SectorSize != 4096 || table.Skip != 20480 || table.Partitions[0].First != 81<<20/4096 {
		t.Fatalf("table %+v, notes %q, %v", table, notes, err)
	}
	p := table.Partitions[0]
	files, err := fat.NewReader(io.NewSectionReader(disk, int64(p.First*4096), int64(p.Last-p.First+1)*4096))
	w.check(err)
	if b, err := fs.ReadFile(files, "config.txt"); err != nil || string(b) != "arm_64bit=1\n" {
		t.Errorf("config.txt %q, %v", b, err)
	}
	at := make([]byte, 8)
	if _, err := disk.ReadAt(at, 32<<10); err != nil || string(at) != "u-boot!!" {
		t.Errorf("at 32 KiB lies %q, %v", at, err)
	}
	board := filepath.Join(dir, "profiles", "board.yaml")
	b, err := os.ReadFile(board)
	w.check(err)
	w.check(os.WriteFile(board, bytes.Replace(b, []byte("bootloader: sd-boot"), []byte("bootloader: grub"), 1), 0o600))
	_, err = w.run().try(text, imager.Request{})
	if err == nil || !strings.Contains(err.Error(), "extensions.hcl:19,19-23: sectors of 4096 bytes: boot loader grub needs those of 512; use sd-boot") {
		t.Errorf("an overlay with GRUB: %v", err)
	}
}

// TestOverlayMistakes: what an installer must not do is refused, with what and where.
func TestOverlayMistakes(t *testing.T) {
	w := newWorld(t, "v1.13.9")
	w.directory(w.boardTree(runtime.GOARCH))
	r := w.run()
	r.runner = &confine.Runner{Limit: 5 * time.Second}
	for how, want := range map[string]string{
		"header":    "overlay board: its installer writes bytes 512 to 1023 of the disk: the partition table lies at bytes 0 to 1023; tell whoever made the overlay",
		"entries":   "writes bytes 10486784 to 10487295 of the disk: the partition table lies at bytes 10486784 to 10503167",
		"partition": "writes bytes 11538944 to 11539455 of the disk: the partition EFI lies at bytes 11534336 to ",
		"backup":    "of the disk: the copy of the partition table lies at bytes ",
		"mbr table": "overlay board: its installer writes to the first sector of the disk: bytes 446 to 511 are the table of partitions",
		"fail":      "installers/board install: exit status 1: the board",
		"hang":      "installers/board install: it was not done after 5s, and was ended",
		"flood":     "installers/board install: it printed more than 1048576 bytes, and was ended",
		"elsewhere": "it wrote what would be lost: \"/mnt/boot/vmlinuz\", \"/stray\"",
		"link":      "it left \"link\" on the EFI system partition",
	} {
		_, err := r.try(fmt.Sprintf(ownOverlay, how, ""), imager.Request{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "image own amd64: ") {
			t.Errorf("%s: %.400v\nwant %s", how, err, want)
		}
		if _, err := os.Stat(filepath.Join(r.out(), "own-amd64.raw")); err == nil {
			t.Fatalf("%s: there is a disk", how)
		}
	}
	for options, want := range map[string]string{
		`kernelArgs = ["a\u001bb"]`:                            "kernelArgs: \"a\\x1bb\" is no kernel argument",
		`offset = 3000000`:                                     "partitionOptions.offset of 3000000 sectors: at most 2097152",
		`kernelArgs = [for i in range(200) : "argument-${i}"]`: "the kernel takes 2047",
		`offset = "far"`:                                       "installers/board get-options: exit status 1: ",
	} {
		if _, err := r.try(fmt.Sprintf(ownOverlay, "", options), imager.Request{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", options, err, want)
		}
	}
	// The entries are moved so far that the disk is too small.
	small := strings.Replace(fmt.Sprintf(ownOverlay, "", "offset = 2097152"), "2200MiB", "3GiB", 1)
	if _, err := r.try(small, imager.Request{}); err == nil || !strings.Contains(err.Error(), "is too small: the least size is ") {
		t.Errorf("too small: %v", err)
	}
	// Boot code in the first sector is there to stay, where no other is.
	r.build(fmt.Sprintf(ownOverlay, "mbr", ""), imager.Request{})
	if _, table, _ := r.disk("own-amd64.raw"); string(table.BootCode[100:109]) != "boot code" {
		t.Errorf("boot code %q", table.BootCode)
	}
	r.notes = nil
	r.build(fmt.Sprintf(ownOverlay, "replace loader", ""), imager.Request{})
	_, _, files := r.disk("own-amd64.raw")
	if b, err := fs.ReadFile(files, "EFI/BOOT/BOOTX64.EFI"); err != nil || string(b) != "own loader" || !strings.Contains(strings.Join(r.notes, "\n"), "the overlay board brings a EFI/BOOT/BOOTX64.EFI of its own, which replaces Talos's") {
		t.Errorf("boot loader %q, %v; notes %q", b, err, r.notes)
	}
}

// TestOverlayNetwork: the installer of a disk tries to reach a listener of this machine.
func TestOverlayNetwork(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	reached := make(chan struct{}, 1)
	go func() {
		if conn, err := listener.Accept(); err == nil {
			conn.Close()
			reached <- struct{}{}
		}
	}()
	w := newWorld(t, "v1.13.9")
	w.directory(w.boardTree(runtime.GOARCH))
	r := w.run()
	r.build(fmt.Sprintf(ownOverlay, "report", fmt.Sprintf("address = %q", listener.Addr())), imager.Request{})
	if s := strings.Join(r.notes, "\n"); strings.Contains(s, "in its reach") {
		tooltest.Unable(t, "this system does not let it be confined: %s", s)
	}
	_, _, files := r.disk("own-amd64.raw")
	b, err := fs.ReadFile(files, "report")
	if err != nil || !strings.Contains(string(b), "network is unreachable") {
		t.Errorf("report %s, %v", b, err)
	}
	if len(reached) > 0 {
		t.Error("it reached the listener")
	}
}

// TestOverlayVerify: an installer that asks the clock is found out.
func TestOverlayVerify(t *testing.T) {
	w := newWorld(t, "v1.13.9")
	w.directory(w.boardTree(runtime.GOARCH))
	for how, want := range map[string]string{"": "", "clock": "overlay-install board "} {
		w.run().build(fmt.Sprintf(ownOverlay, how, ""), imager.Request{})
		r := w.run()
		var err error
		r.store, err = store.Open(store.Options{Dir: filepath.Join(w.dir, "store"), Workers: 1, Verify: true})
		w.check(err)
		_, err = r.try(fmt.Sprintf(ownOverlay, how, ""), imager.Request{})
		w.check(r.store.Close())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "the step is not reproducible")) {
			t.Errorf("%q: %v", how, err)
		}
	}
}

// otherMachine runs nothing but says that it could.
type otherMachine string

func (m otherMachine) Arch() (string, error) { return string(m), nil }
func (m otherMachine) Run(context.Context, overlay.Command) ([]byte, error) {
	return nil, errors.New("nothing is run here")
}

// TestOverlayRefused: why an overlay isn't run is said where the profile has it, before anything is made.
func TestOverlayRefused(t *testing.T) {
	w := newWorld(t, "v1.13.9")
	w.overlays("v1.13.9", "amd64")
	w.directory(w.boardTree("arm64"))
	text := fmt.Sprintf(boardProfile, "")
	for name, c := range map[string]struct {
		text   string
		runner overlay.Runner
		want   []string
	}{
		"not allowed": {strings.Replace(text, "run  = true", "", 1), otherMachine("amd64"), []string{
			"extensions.hcl:8,3-10: Overlay not allowed to run; ", `The overlay "board" has an installer, installers/board of ghcr.io/siderolabs/sbc-board@sha256:`, "a program made by others",
			"Write run = true to let it."}},
		"forbidden":                 {strings.Replace(text, "run  = true", "run  = false", 1), otherMachine("amd64"), []string{"extensions.hcl:10,12-17: Overlay not allowed to run"}},
		"macOS":                     {text, nil, []string{"extensions.hcl:8,3-10: Overlay not runnable here; ", "so it has to run for the image \"board\", but nothing is run here."}},
		"no variant":                {text, otherMachine("arm64"), []string{"Overlay not runnable here; ", "it has none for this machine's architecture, arm64: build on a machine of one of its own."}},
		"no variant for the target": {text, otherMachine("amd64"), []string{"Overlay not found; The installer image needs its variant for arm64: ", "no linux/arm64 in it; it has linux/amd64"}},
		"wrong program":             {fmt.Sprintf(ownOverlay, "", ""), otherMachine("amd64"), []string{"installers/board is a program for arm64, and this machine is amd64: build on a machine of that architecture"}},
		"unknown": {strings.Replace(text, `name = "board"`, `name = "bord"`, 1), otherMachine("amd64"), []string{
			"extensions.hcl:9,12-18: Unknown overlay; The catalogue of Talos v1.13.9 has no overlay \"bord\". Did you mean \"board\"? It has board. One of your own has"}},
		"unknown in an image": {strings.Replace(text, `name = "board"`, "name = \"bord\"\n    image = \"ghcr.io/siderolabs/sbc-board:v1\"", 1), otherMachine("amd64"), []string{
			"overlay bord amd64: ghcr.io/siderolabs/sbc-board:v1 has no installers/bord: it is for board. Did you mean \"board\"?"}},
		"no overlay":   {strings.Replace(text, `name = "board"`, "name = \"board\"\n    image = \"ghcr.io/siderolabs/tiny:1.0.0\"", 1), otherMachine("amd64"), []string{"ghcr.io/siderolabs/tiny:1.0.0 has nothing in installers/: it is no overlay"}},
		"no image":     {strings.Replace(text, `name = "board"`, "name = \"board\"\n    image = \"ghcr.io/siderolabs/none:1\"", 1), otherMachine("amd64"), []string{"Overlay not found; resolve ghcr.io/siderolabs/none:1: "}},
		"no catalogue": {strings.ReplaceAll(text, "v1.13.9", "v1.13.8"), otherMachine("amd64"), []string{"Catalogue of overlays not found; resolve ghcr.io/siderolabs/overlays:v1.13.8: "}},
	} {
		r := w.run()
		r.runner = c.runner
		req := imager.Request{Kinds: []talos.Kind{talos.KindDisk, talos.KindISO}}
		if name == "no variant for the target" {
			req.Kinds = []talos.Kind{talos.KindInstaller}
		}
		_, err := r.try(c.text, req)
		said := fmt.Sprint(err)
		if diags := (hcl.Diagnostics)(nil); errors.As(err, &diags) {
			for _, d := range diags {
				said += "\n" + d.Error()
			}
		}
		for _, want := range c.want {
			if !strings.Contains(said, want) {
				t.Errorf("%s: %s\nwant %s", name, said, want)
			}
		}
	}
}

// TestOverlayLock pins an overlay for every machine that may build.
func TestOverlayLock(t *testing.T) {
	w := withBoard(t)
	w.directory(w.boardTree(runtime.GOARCH))
	text := fmt.Sprintf(boardProfile, "") + strings.SplitN(fmt.Sprintf(ownOverlay, "", ""), "}\n", 2)[1]
	lock, err := w.run().lock(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, reference := range map[string]string{"overlay/board": "ghcr.io/siderolabs/sbc-board:v1", "overlay.own": "directory overlay"} {
		pin, ok := lock.Find(name)
		if !ok || pin.Reference != reference || len(pin.Architectures) != 2 || name == "overlay/board" && (pin.Digest != w.digests["sbc-board:v1"] || pin.From != "overlays v1.13.9") {
			t.Errorf("pin %+v", pin)
		}
	}
	if pin, ok := lock.Find("talos/overlays"); !ok || pin.Reference != "ghcr.io/siderolabs/overlays:v1.13.9" {
		t.Errorf("pin %+v", pin)
	}
	// The tag moves, and who has the lock does not notice.
	w.overlays("v1.13.9", runtime.GOARCH)
	res, _, diags := imager.Resolve(t.Context(), w.run().profile(text), imager.Request{Lock: lock}, w.run().src)
	if diags.HasErrors() || len(res.Stale()) > 0 {
		t.Fatalf("stale %q, %v", res.Stale(), diags)
	}
	pin, _ := lock.Find("overlay/board")
	if got := res.Targets[0].Overlay.Variants["arm64"].Index; got != pin.Digest {
		t.Errorf("took %s", got)
	}
	// With everything local, the network is not needed.
	r := w.run()
	if _, err := r.tryLocked(text, lock); err != nil {
		t.Fatal(err)
	}
	w.registry.Close()
	r = w.run()
	if _, err := r.tryLocked(text, lock); err != nil {
		t.Errorf("without the network: %v", err)
	}
	w.check(os.WriteFile(filepath.Join(w.dir, "overlay", "artifacts", "new"), nil, 0o600))
	res, _, _ = imager.Resolve(t.Context(), r.profile(text), imager.Request{Lock: lock}, r.src)
	if s := strings.Join(res.Stale(), "\n"); !strings.Contains(s, "overlay.own (amd64): its content has changed") {
		t.Errorf("stale %s", s)
	}
}

// TestOverlayFrom takes an overlay from archives.
func TestOverlayFrom(t *testing.T) {
	w := newWorld(t, "v1.13.9")
	archive := filepath.Join(w.dir, "overlay.tar")
	ref, err := name.NewTag("example.com/overlay:1")
	w.check(err)
	w.check(tarball.WriteToFile(archive, ref, w.boardImage(runtime.GOARCH)))
	r := w.run()
	r.build(strings.Replace(fmt.Sprintf(ownOverlay, "", ""), `path = "overlay"`, `tarball = "overlay.tar"`, 1), imager.Request{Arch: runtime.GOARCH})
	_, _, files := r.disk("own-" + runtime.GOARCH + ".raw")
	if _, err := fs.Stat(files, "start4.elf"); err != nil {
		t.Error(err)
	}
}

// TestOverlayPlan: what an installer says is in the plan once it has run, and before that the plan says that it will.
func TestOverlayPlan(t *testing.T) {
	w := withBoard(t)
	r := w.run()
	text := fmt.Sprintf(boardProfile, "")
	steps := func(img imager.ImageDescription) (list []string) {
		for _, s := range img.Steps {
			if strings.HasPrefix(s.Name, "overlay") {
				list = append(list, s.Name+" "+*s.State)
			}
		}
		return list
	}
	d, _ := r.outlook(text, nil)
	img := d.Images[0]
	if o := img.Overlay; o == nil || o.Name != "board" || o.Image != "ghcr.io/siderolabs/sbc-board@"+w.digests["sbc-board:v1"] || o.Digest != w.digests["sbc-board:v1"] ||
		o.From != "overlays v1.13.9" || o.Program != "installers/board" || !o.Run || o.KernelArgs != nil {
		t.Errorf("overlay %+v", o)
	}
	if out := img.Outputs[0]; out.Kind != talos.KindDisk || out.Bootloader != nil || len(out.Partitions) != 0 || *out.Size != 2200<<20 {
		t.Errorf("disk %+v", out)
	}
	if got, want := strings.Join(steps(img), ", "), "overlay todo, overlay-profile todo, overlay-options todo, overlay-install todo"; got != want {
		t.Errorf("steps %s", got)
	}
	if len(r.ran) > 0 {
		t.Errorf("the plan ran %v", r.ran)
	}
	before := d
	r.build(text, imager.Request{Kinds: []talos.Kind{talos.KindDisk}})
	d, _ = r.outlook(text, nil)
	img = d.Images[0]
	if o := img.Overlay; !slices.Equal(o.KernelArgs, []string{"console=tty0", "console=ttyBOARD0,115200", "talos.dashboard.disabled=1"}) {
		t.Errorf("overlay %+v", o)
	}
	if out := img.Outputs[0]; out.Bootloader == nil || *out.Bootloader != talos.SDBoot || len(out.Partitions) != 2 {
		t.Errorf("disk %+v", out)
	}
	if a := img.Args[1]; a.Arg != "console=ttyBOARD0,115200" || a.Origin != "overlay" {
		t.Errorf("argument %+v", a)
	}
	if got, want := strings.Join(steps(img), ", "), "overlay stored, overlay-profile stored, overlay-options stored, overlay-install stored"; got != want {
		t.Errorf("steps %s", got)
	}

	// Without leave nothing would be run, and nothing of it is among the steps.
	forbidden, _ := r.outlook(strings.Replace(text, "run  = true", "", 1), nil)
	if img := forbidden.Images[0]; img.Overlay.Run || img.Overlay.KernelArgs != nil || len(steps(img)) != 0 {
		t.Errorf("overlay %+v, steps %q", img.Overlay, steps(img))
	}
	if got := imager.DiffPlans(forbidden, before).Summary; !slices.Equal(got, []string{"this allows to run installers/board on the machine that builds for board amd64, board arm64"}) {
		t.Errorf("summary %q", got)
	}
	without, _ := r.outlook(`talos {
  version = "v1.13.9"
}
image "board" {
  architectures = ["amd64", "arm64"]
  kernel_args   = ["-console=tty0", "own=1"]
  output "disk" {
    format      = "raw"
    compression = "none"
    bootloader  = "sd-boot"
    size        = "2200MiB"
  }
  output "installer" {}
  output "cmdline" {}
  output "iso" {
    bootloader = "sd-boot"
  }
}
`, nil)
	if got := imager.DiffPlans(before, without).Summary; len(got) == 0 || got[0] != "this removes the overlay board from board amd64, board arm64" {
		t.Errorf("summary %q", got)
	}
}

// TestOverlayBundle builds from a bundle, which has the variants of all machines.
func TestOverlayBundle(t *testing.T) {
	w := withBoard(t)
	text := strings.Replace(fmt.Sprintf(boardProfile, ""), `["amd64", "arm64"]`, `["arm64"]`, 1)
	online := w.run()
	lock, err := online.lock(text, nil)
	w.check(err)
	built, err := online.tryLocked(text, lock)
	w.check(err)
	file := filepath.Join(t.TempDir(), "bundle.tar")
	_, err = imager.WriteBundle(t.Context(), online.resolution(text, lock), online.src, file)
	w.check(err)
	w.registry.Close()
	for _, dir := range []string{"downloads", "store", "out"} {
		w.check(os.RemoveAll(filepath.Join(w.dir, dir)))
	}
	inside := w.run()
	inside.src = source.New(source.Options{Bundle: file, Cache: filepath.Join(w.dir, "downloads")})
	again, err := inside.tryLocked(text, lock)
	w.check(err)
	if diff := cmp.Diff(sums(built), sums(again)); diff != "" {
		t.Error(diff)
	}
	if v := inside.resolution(text, lock).Targets[0].Overlay.Variants; v["amd64"] == nil || v["arm64"] == nil {
		t.Errorf("not every machine finds its variant: %v", v)
	}
}
