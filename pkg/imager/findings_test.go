package imager_test

import (
	"bytes"
	"debug/elf"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/internal/elftest"
	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/preflight"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// The kernel of the findings, which takes no module but those that its key signed.
const (
	kernelRelease = "6.18.0-talos"
	kernelMagic   = kernelRelease + " SMP preempt mod_unload modversions "
	modulesDir    = "usr/lib/modules/" + kernelRelease + "/"
)

var kernelKey = []byte{0xaa, 0xbb}

// moduleOf is a module that nothing is wrong with, until change.
func moduleOf(change func(*elftest.Module)) string {
	m := elftest.Module{Vermagic: kernelMagic, Key: kernelKey, Imports: []elftest.Symbol{{Name: "printk", CRC: 1}}}
	change(&m)
	return string(m.Build())
}

func fileOf(p string, mode fs.FileMode, content string) tree.Node {
	return tree.Node{Path: p, Mode: mode, Content: tree.String(content)}
}

func linkOf(p, target string) tree.Node {
	return tree.Node{Path: p, Mode: fs.ModeSymlink | 0o777, Link: target}
}

// wrong are the root file systems of images that profiles of testdata/findings name: what can't be written in a profile itself.
func wrong() map[string][]tree.Node {
	arm := string(elftest.Program{Machine: elf.EM_AARCH64, Type: elf.ET_EXEC}.Build())
	module := func(name string, change func(*elftest.Module)) []tree.Node {
		return []tree.Node{fileOf(modulesDir+"extras/"+name+".ko", 0o644, moduleOf(change))}
	}
	as := func(*elftest.Module) {}
	return map[string][]tree.Node{
		"world-writable": {fileOf("usr/local/share/open", 0o666, ""), {Path: "usr/local/spool", Mode: fs.ModeDir | 0o777}},
		"special-file":   {{Path: "usr/local/null", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o644}, {Path: "usr/local/pipe", Mode: fs.ModeNamedPipe | 0o644}},
		"setuid":         {fileOf("usr/local/bin/su", fs.ModeSetuid|0o755, "")},
		"link-escapes":   {linkOf("usr/local/bin/out", "../../../../../etc/passwd")},
		"link-dangling":  {linkOf("usr/local/bin/gone", "../lib/gone")},
		"firmware-link":  {linkOf("usr/lib/firmware/a.bin", "b.bin")},
		"machine":        {fileOf("usr/local/bin/agent", 0o755, arm)},
		"elf-machine":    {fileOf("usr/local/bin/agent", 0o755, arm), fileOf("usr/local/bin/other", 0o755, string(elftest.Program{Type: elf.ET_EXEC}.Build()))},
		"elf-damaged":    {fileOf("usr/local/bin/agent", 0o755, "\x7fELF\x09\x01\x01"+strings.Repeat("\x00", 60))},
		"library": {
			fileOf("usr/local/lib/ld.so", 0o755, string(elftest.Program{Soname: "ld.so"}.Build())),
			fileOf("usr/local/bin/agent", 0o755, string(elftest.Program{Interp: "/usr/local/lib/ld.so", Needed: []string{"libssl.so.3"}}.Build())),
		},
		"kernel-release":   {fileOf("usr/lib/modules/5.4.0/extras/x.ko", 0o644, moduleOf(as))},
		"vermagic":         module("x", func(m *elftest.Module) { m.Vermagic = kernelRelease + " SMP " }),
		"module":           {fileOf(modulesDir+"extras/x.ko", 0o644, "no module")},
		"module-symbol":    module("x", func(m *elftest.Module) { m.Imports = append(m.Imports, elftest.Symbol{Name: "nobody_has_it", CRC: 1}) }),
		"module-crc":       module("x", func(m *elftest.Module) { m.Imports[0].CRC = 2 }),
		"module-depends":   module("x", func(m *elftest.Module) { m.Depends = []string{"nvidia"} }),
		"module-unsigned":  module("x", func(m *elftest.Module) { m.Key = nil }),
		"module-signature": module("x", func(m *elftest.Module) { m.Key = []byte{0xcc} }),
		"module-builtin":   module("virtio_blk", as),
		"module-duplicate": module("dummy", as),
	}
}

// findingsWorld has all that, official extensions that are no better, and a Talos with a kernel that knows its modules.
func findingsWorld(t *testing.T) *world {
	w := newWorld(t)
	w.kernel = string(elftest.Kernel{Release: kernelRelease, Exports: []elftest.Symbol{{Name: "printk", CRC: 1}}}.Build())
	w.root = []tree.Node{fileOf(modulesDir+"kernel/drivers/net/dummy.ko", 0o644, moduleOf(func(*elftest.Module) {}))}
	for _, name := range []string{"gvisor", "gvisor-debug"} {
		w.extension(name+":1", map[string]string{"etc/cri/conf.d/10-runsc.part": name})
	}
	w.release("v1.13.9")
	push := func(name, manifest string, root []tree.Node) {
		nodes := []tree.Node{{Path: "rootfs", Mode: fs.ModeDir | 0o755}}
		if manifest != "" {
			nodes = append(nodes, fileOf("manifest.yaml", 0o644, manifest))
		}
		for _, n := range root {
			n.Path = "rootfs/" + n.Path
			nodes = append(nodes, n)
		}
		w.push("test/"+name+":1", func(arch string) v1.Image { return w.imageOf(arch, nodes) }, architectures...)
	}
	for name, root := range wrong() {
		push(name, manifest(name, "1"), root)
	}
	fine := []tree.Node{fileOf("usr/local/share/x", 0o644, "")}
	push("manifest", manifest("agent", ""), fine)
	push("talos-version", strings.Replace(manifest("agent", "1"), ">= v1.0.0", ">= v1.14.0", 1), fine)
	push("constraint", strings.Replace(manifest("agent", "1"), ">= v1.0.0", "newest", 1), fine)
	push("unusable", "", fine)
	return w
}

// unbuilt is what is known of targets that are too large to be made by a test.
func unbuilt(t *testing.T, f talos.Facts) map[string]preflight.Target {
	t.Helper()
	root, err := tree.New([]tree.Node{{Path: "usr/local/share/model", Mode: 0o644, Content: tree.Zeros(1 << 32)}})
	if err != nil {
		t.Fatal(err)
	}
	agent := extension.Extension{Manifest: extension.Manifest{Metadata: extension.Metadata{Name: "agent", Version: "1"}}, Root: root}
	disk := []preflight.Output{{Kind: talos.KindDisk, Bootloader: talos.DualBoot}}
	return map[string]preflight.Target{
		"file-size": {Extensions: []preflight.Extension{{Name: "agent", Findings: agent.Check(f)}}},
		"size": {
			Extensions: []preflight.Extension{{Name: "agent"}}, Outputs: disk,
			Sizes: &preflight.Sizes{Kernel: 20 << 20, Initramfs: 80 << 20, Extensions: []preflight.Cost{{Layer: 900 << 20}}},
		},
		"memory": {
			Extensions: []preflight.Extension{{Name: "agent"}}, Outputs: disk,
			Sizes: &preflight.Sizes{Unpacked: 100 << 20, Extensions: []preflight.Cost{{Layer: 400 << 20}}},
		},
	}
}

// TestFindings checks every profile of testdata/findings, one for each code and what it can be about: what is said, with line and column,
// stands beside it. internal/docstest sees that no code is missing.
func TestFindings(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/findings/*.hcl")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	r := findingsWorld(t).run()
	for _, name := range names {
		p, diags := profile.Load(name, profile.Options{})
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		res, jobs, diags := imager.Resolve(t.Context(), p, imager.Request{}, r.src)
		if diags.HasErrors() {
			t.Fatalf("%s: %v", name, diags)
		}
		if known, ok := unbuilt(t, res.Targets[0].Facts)[strings.TrimSuffix(filepath.Base(name), ".hcl")]; ok {
			diags = imager.Diagnose(res, known)
		} else {
			report, err := imager.Check(t.Context(), imager.Plan(res, r.src, nil), jobs, imager.Options{Store: r.store, Sources: r.src})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			diags = report.Diags
		}
		var got bytes.Buffer
		for _, d := range diags {
			got.WriteString(d.Subject.String() + "\n")
			r.check(profile.WriteDiagnostics(&got, p.Files, hcl.Diagnostics{d}, 100, false))
		}
		golden := name + ".txt"
		if *update {
			r.check(os.WriteFile(golden, got.Bytes(), 0o644))
		}
		want, err := os.ReadFile(golden)
		r.check(err)
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s differs (`go test ./pkg/imager -run Findings -update` writes it anew); got\n%s", golden, got.Bytes())
		}
	}
}
