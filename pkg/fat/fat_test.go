package fat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/tree"
)

var when = time.Date(2026, 11, 22, 18, 45, 8, 0, time.UTC)

// newTree makes files of a map from paths to contents; a path that ends with a slash is a directory. Times differ.
func newTree(t testing.TB, contents map[string]string) *tree.Tree {
	t.Helper()
	nodes := []tree.Node{}
	for p, text := range contents {
		n := tree.Node{Path: strings.TrimSuffix(p, "/"), Mode: 0o644, ModTime: when.Add(time.Duration(len(p)) * time.Hour), Content: tree.String(text)}
		if strings.HasSuffix(p, "/") {
			n.Mode, n.Content = fs.ModeDir|0o755, nil
		}
		nodes = append(nodes, n)
	}
	tr, err := tree.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// write writes an image to a file of its size.
func write(t testing.TB, tr *tree.Tree, o Options) (string, *Image) {
	t.Helper()
	img, err := Plan(tr, o)
	if err != nil {
		t.Fatal(err)
	}
	return formattest.Write(t, "fat.img", img), img
}

func open(t testing.TB, name string) *Reader {
	t.Helper()
	return formattest.Open(t, name, NewReader)
}

// compare fails where two trees differ in what FAT keeps.
func compare(t *testing.T, got, want *tree.Tree) {
	t.Helper()
	list := func(tr *tree.Tree) string {
		var s strings.Builder
		for n := range tr.All() {
			when := n.ModTime.UTC().Truncate(2 * time.Second)
			if n.Path == tree.Root || when.Year() < 1980 {
				when = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
			}
			fmt.Fprintf(&s, "%s %v %v %v", n.Path, n.Mode.Type(), n.Mode&0o200 != 0, when.Format(time.DateTime))
			if n.Mode.IsRegular() {
				b, err := tree.ReadAll(n.Content)
				fmt.Fprintf(&s, " %x %v", b, err)
			}
			s.WriteByte('\n')
		}
		return s.String()
	}
	if g, w := list(got), list(want); g != w {
		t.Errorf("trees differ\ngot:\n%.3000s\nwant:\n%.3000s", g, w)
	}
}

// espTree has all kinds of names that a boot partition has.
func espTree(t testing.TB) *tree.Tree {
	return newTree(t, map[string]string{
		"EFI/":                        "",
		"EFI/Linux/":                  "",
		"EFI/Linux/Talos-v1.13.9.efi": strings.Repeat("uki ", 5000),
		"EFI/Linux/Talos-v1.13.8.efi": strings.Repeat("old ", 3000),
		"EFI/boot/":                   "",
		"EFI/boot/BOOTX64.efi":        strings.Repeat("boot", 700),
		"EFI/boot/BOOTAA64.EFI":       "a",
		"loader/":                     "",
		"loader/loader.conf":          "timeout 10\n",
		"loader/random-seed":          string(make([]byte, 32)),
		"config.txt":                  "arm_64bit=1\n",
		"empty":                       "",
		"a b+c.d.txt":                 "blank, plus, two dots",
		".hidden":                     "dot",
		"a1.2":                        "digits",
		"UPPER":                       "u",
		"Mixed.Txt":                   "m",
		"thirteen_long":               "13 units, so no terminator",
		"overlays/":                   "",
	})
}

// The same tree through mkfs.fat and mtools gives the same bytes, but for the code in the boot sector and in its copy (ours has
// no text), and the free clusters in the copy of FSInfo, which mtools leaves as they were without files.
func TestSameAsMtools(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{Size: 34 * mib}, {Size: 100 * mib}, {Size: 300 * mib}, {Size: 1101 * mib},
		{Size: 1101 * mib, SectorSize: 4096}, {Size: 2101 * mib, SectorSize: 4096}, {Size: 300 * mib, SectorSize: 2048}} {
		o.Label = "EFI"
		tr := espTree(t)
		ours, plan := write(t, tr, o)
		theirs := withMtools(t, tr, o)
		a, b, sector := head(t, ours), head(t, theirs), plan.o.SectorSize
		for _, img := range [][]byte{a, b} {
			clear(img[90:510])
			clear(img[backupBoot*sector+90 : backupBoot*sector+510])
			clear(img[backupBoot*sector+sector+488 : backupBoot*sector+sector+496])
		}
		for i := range a {
			if a[i] != b[i] {
				t.Fatalf("%+v: byte %#x differs:\nours   % x\ntheirs % x", o, i, a[i&^15:i&^15+64], b[i&^15:i&^15+64])
			}
		}
	}
}

// head returns the part of an image that the tests' files lie in.
func head(t *testing.T, name string) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 4*mib)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// mkfs makes an empty file system with mkfs.fat.
func mkfs(t *testing.T, name string, o Options) {
	t.Helper()
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, o.Size); err != nil {
		t.Fatal(err)
	}
	args := []string{"-F", "32", "-n", o.Label, "--invariant"}
	if o.SectorSize != 0 {
		args = append(args, "-S", fmt.Sprint(o.SectorSize))
	}
	tooltest.Run(t, "mkfs.vfat", append(args, name)...)
}

// withMtools makes an image with mkfs.fat and mcopy, one file after another: mcopy -s takes them in the host's order.
func withMtools(t *testing.T, tr *tree.Tree, o Options) string {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "mtools.img")
	mkfs(t, name, o)
	for n := range tr.All() {
		if n.Path == tree.Root {
			continue
		}
		src := filepath.Join(dir, "src", filepath.FromSlash(n.Path))
		if n.Mode.IsDir() {
			src = filepath.Join(dir, "dirs", filepath.FromSlash(n.Path)) // stays empty but for its directories
			if err := os.RemoveAll(filepath.Join(dir, "dirs")); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(src, 0o755); err != nil {
				t.Fatal(err)
			}
		} else {
			b, err := tree.ReadAll(n.Content)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Dir(src), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(src, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chtimes(src, n.ModTime, n.ModTime); err != nil {
			t.Fatal(err)
		}
		tooltest.Run(t, "mcopy", "-s", "-p", "-Q", "-m", "-i", name, src, "::"+n.Path)
	}
	return name
}

// Our boot sector has mkfs.fat's numbers for any size of a container.
func TestGeometryOfMkfs(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "mkfs.img")
	for _, sector := range []int64{512, 1024, 4096} {
		for _, m := range []int64{34, 64, 65, 100, 128, 129, 178, 256, 257, 260, 261, 300, 504, 505, 520, 521, 1008, 1009, 1101, 2016, 2017, 2080, 2081, 2101,
			4032, 4033, 8192, 8193, 16384, 16385, 32256, 32257, 32768, 32769, 65536, 65537, 70000} {
			o := Options{Size: m*mib + sector*(m%3), SectorSize: sector, Label: "EFI"}
			img, err := Plan(newTree(t, nil), o)
			if err != nil && m*mib/sector < minClusters+1000 {
				continue // too small for so long sectors
			}
			if err != nil {
				t.Fatal(err)
			}
			mkfs(t, name, o)
			theirs := head(t, name)[:2*sector]
			ours := append(img.bootSector(), img.fsInfo()...)
			clear(ours[90:510])
			clear(theirs[90:510])
			if !bytes.Equal(ours, theirs) {
				t.Errorf("%+v: ours\n% x\ntheirs\n% x", o, ours[:512], theirs[:512])
			}
		}
	}
}

// fsck fails where fsck.fat finds anything to say.
func fsck(t *testing.T, name string) {
	t.Helper()
	out := tooltest.Run(t, "fsck.fat", "-n", name)
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 2 {
		t.Errorf("fsck.fat has something to say:\n%s", out)
	}
}

// bigTree has directories of many clusters, names whose short forms collide, and names at the limits.
func bigTree(t testing.TB) *tree.Tree {
	contents := map[string]string{
		"limit/" + strings.Repeat("ä", 255):              "255 units, 510 bytes",
		"limit/" + strings.Repeat("n", 247) + ".12345.x": "255 ASCII",
		"limit/thirteen.unit":                            "exactly 13 units",
		"limit/smile \U0001f642 beyond":                  "a surrogate pair",
		"limit/много.текст":                              "Cyrillic",
		"limit/many~1.txt":                               "an 8.3 name that looks made",
		"limit/MANYF~1.TXT":                              "another",
	}
	for i := range 1200 {
		contents[fmt.Sprintf("many/file number %d.txt", i)] = fmt.Sprint(i)
	}
	for i := range 300 {
		contents[fmt.Sprintf("deep/%s%d/x", strings.Repeat("d/", i%20), i)] = strings.Repeat("x", i*7)
	}
	return newTree(t, contents)
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{
		{Size: 64 * mib},
		{Size: 64 * mib, FileAlign: 2048, Label: "TALOS_V1 X", VolumeID: 7},
		{Size: 300 * mib, FileAlign: 2048, LabelTime: when, Label: "X"},
		{Size: 300 * mib, FileAlign: 65536, SectorsPerCluster: 4, HiddenSectors: 2048},
		{Size: 50*mib + 512, FileAlign: mib, SectorsPerCluster: 1},
		{Size: 300*mib + 4096, SectorSize: 4096, Label: "EFI"},
		{Size: 600 * mib, SectorSize: 4096, SectorsPerCluster: 2, FileAlign: 16 << 10},
	} {
		for _, tr := range []*tree.Tree{newTree(t, nil), espTree(t), bigTree(t)} {
			if o.FileAlign == mib && tr.Len() > 100 {
				continue // needs a MiB for each file
			}
			name, img := write(t, tr, o)
			fsck(t, name)
			r := open(t, name)
			if r.Bits != 32 || r.Label != o.Label || (r.VolumeID != o.VolumeID && o.VolumeID != 0) || r.Size > o.Size {
				t.Errorf("%+v: read %+v", o, r)
			}
			got, err := r.Tree()
			if err != nil {
				t.Fatal(err)
			}
			compare(t, got, tr)
			checkOffsets(t, name, img, tr, o)
		}
	}
}

// checkOffsets reads every file without the file system.
func checkOffsets(t *testing.T, name string, img *Image, tr *tree.Tree, o Options) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for n := range tr.All() {
		off, ok := img.Offset(n.Path)
		if ok != (n.Size() > 0) {
			t.Errorf("Offset(%q) = %d, %v", n.Path, off, ok)
		}
		if !ok {
			continue
		}
		if o.FileAlign > 0 && off%o.FileAlign != 0 {
			t.Errorf("%s lies at %d, not at a multiple of %d", n.Path, off, o.FileAlign)
		}
		want, _ := tree.ReadAll(n.Content)
		got := make([]byte, len(want))
		if _, err := f.ReadAt(got, off); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s does not lie at %d (%v)", n.Path, off, err)
		}
	}
	if off, ok := img.Offset("not/there"); ok {
		t.Errorf("a file that is not there lies at %d", off)
	}
}

// With mkfs.fat's own alignment wherever that is enough: a file alignment of 2048 changes nothing for clusters of 4 KiB.
func TestAlignOnlyWhereNeeded(t *testing.T) {
	t.Parallel()
	a, err := Plan(espTree(t), Options{Size: 1101 * mib})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Plan(espTree(t), Options{Size: 1101 * mib, FileAlign: 2048})
	if err != nil {
		t.Fatal(err)
	}
	if a.g != b.g || a.used != b.used {
		t.Errorf("geometry %+v became %+v", a.g, b.g)
	}
}

// mcopy reads our images, and minfo and mdir say of a disk's boot partition what they say of the official imager's.
func TestMtoolsRead(t *testing.T) {
	t.Parallel()
	tr := newTree(t, map[string]string{
		"EFI/Linux/Talos-v1.13.9.efi": strings.Repeat("uki ", 5000),
		"EFI/boot/BOOTX64.efi":        "boot",
		"loader/loader.conf":          "timeout 10\n",
	})
	name, _ := write(t, tr, Options{Size: 2101 * mib, FileAlign: 2048, Label: "EFI"})
	out := t.TempDir()
	tooltest.Run(t, "mcopy", "-s", "-n", "-i", name, "::EFI", "::loader", out)
	for n := range tr.All() {
		if !n.Mode.IsRegular() {
			continue
		}
		got, err := os.ReadFile(filepath.Join(out, n.Path))
		if want, _ := tree.ReadAll(n.Content); err != nil || !bytes.Equal(got, want) {
			t.Errorf("mcopy got %q of %s (%v)", got, n.Path, err)
		}
	}
	said := tooltest.Run(t, "minfo", "-i", name, "::")
	golden(t, "esp-2101MiB.txt", said[max(strings.Index(said, "banner:"), 0):]+tooltest.Run(t, "mdir", "-/", "-i", name))
}

// GRUB's own driver finds files by their long names and reads them.
func TestGRUB(t *testing.T) {
	t.Parallel()
	tr := espTree(t)
	name, _ := write(t, tr, Options{Size: 64 * mib, FileAlign: 2048, Label: "EFI"})
	for n := range tr.All() {
		if !n.Mode.IsRegular() || strings.ContainsAny(n.Path, " ") {
			continue
		}
		want, err := tree.ReadAll(n.Content)
		if got := tooltest.Run(t, "grub-fstest", name, "cat", "(loop0)/"+n.Path); err != nil || got != string(want) {
			t.Errorf("%s: GRUB reads %d bytes, there are %d (%v)", n.Path, len(got), len(want), err)
		}
	}
}

// golden compares with a file of testdata; its first line, which is not compared, has the command that made it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	_, want, _ := strings.Cut(string(b), "\n")
	if got != want {
		t.Errorf("testdata/%s differs; got:\n%s", name, got)
	}
}

// What mkfs.fat and mcopy made, we read: all three kinds of FAT, and files in pieces.
func TestReadMtools(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		size int64
		args []string
		bits int
	}{
		{2 * mib, []string{"-F", "12"}, 12},
		{20 * mib, []string{"-F", "16", "-s", "1", "-r", "64"}, 16},
		{40 * mib, []string{"-F", "32"}, 32},
		{300 * mib, []string{"-F", "32", "-S", "4096"}, 32},
	} {
		dir := t.TempDir()
		img := filepath.Join(dir, "img")
		if err := os.WriteFile(img, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(img, c.size); err != nil {
			t.Fatal(err)
		}
		tooltest.Run(t, "mkfs.vfat", append(c.args, "-n", "LABEL", "-i", "CAFE1234", img)...)
		put := func(path, text string) {
			src := filepath.Join(dir, "src")
			if err := os.WriteFile(src, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(src, when, when); err != nil {
				t.Fatal(err)
			}
			tooltest.Run(t, "mcopy", "-p", "-Q", "-m", "-i", img, src, "::"+path)
		}
		contents := map[string]string{}
		for i := range 12 {
			put(fmt.Sprint("hole", i), strings.Repeat("h", 9000))
			p := fmt.Sprintf("a rather long file name %d.txt", i)
			contents[p] = strings.Repeat(p, 300)
			put(p, contents[p])
		}
		tooltest.Run(t, "mdel", "-i", img, "::hole*")
		if c.bits == 32 {
			restart(t, img)
		}
		inPieces := strings.Repeat("0123456789abcdef", 7000)
		contents["in pieces"] = inPieces
		put("in pieces", inPieces)
		contents["lower.c"], contents["empty"] = "8.3", ""
		put("lower.c", "8.3")
		put("empty", "")
		r := open(t, img)
		if r.Bits != c.bits || r.Label != "LABEL" || r.VolumeID != 0xcafe1234 {
			t.Errorf("FAT%d: read %+v", c.bits, r)
		}
		for n := range r.All() {
			if !n.Mode.IsRegular() {
				continue
			}
			b, err := tree.ReadAll(n.Content)
			if want, ok := contents[n.Path]; !ok || string(b) != want || err != nil || !n.ModTime.Equal(when) {
				t.Errorf("FAT%d: %q: %d bytes of %v, want %d (%v)", c.bits, n.Path, len(b), n.ModTime, len(want), err)
			}
			delete(contents, n.Path)
		}
		if len(contents) > 0 {
			t.Errorf("FAT%d: not read: %v", c.bits, contents)
		}
		if whole, err := os.ReadFile(img); err != nil || bytes.Contains(whole, []byte(inPieces)) {
			t.Errorf("FAT%d: the file that should be in pieces is in one (%v)", c.bits, err)
		}
		if err := fstest.TestFS(r, "in pieces"); err != nil {
			t.Error(err)
		}
	}
}

// restart makes mtools look for free clusters from the start again, which it does of its own accord on a small FAT.
func restart(t *testing.T, img string) {
	t.Helper()
	f, err := os.OpenFile(img, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var sector [2]byte
	if _, err := f.ReadAt(sector[:], 11); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{2, 0, 0, 0}, int64(le.Uint16(sector[:]))+492); err != nil {
		t.Fatal(err)
	}
}

// What FAT cannot hold is refused with a reason.
func TestRefused(t *testing.T) {
	t.Parallel()
	file := func(p string) tree.Node {
		return tree.Node{Path: p, Mode: 0o644, ModTime: when, Content: tree.String("x")}
	}
	many := func(n int) (nodes []tree.Node) {
		for i := range n {
			nodes = append(nodes, file(fmt.Sprintf("d/%08d", i)))
		}
		return nodes
	}
	sized := func(n int64) tree.Node {
		f := file("sized")
		f.Content = tree.Zeros(n)
		return f
	}
	at := func(when time.Time) tree.Node {
		f := file("time")
		f.ModTime = when
		return f
	}
	ok := Options{Size: 34 * mib}
	for _, c := range []struct {
		name  string
		nodes []tree.Node
		o     Options
		want  string // "" where it is just within the limit
	}{
		{"name of 255 units", []tree.Node{file(strings.Repeat("é", 255))}, ok, ""},
		{"name of 256 units", []tree.Node{file(strings.Repeat("é", 256))}, ok, "the name has 256 UTF-16 units, FAT holds 255"},
		{"name of 256 units in pairs", []tree.Node{file(strings.Repeat("\U0001f642", 128))}, ok, "256 UTF-16 units"},
		{"forbidden character", []tree.Node{file("a:b")}, ok, `the name has the character ':', which FAT forbids`},
		{"control character", []tree.Node{file("a\x1fb")}, ok, `'\x1f'`},
		{"not UTF-8", []tree.Node{file("a\xffb")}, ok, "unclean|not UTF-8"},
		{"dot at the end", []tree.Node{file("a.")}, ok, "ends with a dot"},
		{"blank at the end", []tree.Node{file("a ")}, ok, "ends with a dot or a blank"},
		{"same but for the case", []tree.Node{file("EFI/Boot"), file("EFI/bOOT")}, ok, `directory EFI: "Boot" and "bOOT": FAT takes both for the same name`},
		{"symbolic link", []tree.Node{{Path: "l", Mode: fs.ModeSymlink | 0o777, Link: "x"}}, ok, "l: FAT has no symbolic links"},
		{"device", []tree.Node{{Path: "null", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}}, ok, "null: FAT has no devices"},
		{"xattr", []tree.Node{{Path: "x", Content: tree.String(""), Xattrs: map[string][]byte{"user.a": nil}}}, ok, "extended attributes"},
		{"file of 4 GiB - 1", []tree.Node{sized(1<<32 - 1)}, Options{Size: 5000 * mib}, ""},
		{"file of 4 GiB", []tree.Node{sized(1 << 32)}, Options{Size: 5000 * mib}, "sized: 4294967296 bytes, a file on FAT has at most 4294967295"},
		{"last year", []tree.Node{at(time.Date(2107, 12, 31, 23, 59, 59, 0, time.UTC))}, ok, ""},
		{"year after", []tree.Node{at(time.Date(2108, 1, 1, 0, 0, 0, 0, time.UTC))}, ok, "FAT ends with the year 2107"},
		{"epoch", []tree.Node{at(time.Unix(0, 0))}, ok, ""},
		{"65536 slots", many(65534), Options{Size: 40 * mib}, ""},
		{"65537 slots", many(65535), ok, "directory d: needs 65537 entries of 32 bytes, FAT holds 65536"},
		{"label of 11", nil, Options{Size: 34 * mib, Label: "ELEVENCHARS"}, ""},
		{"label of 12", nil, Options{Size: 34 * mib, Label: "TWELVE_CHARS"}, "12 bytes, FAT holds 11"},
		{"label in lower case", nil, Options{Size: 34 * mib, Label: "efi"}, `label "efi": the character 'e' is not allowed`},
		{"sector of 4096", nil, Options{Size: 257 * mib, SectorSize: 4096}, ""},
		{"sectors too long for the size", nil, Options{Size: 100 * mib, SectorSize: 4096}, "25518 clusters of 4096 bytes: FAT32 has at least 65525; the least size is 269484032 bytes (257 MiB)"},
		{"sector of 8192", nil, Options{Size: 600 * mib, SectorSize: 8192}, "sectors of 8192 bytes: not a power of two from 512 to 4096"},
		{"sector of 1000", nil, Options{Size: 600 * mib, SectorSize: 1000}, "sectors of 1000 bytes"},
		{"sector of 256", nil, Options{Size: 600 * mib, SectorSize: 256}, "sectors of 256 bytes"},
		{"an eighth of a sector", nil, Options{Size: 300*mib + 512, SectorSize: 4096}, "not a multiple of 4096"},
		{"cluster of 64 KiB", nil, Options{Size: 5000 * mib, SectorSize: 4096, SectorsPerCluster: 16}, ""},
		{"cluster of 128 KiB", nil, Options{Size: 16000 * mib, SectorSize: 4096, SectorsPerCluster: 32}, "clusters of 131072 bytes: FAT32 has them of at most 65536"},
		{"cluster of 3 sectors", nil, Options{Size: 34 * mib, SectorsPerCluster: 3}, "3 sectors per cluster"},
		{"cluster of 128 sectors", nil, Options{Size: 34 * mib, SectorsPerCluster: 128}, "128 sectors per cluster"},
		{"alignment of 3", nil, Options{Size: 34 * mib, FileAlign: 3}, "file alignment of 3 bytes"},
		{"alignment of 2 MiB", nil, Options{Size: 34 * mib, FileAlign: 2 * mib}, "file alignment of 2097152 bytes"},
		{"half a sector", nil, Options{Size: 34*mib + 256}, "not a multiple of 512"},
		{"no size", nil, Options{}, "the least size is 34603008 bytes (33 MiB)"},
		{"33 MiB", nil, Options{Size: 33 * mib}, ""},
		{"32 MiB", nil, Options{Size: 32 * mib}, "64496 clusters of 512 bytes: FAT32 has at least 65525; the least size is 34603008 bytes (33 MiB)"},
		{"large clusters", nil, Options{Size: 100 * mib, SectorsPerCluster: 8}, "the least size is 269484032 bytes (257 MiB)"},
		{"2 TiB", nil, Options{Size: 2 << 40}, "not a multiple of 512 from 512 to"},
		{"too small a cluster", nil, Options{Size: 200 << 30, SectorsPerCluster: 1}, "take more sectors per cluster"},
		{"too much", []tree.Node{sized(60 * mib)}, Options{Size: 60 * mib}, "of 512 bytes; the files have 62914560 bytes, the largest (sized) 62914560; the least size is 63963136 bytes (61 MiB)"},
	} {
		tr, err := tree.New(c.nodes)
		if err == nil {
			_, err = Plan(tr, c.o)
		}
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), strings.Split(c.want, "|")[0]) && !strings.HasSuffix(c.want, "|not UTF-8") {
			t.Errorf("%s: error %v does not say %q", c.name, err, c.want)
		}
	}
}

// The least size is enough, and a MiB less is not.
func TestMinSize(t *testing.T) {
	t.Parallel()
	for _, content := range []int64{0, mib, 33 * mib, 150 * mib, 257 * mib, 300 * mib, 1200 * mib} {
		for _, o := range []Options{{}, {FileAlign: 2048}, {SectorsPerCluster: 2, FileAlign: 2048}, {SectorSize: 4096}} {
			tr, err := tree.New([]tree.Node{
				{Path: "a", Content: tree.Zeros(content)}, {Path: "b", Content: tree.Zeros(content / 3)}, {Path: "c/d", Content: tree.Zeros(1)}})
			if err != nil {
				t.Fatal(err)
			}
			o.Size, err = MinSize(tr, o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Plan(tr, o); err != nil {
				t.Errorf("least size: %v", err)
			}
			least := o.Size
			o.Size -= mib
			if _, err := Plan(tr, o); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("least size is %d bytes", least)) {
				t.Errorf("%d bytes of content: least size %d, a MiB less: %v", content, least, err)
			}
		}
	}
}

// Chains that loop, cross or end early, and directories that contain themselves.
func TestDamaged(t *testing.T) {
	t.Parallel()
	name, img := write(t, newTree(t, map[string]string{"a/b/c.txt": strings.Repeat("c", 3000), "d": strings.Repeat("d", 3000)}), Options{Size: 33 * mib})
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	fat := func(cluster uint32) int { return int(img.g.reserved*sectorSize) + int(cluster)*4 }
	dir := func(path string, slot int) int { return int(img.g.offset(img.paths[path].cluster)) + slot*entrySize }
	c, d := img.paths["a/b/c.txt"].cluster, img.paths["d"].cluster
	for _, damage := range []struct {
		name string
		at   int
		put  []byte
		want string
	}{
		{"loop", fat(c + 2), le.AppendUint32(nil, c), "in use twice"},
		{"cross", fat(c + 2), le.AppendUint32(nil, d+1), "in use twice"},
		{"early end", fat(c), le.AppendUint32(nil, endOfChain), "its clusters hold 512 of its 3000 bytes"},
		{"free cluster", fat(c), le.AppendUint32(nil, 0), "cluster 0: there are those from 2 to"},
		{"outside", fat(c), le.AppendUint32(nil, 0x0ffffff0), "cluster 268435440: there"},
		{"too long", dir("a/b", 2) + 28, le.AppendUint32(nil, 100), "more clusters than 100 bytes need"},
		{"empty with cluster", dir("a/b", 2) + 28, le.AppendUint32(nil, 0), "an empty file has cluster"},
		{"directory in itself", dir("a", 2) + 26, le.AppendUint16(nil, uint16(img.paths["a"].cluster)), "in use twice"},
		{"slash", dir(".", 0), []byte("A/B"), "not possible"},
		{"twice", dir(".", 0), []byte("D"), "twice"},
		{"control character", dir(".", 0), []byte{7}, "code page"},
		{"signature", 510, []byte{0}, "55 aa"},
		{"sector size", 11, []byte{0, 3}, "768 bytes in a sector"},
		{"cluster size", 13, []byte{3}, "3 sectors in a cluster"},
		{"no FAT", 16, []byte{0}, "0 FATs"},
		{"too many FATs", 16, []byte{255}, "255 FATs"},
		{"small FAT", 36, []byte{1, 0}, "does not hold"},
		{"huge FAT", 38, []byte{255}, "no room for data"},
		{"root", 44, []byte{1}, "cluster 1"},
		{"too big", 32, []byte{255, 255, 255, 255}, "does not hold"},
	} {
		b := bytes.Clone(whole)
		copy(b[damage.at:], damage.put)
		_, err := NewReader(bytes.NewReader(b))
		if err == nil || !strings.Contains(err.Error(), damage.want) {
			t.Errorf("%s: error %v does not say %q", damage.name, err, damage.want)
		}
	}
	for _, n := range []int64{0, 100, 511, 512, 20000, img.g.offset(rootCluster), img.g.offset(rootCluster + 1)} {
		if _, err := NewReader(bytes.NewReader(whole[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("image cut to %d bytes: %v", n, err)
		}
	}
	r, err := NewReader(bytes.NewReader(whole[:img.g.offset(d)+1000]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.ReadFile(r, "d"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that is cut off: %v", err)
	}
}

// A content that is not as long as it said is an error.
func TestLyingBlob(t *testing.T) {
	t.Parallel()
	for _, lie := range []int64{-1, 1} {
		tr, err := tree.New([]tree.Node{{Path: "x", Content: formattest.Liar{Blob: tree.Zeros(5000), More: lie}}})
		if err != nil {
			t.Fatal(err)
		}
		img, err := Plan(tr, Options{Size: 33 * mib})
		if err != nil {
			t.Fatal(err)
		}
		if err := img.Write(formattest.Discard{}); err == nil || !strings.Contains(err.Error(), "write FAT32 x: ") {
			t.Errorf("lie %d: %v", lie, err)
		}
	}
}

// BenchmarkWrite lays out and writes a boot partition with a big UKI, without a disk behind it.
func BenchmarkWrite(b *testing.B) {
	tr, err := tree.New([]tree.Node{{Path: "EFI/Linux/Talos-v1.13.9.efi", Content: tree.Bytes(make([]byte, 170*mib))}})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(170 * mib)
	for b.Loop() {
		img, err := Plan(tr, Options{Size: 200 * mib, FileAlign: 2048})
		if err == nil {
			err = img.Write(formattest.Discard{})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
