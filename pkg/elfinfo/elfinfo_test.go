package elfinfo_test

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talosmith/talosmith/internal/elftest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/elfinfo"
)

func read(b []byte) (*elfinfo.Info, error) {
	return elfinfo.Read(bytes.NewReader(b), int64(len(b)))
}

var program = elftest.Program{
	Interp: "/lib64/ld-linux-x86-64.so.2", Needed: []string{"libc.so.6", "libm.so.6"}, Runpath: "$ORIGIN/../lib:/opt/lib",
}

func TestRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file []byte
		want *elfinfo.Info
	}{
		"program": {program.Build(), &elfinfo.Info{
			Machine: "amd64", Type: "dyn", Interp: "/lib64/ld-linux-x86-64.so.2", Needed: []string{"libc.so.6", "libm.so.6"}, Runpath: []string{"$ORIGIN/../lib", "/opt/lib"},
		}},
		"library": {elftest.Program{Machine: elf.EM_AARCH64, Soname: "libx.so.1", Rpath: "/a"}.Build(), &elfinfo.Info{
			Machine: "arm64", Type: "dyn", Soname: "libx.so.1", Rpath: []string{"/a"},
		}},
		"static":        {elftest.Program{Type: elf.ET_EXEC}.Build(), &elfinfo.Info{Machine: "amd64", Type: "exec"}},
		"32-bit":        {elftest.Program{Machine: elf.EM_386, Class: elf.ELFCLASS32, Interp: "/lib/ld-linux.so.2", Needed: []string{"libc.so.6"}}.Build(), &elfinfo.Info{Machine: "386", Type: "dyn", Interp: "/lib/ld-linux.so.2", Needed: []string{"libc.so.6"}}},
		"big endian":    {elftest.Program{Machine: elf.EM_S390, Data: elf.ELFDATA2MSB, Needed: []string{"libc.so.6"}}.Build(), &elfinfo.Info{Machine: "s390", Type: "dyn", Needed: []string{"libc.so.6"}}},
		"x32":           {elftest.Program{Class: elf.ELFCLASS32}.Build(), &elfinfo.Info{Machine: "x32", Type: "dyn"}},
		"riscv64":       {elftest.Program{Machine: elf.EM_RISCV}.Build(), &elfinfo.Info{Machine: "riscv64", Type: "dyn"}},
		"text":          {[]byte("#!/bin/sh\necho no ELF file\n"), nil},
		"empty":         {nil, nil},
		"the magic":     {[]byte("\x7fELF"), nil},
		"nearly an ELF": {append([]byte("\x7fElF"), make([]byte, 100)...), nil},
	} {
		got, err := read(c.file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestReadelf: what elftest builds is what binutils takes it for.
func TestReadelf(t *testing.T) {
	t.Parallel()
	word := regexp.MustCompile(`\[([^\]]*)\]`)
	for _, p := range []elftest.Program{
		program,
		{Class: elf.ELFCLASS32, Machine: elf.EM_386, Interp: "/lib/ld-linux.so.2", Needed: []string{"libc.so.6"}, Soname: "a.so", Rpath: "/x:/y"},
		{Machine: elf.EM_PPC64, Data: elf.ELFDATA2MSB, Interp: "/lib/ld64.so.1", Needed: []string{"libc.so.6"}},
		{Machine: elf.EM_AARCH64, Needed: []string{"a", "b", "c"}},
	} {
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, p.Build(), 0o644); err != nil {
			t.Fatal(err)
		}
		out := tooltest.Run(t, "readelf", "--wide", "--program-headers", "--dynamic", name)
		var said []string
		for line := range strings.Lines(out) {
			if m := word.FindStringSubmatch(line); m != nil && !strings.Contains(line, "[Nr]") {
				said = append(said, strings.TrimPrefix(m[1], "Requesting program interpreter: "))
			}
		}
		got, err := read(p.Build())
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, s := range append(append([]string{got.Interp}, got.Needed...), got.Soname, strings.Join(got.Rpath, ":"), strings.Join(got.Runpath, ":")) {
			if s != "" {
				want = append(want, s)
			}
		}
		if !slices.Equal(said, want) {
			t.Errorf("readelf says %q, we %q:\n%s", said, want, out)
		}
	}
}

// TestHost compares with debug/elf what this machine has.
func TestHost(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{self}
	for _, pattern := range []string{"/usr/bin/*", "/usr/lib/*/lib[a-d]*.so.*"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, more[:min(len(more), 300)]...)
	}
	compared := 0
	for _, name := range names {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) { // a dangling link
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if !st.Mode().IsRegular() {
			continue
		}
		want, err := stdlib(f)
		if err != nil {
			continue
		}
		got, err := elfinfo.Read(f, st.Size())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		compared++
	}
	if compared == 0 {
		t.Error("nothing was compared")
	}
}

// stdlib is what debug/elf says of a file.
func stdlib(r io.ReaderAt) (*elfinfo.Info, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	i := &elfinfo.Info{Type: strings.ToLower(strings.TrimPrefix(f.Type.String(), "ET_"))}
	i.Machine = map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_386: "386"}[f.Machine]
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b, err := io.ReadAll(p.Open())
			if err != nil {
				return nil, err
			}
			i.Interp = strings.TrimRight(string(b), "\x00")
		}
	}
	one := func(tag elf.DynTag) string {
		all, err := f.DynString(tag)
		if err != nil || len(all) == 0 {
			return ""
		}
		return all[0]
	}
	if i.Needed, err = f.ImportedLibraries(); err != nil {
		return nil, err
	}
	i.Soname = one(elf.DT_SONAME)
	if s := one(elf.DT_RPATH); s != "" {
		i.Rpath = strings.Split(s, ":")
	}
	if s := one(elf.DT_RUNPATH); s != "" {
		i.Runpath = strings.Split(s, ":")
	}
	return i, nil
}

// TestRefused damages a program in one place each.
func TestRefused(t *testing.T) {
	t.Parallel()
	patch := func(at int, b ...byte) []byte {
		file := program.Build()
		copy(file[at:], b)
		return file
	}
	many := elftest.Program{Needed: slices.Repeat([]string{"l"}, 1025)}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"class":                {patch(4, 3), "read ELF header: class 3 is neither 32-bit nor 64-bit"},
		"byte order":           {patch(5, 0), "read ELF header: byte order 0 is unknown"},
		"short header":         {program.Build()[:63], "read ELF header: 64 bytes at 0 are beyond the file's end at 63"},
		"header size":          {patch(54, 57), "read ELF program headers: 3 of 57 bytes: up to 1024 of 56 bytes are supported"},
		"headers":              {patch(56, 1, 4), "read ELF program headers: 1025 of 56 bytes: up to 1024 of 56 bytes are supported"},
		"headers' place":       {patch(32, 0xff, 0xff, 0xff), "beyond the file's end"},
		"interpreter's length": {patch(64+56+32, 0x01, 0x10), "interpreter: 4097 bytes: the kernel takes 2 to 4096"},
		"interpreter's end":    {patch(64+56+32, 5), "interpreter: its path has no end"},
		"interpreter's place":  {patch(64+56+8, 0xff, 0xff), "interpreter: 28 bytes at 65535 are beyond the file's end"},
		"dynamic length":       {patch(64+2*56+32, 1, 0, 0x10), "read ELF dynamic section: 1048577 bytes, the limit is 1048576"},
		"dynamic place":        {patch(64+2*56+15, 0x80), "read ELF dynamic section"},
		"strings":              {patch(64+16, 0xff, 0xff, 0xff, 0xff), "the strings' address"},
		"libraries":            {many.Build(), "read ELF dynamic section: more than 1024 libraries, the limit"},
		"long name":            {elftest.Program{Needed: []string{strings.Repeat("l", 4096)}, Runpath: strings.Repeat("/x", 4000)}.Build(), "has no end, or more than 4096 bytes"},
		"much text":            {elftest.Program{Needed: slices.Repeat([]string{strings.Repeat("l", 4000)}, 20)}.Build(), "its strings take over 65536 bytes, the limit"},
	} {
		if _, err := read(c.file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestLimits: what is exactly at a limit is fine.
func TestLimits(t *testing.T) {
	t.Parallel()
	got, err := read(elftest.Program{
		Interp: "/" + strings.Repeat("i", 4094), Needed: append(slices.Repeat([]string{"l"}, 1023), strings.Repeat("n", 4095)),
	}.Build())
	if err != nil || len(got.Interp) != 4095 || len(got.Needed) != 1024 || len(got.Needed[1023]) != 4095 {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := read(b)
		if err != nil || i == nil {
			return
		}
		total := len(i.Interp) + len(i.Soname)
		for _, s := range slices.Concat(i.Needed, i.Rpath, i.Runpath) {
			total += len(s)
		}
		if total > 70<<10 || len(i.Needed) > 1024 {
			t.Errorf("%d bytes, %d libraries", total, len(i.Needed))
		}
	})
}
