package overlay

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// official is what rpi_generic answers.
const official = `name: rpi_generic
kernelArgs:
    - console=tty0
    - console=ttyAMA0,115200
    - sysctl.kernel.kexec_load_disabled=1
    - talos.dashboard.disabled=1
`

func TestParseOptions(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		official: "{rpi_generic [console=tty0 console=ttyAMA0,115200 sysctl.kernel.kexec_load_disabled=1 talos.dashboard.disabled=1] 0}",
		"name: rock4cplus\npartitionOptions:\n    offset: 20480\nlater: [x]\n": "{rock4cplus [] 20480}",
		"{}":                                  "{ [] 0}",
		"":                                    "{ [] 0}",
		"partitionOptions: {offset: 2097152}": "{ [] 2097152}",
		"partitionOptions: {offset: 2097153}": "its answer: partitionOptions.offset of 2097153 sectors: at most 2097152 (1 GiB)",
		"partitionOptions: {offset: -1}":      "its answer: ",
		"partitionOptions: {offset: 1.5}":     "its answer: ",
		"partitionOptions: {offset: x}":       "its answer: ",
		"kernelArgs: console":                 "its answer: ",
		"kernelArgs: [\"a\\u001b[2J\"]":       "its answer: kernelArgs: \"a\\x1b[2J\" is no kernel argument",
		"kernelArgs: [" + strings.Repeat("a,", 201) + "]":    "its answer: 201 kernelArgs: at most 200",
		"kernelArgs: [" + strings.Repeat("a", 2048) + "]":    "more than 2047 bytes",
		"2026/01/01 starting\nname: x\n":                     "its answer: ",
		strings.Repeat("#", 1<<20+1):                         "its answer: 1048577 bytes, the limit is 1048576",
		"a: &a [x]\nb: [" + strings.Repeat("*a,", 101) + "]": "its answer: line 2: more than 100 aliases",
	} {
		got, err := ParseOptions([]byte(answer))
		if text := fmt.Sprint(got); err == nil && text != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %s, %v; want %s", answer, text, err, want)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add(official)
	f.Add("name: x\nkernelArgs: [a, b=c]\npartitionOptions: {offset: 20480}\n")
	f.Add("partitionOptions: &a {offset: 0x10}\n<<: *a\nkernelArgs: !!binary eA==")
	f.Fuzz(func(t *testing.T, answer string) {
		o, err := ParseOptions([]byte(answer))
		if err != nil {
			return
		}
		if o.Offset > maxOffset || len(o.KernelArgs) > maxArgs {
			t.Errorf("%+v", o)
		}
		version, err := talos.ParseVersion("v1.13.9")
		if err != nil {
			t.Fatal(err)
		}
		facts, err := talos.For(version, "metal", "arm64")
		if err != nil {
			t.Fatal(err)
		}
		line, err := facts.Cmdline(talos.CmdlineInput{Kind: talos.KindDisk, Overlay: o.KernelArgs})
		if err == nil && strings.ContainsAny(line.String(), "\n\x00") {
			t.Errorf("command line %q", line)
		}
	})
}

func TestParseProfile(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"arch: arm64\nplatform: metal\nsecureboot: false\noutput:\n  kind: image\n  imageOptions:\n    diskSize: 1306525696\n    bootloader: grub\n": "{grub []}",
		"output: {imageOptions: {bootloader: dual-boot}}": "{dual-boot []}",
		"output: {imageOptions: {bootloader: sd-boot}}":   "{sd-boot []}",
		"output: {imageOptions: {bootloader: none}}":      "{ []}",
		"output: {kind: image}":                           "{ []}",
		"":                                                "{ []}",
		"customization: {meta: [], extraKernelArgs: [a]}": "{ [extraKernelArgs meta]}",
		"output: {imageOptions: {bootloader: lilo}}":      `output.imageOptions.bootloader: "lilo" is none of sd-boot, grub and dual-boot`,
		"output: [":                                       "did not find",
		"output: {imageOptions: {bootloader: [grub]}}":    "cannot",
	} {
		got, err := ParseProfile([]byte(file))
		if text := fmt.Sprint(got); err == nil && text != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %s, %v; want %s", file, text, err, want)
		}
	}
}

func FuzzParseProfile(f *testing.F) {
	f.Add("output:\n  imageOptions:\n    bootloader: grub\n")
	f.Add("customization: &a {b: *a}")
	f.Fuzz(func(t *testing.T, file string) {
		p, err := ParseProfile([]byte(file))
		if err == nil && p.Bootloader != "" && p.Bootloader != talos.GRUB && p.Bootloader != talos.SDBoot && p.Bootloader != talos.DualBoot {
			t.Errorf("%+v", p)
		}
	})
}

// program is an ELF file that does nothing, with an interpreter or none.
func program(machine elf.Machine, interp string) string {
	b := make([]byte, 64+56)
	copy(b, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint16(b[16:], uint16(elf.ET_EXEC))
	le.PutUint16(b[18:], uint16(machine))
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[32:], 64) // program headers
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	if interp != "" {
		le.PutUint32(b[64:], uint32(elf.PT_INTERP))
		le.PutUint64(b[72:], uint64(len(b)))
		le.PutUint64(b[96:], uint64(len(interp)+1))
	}
	return string(b) + interp + "\x00"
}

func image(t testing.TB, mode os.FileMode, content string) *tree.Tree {
	t.Helper()
	files, err := tree.New([]tree.Node{
		{Path: "installers/b", Mode: mode, Content: tree.String(content)},
		{Path: "artifacts/a", Mode: 0o644, Content: tree.String("artifact")},
		{Path: "artifacts/link", Mode: os.ModeSymlink | 0o777, Link: "a"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestCheckProgram(t *testing.T) {
	t.Parallel()
	good := program(elf.EM_AARCH64, "")
	for _, c := range []struct {
		files *tree.Tree
		name  string
		want  string
	}{
		{image(t, 0o755, good), "b", "<nil>"},
		{image(t, 0o755, good), "c", "it has no file installers/c"},
		{image(t, 0o644, good), "b", "installers/b is not executable: chmod +x it"},
		{image(t, 0o755, "#!/bin/sh\n"), "b", "installers/b is no Linux program (ELF)"},
		{image(t, 0o755, good[:70]), "b", "installers/b: read ELF program headers"},
		{image(t, 0o755, program(elf.EM_X86_64, "")), "b", "installers/b is a program for amd64, and this machine is arm64: build on a machine of that architecture"},
		{image(t, 0o755, program(elf.EM_AARCH64, "/lib/ld-linux-aarch64.so.1")), "b", "installers/b wants /lib/ld-linux-aarch64.so.1, and there is nothing but the overlay's own files"},
	} {
		if err := CheckProgram(c.files, c.name, "arm64"); !strings.HasPrefix(fmt.Sprint(err), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

// fake is a runner that does what a test says, in the directory itself.
type fake struct {
	err error
	do  func(root string, c Command, stdin string) (string, error)
}

func (f fake) Arch() (string, error) { return "arm64", f.err }

func (f fake) Run(_ context.Context, c Command) ([]byte, error) {
	in, err := c.Stdin("")
	if err != nil {
		return nil, err
	}
	out, err := f.do(c.Root, c, string(in))
	return []byte(out), err
}

func TestProtocol(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing")) // may be memory
	in := t.TempDir()
	files := image(t, 0o755, program(elf.EM_AARCH64, ""))
	extra := map[string]any{"z": int64(1), "configTxt": "a=1\nb=2\n", "list": []any{true, 1.5, nil}}
	const options = "configTxt: |\n    a=1\n    b=2\nlist:\n    - true\n    - 1.5\n    - null\nz: 1\n"
	for given, want := range map[string]map[string]any{"{}\n": nil, options: extra} {
		o, err := GetOptions(t.Context(), fake{do: func(root string, c Command, stdin string) (string, error) {
			if c.Program != "overlay/installers/b" || c.Arg != "get-options" || stdin != given {
				t.Errorf("%s %s with %q, want %q", c.Program, c.Arg, stdin, given)
			}
			if _, err := os.Stat(filepath.Join(root, "overlay", "artifacts", "a")); err == nil {
				t.Error("artifacts are unpacked for nothing")
			}
			return official, nil
		}}, in, files, "b", want)
		if err != nil || o.Name != "rpi_generic" {
			t.Errorf("%+v, %v", o, err)
		}
	}
	const paths = "installDisk: /disk.raw\nmountPrefix: /mnt\nartifactsPath: /overlay/artifacts\n"
	for given, with := range map[string]map[string]any{
		paths:                               {},
		paths + "extraOptions:\n    a: b\n": {"a": "b"},
	} {
		err := Install(t.Context(), fake{do: func(root string, c Command, stdin string) (string, error) {
			if c.Arg != "install" || stdin != given {
				t.Errorf("%s with %q, want %q", c.Arg, stdin, given)
			}
			b, err := os.ReadFile(filepath.Join(root, "overlay", "artifacts", "link"))
			if err != nil || string(b) != "artifact" {
				t.Errorf("artifact %q, %v", b, err)
			}
			esp := filepath.Join(root, "mnt", "boot", "EFI")
			return "", errors.Join(
				os.MkdirAll(filepath.Join(esp, "locked", "empty"), 0o700), os.WriteFile(filepath.Join(esp, "locked", "file"), []byte("x"), 0),
				os.Chmod(filepath.Join(esp, "locked"), 0), os.WriteFile(filepath.Join(root, "tmp", "rubbish"), nil, 0o600))
		}}, in, files, "b", with, 1<<20, func(e Effects) error {
			var all []string
			for n := range e.ESP.All() {
				all = append(all, fmt.Sprint(n.Path, n.Mode, n.Size(), n.ModTime.Unix()))
			}
			if got, want := strings.Join(all, " "), ".drwxr-xr-x 0 0 lockeddrwxr-xr-x 0 0 locked/emptydrwxr-xr-x 0 0 locked/file-rw-r--r-- 1 0"; got != want {
				t.Errorf("files %s", got)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if _, err := GetOptions(t.Context(), fake{err: errors.New("it is a Linux program")}, in, files, "b", nil); err == nil || err.Error() != "it is a Linux program" {
		t.Errorf("on a machine that runs nothing: %v", err)
	}
	if left, err := os.ReadDir(in); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestEffects(t *testing.T) {
	in := t.TempDir()
	files := image(t, 0o755, program(elf.EM_AARCH64, ""))
	const size = 8 << 20
	writes := map[int64]string{
		0: "mbr", 511: "ab", 3 << 20: strings.Repeat("x", 1<<20), // over what is read at once
		5<<20 + 100: strings.Repeat("\x00", 5000), // nothing, for whoever looks at the disk
		size - 1:    "e",
	}
	err := Install(t.Context(), fake{do: func(root string, _ Command, _ string) (string, error) {
		f, err := os.OpenFile(filepath.Join(root, "disk.raw"), os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		for at, text := range writes {
			_, err1 := f.WriteAt([]byte(text), at)
			err = errors.Join(err, err1)
		}
		return "", errors.Join(err, f.Close(), os.WriteFile(filepath.Join(root, "mnt", "boot", "EFI", "a"), []byte("A"), 0o600))
	}}, in, files, "b", nil, size, func(e Effects) error {
		check := func(what string, e Effects) {
			var got []string
			for _, x := range e.Raw {
				got = append(got, fmt.Sprintf("%d+%d", x.At, x.Content.Size()))
			}
			if s := strings.Join(got, " "); s != "0+1024 3145728+1048576 8388096+512" {
				t.Errorf("%s: extents %s", what, s)
			}
			if n, ok := e.ESP.Lookup("a"); !ok || n.Size() != 1 {
				t.Errorf("%s: files %+v", what, n)
			}
		}
		check("fresh", e)
		stored, err := e.Tree()
		if err != nil {
			return err
		}
		again, err := ReadEffects(stored)
		check("read again", again)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	empty, err := Effects{ESP: must(tree.New(nil))}.Tree()
	if err != nil {
		t.Fatal(err)
	}
	if e, err := ReadEffects(empty); err != nil || len(e.Raw) != 0 || e.ESP.Len() != 1 {
		t.Errorf("of nothing: %+v, %v", e, err)
	}
}

func must(t *tree.Tree, err error) *tree.Tree {
	if err != nil {
		panic(err)
	}
	return t
}

// TestLimits: one over each.
func TestLimits(t *testing.T) {
	in := t.TempDir()
	files := image(t, 0o755, program(elf.EM_AARCH64, ""))
	for name, c := range map[string]struct {
		do   func(root, esp string) error
		want string
	}{
		"depth": {func(_, esp string) error {
			return os.MkdirAll(filepath.Join(esp, strings.Repeat("d/", maxDepth)), 0o700)
		}, "it left directories more than 32 deep"},
		"files": {func(_, esp string) error {
			for i := range maxFiles {
				if err := os.WriteFile(filepath.Join(esp, fmt.Sprint(i)), nil, 0o600); err != nil {
					return err
				}
			}
			return nil
		}, "it left more than 10000 files"},
		"name": {func(_, esp string) error { return os.WriteFile(filepath.Join(esp, "\xff"), nil, 0o600) }, "it left a file whose name is not UTF-8"},
		"many elsewhere": {func(root, _ string) error {
			for i := range 12 {
				if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("s%02d", i)), nil, 0o600); err != nil {
					return err
				}
			}
			return nil
		}, `"/s09" and 2 more: only files below boot/EFI`},
		"no directory": {func(_, esp string) error { return errors.Join(os.Remove(esp), os.Symlink("/etc", esp)) }, `it wrote what would be lost: "/mnt/boot/EFI"`},
	} {
		err := Install(t.Context(), fake{do: func(root string, _ Command, _ string) (string, error) {
			return "", c.do(root, filepath.Join(root, "mnt", "boot", "EFI"))
		}}, in, files, "b", nil, 1<<20, func(Effects) error { return nil })
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}
