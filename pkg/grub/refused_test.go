package grub_test

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/grub"
	"github.com/talosmith/talosmith/pkg/tree"
)

// standIn are files that have the form of GRUB's, so that mistakes can be made in them.
func standIn() map[string]string {
	diskboot := make([]byte, 512)
	binary.LittleEndian.PutUint16(diskboot[510:], 0x820)
	sector := make([]byte, 512)
	sector[0x66], sector[0x67], sector[510], sector[511] = 0xeb, 5, 0x55, 0xaa
	return map[string]string{
		"boot.img": string(sector), "boot_hybrid.img": string(sector), "diskboot.img": string(diskboot),
		"cdboot.img": strings.Repeat("c", 2048), "lzma_decompress.img": strings.Repeat("\x00", 2848),
		"kernel.img": kernel(0x9000, 0x100), "moddep.lst": "a: b c\nb: c\nc:\n",
		"a.mod": module("a"), "b.mod": module("b"), "c.mod": module("c"),
	}
}

func module(content string) string {
	return elf.ELFMAG + "\x01\x01\x01" + strings.Repeat("\x00", 50) + content
}

// kernel is an ELF program with a section at an address.
func kernel(address, size uint32) string {
	const names = "\x00.text\x00.names\x00"
	var b bytes.Buffer
	write := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS32), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}
	write(elf.Header32{Ident: ident, Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_386), Version: 1, Entry: 0x9000,
		Shoff: 52, Ehsize: 52, Shentsize: 40, Shnum: 3, Shstrndx: 2})
	write(elf.Section32{})
	write(elf.Section32{Name: 1, Type: uint32(elf.SHT_PROGBITS), Flags: uint32(elf.SHF_ALLOC), Addr: address, Off: 52 + 3*40 + uint32(len(names)), Size: size})
	write(elf.Section32{Name: 7, Type: uint32(elf.SHT_STRTAB), Off: 52 + 3*40, Size: uint32(len(names))})
	b.WriteString(names)
	b.Write(bytes.Repeat([]byte{0x90}, int(min(size, 1<<20))))
	return b.String()
}

func toTree(t testing.TB, files map[string]string) *tree.Tree {
	t.Helper()
	var nodes []tree.Node
	for name, content := range files {
		nodes = append(nodes, tree.Node{Path: name, Content: tree.String(content)})
	}
	tr, err := tree.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

var simple = grub.Options{Format: grub.ElTorito, Prefix: "/boot/grub", Modules: []string{"a"}, Config: []byte("echo\n")}

// The kernel, then what is needed, each before what needs it, then configuration and prefix.
func TestLayout(t *testing.T) {
	t.Parallel()
	core, err := grub.Core(toTree(t, standIn()), simple)
	if err != nil {
		t.Fatal(err)
	}
	_, body := cut(t, core, simple)
	object := func(typ byte, content string) string {
		content += strings.Repeat("\x00", -len(content)&3)
		return string([]byte{typ, 0, 0, 0, byte(8 + len(content)), 0, 0, 0}) + content
	}
	rest := object(0, module("c")) + object(0, module("b")) + object(0, module("a")) + object(2, "echo\n\x00") + object(3, "/boot/grub\x00")
	want := strings.Repeat("\x90", 0x100) + "mimg\x0c\x00\x00\x00" + string(binary.LittleEndian.AppendUint32(nil, uint32(12+len(rest)))) + rest
	if string(body) != want {
		t.Errorf("got  %q\nwant %q", body, want)
	}
}

// A change of these bytes, be it one of the encoder, needs another Version.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	o := simple
	for range 300 {
		o.Config = fmt.Appendf(o.Config, "echo %d\n", len(o.Config)*len(o.Config))
	}
	core, err := grub.Core(toTree(t, standIn()), o)
	if err != nil {
		t.Fatal(err)
	}
	const want = "c0e709a1611bf4417f1a0ad5aed9a9fd029b176c17212d34233414baf68a111c"
	if got := fmt.Sprintf("%x", sha256.Sum256(core)); grub.Version != "1" || got != want {
		t.Errorf("version %s: SHA-256 %s, want %s", grub.Version, got, want)
	}
}

func TestCoreRefused(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 500<<10)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	for name, c := range map[string]struct {
		file, content string // "" for no such file
		o             grub.Options
		want          string
		is            error
	}{
		"no format":              {file: "x", content: "x", o: grub.Options{}, want: "must be i386-pc, i386-pc-eltorito, x86_64-efi or arm64-efi"},
		"no kernel":              {file: "kernel.img", want: "kernel.img: file does not exist (in the imager image", is: fs.ErrNotExist},
		"no first stage":         {file: "diskboot.img", want: "diskboot.img", is: fs.ErrNotExist},
		"no CD stage":            {file: "cdboot.img", want: "cdboot.img", is: fs.ErrNotExist},
		"no decompressor":        {file: "lzma_decompress.img", want: "lzma_decompress.img", is: fs.ErrNotExist},
		"no dependencies":        {file: "moddep.lst", want: "moddep.lst", is: fs.ErrNotExist},
		"module that is needed":  {file: "c.mod", want: "c.mod", is: fs.ErrNotExist},
		"unknown module":         {file: "moddep.lst", content: "b:\n", want: `module "a": file does not exist (GRUB's moddep.lst does not name it`, is: fs.ErrNotExist},
		"unknown needed module":  {file: "moddep.lst", content: "a: z\n", want: `module "z": file does not exist ("a" needs it)`, is: fs.ErrNotExist},
		"cut dependencies":       {file: "moddep.lst", content: "a: b c\nb", want: `line "b" has no colon`, is: grub.ErrDamaged},
		"circular dependencies":  {file: "moddep.lst", content: "a: b\nb: a\n", want: `module "a" needs itself`, is: grub.ErrDamaged},
		"compressed module":      {file: "a.mod", content: "\xfd7zXZ" + strings.Repeat("x", 100), want: "compressed modules cannot be part", is: grub.ErrDamaged},
		"cut module":             {file: "a.mod", content: "\x7fELF\x01", want: "a.mod", is: grub.ErrDamaged},
		"module of 64 bits":      {file: "a.mod", content: "\x7fELF\x02" + strings.Repeat("x", 100), want: "32 bits", is: grub.ErrDamaged},
		"short first stage":      {file: "diskboot.img", content: standIn()["diskboot.img"][:511], want: "has 511 bytes, not 512 to 512", is: grub.ErrDamaged},
		"other first stage":      {file: "diskboot.img", content: strings.Repeat("x", 512), want: "loads to segment 0x7878", is: grub.ErrDamaged},
		"short CD stage":         {file: "cdboot.img", content: "c", want: "has 1 bytes", is: grub.ErrDamaged},
		"longest decompressor":   {file: "lzma_decompress.img", content: strings.Repeat("\x00", 0xe00)},
		"too long decompressor":  {file: "lzma_decompress.img", content: strings.Repeat("\x00", 0xe01), want: "has 3585 bytes", is: grub.ErrDamaged},
		"redundancy":             {file: "lzma_decompress.img", content: strings.Repeat("\x01", 2848), want: "Reed–Solomon", is: grub.ErrDamaged},
		"kernel is no ELF":       {file: "kernel.img", content: strings.Repeat("x", 100), want: "kernel.img", is: grub.ErrDamaged},
		"kernel is cut":          {file: "kernel.img", content: kernel(0x9000, 0x100)[:200], want: "section .text", is: grub.ErrDamaged},
		"kernel is a module":     {file: "kernel.img", content: strings.Replace(kernel(0x9000, 0x100), "\x02\x00\x03\x00", "\x01\x00\x03\x00", 1), want: "starts at 0x9000", is: grub.ErrDamaged},
		"kernel up to the limit": {file: "kernel.img", content: kernel(0x9000, 0x68000-0x9000)},
		"kernel over the limit":  {file: "kernel.img", content: kernel(0x9000, 0x68001-0x9000), want: "is not between 0x9000 and 0x68000", is: grub.ErrDamaged},
		"kernel below its start": {file: "kernel.img", content: kernel(0x8fff, 0x10), want: "is not between", is: grub.ErrDamaged},
		"empty kernel":           {file: "kernel.img", content: kernel(0x9000, 0), want: "no sections with content", is: grub.ErrDamaged},
		"too much":               {file: "a.mod", content: module(string(noise)), want: "454656 are the most: take fewer modules"},
		"huge file":              {file: "a.mod", content: module(strings.Repeat("x", 4<<20)), want: "a.mod", is: grub.ErrDamaged},
	} {
		files := standIn()
		if files[c.file] = c.content; c.content == "" {
			delete(files, c.file)
		}
		o := c.o
		if name != "no format" {
			o = simple
		}
		_, err := grub.Core(toTree(t, files), o)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		case c.is != nil && !errors.Is(err, c.is):
			t.Errorf("%s: %v is no %v", name, err, c.is)
		}
	}
}

func TestBootCode(t *testing.T) {
	t.Parallel()
	code, err := grub.BootCode(toTree(t, standIn()), 0x123456789)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 446)
	copy(want[0x5c:], []byte{0x89, 0x67, 0x45, 0x23, 1})
	want[0x66], want[0x67] = 0x90, 0x90
	if !bytes.Equal(code, want) {
		t.Errorf("got %x", code)
	}
	hybrid, err := grub.BootHybrid(toTree(t, standIn()))
	if err != nil || string(hybrid) != standIn()["boot_hybrid.img"] {
		t.Errorf("hybrid: %x, %v", hybrid, err)
	}
	for damage, want := range map[string]string{"": "file does not exist", strings.Repeat("x", 512): "does not end with 55 aa", "x": "has 1 bytes"} {
		files := standIn()
		for _, name := range []string{"boot.img", "boot_hybrid.img"} {
			if files[name] = damage; damage == "" {
				delete(files, name)
			}
		}
		if _, err := grub.BootCode(toTree(t, files), 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if _, err := grub.BootHybrid(toTree(t, files)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	files := standIn()
	files["boot.img"] = strings.Replace(files["boot.img"], "\xeb", "\x90", 1)
	if _, err := grub.BootCode(toTree(t, files), 1); !errors.Is(err, grub.ErrDamaged) {
		t.Errorf("without the jump: %v", err)
	}
}

func TestPlaceCore(t *testing.T) {
	t.Parallel()
	files := toTree(t, standIn())
	o := simple
	o.Format = grub.Disk
	core, err := grub.Core(files, o)
	if err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(core)
	placed, err := grub.PlaceCore(core, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(core, before) {
		t.Error("the image given was changed")
	}
	if at := binary.LittleEndian.Uint64(placed[0x1f4:]); at != 2049 {
		t.Errorf("the rest is looked for at sector %d", at)
	}
	if n := binary.LittleEndian.Uint16(placed[0x1fc:]); int(n) != (len(core)-512+511)/512 {
		t.Errorf("the rest is %d sectors", n)
	}
	cd, err := grub.Core(files, simple)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{nil, cd} {
		if _, err := grub.PlaceCore(b, 2048); err == nil || !strings.Contains(err.Error(), "it is no i386-pc image") {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
}

// FuzzCore gives damaged files: an error or an image that unpacks.
func FuzzCore(f *testing.F) {
	s := standIn()
	f.Add([]byte(s["kernel.img"]), []byte(s["moddep.lst"]), []byte(s["a.mod"]))
	f.Add([]byte(kernel(0x9100, 0x10)), []byte("a:a\n"), []byte(nil))
	f.Add([]byte(kernel(0x9000, 1<<31)), []byte("a: b c b\nc: b\nb:\n"), []byte(s["b.mod"]))
	f.Fuzz(func(t *testing.T, kernel, dependencies, module []byte) {
		files := maps.Clone(s)
		files["kernel.img"], files["moddep.lst"], files["a.mod"] = string(kernel), string(dependencies), string(module)
		core, err := grub.Core(toTree(t, files), simple)
		if err == nil {
			cut(t, core, simple)
		}
	})
}
