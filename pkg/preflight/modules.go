package preflight

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/kmod"
)

// Kernel is what the base has for modules.
type Kernel struct {
	// Release is the name of the directory of its modules.
	Release string
	Modules []kmod.Module
	// Builtins are the names of the modules that are part of the kernel.
	Builtins []string
	// Exports are the kernel's own symbols, as far as they can be read ([kmod.KernelExports]); nil where they can't.
	Exports []kmod.Symbol
}

// Modules are those of an extension.
type Modules struct {
	// Releases are the directories below lib/modules. More than one can't be used.
	Releases []string
	// Scanned are those of the only one.
	Scanned []kmod.Module
	// Bad are those that can't be read.
	Bad []BadModule
}

// BadModule is one that can't be read.
type BadModule struct{ Path, Cause string }

// modules looks at the kernel modules of all extensions.
func (c *checker) modules() {
	k := newSymbols(c.Kernel, c.Extensions)
	for i, e := range c.Extensions {
		m := e.Modules
		if len(m.Releases) == 0 {
			continue
		}
		if len(m.Releases) > 1 || m.Releases[0] != c.Kernel.Release {
			c.add(i, extension.Error, CodeKernelRelease, c.Facts.Modules()+"/"+m.Releases[0], "no module would be loaded: take the extension's build for this Talos",
				"its modules are for the kernel %s, Talos %s has %s", strings.Join(m.Releases, ", "), c.Facts.Version, c.Kernel.Release)
			continue
		}
		for _, bad := range m.Bad {
			c.module(i, bad.Path, extension.Error, CodeModule, "the kernel does not load it", "%s", printable(bad.Cause))
		}
		for j := range m.Scanned {
			c.oneModule(i, &m.Scanned[j], k)
		}
	}
}

// module reports something about a module, by its path in the release directory.
func (c *checker) module(ext int, p string, s extension.Severity, code, detail, format string, args ...any) {
	c.add(ext, s, code, path.Join(c.Facts.Modules(), c.Kernel.Release, p), detail, format, args...)
}

func (c *checker) oneModule(ext int, m *kmod.Module, k *symbols) {
	if m.Arch != c.Facts.Arch {
		c.module(ext, m.Path, extension.Error, CodeELFMachine, "take the module's build for "+c.Facts.Arch, "it is for %s, the image for %s", m.Arch, c.Facts.Arch)
		return
	}
	c.vermagic(ext, m, k)
	c.needs(ext, m, k)
	c.signature(ext, m, k)
	c.twice(ext, m, k)
}

// vermagic compares as the kernel does (kernel/module/version.c, same_magic): a module with CRCs may say another release.
func (c *checker) vermagic(ext int, m *kmod.Module, k *symbols) {
	if k.vermagic == "" || m.Vermagic == k.vermagic {
		return
	}
	ours, ourOptions, _ := strings.Cut(k.vermagic, " ")
	its, options, _ := strings.Cut(m.Vermagic, " ")
	hasCRCs := slices.ContainsFunc(m.Imports, func(s kmod.Symbol) bool { return s.HasCRC })
	switch {
	case m.Vermagic == "":
		c.module(ext, m.Path, extension.Error, CodeVermagic, "the kernel does not load it", "it does not say which kernel it is for (vermagic)")
	case strings.TrimSpace(options) != strings.TrimSpace(ourOptions):
		c.module(ext, m.Path, extension.Error, CodeVermagic, "the kernel does not load it: build it with the configuration of this kernel",
			"it is built for a kernel with %q, this one has %q", printable(strings.TrimSpace(m.Vermagic)), strings.TrimSpace(k.vermagic))
	case its != ours && !hasCRCs:
		c.module(ext, m.Path, extension.Error, CodeVermagic, "the kernel does not load it: build it for this one", "it is built for the kernel %s, this is %s", printable(its), ours)
	case its != ours:
		c.module(ext, m.Path, extension.Warning, CodeVermagic, "the kernel loads it all the same where the CRCs of all symbols agree",
			"it is built for the kernel %s, this is %s", printable(its), ours)
	}
}

// needs looks for the modules and symbols that a module needs.
func (c *checker) needs(ext int, m *kmod.Module, k *symbols) {
	var absent []string
	for _, d := range m.Depends {
		if name := strings.ReplaceAll(d, "-", "_"); name != "" && !k.has[name] {
			absent = append(absent, printable(name))
		}
	}
	if len(absent) > 0 {
		c.module(ext, m.Path, extension.Error, CodeModuleDepends, "it can't be loaded without: bring them along, or the extension that has them",
			"it needs modules that neither Talos nor an extension has: %s", some(absent))
	}
	var unresolved, other []string
	for _, s := range m.Imports {
		switch k.match(s) {
		case absentSymbol:
			unresolved = append(unresolved, s.Name)
		case otherSymbol:
			other = append(other, s.Name)
		}
	}
	if len(unresolved) > 0 && len(absent) == 0 {
		c.module(ext, m.Path, extension.Error, CodeModuleSymbol, "the kernel does not load it", "it needs symbols that nothing exports: %s", some(unresolved))
	}
	if len(other) > 0 {
		c.module(ext, m.Path, extension.Error, CodeModuleSymbol, "the kernel does not load it: build it against this kernel",
			"the CRCs of symbols that it needs are others here: %s", some(other))
	}
}

// signature looks who signed a module. Whether the signature is right, only the kernel's key could tell.
func (c *checker) signature(ext int, m *kmod.Module, k *symbols) {
	if !c.SignedModules {
		return
	}
	const remedy = "the kernel does not load it: sign it with the key of this kernel's build, or let the kernel take any with kernel_args = [\"-module.sig_enforce\"]"
	detail := remedy
	if !c.Facts.ModuleSignatures { // built so
		detail = "the kernel does not load it: sign it with the key of this kernel's build"
	}
	switch {
	case m.Signature == nil && !k.unsigned:
		c.module(ext, m.Path, extension.Error, CodeModuleSignature, detail, "it is not signed")
	case m.Signature != nil && len(k.signers) > 0 && !slices.Contains(k.signers, m.Signature.KeyID):
		c.module(ext, m.Path, extension.Error, CodeModuleSignature, detail, "it is signed with the key %s, Talos's modules with %s",
			signer(m.Signature), strings.Join(k.signers, ", "))
	}
}

func signer(s *kmod.Signature) string {
	if s.Signer == "" {
		return s.KeyID
	}
	return fmt.Sprintf("%s of %s", s.KeyID, printable(s.Signer))
}

// twice finds modules that are there already.
func (c *checker) twice(ext int, m *kmod.Module, k *symbols) {
	if k.builtin[m.Name] {
		c.module(ext, m.Path, extension.Warning, CodeModuleBuiltin, "it is never loaded: leave it out", "the kernel has %s built in", m.Name)
	}
	for _, other := range k.paths[m.Name] {
		if other != m.Path {
			detail := "modprobe knows one of them: that in extras/, else the first"
			c.module(ext, m.Path, extension.Warning, CodeModuleDuplicate, detail, "a module of the same name is at %s", other)
			return
		}
	}
}

// symbols are what all modules and the kernel know of each other.
type symbols struct {
	vermagic string
	// signers are the keys of the base's modules. unsigned: it has modules, of which none is signed, so that its kernel can't mean to
	// refuse them.
	signers  []string
	unsigned bool
	builtin  map[string]bool
	has      map[string]bool     // names of modules, built-in ones too
	paths    map[string][]string // where a module is, by its name
	exported map[string][]kmod.Symbol
	// kernel has what modules of the base import from the kernel, where its own exports can't be read.
	kernel map[string]kmod.Symbol
	whole  bool // exported has the kernel's, too
}

func newSymbols(kernel Kernel, extensions []Extension) *symbols {
	k := &symbols{
		builtin: map[string]bool{}, has: map[string]bool{}, paths: map[string][]string{}, exported: map[string][]kmod.Symbol{}, kernel: map[string]kmod.Symbol{},
		whole: kernel.Exports != nil, unsigned: len(kernel.Modules) > 0,
	}
	for _, name := range kernel.Builtins {
		k.builtin[name], k.has[name] = true, true
	}
	export := func(list []kmod.Symbol) {
		for _, s := range list {
			k.exported[s.Name] = append(k.exported[s.Name], s)
		}
	}
	export(kernel.Exports)
	add := func(m *kmod.Module) {
		k.has[m.Name] = true
		if !slices.Contains(k.paths[m.Name], m.Path) {
			k.paths[m.Name] = append(k.paths[m.Name], m.Path)
		}
		export(m.Exports)
	}
	for i := range kernel.Modules {
		m := &kernel.Modules[i]
		add(m)
		if k.vermagic == "" {
			k.vermagic = m.Vermagic
		}
		if m.Signature != nil {
			k.unsigned = false
			if !slices.Contains(k.signers, m.Signature.KeyID) {
				k.signers = append(k.signers, m.Signature.KeyID)
			}
		}
	}
	for _, m := range kernel.Modules { // once the base's exports are known
		for _, s := range m.Imports {
			if _, isModules := k.exported[s.Name]; !isModules && s.HasCRC {
				k.kernel[s.Name] = s
			}
		}
	}
	for _, e := range extensions {
		if len(e.Modules.Releases) == 1 && e.Modules.Releases[0] == kernel.Release {
			for i := range e.Modules.Scanned {
				add(&e.Modules.Scanned[i])
			}
		}
	}
	slices.Sort(k.signers)
	return k
}

// relation of an import to what is exported.
type relation int

const (
	fineSymbol   relation = iota
	absentSymbol          // nothing exports it
	otherSymbol           // something does, but of another type
)

// loaderSymbol is passed over by the kernel's loader (kernel/module/main.c, ignore_undef_symbol).
const loaderSymbol = "_GLOBAL_OFFSET_TABLE_"

// match looks for what a module imports. What the kernel exports and nothing here can tell of counts as fine.
func (k *symbols) match(s kmod.Symbol) relation {
	owners := k.exported[s.Name]
	if known, ok := k.kernel[s.Name]; ok && !k.whole {
		owners = append(slices.Clip(owners), known)
	}
	switch {
	case len(owners) == 0 && (s.Weak || !k.whole || s.Name == loaderSymbol):
		return fineSymbol
	case len(owners) == 0:
		return absentSymbol
	}
	for _, o := range owners {
		if !s.HasCRC || !o.HasCRC || s.CRC == o.CRC {
			return fineSymbol
		}
	}
	return otherSymbol
}
