package grub_test

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"debug/pe"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/grub"
)

// A change of these bytes needs another Version.
func TestEFISameBytes(t *testing.T) {
	t.Parallel()
	for f, want := range map[grub.Format]string{
		grub.EFIAMD64: "5891f4afdf4c4d7ccb5594ea3917ec73e7b46258cceeb635d641b7b81eb71036",
		grub.EFIARM64: "148891d7b1d4fd2a0f75219e3d27f58b14aed55e442acf0b96465deeb7edc106",
	} {
		core, err := grub.Core(toTree(t, efiStandIn(everyRelocation(f))), simpleEFI(f))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(core)); grub.Version != "1" || got != want {
			t.Errorf("%s of version %s: SHA-256 %s, want %s", f, grub.Version, got, want)
		}
	}
}

func TestEFIRefused(t *testing.T) {
	t.Parallel()
	const amd64, arm64 = elf.EM_X86_64, elf.EM_AARCH64
	one := func(m elf.Machine, r rela) *object { return kernelObject(m, []rela{r}, nil) }
	change := func(fn func(*object)) *object {
		o := kernelObject(amd64, nil, nil)
		fn(o)
		return o
	}
	abs, pc32 := uint32(elf.R_X86_64_64), uint32(elf.R_X86_64_PC32)
	page, low, call := uint32(elf.R_AARCH64_ADR_GOT_PAGE), uint32(elf.R_AARCH64_LD64_GOT_LO12_NC), uint32(elf.R_AARCH64_CALL26)
	for name, c := range map[string]struct {
		kernel *object
		want   string // "" where it is possible
	}{
		"nothing to relocate":  {kernelObject(amd64, nil, nil), ""},
		"other machine":        {kernelObject(elf.EM_RISCV, nil, nil), "is no object file of 64 bits for EM_X86_64"},
		"no code":              {change(func(o *object) { o.sections[text].content = "" }), "has no symbol _start in its code"},
		"no start":             {change(func(o *object) { o.symbols = o.symbols[:1] }), "has no symbol _start in its code"},
		"start in data":        {change(func(o *object) { o.symbols[1].section = data }), "has no symbol _start in its code"},
		"start is not defined": {change(func(o *object) { o.symbols[1].section = 0 }), `symbol "_start" is not defined`},
		"start is common":      {change(func(o *object) { o.symbols[1].section = uint16(elf.SHN_COMMON) }), `symbol "_start" is not defined`},
		"compressed section": {change(func(o *object) {
			o.sections[6].flags, o.sections[6].content = elf.SHF_COMPRESSED, "\x01"+strings.Repeat("\x00", 30)
		}), "section .comment is compressed"},
		"largest alignment":        {change(func(o *object) { o.sections[data].align = 4096 }), ""},
		"larger alignment":         {change(func(o *object) { o.sections[data].align = 8192 }), "section .data: alignment of 8192 bytes"},
		"odd alignment":            {change(func(o *object) { o.sections[data].align = 3 }), "section .data: alignment of 3 bytes"},
		"most zeros":               {change(func(o *object) { o.sections[bss].size = 4<<20 - 0x5900 }), ""},
		"too many zeros":           {change(func(o *object) { o.sections[bss].size = 4 << 20 }), "are too many, the kernel has at most 4194304"},
		"wildly many zeros":        {change(func(o *object) { o.sections[bss].size = 1 << 62 }), "are too many"},
		"entries of other size":    {change(func(o *object) { o.sections[2].entsize = 16; o.sections[2].content = strings.Repeat("x", 48) }), "not 24"},
		"relocations for zeros":    {change(func(o *object) { o.sections[2].info = bss }), "relocates .bss, which has no content"},
		"relocations for no one":   {change(func(o *object) { o.sections[2].info = 1000; o.sections[2].content = strings.Repeat("x", 24) }), ""},
		"unknown relocation":       {one(amd64, rela{0, 1, 10, 0}), "R_X86_64_32 is not possible in a program that is loaded anywhere"},
		"unknown on arm64":         {one(arm64, rela{0, 1, 258, 0}), "R_AARCH64_ABS32 is not supported"},
		"unknown symbol":           {one(amd64, rela{0, 5, abs, 0}), "symbol 5 does not exist"},
		"last address":             {one(amd64, rela{0x23f8, 1, abs, 0}), ""},
		"over the end":             {one(amd64, rela{0x23f9, 1, abs, 0}), "reaches over the section's end"},
		"last number":              {one(amd64, rela{0x23fc, 1, pc32, 0}), ""},
		"number over the end":      {one(amd64, rela{0x23fd, 1, pc32, 0}), "reaches over the section's end"},
		"far over the end":         {one(amd64, rela{1 << 63, 1, pc32, 0}), "is not within 9216 bytes"},
		"too far":                  {one(amd64, rela{0x20, 1, pc32, 1 << 32}), "does not reach that far"},
		"longest branch":           {one(arm64, rela{0x20, 1, call, 1<<27 - 4}), ""},
		"longer branch":            {one(arm64, rela{0x20, 1, call, 1 << 27}), "does not reach that far"},
		"longest branch backwards": {one(arm64, rela{0x20, 1, call, -1 << 27}), ""},
		"longer branch backwards":  {one(arm64, rela{0x20, 1, call, -1<<27 - 4}), "does not reach that far"},
		"page too far":             {one(arm64, rela{0x20, 1, uint32(elf.R_AARCH64_ADR_PREL_PG_HI21), 1 << 32}), "does not reach that far"},
		"odd word":                 {one(arm64, rela{0x20, 1, uint32(elf.R_AARCH64_LDST64_ABS_LO12_NC), 4}), "is no multiple of 8"},
		"page without word":        {one(arm64, rela{0x20, 1, page, 0}), "has no R_AARCH64_LD64_GOT_LO12_NC"},
		"word of another":          {kernelObject(arm64, []rela{{0x20, 1, page, 0}, {0x24, 2, low, 0}}, nil), "has no R_AARCH64_LD64_GOT_LO12_NC"},
		"word over the end":        {kernelObject(arm64, []rela{{0x20, 1, page, 0}, {0x23fd, 1, low, 0}}, nil), "reaches over the section's end"},
		"word far over the end":    {kernelObject(arm64, []rela{{0x20, 1, page, 0}, {1 << 40, 1, low, 0}}, nil), "reaches over the section's end"},
	} {
		f := grub.EFIAMD64
		if c.kernel.machine == arm64 {
			f = grub.EFIARM64
		}
		_, err := grub.Core(toTree(t, efiStandIn(c.kernel)), simpleEFI(f))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (!errors.Is(err, grub.ErrDamaged) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	files := efiStandIn(kernelObject(amd64, nil, nil))
	files["a.mod"] = module("a") // of 32 bits
	if _, err := grub.Core(toTree(t, files), simpleEFI(grub.EFIAMD64)); err == nil || !strings.Contains(err.Error(), "is no ELF object of 64 bits") {
		t.Errorf("module of 32 bits: %v", err)
	}
	delete(files, "kernel.img")
	if _, err := grub.Core(toTree(t, files), simpleEFI(grub.EFIAMD64)); err == nil || !strings.Contains(err.Error(), "usr/lib/grub/x86_64-efi; in Debian: the package grub-efi-amd64-bin") {
		t.Errorf("no kernel: %v", err)
	}
}

// FuzzEFI gives damaged kernels: an error or a program.
func FuzzEFI(f *testing.F) {
	for i, format := range []grub.Format{grub.EFIAMD64, grub.EFIARM64} {
		f.Add([]byte(everyRelocation(format).String()), i == 1)
	}
	f.Fuzz(func(t *testing.T, kernel []byte, arm64 bool) {
		files := efiStandIn(kernelObject(elf.EM_X86_64, nil, nil))
		files["kernel.img"] = string(kernel)
		format := grub.EFIAMD64
		if arm64 {
			format = grub.EFIARM64
		}
		core, err := grub.Core(toTree(t, files), simpleEFI(format))
		if err != nil {
			return
		}
		p, err := pe.NewFile(bytes.NewReader(core))
		if err != nil || len(core)%0x1000 != 0 || len(p.Sections) != 4 {
			t.Errorf("%d bytes: %v", len(core), err)
		}
	})
}
