package inspect_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/pkg/inspect"
	"github.com/talosmith/talosmith/pkg/iso9660"
	"github.com/talosmith/talosmith/pkg/tree"
)

// counter counts what is read.
type counter struct {
	io.ReaderAt
	n int64
}

func (c *counter) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.n += int64(n)
	return n, err
}

// Of a disk of 8 GiB nothing is read but structures and what boots.
func TestHolesAreNotRead(t *testing.T) {
	w := newWorld(t)
	f := must[*os.File](t)(os.Open(w.disk()))
	defer f.Close()
	c := &counter{ReaderAt: f}
	a, err := inspect.OpenReader(context.Background(), c, 8<<30, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if c.n > 8<<20 {
		t.Errorf("%d bytes were read", c.n)
	}
}

// walk does everything that can be done with an artefact.
func walk(t testing.TB, b []byte) error {
	ctx := context.Background()
	a, err := inspect.OpenReader(ctx, bytes.NewReader(b), int64(len(b)), inspect.Options{})
	if err != nil {
		return err
	}
	err = a.Files(ctx, func(f inspect.File) error { return f.WriteText(io.Discard) })
	if err2 := a.Report.WriteText(io.Discard); err2 != nil {
		t.Error(err2)
	}
	if _, err2 := inspect.Diff(ctx, a, a); err == nil && err2 != nil && len(a.Report.Problems) == 0 {
		t.Error(err2)
	}
	if err2 := a.Close(); err2 != nil {
		t.Error(err2)
	}
	return err
}

// Artefacts that end too early or have wrong bytes give an error or a problem, never a panic, and soon.
func TestDamaged(t *testing.T) {
	w := newWorld(t)
	for name, b := range map[string][]byte{
		"uki": ownUKI(t), "initramfs": []byte(w.read(w.initramfs(""))), "iso": ownISO(t), "uefi.iso": []byte(w.read(w.isoUEFI())[:8<<20]),
	} {
		random := rand.New(rand.NewPCG(1, 2))
		start := time.Now()
		const rounds = 60
		for i := range rounds {
			cut := b[:random.IntN(len(b))]
			_ = walk(t, cut)
			damaged := slices.Clone(b[:min(len(b), 1<<20)])
			for range 1 + i%8 {
				damaged[random.IntN(min(len(damaged), 1<<(10+i%11)))] = byte(random.IntN(256))
			}
			_ = walk(t, damaged)
		}
		if d := time.Since(start); d > rounds*2*time.Second {
			t.Errorf("%s: %v", name, d)
		}
	}
}

// ownISO is a small ISO with a GRUB menu, by this project's writer, and with a file that means something in an installer only.
func ownISO(t testing.TB) []byte {
	t.Helper()
	menu := "set default=0\nmenuentry \"Talos ISO\" {\n\tlinux /boot/vmlinuz " + cmdline + "\n\tinitrd /boot/initramfs.xz\n}\n"
	files := smallTree(t, map[string]tree.Blob{
		"overlay/installers/board": tree.String("no image"),
		"boot/vmlinuz":             tree.String("kernel"), "boot/initramfs.xz": ownInitramfs(t), "boot/grub/grub.cfg": tree.String(menu),
		"EFI/BOOT/BOOTX64.EFI": stub(), "loader/loader.conf": tree.String("timeout 10\n"),
	})
	img := must[*iso9660.Image](t)(iso9660.Plan(files, iso9660.Options{VolumeID: "TALOS_V1_13_9", VolumeSetID: "Talos-v1.13.9", ModTime: time.Unix(0, 0)}))
	b := make(formattest.Memory, img.Size())
	if err := img.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzOpen(f *testing.F) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	must[int](f)(z.Write(ownISO(f)))
	if err := z.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(ownUKI(f))
	f.Add(must[[]byte](f)(tree.ReadAll(ownInitramfs(f))))
	f.Add(ownISO(f))
	f.Add(packed.Bytes())
	f.Add([]byte(cmdline))
	f.Add(append(make([]byte, 512), "EFI PART"...))
	f.Fuzz(func(t *testing.T, b []byte) { _ = walk(t, b) })
}

// One over each limit is refused.
func TestOverTheLimit(t *testing.T) {
	w := newWorld(t)
	zst := w.zst()
	for _, c := range []struct {
		name, file, want string
		lower            func(l inspect.Limits)
	}{
		{"unpacked", zst, "unpacks to more than 71303167 bytes", func(l inspect.Limits) { *l.Unpacked = 68<<20 - 1 }},
		{"unpacked by an initramfs", w.initramfs(""), "unpacks to more than 1000 bytes", func(l inspect.Limits) { *l.Unpacked = 1000 }},
		{"data", zst, "besides zeros", func(l inspect.Limits) { *l.Data = 1 << 16 }},
		{"hashed", w.uki(""), "more than 100000 bytes of files", func(l inspect.Limits) { *l.Hashed = 100000 }},
		{"files", w.initramfs(""), "more than 20 files", func(l inspect.Limits) { *l.Nodes = 20 }},
		{"paths", w.initramfs(""), "100 bytes of paths", func(l inspect.Limits) { *l.Paths = 100 }},
		{"segments", w.initramfs(""), "3 segments, more than 2", func(l inspect.Limits) { *l.Segments = 2 }},
		{"what boots", w.disk(), "more than 2 files that boot", func(l inspect.Limits) { *l.Found = 2 }},
		{"damaged layers", w.file("hostile-layers", func(p string) {
			w.write(p+".d/extensions.yaml", layersYAML(ext{"0.sqsh", "a", "1", "x", ""}, ext{"1.sqsh", "b", "1", "x", ""}))
			w.write(p+".d/0.sqsh", "hsqs")
			w.write(p+".d/1.sqsh", "hsqs")
			w.cpio(p, p+".d")
		}), "more than 1 damaged layers", func(l inspect.Limits) { *l.Damaged = 1 }},
	} {
		a, err := inspect.OpenLimited(context.Background(), c.file, inspect.Options{}, c.lower)
		if err == nil {
			t.Errorf("%s: no error, but %v", c.name, a.Close())
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Containers around each other end somewhere.
func TestNested(t *testing.T) {
	w := newWorld(t)
	in := w.uki("")
	dir := t.TempDir()
	for i := range 6 {
		out := filepath.Join(dir, string(rune('a'+i)))
		w.pipe(out, "", dir, "gzip", "-1", "-c", in)
		in = out
	}
	if _, err := inspect.Open(context.Background(), in, inspect.Options{}); err == nil || !strings.Contains(err.Error(), "containers around each other") {
		t.Errorf("error %v", err)
	}
}

func TestCancelled(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, f := range []string{w.disk(), w.isoUEFI(), w.initramfs(""), w.dockerSave()} {
		if a, err := inspect.Open(ctx, f, inspect.Options{}); err == nil {
			t.Errorf("%s: no error, but %v", f, a.Close())
		}
	}
}

// Nothing stays in the folder for temporary files.
func TestTemp(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	for _, f := range []string{w.initramfs(""), w.dockerSave(), w.zst()} {
		a := must[*inspect.Artefact](t)(inspect.Open(context.Background(), f, inspect.Options{Temp: dir}))
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	if entries := must[[]os.DirEntry](t)(os.ReadDir(dir)); len(entries) > 0 {
		t.Errorf("left: %v", entries)
	}
}

func TestParseGRUB(t *testing.T) {
	t.Parallel()
	const text = `# a comment
set default="second \"one\""
menuentry 'first' --class x {
	linux /v a\=b "c d" 'e f' \;g # no argument
	initrd /i
}
linux /outside x
menuentry "second \"one\"" {
	linux	/w   h=\{1\}\\
}
menuentry
`
	got := inspect.ParseGRUB(text)
	want := []inspect.Entry{
		{Loader: "grub", Title: "first", Kernel: "/v", Cmdline: "a=b c d e f ;g", Initrd: "/i"},
		{Loader: "grub", Title: `second "one"`, Default: true, Kernel: "/w", Cmdline: `h={1}\`},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestDecodeMeta(t *testing.T) {
	t.Parallel()
	got, err := inspect.DecodeMeta("MHhhPWZvbzsweGI9YmFy") // cmdline.md, example 8
	if want := []inspect.MetaValue{{Key: 10, Value: "foo", From: "cmdline"}, {Key: 11, Value: "bar", From: "cmdline"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	must[int](t)(z.Write(bytes.Repeat([]byte("a"), 1<<20+1)))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for want, raw := range map[string]string{"KEY=VALUE": "0x100=a", "is not KEY": "foo", "more than 1048576 bytes": bomb.String(), "EOF": "\x1f\x8b"} {
		if _, err := inspect.DecodeMeta(base64.StdEncoding.EncodeToString([]byte(raw))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}
