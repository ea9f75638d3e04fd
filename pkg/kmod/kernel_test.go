package kmod

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talosmith/talosmith/internal/elftest"
	"github.com/talosmith/talosmith/pkg/tree"
)

// bzImage wraps a packed kernel.
func bzImage(packed []byte) []byte { return elftest.BzImage(packed, "6.18.0-talos") }

func withSize(packed, plain []byte) []byte {
	return binary.LittleEndian.AppendUint32(packed, uint32(len(plain)))
}

func crc(name string, value uint32) Symbol { return Symbol{Name: name, CRC: value, HasCRC: true} }

func TestKernelExports(t *testing.T) {
	t.Parallel()
	kernel := elftest.Kernel{Exports: []elftest.Symbol{{Name: "printk", CRC: 1}, {Name: "module_layout", CRC: 2}}, GPL: []elftest.Symbol{{Name: "kobject_get", CRC: 3}}}.BuildELF()
	want := []Symbol{crc("kobject_get", 3), crc("module_layout", 2), crc("printk", 1)}
	plain := elftest.Kernel{Exports: []elftest.Symbol{{Name: "b"}, {Name: "a"}}}.BuildELF()
	for name, c := range map[string]struct {
		file []byte
		want []Symbol
	}{
		"zstd":           {bzImage(withSize(compressZstd(t, kernel), kernel)), want},
		"xz":             {bzImage(withSize(compressXZ(t, kernel), kernel)), want},
		"gzip":           {bzImage(compressGzip(t, kernel)), want},
		"no CRCs":        {bzImage(compressGzip(t, plain)), names("a", "b")},
		"lz4":            {bzImage([]byte("\x02\x21\x4c\x18 and so on")), nil},
		"no x86 kernel":  {make([]byte, 0x4000), nil},
		"no exports":     {bzImage(compressGzip(t, elftest.Kernel{}.BuildELF())), nil},
		"no payload":     {bzImage(nil), nil},
		"an early image": {bzImage(nil)[:0x24f], nil},
	} {
		got, err := KernelExports(tree.Bytes(c.file))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestKernelExportsRefused(t *testing.T) {
	t.Parallel()
	kernel := func(raw map[string][]byte) []byte {
		return bzImage(compressGzip(t, elftest.Kernel{Exports: []elftest.Symbol{{Name: "printk", CRC: 1}}, Raw: raw}.BuildELF()))
	}
	tooLong := bzImage(nil)
	binary.LittleEndian.PutUint32(tooLong[0x24c:], 1<<31)
	for name, c := range map[string]struct {
		file tree.Blob
		want string
	}{
		"huge":       {tree.Zeros(maxKernel + 1), "kernel image is not understood: 268435457 bytes, the limit is 268435456"},
		"length":     {tree.Bytes(tooLong), "understood: 2147483648 packed bytes at 3328 are beyond the file's end at 3340"},
		"cut":        {tree.Bytes(bzImage(compressGzip(t, make([]byte, 1000))[:20])), "understood: unpack: "},
		"entry size": {tree.Bytes(kernel(map[string][]byte{"__ksymtab": make([]byte, 13)})), "__ksymtab has 13 bytes, its CRCs 4"},
		"CRCs":       {tree.Bytes(kernel(map[string][]byte{"__kcrctab": make([]byte, 8)})), "__ksymtab has 12 bytes, its CRCs 8"},
		"name":       {tree.Bytes(kernel(map[string][]byte{"__ksymtab": make([]byte, 12)})), "__ksymtab entry 0: its name is not in __ksymtab_strings"},
		"no name":    {tree.Bytes(kernel(map[string][]byte{"__ksymtab_strings": make([]byte, 12)})), "__ksymtab entry 0: a name is empty"},
		"none":       {tree.Bytes(kernel(map[string][]byte{"__ksymtab": {}, "__kcrctab": {}})), "its table of exports is empty"},
		"machine":    {tree.Bytes(bzImage(assemble(elf.ET_EXEC, elf.EM_S390, []testSection{{}, {name: ".shstrtab", kind: elf.SHT_STRTAB}}))), "understood: machine EM_S390"},
	} {
		if got, err := KernelExports(c.file); !errors.Is(err, ErrKernel) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v, want %q", name, got, err, c.want)
		}
	}
}

// TestDebianKernelExports: everything that a kernel's own modules want, it or another of them has, with the same CRC. Only what the
// module loader itself passes over has no owner.
func TestDebianKernelExports(t *testing.T) {
	t.Parallel()
	pkg, release := kernelPackage(t)
	image, ok := pkg.Lookup("boot/vmlinuz-" + release)
	if !ok {
		t.Fatal("no kernel in Debian's package")
	}
	exports, err := KernelExports(image.Content)
	if err != nil {
		t.Fatal(err)
	}
	owned := map[string]uint32{}
	for _, s := range exports {
		owned[s.Name] = s.CRC
	}
	if len(owned) < 5000 || len(owned) != len(exports) {
		t.Fatalf("%d exports, %d names", len(exports), len(owned))
	}
	dir, err := pkg.Sub("usr/lib/modules/" + release)
	if err != nil {
		t.Fatal(err)
	}
	part, err := dir.Filter(func(n tree.Node) bool {
		return slices.ContainsFunc([]string{"kernel/fs/", "kernel/lib/", "kernel/crypto/"}, func(p string) bool { return strings.HasPrefix(n.Path, p) })
	})
	if err != nil {
		t.Fatal(err)
	}
	modules, err := Scan(part, 0)
	if err != nil {
		t.Fatal(err)
	}
	alone := map[string]bool{} // modules that need nothing but the kernel
	for _, m := range modules {
		alone[m.Name] = len(m.Depends) == 0
	}
	checked := 0
	for _, m := range modules {
		if !alone[m.Name] {
			continue
		}
		for _, s := range m.Imports {
			crc, ok := owned[s.Name]
			if s.Weak && !ok || s.Name == "_GLOBAL_OFFSET_TABLE_" {
				continue
			}
			if !ok || !s.HasCRC || crc != s.CRC {
				t.Errorf("%s needs %s, the kernel has %v %08x", m.Path, s, ok, crc)
			}
			checked++
		}
	}
	if checked < 2000 {
		t.Errorf("%d imports are too few to prove something", checked)
	}
}

func FuzzKernelExports(f *testing.F) {
	f.Fuzz(func(t *testing.T, packed []byte) {
		all, err := KernelExports(tree.Bytes(bzImage(packed)))
		if err == nil && len(all) > len(packed) && packed[0] == 0x7f {
			t.Errorf("%d exports of %d bytes", len(all), len(packed))
		}
	})
}
