package preflight_test

import (
	"testing"

	"github.com/talosmith/talosmith/pkg/kmod"
	"github.com/talosmith/talosmith/pkg/preflight"
)

const (
	release  = "6.18.0-talos"
	vermagic = release + " SMP preempt mod_unload modversions "
)

func crc(name string, value uint32) kmod.Symbol {
	return kmod.Symbol{Name: name, CRC: value, HasCRC: true}
}

var talosKey = &kmod.Signature{KeyID: "AA:BB", Hash: "sha512"}

// kernel is a base with one module, the kernel's own exports unread.
func kernel() preflight.Kernel {
	return preflight.Kernel{
		Release: release, Builtins: []string{"virtio_net"},
		Modules: []kmod.Module{{
			Path: "kernel/base.ko", Name: "base", Arch: "amd64", Vermagic: vermagic, Signature: talosKey,
			Imports: []kmod.Symbol{crc("printk", 1), crc("module_layout", 2)}, Exports: []kmod.Symbol{crc("base_fn", 3)},
		}},
	}
}

// module is one that nothing is wrong with.
func module(name string, more ...kmod.Symbol) kmod.Module {
	return kmod.Module{
		Path: "extras/" + name + ".ko", Name: name, Arch: "amd64", Vermagic: vermagic, Signature: talosKey,
		Imports: append([]kmod.Symbol{crc("printk", 1), crc("module_layout", 2)}, more...),
	}
}

func TestModules(t *testing.T) {
	t.Parallel()
	change := func(fn func(*kmod.Module)) []kmod.Module {
		m := module("x")
		fn(&m)
		return []kmod.Module{m}
	}
	const at = `"/usr/lib/modules/6.18.0-talos/extras/x.ko": `
	for name, c := range map[string]struct {
		modules []kmod.Module
		other   []kmod.Module // of a second extension
		kernel  func(*preflight.Kernel)
		version string
		lax     bool // modules need no signature
		want    []string
	}{
		"fine":           {modules: []kmod.Module{module("x", crc("base_fn", 3))}},
		"of another one": {modules: []kmod.Module{module("x", crc("y_fn", 9))}, other: []kmod.Module{{Path: "extras/y.ko", Name: "y", Arch: "amd64", Vermagic: vermagic, Signature: talosKey, Exports: []kmod.Symbol{crc("y_fn", 9)}}}},
		"architecture": {modules: change(func(m *kmod.Module) { m.Arch, m.Vermagic, m.Signature = "arm64", "", nil }),
			want: []string{`extension 0: error elf-machine: ` + at + `it is for arm64, the image for amd64`}},
		"vermagic's options": {modules: change(func(m *kmod.Module) { m.Vermagic = release + " SMP mod_unload " }),
			want: []string{`extension 0: error vermagic: ` + at + `it is built for a kernel with "6.18.0-talos SMP mod_unload", this one has "6.18.0-talos SMP preempt mod_unload modversions"`}},
		"vermagic's release": {modules: change(func(m *kmod.Module) { m.Vermagic = "6.17" + vermagic[6:] }),
			want: []string{`extension 0: warning vermagic: ` + at + `it is built for the kernel 6.17-talos, this is 6.18.0-talos`}},
		"vermagic's release without CRCs": {modules: change(func(m *kmod.Module) { m.Vermagic, m.Imports = "6.17"+vermagic[6:], []kmod.Symbol{{Name: "printk"}} }),
			want: []string{`extension 0: error vermagic: ` + at + `it is built for the kernel 6.17-talos, this is 6.18.0-talos`}},
		"no vermagic": {modules: change(func(m *kmod.Module) { m.Vermagic = "" }),
			want: []string{`extension 0: error vermagic: ` + at + `it does not say which kernel it is for (vermagic)`}},
		"CRC of the kernel":      {modules: change(func(m *kmod.Module) { m.Imports[0].CRC = 7 }), want: []string{`extension 0: error module-symbol: ` + at + `the CRCs of symbols that it needs are others here: printk`}},
		"CRC of a module":        {modules: []kmod.Module{module("x", crc("base_fn", 4))}, want: []string{`extension 0: error module-symbol: ` + at + `the CRCs of symbols that it needs are others here: base_fn`}},
		"CRC of another one":     {modules: []kmod.Module{module("x", crc("y_fn", 8))}, other: []kmod.Module{{Path: "extras/y.ko", Name: "y", Arch: "amd64", Vermagic: vermagic, Signature: talosKey, Exports: []kmod.Symbol{crc("y_fn", 9)}}}, want: []string{`extension 0: error module-symbol: ` + at + `the CRCs of symbols that it needs are others here: y_fn`}},
		"import without CRC":     {modules: change(func(m *kmod.Module) { m.Imports[0] = kmod.Symbol{Name: "printk"} })},
		"symbol, exports unread": {modules: []kmod.Module{module("x", crc("vzalloc", 4))}},
		"symbol": {modules: []kmod.Module{module("x", crc("vzalloc", 4), crc("none", 5), kmod.Symbol{Name: "weak", Weak: true}, kmod.Symbol{Name: "_GLOBAL_OFFSET_TABLE_"})},
			kernel: func(k *preflight.Kernel) {
				k.Exports = []kmod.Symbol{crc("printk", 1), crc("module_layout", 2), crc("vzalloc", 4)}
			},
			want: []string{`extension 0: error module-symbol: ` + at + `it needs symbols that nothing exports: none`}},
		"symbols": {modules: []kmod.Module{module("x", crc("a", 1), crc("b", 1), crc("c", 1), crc("d", 1), crc("e", 1), crc("f", 1), crc("g", 1), crc("h", 1), crc("i", 1), crc("j", 1))},
			kernel: func(k *preflight.Kernel) { k.Exports = []kmod.Symbol{crc("printk", 1), crc("module_layout", 2)} },
			want:   []string{`extension 0: error module-symbol: ` + at + `it needs symbols that nothing exports: a, b, c, d, e, f, g, h and 2 more`}},
		"CRC of the kernel's own": {modules: []kmod.Module{module("x", crc("vzalloc", 5))},
			kernel: func(k *preflight.Kernel) {
				k.Exports = []kmod.Symbol{crc("printk", 1), crc("module_layout", 2), crc("vzalloc", 4)}
			},
			want: []string{`extension 0: error module-symbol: ` + at + `the CRCs of symbols that it needs are others here: vzalloc`}},
		"depends": {modules: change(func(m *kmod.Module) { m.Depends = []string{"base", "virtio-net", "x"} })},
		"depends on nothing": {modules: change(func(m *kmod.Module) {
			m.Depends = []string{"nvidia-drm", "base"}
			m.Imports = append(m.Imports, crc("drm_fn", 1))
		}),
			kernel: func(k *preflight.Kernel) { k.Exports = []kmod.Symbol{crc("printk", 1), crc("module_layout", 2)} },
			want:   []string{`extension 0: error module-depends: ` + at + `it needs modules that neither Talos nor an extension has: nvidia_drm`}},
		"unsigned": {modules: change(func(m *kmod.Module) { m.Signature = nil }), want: []string{`extension 0: error module-signature: ` + at + `it is not signed`}},
		"another key": {modules: change(func(m *kmod.Module) { m.Signature = &kmod.Signature{KeyID: "CC", Signer: "ACME"} }),
			want: []string{`extension 0: error module-signature: ` + at + `it is signed with the key CC of ACME, Talos's modules with AA:BB`}},
		"unsigned, and so is the base": {modules: change(func(m *kmod.Module) { m.Signature = nil }), kernel: func(k *preflight.Kernel) { k.Modules[0].Signature = nil }},
		"unsigned, and let be":         {modules: change(func(m *kmod.Module) { m.Signature = nil }), lax: true},
		"built in":                     {modules: []kmod.Module{{Path: "extras/virtio-net.ko", Name: "virtio_net", Arch: "amd64", Vermagic: vermagic, Signature: talosKey}}, want: []string{`extension 0: warning module-builtin: "/usr/lib/modules/6.18.0-talos/extras/virtio-net.ko": the kernel has virtio_net built in`}},
		"twice": {modules: []kmod.Module{{Path: "extras/base.ko", Name: "base", Arch: "amd64", Vermagic: vermagic, Signature: talosKey}},
			want: []string{`extension 0: warning module-duplicate: "/usr/lib/modules/6.18.0-talos/extras/base.ko": a module of the same name is at kernel/base.ko`}},
		"replaced":             {modules: []kmod.Module{{Path: "kernel/base.ko", Name: "base", Arch: "amd64", Vermagic: vermagic, Signature: talosKey}}},
		"base without modules": {modules: []kmod.Module{module("x")}, kernel: func(k *preflight.Kernel) { k.Modules = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.version == "" {
				c.version = "v1.13.9"
			}
			target := preflight.Target{Facts: facts(t, c.version, "amd64"), Kernel: kernel(), SignedModules: !c.lax}
			if c.kernel != nil {
				c.kernel(&target.Kernel)
			}
			for _, m := range [][]kmod.Module{c.modules, c.other} {
				if m != nil {
					target.Extensions = append(target.Extensions, preflight.Extension{Name: "e", Modules: preflight.Modules{Releases: []string{release}, Scanned: m}})
				}
			}
			check(t, preflight.Check(target), c.want...)
		})
	}
}

func TestModulesThatCantBeUsed(t *testing.T) {
	t.Parallel()
	target := preflight.Target{Facts: facts(t, "v1.9.0", "arm64"), Kernel: kernel(), Extensions: []preflight.Extension{
		{Name: "other", Modules: preflight.Modules{Releases: []string{"6.17.0-talos"}, Scanned: []kmod.Module{module("x")}}},
		{Name: "two", Modules: preflight.Modules{Releases: []string{"6.17.0-talos", release}}},
		{Name: "bad", Modules: preflight.Modules{Releases: []string{release}, Bad: []preflight.BadModule{{Path: "extras/a.ko", Cause: "the file is no ELF object"}, {Path: "extras/b.ko", Cause: "\x1b"}}}},
	}}
	check(t, preflight.Check(target),
		`extension 0: error kernel-release: "/lib/modules/6.17.0-talos": its modules are for the kernel 6.17.0-talos, Talos v1.9.0 has 6.18.0-talos`,
		`extension 1: error kernel-release: "/lib/modules/6.17.0-talos": its modules are for the kernel 6.17.0-talos, 6.18.0-talos, Talos v1.9.0 has 6.18.0-talos`,
		`extension 2: error module: "/lib/modules/6.18.0-talos/extras/a.ko": the file is no ELF object`,
		`extension 2: error module: "/lib/modules/6.18.0-talos/extras/b.ko": "\x1b"`,
	)
}
