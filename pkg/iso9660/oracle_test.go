package iso9660_test

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/iso9660"
	"github.com/talosmith/talosmith/pkg/tree"
)

// extract lets xorriso unpack an image.
func extract(t testing.TB, image string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "extracted")
	tooltest.Run(t, "xorriso", "-osirrox", "on", "-indev", image, "-extract", "/", to)
	t.Cleanup(func() { // directories without write permission are in the way of removing
		_ = filepath.WalkDir(to, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				err = os.Chmod(p, 0o755)
			}
			return err
		})
	})
	return to
}

// sameOnHost compares a tree with what a tool unpacked. Owners need root and are left out.
func sameOnHost(t *testing.T, dir string, want *tree.Tree) {
	t.Helper()
	found := map[string]bool{"boot.catalog": true}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		w, ok := want.Lookup(path)
		if !ok && !found[path] {
			t.Errorf("%q was unpacked but is not in the tree", path)
		}
		found[path] = true
		if !ok || path == tree.Root {
			return nil
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		dated := w.Mode.Type() != fs.ModeSymlink && w.ModTime.Year() >= 1970 // as far as host file systems go
		if special := fs.ModeSetuid | fs.ModeSetgid; st.Mode()&^special != w.Mode&^special || dated && !st.ModTime().Equal(w.ModTime) {
			t.Errorf("%q: got %v %v, want %v %v", path, st.Mode(), st.ModTime(), w.Mode, w.ModTime)
		}
		switch w.Mode.Type() {
		case fs.ModeSymlink:
			if target, err := os.Readlink(name); err != nil || target != w.Link {
				t.Errorf("%q: leads to %q (%v), want %q", path, target, err, w.Link)
			}
		case 0:
			got, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			content, err := tree.ReadAll(w.Content)
			if err != nil {
				return err
			}
			if string(got) != string(content) {
				t.Errorf("%q: other content", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for w := range want.All() {
		if !found[w.Path] {
			t.Errorf("%q was not unpacked", w.Path)
		}
	}
}

func TestXorrisoExtracts(t *testing.T) {
	t.Parallel()
	_, f := write(t, odd(t), iso9660.Options{ModTime: epoch, PartitionOffset: 16})
	sameOnHost(t, extract(t, f.Name()), odd(t))

	// What starts at block 16 is a volume too.
	part, err := os.Create(filepath.Join(t.TempDir(), "partition.iso"))
	if err != nil {
		t.Fatal(err)
	}
	defer part.Close()
	if _, err := io.Copy(part, io.NewSectionReader(f, 16*2048, 1<<40)); err != nil {
		t.Fatal(err)
	}
	sameOnHost(t, extract(t, part.Name()), odd(t))
}

// isoinfo warns of nothing, knows every name, and finds the directories through the path table.
func TestIsoinfoLists(t *testing.T) {
	t.Parallel()
	_, f := write(t, odd(t), iso9660.Options{VolumeID: "ODD", ModTime: epoch})
	names := map[string]bool{}
	for line := range strings.Lines(tooltest.Run(t, "isoinfo", "-f", "-R", "-i", f.Name())) {
		names[strings.TrimSuffix(line, "\n")] = true
	}
	for n := range odd(t).All() {
		if n.Path != tree.Root && !names["/"+n.Path] {
			t.Errorf("isoinfo does not list %q", n.Path)
		}
	}
	table := tooltest.Run(t, "isoinfo", "-p", "-i", f.Name())
	dirs := 0
	for n := range odd(t).All() {
		if n.Mode.IsDir() {
			dirs++
		}
	}
	if got := len(regexp.MustCompile(`(?m)^ *\d+: +\d+ [0-9a-f]+ `).FindAllString(table, -1)); got != dirs {
		t.Errorf("isoinfo finds %d directories in the path table, want %d:\n%s", got, dirs, table)
	}
}

// transcript compares what tools say of an image with testdata/name. TALOSMITH_UPDATE=1 writes it anew.
func transcript(t *testing.T, name, image string, commands ...string) {
	t.Helper()
	var b strings.Builder
	for _, c := range commands {
		b.WriteString("$ " + c + "\n")
		words := strings.Fields(strings.ReplaceAll(c, "image.iso", image))
		for line := range strings.Lines(tooltest.Run(t, words[0], words[1:]...)) {
			// Without what xorriso says of its progress and of the file.
			if !regexp.MustCompile(`^(xorriso|libisofs|Drive|Media|Boot record|\s*$)`).MatchString(line) {
				b.WriteString(strings.ReplaceAll(line, image, "image.iso"))
			}
		}
	}
	file := filepath.Join("testdata", name)
	if os.Getenv("TALOSMITH_UPDATE") == "1" {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, b.String(), want)
	}
}

const report = "xorriso -indev image.iso -report_el_torito plain -report_system_area plain -find / -exec report_lba --"

// checkShared looks at an image whose payload lies in its ESP alone.
func checkShared(t *testing.T, im *iso9660.Image, f *os.File, want *tree.Tree) {
	t.Helper()
	esp := newESP(t)
	for path, place := range shared(t, esp) {
		if at, ok := im.Offset(path); !ok || at != im.AppendedOffset(0)+place.Offset {
			t.Errorf("%q lies at %d, want %d", path, at, im.AppendedOffset(0)+place.Offset)
		}
	}
	if most := esp.Size() + 2*mib; im.Size() > most {
		t.Errorf("the image has %d bytes, want at most %d: the payload is stored twice", im.Size(), most)
	}
	r, err := iso9660.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	same(t, r.Tree, want)
	sameOnHost(t, extract(t, f.Name()), want)

	part := filepath.Join(t.TempDir(), "esp.img")
	b := make([]byte, esp.Size())
	if _, err := f.ReadAt(b, im.AppendedOffset(0)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(part, b, 0o644); err != nil {
		t.Fatal(err)
	}
	tooltest.Run(t, "fsck.fat", "-n", part)
}

func TestUEFIShared(t *testing.T) {
	t.Parallel()
	esp := newESP(t)
	o := uefiOptions(esp)
	o.Shared = shared(t, esp)
	im, f := writeUEFI(t, payload(t), o)
	checkShared(t, im, f, payload(t))
	transcript(t, "uefi.txt", f.Name(), report, "isoinfo -d -i image.iso", "isoinfo -l -R -i image.iso")
}

func TestHybridShared(t *testing.T) {
	t.Parallel()
	esp := newESP(t)
	o := hybridOptions(esp)
	o.Shared = shared(t, esp)
	im, f := writeHybrid(t, hybridTree(t), o)

	// GRUB's image is told where it lies, so that it has other bytes there than in the tree.
	at, _ := im.Offset(eltorito)
	n, _ := hybridTree(t).Lookup(eltorito)
	patched, err := tree.ReadAll(tree.Section(f, at, n.Size()))
	if err != nil {
		t.Fatal(err)
	}
	nodes := []tree.Node{{Path: eltorito, Mode: n.Mode, ModTime: n.ModTime, Content: tree.Bytes(patched)}}
	for n := range hybridTree(t).All() {
		if n.Path != eltorito {
			nodes = append(nodes, n)
		}
	}
	checkShared(t, im, f, newTree(t, nodes...))
	if out := tooltest.Run(t, "sgdisk", "-v", f.Name()); !strings.Contains(out, "No problems found") {
		t.Error(out)
	}
	transcript(t, "hybrid.txt", f.Name(), report, "isoinfo -d -i image.iso", "isoinfo -l -R -i image.iso", "sgdisk -p image.iso")
}
