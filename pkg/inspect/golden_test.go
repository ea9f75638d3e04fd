package inspect_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/inspect"
	"github.com/talosmith/talosmith/pkg/squashfs"
	"github.com/talosmith/talosmith/pkg/tree"
	"github.com/talosmith/talosmith/pkg/uki"
)

var update = flag.Bool("update", false, "write the golden files anew")

// stub is a PE32+ file with a section .text, and one that says what systemd-stub says.
func stub() tree.Blob {
	section := func(name, content string) formattest.PESection {
		return formattest.PESection{Name: name, Content: content, Size: uint32(len(content)), Flags: 0x40000040}
	}
	return tree.Bytes(formattest.PE([2]formattest.PESection{section(".text", "code"), section(".sdmagic", "#### LoaderInfo: systemd-stub 257.13 ####")}))
}

func must[T any](t testing.TB) func(v T, err error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func smallTree(t testing.TB, files map[string]tree.Blob) *tree.Tree {
	t.Helper()
	var nodes []tree.Node
	for p, b := range files {
		nodes = append(nodes, tree.Node{Path: p, Mode: 0o644, Content: b})
	}
	return must[*tree.Tree](t)(tree.New(nodes))
}

func image(t testing.TB, files map[string]tree.Blob) tree.Blob {
	t.Helper()
	var b formattest.Memory
	must[int64](t)(squashfs.Write(&b, smallTree(t, files), squashfs.Options{}))
	return tree.Bytes(b)
}

// ownInitramfs is made by this project's writers: each layer in a plain segment.
func ownInitramfs(t testing.TB) tree.Blob {
	t.Helper()
	archive := func(files map[string]tree.Blob) tree.Blob {
		return must[tree.Blob](t)(initramfs.Archive(smallTree(t, files)))
	}
	text := tree.String
	return must[tree.Blob](t)(initramfs.Join(
		archive(map[string]tree.Blob{"kernel/x86/microcode/AuthenticAMD.bin": text("microcode")}),
		archive(map[string]tree.Blob{"init": text("init"), "rootfs.sqsh": image(t, map[string]tree.Blob{
			"etc/os-release": text("VERSION_ID=" + talosVersion + "\n"), "usr/lib/modules/" + release + "/modules.dep": text(modulesDep),
		})}),
		archive(map[string]tree.Blob{"0.sqsh": image(t, map[string]tree.Blob{"usr/local/bin/iscsiadm": text("iscsiadm")})}),
		archive(map[string]tree.Blob{"1.sqsh": image(t, map[string]tree.Blob{"usr/local/share/schematic/" + schematicID: text("")})}),
		archive(map[string]tree.Blob{"extensions.yaml": text(layersYAML(
			ext{"0.sqsh", "iscsi-tools", "v0.1.6", "[core] iSCSI", ""}, ext{"1.sqsh", "schematic", schematicID, "Virtual extension", schematic}))}),
		archive(map[string]tree.Blob{"usr/lib/firmware/a.fw": text("firmware")}),
	))
}

func ownUKI(t testing.TB) []byte {
	t.Helper()
	m := must[*uki.Image](t)(uki.Assemble(stub(), []uki.Section{
		{Name: uki.OSRel, Content: tree.String(uki.OSRelease("Talos", talosVersion))},
		{Name: uki.Cmdline, Content: tree.String(cmdline)},
		{Name: uki.Uname, Content: tree.String(release)},
		{Name: uki.Linux, Content: tree.String("kernel")},
		{Name: uki.Initrd, Content: ownInitramfs(t)},
		{Name: uki.Profile, Content: tree.String(uki.ProfileText("main", ""))},
		{Name: uki.Profile, Content: tree.String(uki.ProfileText("reset", "Reset system disk"))},
		{Name: uki.Cmdline, Content: tree.String(cmdline + " " + resetArgs)},
	}, time.Unix(0, 0)))
	return must[[]byte](t)(tree.ReadAll(m))
}

// Hashes depend on how layers are compressed, and say nothing to a reader of the golden file.
var hashes = regexp.MustCompile(`\b([0-9a-f]{64}|[0-9a-f]{12})\b`)

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	got = hashes.ReplaceAllFunc(got, func(h []byte) []byte { return bytes.Repeat([]byte("#"), len(h)) })
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := must[[]byte](t)(os.ReadFile(file)); !bytes.Equal(got, want) {
		t.Errorf("%s: `go test -update` writes it anew; got\n%s", file, got)
	}
}

// The text and the JSON of a report, and of differences.
func TestGolden(t *testing.T) {
	t.Parallel()
	b := ownUKI(t)
	dir := t.TempDir()
	for name, content := range map[string][]byte{"a.efi": b, "b.efi": bytes.Replace(b, []byte("console=ttyS0"), []byte("console=ttyS1"), 1)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a := open(t, filepath.Join(dir, "a.efi"))
	var text bytes.Buffer
	if err := a.Report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	golden(t, "uki.txt", text.Bytes())
	golden(t, "uki.json", append(must[[]byte](t)(json.MarshalIndent(a.Report, "", "  ")), '\n'))
	d := must[*inspect.Differences](t)(inspect.Diff(context.Background(), a, open(t, filepath.Join(dir, "b.efi"))))
	text.Reset()
	if err := d.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	golden(t, "diff.txt", text.Bytes())
	golden(t, "diff.json", append(must[[]byte](t)(json.MarshalIndent(d, "", "  ")), '\n'))
}
