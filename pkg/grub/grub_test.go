package grub_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ulikunitz/xz/lzma"

	"github.com/talosmith/talosmith/internal/debian/debiantest"
	"github.com/talosmith/talosmith/pkg/grub"
	"github.com/talosmith/talosmith/pkg/tree"
)

// release is a GRUB of Debian: its files, and its grub-mkimage.
type release struct {
	dirs    map[grub.Format]string
	mkimage []string
}

// releases fetches the GRUBs of three Debians: 2.06, 2.12, 2.14. Programs run with their own loader and libraries.
func releases(t testing.TB) map[string]release {
	libraries := []string{"libc6", "liblzma5", "libdevmapper1.02.1", "libselinux1", "libudev1", "libpcre2-8-0"}
	m := map[string]release{}
	for suite, tools := range map[string]string{"bookworm": "grub-common", "trixie": "grub-common", "sid": "grub2-common"} {
		dir := debiantest.Unpack(t, suite, "amd64", append([]string{"grub-pc-bin", "grub-efi-amd64-bin", tools}, libraries...)...)
		arm64 := debiantest.Unpack(t, suite, "arm64", "grub-efi-arm64-bin")
		libs := filepath.Join(dir, "usr/lib/x86_64-linux-gnu")
		loader := filepath.Join(libs, "ld-linux-x86-64.so.2")
		if old := filepath.Join(dir, "lib/x86_64-linux-gnu"); suite == "bookworm" { // has /lib and /usr/lib apart
			libs, loader = libs+":"+old, filepath.Join(old, "ld-linux-x86-64.so.2")
		}
		m[suite] = release{
			dirs: map[grub.Format]string{
				grub.Disk: filepath.Join(dir, "usr/lib/grub/i386-pc"), grub.ElTorito: filepath.Join(dir, "usr/lib/grub/i386-pc"),
				grub.EFIAMD64: filepath.Join(dir, "usr/lib/grub/x86_64-efi"), grub.EFIARM64: filepath.Join(arm64, "usr/lib/grub/arm64-efi"),
			},
			mkimage: []string{loader, "--library-path", libs, filepath.Join(dir, "usr/bin/grub-mkimage")},
		}
	}
	return m
}

// files is GRUB's directory for a format as a tree.
func (r release) files(t testing.TB, f grub.Format) *tree.Tree {
	t.Helper()
	entries, err := os.ReadDir(r.dirs[f])
	if err != nil {
		t.Fatal(err)
	}
	var nodes []tree.Node
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		b, err := tree.File(filepath.Join(r.dirs[f], e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, tree.Node{Path: e.Name(), Content: b})
	}
	tr, err := tree.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// core runs grub-mkimage.
func (r release) core(t testing.TB, o grub.Options) []byte {
	t.Helper()
	return r.coreOf(t, r.dirs[o.Format], o)
}

// coreOf runs grub-mkimage on another directory.
func (r release) coreOf(t testing.TB, dir string, o grub.Options) []byte {
	t.Helper()
	tmp := t.TempDir()
	out, config := filepath.Join(tmp, "core.img"), filepath.Join(tmp, "config")
	args := append(r.mkimage[1:len(r.mkimage):len(r.mkimage)], "--directory", dir, "--format", string(o.Format), "--prefix", o.Prefix, "--output", out)
	if len(o.Config) > 0 {
		if err := os.WriteFile(config, o.Config, 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", config)
	}
	if msg, err := exec.Command(r.mkimage[0], append(args, o.Modules...)...).CombinedOutput(); err != nil {
		t.Fatalf("grub-mkimage: %v\n%s", err, msg)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// cut takes a core image apart: what is before the compressed stream, and what it unpacks to.
func cut(t testing.TB, core []byte, o grub.Options) (head, body []byte) {
	t.Helper()
	at := 512 // of the decompressor
	if o.Format == grub.ElTorito {
		at += 2048
	}
	compressed, size := binary.LittleEndian.Uint32(core[at+8:]), binary.LittleEndian.Uint32(core[at+12:])
	head = core[:len(core)-int(compressed)]
	// What GRUB's decompressor knows without a header.
	header := binary.LittleEndian.AppendUint32([]byte{(2*5+0)*9 + 3}, 1<<24)
	header = binary.LittleEndian.AppendUint64(header, uint64(size))
	r, err := lzma.NewReader(io.MultiReader(bytes.NewReader(header), bytes.NewReader(core[len(head):])))
	if err != nil {
		t.Fatal(err)
	}
	body = make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		t.Fatal(err)
	}
	return head, body
}

// disk are upstream's modules for disks, and iso those of grub-mkrescue.
var (
	disk = grub.Options{Format: grub.Disk, Prefix: "(hd0,gpt3)/grub", Modules: strings.Fields("part_gpt ext2 fat xfs normal configfile linux boot " +
		"search search_fs_uuid search_fs_file ls cat echo test help reboot halt all_video biosdisk part_msdos")}
	iso = grub.Options{Format: grub.ElTorito, Prefix: "/boot/grub", Modules: strings.Fields("biosdisk iso9660 xzio gcry_crc"),
		Config: []byte("insmod part_acorn\ninsmod part_gpt\n")}
)

// Unpacked, images of GRUB 2.06, 2.12 and 2.14 are those of grub-mkimage byte for byte. Before the compressed stream only its length and the number of sectors
// differ, since another encoder makes another stream: 11 % longer.
func TestSameAsMkimage(t *testing.T) {
	t.Parallel()
	for suite, r := range releases(t) {
		for _, o := range []grub.Options{disk, iso, {Format: grub.Disk, Prefix: "x"}} {
			got, err := grub.Core(r.files(t, o.Format), o)
			if err != nil {
				t.Fatal(suite, err)
			}
			want := r.core(t, o)
			t.Logf("%s %s: %d bytes, grub-mkimage %d", suite, o.Format, len(got), len(want))
			gotHead, gotBody := cut(t, got, o)
			wantHead, wantBody := cut(t, want, o)
			if !bytes.Equal(gotBody, wantBody) {
				t.Errorf("%s %s: other content: %d bytes, want %d", suite, o.Format, len(gotBody), len(wantBody))
			}
			at := 0
			if o.Format == grub.ElTorito {
				at = 2048
			}
			copy(gotHead[at+0x1fc:at+0x1fe], wantHead[at+0x1fc:]) // sectors
			copy(gotHead[at+512+8:at+512+12], wantHead[at+512+8:])
			if !bytes.Equal(gotHead, wantHead) {
				t.Errorf("%s %s: other bytes before the compressed stream", suite, o.Format)
			}
			if len(got) > len(want)*115/100 {
				t.Errorf("%s %s: %d bytes, grub-mkimage needs %d", suite, o.Format, len(got), len(want))
			}
		}
	}
}
