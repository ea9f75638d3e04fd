package iso9660_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/iso9660"
	"github.com/talosmith/talosmith/pkg/tree"
)

func open(t testing.TB, name string) *iso9660.Reader {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	r, err := iso9660.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// hostTree is a tree that a host's file system can hold, in a directory there.
func hostTree(t testing.TB) (*tree.Tree, string) {
	long := strings.Repeat("n", 250)
	want := newTree(t,
		file("a/b/c/d/e/f/g/h/i/j/deep", "content"), file("README", "a"), file("Readme", "b"), file(long, "c"), file("empty", ""),
		file("big", strings.Repeat("0123456789", 5000)), link("link", "../x/./"+long), link("abs", "/a/b"))
	dir := filepath.Join(t.TempDir(), "tree")
	for n := range want.All() {
		name := filepath.Join(dir, n.Path)
		var err error
		switch n.Mode.Type() {
		case fs.ModeDir:
			err = os.MkdirAll(name, 0o755)
		case fs.ModeSymlink:
			err = os.Symlink(n.Link, name)
		default:
			var b []byte
			if b, err = tree.ReadAll(n.Content); err == nil {
				err = os.WriteFile(name, b, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := range want.All() {
		if n.Mode.Type() != fs.ModeSymlink {
			if err := os.Chtimes(filepath.Join(dir, n.Path), epoch, epoch); err != nil {
				t.Fatal(err)
			}
		}
	}
	return want, dir
}

// contents tells path, target and content of every file and link.
func contents(t testing.TB, tr *tree.Tree) map[string]string {
	t.Helper()
	m := map[string]string{}
	for n := range tr.All() {
		switch n.Mode.Type() {
		case fs.ModeSymlink:
			m[n.Path] = "-> " + n.Link
		case 0:
			b, err := tree.ReadAll(n.Content)
			if err != nil {
				t.Fatal(err)
			}
			m[n.Path] = string(b)
		}
	}
	return m
}

func sameContents(t *testing.T, got, want map[string]string) {
	t.Helper()
	for path, content := range want {
		if got[path] != content {
			t.Errorf("%q: got %.40q, want %.40q", path, got[path], content)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%q is more than there should be", path)
		}
	}
}

// genisoimage puts directories deeper than eight levels elsewhere and leads to them by Rock Ridge's fields CL, PL and RE.
func TestReadGenisoimage(t *testing.T) {
	t.Parallel()
	want, dir := hostTree(t)
	image := filepath.Join(t.TempDir(), "image.iso")
	tooltest.Run(t, "genisoimage", "-quiet", "-R", "-J", "-joliet-long", "-V", "LABEL", "-o", image, dir)
	r := open(t, image)
	if r.VolumeID != "LABEL" {
		t.Errorf("volume id %q", r.VolumeID)
	}
	sameContents(t, contents(t, r.Tree), contents(t, want))
	n, _ := r.Lookup("README")
	if n.Mode != 0o644 || !n.ModTime.Equal(epoch) || n.UID != uint32(os.Getuid()) {
		t.Errorf("README: %v %v %d", n.Mode, n.ModTime, n.UID)
	}
}

// Without Rock Ridge there are the identifiers alone.
func TestReadPlain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tree")
	want := newTree(t, file("efi/boot/bootx64.efi", "x"), file("readme", "y"))
	unpack(t, want, dir)
	image := filepath.Join(t.TempDir(), "image.iso")
	tooltest.Run(t, "genisoimage", "-quiet", "-o", image, dir)
	sameContents(t, contents(t, open(t, image).Tree), map[string]string{"EFI/BOOT/BOOTX64.EFI": "x", "README": "y"})
}

func TestReadXorriso(t *testing.T) {
	t.Parallel()
	want, dir := hostTree(t)
	image := filepath.Join(t.TempDir(), "image.iso")
	tooltest.Run(t, "xorriso", "-as", "mkisofs", "-quiet", "-J", "-joliet-long", "-V", "LABEL", "-o", image, dir)
	sameContents(t, contents(t, open(t, image).Tree), contents(t, want))
}

func TestReadBoot(t *testing.T) {
	t.Parallel()
	esp := newESP(t)
	o := hybridOptions(esp)
	o.Shared = shared(t, esp)
	im, f := writeHybrid(t, hybridTree(t), o)
	r, err := iso9660.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	at, _ := im.Offset(eltorito)
	want := []iso9660.BootImage{
		{Platform: iso9660.BIOS, Bootable: true, Sectors: 4, Offset: at, Path: eltorito},
		{Platform: iso9660.UEFI, Bootable: true, Offset: im.AppendedOffset(0)},
	}
	if len(r.Boot) != 2 || r.Boot[0] != want[0] || r.Boot[1] != want[1] {
		t.Errorf("got %+v, want %+v", r.Boot, want)
	}
	if r.VolumeID != o.VolumeID || r.VolumeSetID != o.VolumeSetID || !r.ModTime.Equal(epoch) || r.Size != im.Size() {
		t.Errorf("got %q %q %v %d", r.VolumeID, r.VolumeSetID, r.ModTime, r.Size)
	}
	if err := fstest.TestFS(r, "boot/grub/grub.cfg", "EFI/BOOT/BOOTX64.EFI"); err != nil {
		t.Error(err)
	}
	// The second set, seen from block 16.
	part, err := iso9660.NewReader(io.NewSectionReader(f, 16*2048, 1<<40))
	if err != nil {
		t.Fatal(err)
	}
	sameContents(t, contents(t, part.Tree), contents(t, r.Tree))
	if len(part.Boot) != 0 || part.Size != im.Size()-16*2048 {
		t.Errorf("second set: %d boot images, %d bytes", len(part.Boot), part.Size)
	}
}

func inMemory(t testing.TB, tr *tree.Tree, o iso9660.Options) []byte {
	t.Helper()
	im, err := iso9660.Plan(tr, o)
	if err != nil {
		t.Fatal(err)
	}
	m := make(formattest.Memory, im.Size())
	if err := im.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

// small is an image of which every part is there and few bytes are.
func small(t testing.TB) []byte {
	return inMemory(t, newTree(t, file("boot/image", strings.Repeat("b", 3000)), file("d/f", "content"), link("l", "../x"), file(strings.Repeat("n", 255), "")),
		iso9660.Options{VolumeID: "SMALL", ModTime: epoch, PartitionOffset: 16, Boot: []iso9660.BootEntry{
			{Path: "boot/image", BootInfoTable: true, GRUB2BootInfo: true}, {Platform: iso9660.UEFI, Path: "d/f"}}})
}

// damages makes images of the small one that break a rule each.
func damages(image []byte) map[string]func(b []byte) []byte {
	root := int(binary.LittleEndian.Uint32(image[16*2048+158:])) * 2048
	catalog := int(binary.LittleEndian.Uint32(image[17*2048+71:])) * 2048
	return map[string]func(b []byte) []byte{
		"is empty":                            func(b []byte) []byte { return nil },
		"ends in the descriptors":             func(b []byte) []byte { return b[:17*2048] },
		"ends in the root":                    func(b []byte) []byte { return b[:root+100] },
		"ends before the catalog":             func(b []byte) []byte { return b[:catalog] },
		"has no primary descriptor":           func(b []byte) []byte { b[16*2048] = 2; return b },
		"has no terminator":                   func(b []byte) []byte { b[18*2048] = 3; return b },
		"has blocks of 512 bytes":             func(b []byte) []byte { binary.LittleEndian.PutUint16(b[16*2048+128:], 512); return b },
		"has a root of 4 GiB":                 func(b []byte) []byte { binary.LittleEndian.PutUint32(b[16*2048+166:], 1<<32-2048); return b },
		"has a root that is empty":            func(b []byte) []byte { binary.LittleEndian.PutUint32(b[16*2048+166:], 0); return b },
		"has a record longer than the block":  func(b []byte) []byte { return fill(b, root) },
		"has a short record":                  func(b []byte) []byte { b[root] = 33; return b },
		"has an identifier beyond the record": func(b []byte) []byte { b[root+32] = 250; return b },
		"is interleaved":                      func(b []byte) []byte { b[root+26] = 1; return b },
		"has a directory within itself":       func(b []byte) []byte { return point(b, root, "D", uint32(root/2048)) },
		"has a directory behind the end":      func(b []byte) []byte { return point(b, root, "D", 1<<31) },
		"has a name with a slash":             func(b []byte) []byte { return replace(b, root, "NM\x06\x01\x00d", "NM\x06\x01\x00/") },
		"has two entries of a name":           func(b []byte) []byte { return replace(b, root, "NM\x06\x01\x00d", "NM\x06\x01\x00l") },
		"has a field of no length":            func(b []byte) []byte { return replace(b, root, "NM\x06\x01\x00d", "NM\x00\x01\x00d") },
		"has a field beyond the record":       func(b []byte) []byte { return replace(b, root, "NM\x06\x01\x00d", "NM\xff\x01\x00d") },
		"has a short field":                   func(b []byte) []byte { return replace(b, root, "NM\x06\x01\x00d", "CL\x06\x01\x00d") },
		"has a compressed file":               func(b []byte) []byte { return replace(b, root, "NM\x06\x01\x00d", "ZF\x06\x01\x00d") },
		"has a link component cut off":        func(b []byte) []byte { return replace(b, root, "\x00\x01x", "\x00\x09x") },
		"has a file that is a directory":      func(b []byte) []byte { return replace(b, root, "PX\x24\x01\xed\x41", "PX\x24\x01\xed\x81") },
		"has a catalog with a wrong checksum": func(b []byte) []byte { b[catalog+4]++; return b },
		"has an endless catalog":              func(b []byte) []byte { return endless(b, catalog) },
	}
}

func TestReadDamaged(t *testing.T) {
	t.Parallel()
	image := small(t)
	for name, damage := range damages(image) {
		_, err := iso9660.NewReader(bytes.NewReader(damage(bytes.Clone(image))))
		if !errors.Is(err, iso9660.ErrFormat) {
			t.Errorf("an image that %s: got %v, want ErrFormat", name, err)
		}
	}
}

// fill makes the block's records 34 bytes long, which leaves 8 for the last.
func fill(b []byte, at int) []byte {
	clear(b[at : at+2048])
	for i := 0; i < 2048; i += 34 {
		b[at+i] = 34
	}
	return b
}

// replace puts other bytes of the same length into the block at.
func replace(b []byte, at int, from, to string) []byte {
	i := bytes.Index(b[at:at+2048], []byte(from))
	if i < 0 || len(from) != len(to) {
		panic("no such bytes: " + from)
	}
	copy(b[at+i:], to)
	return b
}

// point lets the record of an identifier lead elsewhere.
func point(b []byte, at int, id string, block uint32) []byte {
	i := bytes.Index(b[at:at+2048], append([]byte{1, byte(len(id))}, id...))
	if i < 31 {
		panic("no such record: " + id)
	}
	binary.LittleEndian.PutUint32(b[at+i-31+2:], block)
	return b
}

// endless fills the image's end with section headers.
func endless(b []byte, catalog int) []byte {
	b = append(b[:catalog+64], bytes.Repeat(append([]byte{0x90}, make([]byte, 31)...), 1<<11)...)
	return b
}

// A continuation that leads to itself ends the reading, not the reader.
func TestReadContinuationLoop(t *testing.T) {
	t.Parallel()
	image := small(t)
	root := int(binary.LittleEndian.Uint32(image[16*2048+158:])) * 2048
	ce := bytes.Index(image[root:], []byte("CE\x1c\x01"))
	binary.LittleEndian.PutUint32(image[root+ce+20:], 28)
	copy(image[root+2048:], image[root+ce:root+ce+28]) // the continuation is the same CE
	_, err := iso9660.NewReader(bytes.NewReader(image))
	if !errors.Is(err, iso9660.ErrFormat) || !strings.Contains(err.Error(), "continuations") {
		t.Errorf("got %v", err)
	}
}

// The time in a record is told with a distance to Greenwich.
func TestReadTimeZone(t *testing.T) {
	t.Parallel()
	image := inMemory(t, newTree(t, dir(".")), iso9660.Options{ModTime: epoch})
	copy(image[16*2048+830:], "2023111500132050\x08") // two hours east
	r, err := iso9660.NewReader(bytes.NewReader(image))
	if err != nil || !r.ModTime.Equal(epoch.Add(500*time.Millisecond)) {
		t.Errorf("got %v, %v", r.ModTime, err)
	}
}

func FuzzReader(f *testing.F) {
	image := small(f)
	f.Add(image)
	for _, damage := range damages(image) {
		f.Add(damage(bytes.Clone(image)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := iso9660.NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		read := int64(0)
		for n := range r.All() {
			if read += n.Size(); n.Mode.IsRegular() && n.Size() < 1<<20 && read < 8<<20 {
				content, err := tree.ReadAll(n.Content)
				if err == nil && int64(len(content)) != n.Size() {
					t.Errorf("%q: %d bytes of %d", n.Path, len(content), n.Size())
				}
			}
		}
	})
}

// FuzzRoundTrip writes a tree of random names, targets and sizes, and reads it again.
func FuzzRoundTrip(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, uint8(40*seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, count uint8) {
		r := rand.New(rand.NewPCG(seed, 0))
		text := func(most int) string {
			s := make([]byte, 1+r.IntN(most))
			for i := range s {
				s[i] = "aAbB01._-~ "[r.IntN(11)]
			}
			return string(s)
		}
		dirs := []string{""}
		nodes := []tree.Node{dir(".")}
		have := map[string]bool{}
		for range count {
			path := dirs[r.IntN(len(dirs))] + text(1<<r.IntN(8))
			if path == tree.Root || have[path] || !fs.ValidPath(path) || len(path) > 4000 {
				continue
			}
			have[path] = true
			switch r.IntN(4) {
			case 0:
				nodes, dirs = append(nodes, dir(path)), append(dirs, path+"/")
			case 1:
				nodes = append(nodes, link(path, text(1<<r.IntN(12))))
			default:
				nodes = append(nodes, file(path, text(1<<r.IntN(14))))
			}
		}
		want := newTree(t, nodes...)
		image := inMemory(t, want, iso9660.Options{ModTime: epoch, PartitionOffset: 16, Tail: int64(r.IntN(3)) * 2048})
		got, err := iso9660.NewReader(bytes.NewReader(image))
		if err != nil {
			t.Fatal(err)
		}
		same(t, got.Tree, want)
	})
}
