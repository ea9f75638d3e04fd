package uki_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/debian"
	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/tree"
	"github.com/talosmith/talosmith/pkg/uki"
)

var stamp = time.Unix(1767225600, 0)

// realStub is systemd-stub of Debian trixie (257).
func realStub(t testing.TB) tree.Blob {
	t.Helper()
	files, err := debian.Open(tooltest.Debian(t, "trixie", "systemd-boot-efi")[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	n, ok := files.Lookup("usr/lib/systemd/boot/efi/linuxx64.efi.stub")
	if !ok {
		t.Fatal("the package has no stub")
	}
	return n.Content
}

// tinyStub is a PE32+ file with the sections .text (code) and .sbat.
func tinyStub(change func(b []byte)) tree.Blob {
	b := formattest.PE([2]formattest.PESection{
		{Name: ".text", Content: ".text content", Size: 0x123, Flags: 0x60000020},
		{Name: ".sbat", Content: ".sbat content", Size: 0x10, Flags: 0x40000040},
	})
	opt := b[formattest.PEHeader:]
	binary.LittleEndian.PutUint32(opt[16:], 0x1000) // entry point
	binary.LittleEndian.PutUint32(opt[64:], 0xdead) // checksum
	if change != nil {
		change(b)
	}
	return tree.Bytes(b)
}

func sections() []uki.Section {
	return []uki.Section{
		{Name: uki.OSRel, Content: tree.String(uki.OSRelease("Talos", "v1.13.9"))},
		{Name: uki.Cmdline, Content: tree.String("console=ttyS0 a=b")},
		{Name: uki.Linux, Content: tree.Bytes(bytes.Repeat([]byte("kernel"), 5000))},
		{Name: uki.Initrd, Content: tree.Concat(tree.String("initrd"), tree.Zeros(10000), tree.String("end"))},
		{Name: uki.Profile, Content: tree.String(uki.ProfileText("main", ""))},
		{Name: uki.Profile, Content: tree.String(uki.ProfileText("reset", "Reset system disk"))},
		{Name: uki.Cmdline, Content: tree.String("console=ttyS0 a=b reset")},
	}
}

func assemble(t testing.TB, stub tree.Blob, s []uki.Section) (*uki.Image, []byte) {
	t.Helper()
	m, err := uki.Assemble(stub, s, stamp)
	if err != nil {
		t.Fatal(err)
	}
	b, err := tree.ReadAll(m)
	if err != nil {
		t.Fatal(err)
	}
	return m, b
}

func TestRoundTrip(t *testing.T) {
	want := sections()
	m, b := assemble(t, tinyStub(nil), want)
	f, err := uki.Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if f.Machine != 0x8664 || f.Signed || len(f.Sections) != 2+len(want) {
		t.Fatalf("machine %#x, signed %v, %d sections", f.Machine, f.Signed, len(f.Sections))
	}
	for i, w := range want {
		got, err := tree.ReadAll(f.Sections[2+i].Content)
		if err != nil {
			t.Fatal(err)
		}
		content, err := tree.ReadAll(w.Content)
		if err != nil {
			t.Fatal(err)
		}
		if f.Sections[2+i].Name != w.Name || !bytes.Equal(got, content) {
			t.Errorf("section %d: %s with %d bytes, want %s with %d", i, f.Sections[2+i].Name, len(got), w.Name, len(content))
		}
		if at := m.Offset(i); at%2048 != 0 || !bytes.HasPrefix(b[at:], content) {
			t.Errorf("section %d is not at byte %d", i, at)
		}
	}
	if text, _, err := f.Text(uki.Cmdline); err != nil || text != "console=ttyS0 a=b" {
		t.Errorf("command line %q, %v", text, err)
	}
	profiles, err := f.Profiles()
	if err != nil || len(profiles) != 2 {
		t.Fatalf("profiles %v, %v", profiles, err)
	}
	if p := profiles[1]; p.ID != "reset" || p.Title != "Reset system disk" || len(p.Sections) != 1 || p.Sections[0].Name != uki.Cmdline {
		t.Errorf("profile %+v", p)
	}
}

// TestObjdump asks binutils what the firmware would see of a real stub.
func TestObjdump(t *testing.T) {
	_, b := assemble(t, realStub(t), sections())
	name := filepath.Join(t.TempDir(), "uki.efi")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	head := tooltest.Run(t, "objdump", "-p", name)
	for _, want := range []string{"Sun|Mon|Tue|Wed|Thu|Fri|Sat", `Magic\s+020b`, `SizeOfHeaders\s+00000800`, `CheckSum\s+00000000`, `Subsystem\s+0000000a`,
		`MajorLinkerVersion\s+0\n`, `Time/Date\s+Thu Jan  1 00:00:00 2026`} {
		if !regexp.MustCompile(want).MatchString(head) {
			t.Errorf("objdump -p does not match %q:\n%s", want, head)
		}
	}
	list := tooltest.Run(t, "objdump", "-h", name)
	rows := regexp.MustCompile(`(?m)^ +\d+ (\S+) +([0-9a-f]{8})  ([0-9a-f]{16})  [0-9a-f]{16}  ([0-9a-f]{8})`).FindAllStringSubmatch(list, -1)
	var got []string
	at := uint64(0)
	for _, r := range rows {
		got = append(got, r[1])
		var off, size uint64
		if _, err := fmt.Sscanf(r[4]+" "+r[2], "%x %x", &off, &size); err != nil {
			t.Fatal(err)
		}
		if off%2048 != 0 || off < at || off >= at+2048 && at > 0 {
			t.Errorf("section %s lies at %#x; the one before ends at %#x", r[1], off, at)
		}
		at = off + size
	}
	want := ".text .rodata .data .sbat .sdmagic .reloc .osrel .cmdline .linux .initrd .profile .profile .cmdline"
	if strings.Join(got, " ") != want {
		t.Errorf("sections %q, want %q", got, want)
	}
	for _, s := range []string{".osrel", ".linux"} {
		out := filepath.Join(t.TempDir(), "section")
		tooltest.Run(t, "objcopy", "--dump-section", s+"="+out, name, out+".copy")
		dumped, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		f, err := uki.Read(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		content, _ := f.Find(s)
		ours, err := tree.ReadAll(content)
		if err != nil || !bytes.HasPrefix(dumped, ours) {
			t.Errorf("objcopy takes other bytes out of %s (%v)", s, err)
		}
	}
}

// TestTranscript checks the text sections against those of the official imager.
func TestTranscript(t *testing.T) {
	want := `NAME="Talos"
ID=talos
VERSION_ID=v1.13.9
PRETTY_NAME="Talos (v1.13.9)"
HOME_URL="https://www.talos.dev/"
BUG_REPORT_URL="https://github.com/siderolabs/talos/issues"
VENDOR_NAME="Sidero Labs"
VENDOR_URL="https://www.siderolabs.com/"
`
	if got := uki.OSRelease("Talos", "v1.13.9"); got != want {
		t.Errorf("os-release\n%s", got)
	}
	if len(want) != 0xe8 {
		t.Errorf("the transcript's .osrel has 0xe8 bytes, this %#x", len(want))
	}
	if got := uki.OSRelease("Talos Custom Build", "v1"); !strings.Contains(got, "\nID=talos_custom_build\n") {
		t.Errorf("os-release\n%s", got)
	}
}

func TestAssembleRefuses(t *testing.T) {
	put32 := func(at int, v uint32) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint32(b[at:], v) }
	}
	const opt = 0x40 + 24
	for want, c := range map[string]struct {
		stub tree.Blob
		add  []uki.Section
	}{
		"does not start with MZ":        {tree.Zeros(4096), nil},
		"more than 16777216":            {tree.Zeros(17 << 20), nil},
		"no PE signature":               {tinyStub(put32(0x3c, 0xffffff00)), nil},
		"not PE32+":                     {tinyStub(put32(0x40+20, 224)), nil},
		"magic 0x10b":                   {tinyStub(put32(opt, 0x10b)), nil},
		"COFF symbols":                  {tinyStub(put32(0x40+12, 1)), nil},
		"signed":                        {tinyStub(put32(opt+112+4*8+4, 8)), nil},
		"FileAlignment 4096":            {tinyStub(put32(opt+36, 4096)), nil},
		"SectionAlignment 0":            {tinyStub(put32(opt+32, 0)), nil},
		"section .text ends behind":     {tinyStub(put32(opt+240+16, 0x2000)), nil},
		"section .sbat overlaps":        {tinyStub(put32(opt+240+40+12, 0x1000)), nil},
		`name ".toolongname" has 12`:    {tinyStub(nil), []uki.Section{{Name: ".toolongname", Content: tree.Zeros(1)}}},
		"over PE's limit of 4 GiB":      {tinyStub(nil), []uki.Section{{Name: ".initrd", Content: tree.Zeros(1<<32 - 0x3000)}}},
		"do not fit before the first s": {tinyStub(nil), many(93)},
		"97 sections, more than 96":     {tinyStub(nil), many(95)},
	} {
		_, err := uki.Assemble(c.stub, c.add, stamp)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if _, err := uki.Assemble(tinyStub(nil), []uki.Section{{Name: ".initrd", Content: tree.Zeros(1<<32 - 0x4000)}}, stamp); err != nil {
		t.Errorf("just under the limit: %v", err)
	}
	if _, err := uki.Assemble(tinyStub(nil), nil, time.Unix(1<<32, 0)); err == nil {
		t.Error("a time that PE cannot hold was taken")
	}
}

func many(n int) (all []uki.Section) {
	for range n {
		all = append(all, uki.Section{Name: ".x", Content: tree.String("x")})
	}
	return all
}

func TestKernelRelease(t *testing.T) {
	kernel := make([]byte, 0x4000)
	kernel[0x1f1] = 27
	copy(kernel[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(kernel[0x20e:], 0x3000-0x200)
	copy(kernel[0x3000:], "6.18.44-talos (root@buildkit) #1 SMP\x00")
	for _, c := range []struct {
		kernel []byte
		want   string
	}{{kernel, "6.18.44-talos"}, {kernel[:0x3008], ""}, {kernel[:0x100], ""}, {make([]byte, 0x4000), ""}} {
		got, err := uki.KernelRelease(tree.Bytes(c.kernel))
		if err != nil || got != c.want {
			t.Errorf("release %q, %v; want %q", got, err, c.want)
		}
	}
}

// eager gives io.EOF together with its last bytes, as an io.ReaderAt may.
type eager string

func (e eager) ReadAt(p []byte, off int64) (n int, err error) {
	if n = copy(p, e[off:]); int(off)+n == len(e) {
		err = io.EOF
	}
	return n, err
}

func TestFindEmbedded(t *testing.T) {
	bmp := append([]byte("BM\x10\x00\x00\x00"), "0123456789"...)
	sum := sha256.Sum256(bmp)
	decoy := "BM\x10\x00\x00\x00 another"
	for _, pad := range []int{0, 7, 1<<20 - 3, 3 << 20} {
		program := tree.Concat(tree.String(decoy), tree.Zeros(int64(pad)), tree.Bytes(bmp), tree.String("rest"))
		got, err := uki.FindEmbedded(program, bmp[:6], int64(len(bmp)), hex.EncodeToString(sum[:]))
		if err != nil || got == nil {
			t.Fatalf("pad %d: not found, %v", pad, err)
		}
		if b, _ := tree.ReadAll(got); !bytes.Equal(b, bmp) {
			t.Errorf("pad %d: found %q", pad, b)
		}
	}
	last := tree.Section(eager(string(bmp)), 0, int64(len(bmp)))
	if got, err := uki.FindEmbedded(last, bmp[:6], int64(len(bmp)), hex.EncodeToString(sum[:])); got == nil || err != nil {
		t.Errorf("at the end of a reader that says so at once: %v, %v", got, err)
	}
	if got, err := uki.FindSplash(tree.String(decoy)); got != nil || err != nil {
		t.Errorf("found %v, %v", got, err)
	}
	if err := uki.CheckBMP(tree.Bytes(bmp)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "BM", "PNG and more bytes", "BM\x11\x00\x00\x000123456789"} {
		if uki.CheckBMP(tree.String(bad)) == nil {
			t.Errorf("%q was taken for a BMP", bad)
		}
	}
}

func FuzzAssembleAndRead(f *testing.F) {
	seed, err := tree.ReadAll(tinyStub(nil))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		if file, err := uki.Read(bytes.NewReader(b)); err == nil {
			_, _ = file.Profiles()
			_, _, _ = file.Text(uki.Cmdline)
		}
		m, err := uki.Assemble(tree.Bytes(b), sections(), stamp)
		if err != nil {
			return
		}
		out, err := tree.ReadAll(m)
		if err != nil {
			t.Fatal(err)
		}
		file, err := uki.Read(bytes.NewReader(out))
		if err != nil {
			return // debug/pe is stricter about what the stub brought along
		}
		if text, _, err := file.Text(uki.OSRel); err == nil && text != uki.OSRelease("Talos", "v1.13.9") && !bytes.Contains(b, []byte(uki.OSRel)) {
			t.Fatalf("read back %q", text)
		}
	})
}
