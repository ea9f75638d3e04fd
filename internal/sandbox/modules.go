package sandbox

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/mikelolasagasti/xz"

	"github.com/talosmith/talosmith/pkg/kmod"
	"github.com/talosmith/talosmith/pkg/tree"
)

// baseModules are the directories below kernel/ whose modules the base has, with all that they need: a part of what Debian
// builds, so that the root stays small.
var baseModules = []string{
	"arch/x86/crypto", "block", "crypto", "drivers/ata", "drivers/block", "drivers/cdrom", "drivers/char/hw_random", "drivers/md", "drivers/net/dummy.ko",
	"drivers/net/ethernet/intel/e1000", "drivers/net/veth.ko", "drivers/net/virtio_net.ko", "drivers/nvme", "drivers/usb/host", "drivers/usb/storage",
	"drivers/virtio", "fs", "lib",
}

// notInBase come with extensions.
var notInBase = []string{"btrfs", "uinput"}

// earlyModules are loaded by /init, with all that they need, since the kernel has them not built in as Talos's has.
var earlyModules = []string{"loop", "squashfs", "overlay", "isofs"}

// modules are the kernel's: every one of the package, as .ko.xz, and those of the base, unpacked.
type modules struct {
	release string
	all     map[string]tree.Node // by name; Path is relative to the release directory
	dir     *tree.Tree           // release directory of the base
	base    map[string]kmod.Module
}

func readModules(kernel *tree.Tree, release string) (*modules, error) {
	dir, err := kernel.Sub("usr/lib/modules/" + release)
	if err != nil {
		return nil, err
	}
	m := &modules{release: release, all: map[string]tree.Node{}, base: map[string]kmod.Module{}}
	var wanted []string
	for n := range dir.All() {
		if !strings.HasSuffix(n.Path, ".ko.xz") {
			continue
		}
		name := moduleName(n.Path)
		m.all[name] = n
		if isBaseModule(n.Path) && !slices.Contains(notInBase, name) {
			wanted = append(wanted, name)
		}
	}
	var f files
	for _, name := range []string{"modules.order", "modules.builtin", "modules.builtin.modinfo"} {
		f.copy(dir, name, name)
	}
	// What modules need may need more.
	for len(wanted) > 0 {
		part := files{}
		for _, name := range wanted {
			if err := m.unpack(&part, name); err != nil {
				return nil, err
			}
		}
		scanned, err := scan(&part)
		if err != nil {
			return nil, err
		}
		wanted = wanted[:0]
		for _, mod := range scanned {
			m.base[mod.Name] = mod
		}
		for _, mod := range scanned {
			for _, need := range mod.Depends {
				need = moduleName(need) // written with dashes
				if _, ok := m.base[need]; !ok && !slices.Contains(wanted, need) {
					wanted = append(wanted, need)
				}
			}
		}
		f.nodes = append(f.nodes, part.nodes...)
	}
	if m.dir, err = f.tree(); err != nil {
		return nil, err
	}
	return m, nil
}

func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

func isBaseModule(file string) bool {
	return slices.ContainsFunc(baseModules, func(dir string) bool {
		return strings.HasPrefix(file, "kernel/"+dir+"/") || strings.HasPrefix(file, "kernel/"+dir+".")
	})
}

func scan(f *files) ([]kmod.Module, error) {
	t, err := f.tree()
	if err != nil {
		return nil, err
	}
	return kmod.Scan(t, 0)
}

// pack adds a module to an extension as Debian has it, below a directory of modules.
func (m *modules) pack(f *files, dir, name string) error {
	n, ok := m.all[name]
	if !ok {
		return fmt.Errorf("kernel module %s: not in Debian's kernel package", name)
	}
	f.blob(dir+"/"+m.release+"/"+n.Path, 0o644, n.Content)
	return nil
}

// unpack adds a module without its compression, which the kernel signature is not part of.
func (m *modules) unpack(f *files, name string) error {
	n, ok := m.all[name]
	if !ok {
		return fmt.Errorf("kernel module %s: not in Debian's kernel package", name)
	}
	content, err := unxz(n.Content)
	if err != nil {
		return fmt.Errorf("%s: %w", n.Path, err)
	}
	f.blob(strings.TrimSuffix(n.Path, ".xz"), 0o644, content)
	return nil
}

func unxz(b tree.Blob) (tree.Blob, error) {
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	x, err := xz.NewReader(r, 1<<26)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	if _, err := io.Copy(&buf, x); err != nil {
		return nil, err
	}
	return tree.Bytes(buf.Bytes()), nil
}

// withIndexes returns the base's release directory with depmod's files.
func (m *modules) withIndexes() (*tree.Tree, error) {
	var scanned []kmod.Module
	for _, mod := range m.base {
		scanned = append(scanned, mod)
	}
	slices.SortFunc(scanned, func(a, b kmod.Module) int { return tree.Compare(a.Path, b.Path) })
	indexes, err := kmod.Index(m.dir, scanned, kmod.Options{ModTime: epoch})
	if err != nil {
		return nil, err
	}
	f := files{}
	for n := range indexes.All() {
		f.add(n)
	}
	for n := range m.dir.All() {
		if _, ok := indexes.Lookup(n.Path); !ok {
			f.add(n)
		}
	}
	return f.tree()
}

// early returns modules of the base in an order in which they load.
func (m *modules) early() (nodes []tree.Node, err error) {
	var visit func(name string) error
	seen := map[string]bool{}
	visit = func(name string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		mod, ok := m.base[name]
		if !ok {
			return fmt.Errorf("kernel module %s: not in the base", name)
		}
		for _, need := range mod.Depends {
			if err := visit(moduleName(need)); err != nil {
				return err
			}
		}
		n, _ := m.dir.Lookup(mod.Path)
		nodes = append(nodes, n)
		return nil
	}
	for _, name := range earlyModules {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}
