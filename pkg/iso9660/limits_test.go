package iso9660_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/iso9660"
	"github.com/talosmith/talosmith/pkg/tree"
)

// partition is an appended partition's content.
type partition struct{ tree.Blob }

func (p partition) Write(w io.WriterAt) error {
	_, err := tree.CopyAt(w, 0, p.Blob)
	return err
}

// What an image can just hold, and one more.
func TestLimits(t *testing.T) {
	t.Parallel()
	one := func(n tree.Node) []tree.Node {
		if n.ModTime.IsZero() {
			n.ModTime = epoch
		}
		return []tree.Node{n}
	}
	zeros := func(n int64) iso9660.Content { return partition{tree.Zeros(n)} }
	sharing := func(s iso9660.Shared) iso9660.Options {
		return iso9660.Options{Appended: []iso9660.Content{zeros(4096)}, Shared: map[string]iso9660.Shared{"f": s}}
	}
	f := one(file("f", strings.Repeat("x", 2049)))
	const tib8 = (1<<32 - 1) * 2048
	for name, c := range map[string]struct {
		nodes []tree.Node
		o     iso9660.Options
		want  string // of the error, or none
	}{
		"volume id of 32":             {o: iso9660.Options{VolumeID: strings.Repeat("A", 32)}},
		"volume id of 33":             {o: iso9660.Options{VolumeID: strings.Repeat("A", 33)}, want: "33 characters where 32"},
		"volume id in lower case":     {o: iso9660.Options{VolumeID: "TALOS_v1"}, want: `character "v" at 6`},
		"volume set id of 128":        {o: iso9660.Options{VolumeSetID: strings.Repeat("~", 128)}},
		"volume set id of 129":        {o: iso9660.Options{VolumeSetID: strings.Repeat("~", 129)}, want: "volume set id"},
		"volume set id not ASCII":     {o: iso9660.Options{VolumeSetID: "ü"}, want: "volume set id"},
		"preparer id of 129":          {o: iso9660.Options{PreparerID: strings.Repeat("~", 129)}, want: "preparer id"},
		"volume of 1900":              {o: iso9660.Options{ModTime: time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)}},
		"volume of 1899":              {o: iso9660.Options{ModTime: time.Date(1899, 12, 31, 23, 59, 59, 0, time.UTC)}, want: "volume time: year 1899"},
		"file of 2155":                {nodes: one(tree.Node{Path: "f", ModTime: time.Date(2155, 12, 31, 23, 59, 59, 0, time.UTC), Content: tree.String("")})},
		"file of 2156":                {nodes: one(tree.Node{Path: "f", ModTime: time.Date(2156, 1, 1, 0, 0, 0, 0, time.UTC), Content: tree.String("")}), want: `"f": year 2156`},
		"root of 2156":                {nodes: one(tree.Node{Path: ".", Mode: fs.ModeDir, ModTime: time.Date(2156, 1, 1, 0, 0, 0, 0, time.UTC)}), want: `".": year 2156`},
		"name of 255":                 {nodes: one(file(strings.Repeat("n", 255), ""))},
		"name of 256":                 {nodes: one(file(strings.Repeat("n", 256), "")), want: "name of 256 bytes: 255"},
		"name with zero":              {nodes: one(file("a\x00b", "")), want: "zero byte"},
		"target of 4095":              {nodes: one(link("l", strings.Repeat("abcd/", 818)+"abcde"))},
		"target of 4096":              {nodes: one(link("l", strings.Repeat("abcd/", 818)+"abcdef")), want: "target of 4096 bytes: 4095"},
		"target with empty element":   {nodes: one(link("l", "a//b")), want: "empty path element"},
		"target with slash at end":    {nodes: one(link("l", "a/")), want: "empty path element"},
		"target with zero":            {nodes: one(link("l", "a\x00")), want: "zero byte"},
		"device":                      {nodes: one(tree.Node{Path: "d", Mode: fs.ModeDevice}), want: "only files, directories and symbolic links"},
		"extended attribute":          {nodes: one(tree.Node{Path: "f", Content: tree.String(""), Xattrs: map[string][]byte{"user.x": nil}}), want: "extended attributes"},
		"file of nearly 8 TiB":        {nodes: one(tree.Node{Path: "f", Content: tree.Zeros(tib8 - 130*2048)})},
		"image of 8 TiB":              {nodes: one(tree.Node{Path: "f", Content: tree.Zeros(tib8 - 129*2048)}), want: "image of 4294967296 blocks: ISO 9660 has room for 4294967295"},
		"file of over 8 TiB":          {nodes: one(tree.Node{Path: "f", Content: tree.Zeros(1 << 62)}), want: "an image has at most"},
		"partition offset 16":         {o: iso9660.Options{PartitionOffset: 16}},
		"partition offset 15":         {o: iso9660.Options{PartitionOffset: 15}, want: "partition offset 15"},
		"partition offset 65537":      {o: iso9660.Options{PartitionOffset: 1<<16 + 1}, want: "partition offset 65537"},
		"tail of half a block":        {o: iso9660.Options{Tail: 1024}, want: "tail of 1024 bytes"},
		"tail of less than nothing":   {o: iso9660.Options{Tail: -2048}, want: "tail of -2048 bytes"},
		"empty partition":             {o: iso9660.Options{Appended: []iso9660.Content{zeros(0)}}, want: "appended partition 0 of 0 bytes"},
		"partition of 8 TiB":          {o: iso9660.Options{Appended: []iso9660.Content{zeros(tib8 + 1)}}, want: "appended partition 0"},
		"31 boot entries":             {nodes: f, o: iso9660.Options{Boot: boots(31)}},
		"32 boot entries":             {nodes: f, o: iso9660.Options{Boot: boots(32)}, want: "32 boot entries: a boot catalog of one block has room for 31"},
		"boot entry without a file":   {o: iso9660.Options{Boot: boots(1)}, want: `no file "f"`},
		"boot entry of an empty file": {nodes: one(file("f", "")), o: iso9660.Options{Boot: boots(1)}, want: `no file "f" with content`},
		"boot entry without a partition": {o: iso9660.Options{Boot: []iso9660.BootEntry{{Appended: 1}}, Appended: []iso9660.Content{zeros(1)}},
			want: "no appended partition 1 (of 1)"},
		"boot entry that patches a partition": {o: iso9660.Options{Boot: []iso9660.BootEntry{{BootInfoTable: true}}, Appended: []iso9660.Content{zeros(1)}},
			want: "only a file of the tree takes boot information"},
		"boot catalog as a file": {nodes: append(one(file("boot.catalog", "")), f...), o: iso9660.Options{Boot: boots(1)}, want: `"boot.catalog"`},
		"boot information in 64 bytes": {nodes: one(file("f", strings.Repeat("x", 64))),
			o: iso9660.Options{Boot: []iso9660.BootEntry{{Path: "f", BootInfoTable: true}}}},
		"boot information in 63 bytes": {nodes: one(file("f", strings.Repeat("x", 63))),
			o: iso9660.Options{Boot: []iso9660.BootEntry{{Path: "f", BootInfoTable: true}}}, want: "has 63 bytes where boot information needs from 64"},
		"GRUB information in 0x9fc bytes": {nodes: one(file("f", strings.Repeat("x", 0x9fc))),
			o: iso9660.Options{Boot: []iso9660.BootEntry{{Path: "f", GRUB2BootInfo: true}}}},
		"GRUB information in 0x9fb bytes": {nodes: one(file("f", strings.Repeat("x", 0x9fb))),
			o: iso9660.Options{Boot: []iso9660.BootEntry{{Path: "f", GRUB2BootInfo: true}}}, want: "needs from 2556"},
		"boot information in a huge image": {nodes: one(tree.Node{Path: "f", Content: tree.Zeros(64<<20 + 1)}),
			o: iso9660.Options{Boot: []iso9660.BootEntry{{Path: "f", BootInfoTable: true}}}, want: "67108864"},
		"boot information twice": {nodes: f, o: iso9660.Options{Boot: []iso9660.BootEntry{{Path: "f", BootInfoTable: true}, {Path: "f", BootInfoTable: true}}},
			want: "of another entry already"},
		"boot information in a shared file": {nodes: f, o: iso9660.Options{Boot: []iso9660.BootEntry{{Path: "f", BootInfoTable: true}},
			Appended: []iso9660.Content{zeros(4096)}, Shared: map[string]iso9660.Shared{"f": {}}}, want: "stored by itself"},
		"shared at the end":          {nodes: one(file("f", strings.Repeat("x", 2048))), o: sharing(iso9660.Shared{Offset: 2048})},
		"shared beyond the end":      {nodes: f, o: sharing(iso9660.Shared{Offset: 2048}), want: "end within the partition's 4096 bytes"},
		"shared before the start":    {nodes: f, o: sharing(iso9660.Shared{Offset: -2048}), want: "offset -2048"},
		"shared at half a block":     {nodes: f, o: sharing(iso9660.Shared{Offset: 1024}), want: "offset 1024"},
		"shared in no partition":     {nodes: f, o: sharing(iso9660.Shared{Partition: 1}), want: "no appended partition 1 (of 1)"},
		"shared but not in the tree": {o: sharing(iso9660.Shared{}), want: "has only 0 of the 1"},
		"shared directory":           {nodes: one(dir("f")), o: sharing(iso9660.Shared{}), want: "is no file of its own"},
	} {
		if c.o.ModTime.IsZero() {
			c.o.ModTime = epoch
		}
		im, err := iso9660.Plan(newTree(t, c.nodes...), c.o)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		case err == nil && im.Size() > 1<<32*2048:
			t.Errorf("%s: %d bytes", name, im.Size())
		}
	}
}

func boots(n int) (list []iso9660.BootEntry) {
	for range n {
		list = append(list, iso9660.BootEntry{Path: "f"})
	}
	return list
}

// A path table has room for 65535 directories.
func TestDirectoryLimit(t *testing.T) {
	t.Parallel()
	nodes := []tree.Node{dir(".")}
	for i := range 65535 - 1 - 255 {
		nodes = append(nodes, dir(fmt.Sprintf("%03d/%05d", i%255, i)))
	}
	for i := range 255 {
		nodes = append(nodes, dir(fmt.Sprintf("%03d", i)))
	}
	most, err := tree.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := iso9660.Plan(most, iso9660.Options{ModTime: epoch}); err != nil {
		t.Error(err)
	}
	more, err := tree.New(append(nodes, dir("more")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := iso9660.Plan(more, iso9660.Options{ModTime: epoch}); err == nil || !strings.Contains(err.Error(), "65535") {
		t.Errorf("one more: %v", err)
	}
}

func TestMBRLimits(t *testing.T) {
	t.Parallel()
	zeros := partition{tree.Zeros(1)}
	huge := partition{tree.Zeros(1<<41 - 1<<20)} // ends where sectors have 32 bits
	for _, c := range []struct {
		offset   int64
		appended []iso9660.Content
		want     string
	}{
		{16, []iso9660.Content{zeros, zeros, zeros}, ""},
		{16, []iso9660.Content{zeros, zeros, zeros, zeros}, "at most 3 appended"},
		{0, []iso9660.Content{zeros}, "needs a partition offset"},
		{16, []iso9660.Content{huge}, "4294967294 is the last"},
	} {
		im, err := iso9660.Plan(newTree(t), iso9660.Options{ModTime: epoch, PartitionOffset: c.offset, Appended: c.appended})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := im.MBR(); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%d appended from %d on: got %v, want %q", len(c.appended), c.offset, err, c.want)
		}
	}
}

func TestBootCodeRefused(t *testing.T) {
	t.Parallel()
	im, err := iso9660.Plan(hybridTree(t), hybridOptions(newESP(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{nil, bootHybrid()[:511], make([]byte, 512)} {
		if _, err := im.HybridBootCode(b); err == nil || !strings.Contains(err.Error(), "is no boot sector") {
			t.Errorf("%d bytes: got %v", len(b), err)
		}
	}
	if im, err = iso9660.Plan(payload(t), uefiOptions(newESP(t))); err != nil {
		t.Fatal(err)
	}
	if _, err := im.HybridBootCode(bootHybrid()); err == nil || !strings.Contains(err.Error(), "no BIOS boot entry") {
		t.Errorf("without BIOS: got %v", err)
	}
}

// A file from 4 GiB on has several records.
func TestBigFile(t *testing.T) {
	t.Parallel()
	const size = 2*(1<<32-2048) + 5
	content := tree.Concat(tree.String("start"), tree.Zeros(size-8), tree.String("end"))
	want := newTree(t, tree.Node{Path: "big", Mode: 0o644, ModTime: epoch, Content: content}, file("after", "x"),
		tree.Node{Path: "exact", Mode: 0o644, ModTime: epoch, Content: tree.Zeros(1<<32 - 2048)})
	_, f := write(t, want, iso9660.Options{ModTime: epoch, PartitionOffset: 16})
	out := tooltest.Run(t, "xorriso", "-indev", f.Name(), "-find", "/", "-exec", "report_lba", "--")
	for _, line := range []string{ // first block, number of blocks, bytes
		"File data lba:  0 ,       43 ,        1 ,        1 , '/after'",
		"File data lba:  0 ,       44 ,  2097151 , 8589930501 , '/big'",
		"File data lba:  1 ,  2097195 ,  2097151 , 8589930501 , '/big'",
		"File data lba:  2 ,  4194346 ,        1 , 8589930501 , '/big'",
		"File data lba:  0 ,  4194347 ,  2097151 , 4294965248 , '/exact'",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("xorriso does not list %s:\n%s", line, out)
		}
	}
	end := make([]byte, 4)
	if _, err := f.ReadAt(end, 4194346*2048+1); err != nil || string(end) != "\x00end" {
		t.Errorf("the end is %q, %v", end, err)
	}
	r, err := iso9660.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for w := range want.All() {
		if g, ok := r.Lookup(w.Path); !ok || g.Size() != w.Size() {
			t.Errorf("%q: %d bytes, want %d", w.Path, g.Size(), w.Size())
		}
	}
}

// A blob that says another size than it has, or cannot be read, is an error and not a broken image.
func TestLyingBlob(t *testing.T) {
	t.Parallel()
	for _, b := range []tree.Blob{formattest.Liar{Blob: tree.String("abc"), More: 1}, formattest.Liar{Blob: tree.String("abc"), More: -1}, broken{tree.String("abc")}} {
		im, err := iso9660.Plan(newTree(t, tree.Node{Path: "f", ModTime: epoch, Content: b}), iso9660.Options{ModTime: epoch})
		if err != nil {
			t.Fatal(err)
		}
		if err := im.Write(formattest.Discard{}); err == nil {
			t.Errorf("%T of %d bytes: no error", b, b.Size())
		}
	}
}

type broken struct{ tree.Blob }

func (broken) Open() (io.ReadCloser, error) { return nil, errors.New("broken") }

// The same tree gives the same bytes, and they are written in ascending order.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	o := iso9660.Options{ModTime: epoch, PartitionOffset: 16, Appended: []iso9660.Content{newESP(t)}, Boot: []iso9660.BootEntry{{Platform: iso9660.UEFI}}}
	first, second := inMemory(t, odd(t), o), inMemory(t, odd(t), o)
	if string(first) != string(second) {
		t.Error("two images of a tree differ")
	}
	im, err := iso9660.Plan(odd(t), o)
	if err != nil {
		t.Fatal(err)
	}
	w := &ascending{t: t, at: 32768, end: im.Size()}
	if err := im.Write(w); err != nil {
		t.Error(err)
	}
}

// ascending accepts what follows on what was written before.
type ascending struct {
	t       *testing.T
	at, end int64
}

func (a *ascending) WriteAt(p []byte, off int64) (int, error) {
	if off < a.at || off+int64(len(p)) > a.end {
		a.t.Errorf("bytes %d to %d are written after %d, of %d", off, off+int64(len(p)), a.at, a.end)
	}
	a.at = off + int64(len(p))
	return len(p), nil
}

// BenchmarkWrite composes an ISO of a 120 MB payload, and BenchmarkCopy copies as much.
func BenchmarkWrite(b *testing.B) {
	content := tree.Bytes(make([]byte, 120<<20))
	t := newTree(b, tree.Node{Path: "EFI/Linux/Talos.efi", Mode: 0o644, ModTime: epoch, Content: content})
	b.SetBytes(content.Size())
	for b.Loop() {
		write(b, t, iso9660.Options{ModTime: epoch, PartitionOffset: 16})
	}
}

func BenchmarkCopy(b *testing.B) {
	content := make([]byte, 120<<20)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if err := os.WriteFile(filepath.Join(b.TempDir(), "copy"), content, 0o644); err != nil {
			b.Fatal(err)
		}
	}
}
