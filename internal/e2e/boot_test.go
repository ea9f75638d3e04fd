package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/internal/sandbox"
	"github.com/talosmith/talosmith/internal/sandbox/report"
	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/vm"
	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// TestBoot boots what was built, and compares what the stand-in says with what went in.
func TestBoot(t *testing.T) {
	t.Parallel()
	b := build(t)
	want := inputs(t, b)
	for _, c := range []struct {
		name, suffix string
		machine      func(file string) vm.Machine
	}{
		{"ISO as CD-ROM", ".iso", func(file string) vm.Machine { return vm.Machine{CDROM: file} }},
		{"ISO as USB disk", ".iso", func(file string) vm.Machine { return vm.Machine{USB: file} }},
		{"disk", ".raw", func(file string) vm.Machine { return vm.Machine{Disk: file} }},
	} {
		for _, firmware := range []string{"uefi", "bios"} {
			if c.name == "ISO as CD-ROM" && firmware == "uefi" {
				continue // TestDemo boots it by mage
			}
			t.Run(c.name+" "+firmware, func(t *testing.T) {
				t.Parallel()
				a, file := b.artefact(t, c.suffix)
				m := c.machine(file)
				m.Firmware = firmware
				got := sandboxtest.Boot(t, m)
				compare(t, a, want, got)
				entry := menu[string(a.Kind)+" "+firmware]
				if !slices.ContainsFunc(got.Console, func(line string) bool { return strings.Contains(line, entry) }) {
					t.Errorf("the boot menu does not show %q", entry)
				}
				t.Logf("%s s after the kernel's start", got.First("UPTIME", "seconds"))
			})
		}
	}
}

// menu is what the boot menu shows beside the entry that starts Talos.
var menu = map[string]string{
	"iso uefi":  "(Reset system disk)",
	"iso bios":  "Reset Talos installation",
	"disk uefi": "(Reset to maintenance mode)",
	"disk bios": "Reset Talos installation and return to maintenance mode",
}

// loaderArgument is what GRUB puts before the command line.
var loaderArgument = regexp.MustCompile(`^BOOT_IMAGE=\S+ `)

// compare finds what a machine does not say as it should.
func compare(t *testing.T, a imager.Artefact, want []input, got *report.Report) {
	t.Helper()
	if v := got.First("STANDIN", "version"); v != a.Talos {
		t.Errorf("Talos %q, want %q", v, a.Talos)
	}
	if k := got.First("STANDIN", "kernel"); k != a.Kernel {
		t.Errorf("kernel %q, want %q", k, a.Kernel)
	}
	if text := loaderArgument.ReplaceAllString(got.First("CMDLINE", "text"), ""); text != a.Cmdline || text == "" {
		t.Errorf("kernel command line\n\t%q, want\n\t%q", text, a.Cmdline)
	}
	compareExtensions(t, a, want, got)
	compareFirmware(t, a, want, got)
	for _, m := range got.Of("MODULE") {
		if m.Get("result") != "loaded" {
			t.Errorf("module: %s", m)
		}
	}
	if m := got.Of("MODULE"); len(m) != 1 || m[0].Get("name") != "btrfs" || m[0].Get("release") != a.Kernel {
		t.Errorf("modules: %v", m)
	}
	if says := got.First("SERVICE", "says"); len(got.Of("SERVICE")) != 1 || !strings.HasPrefix(says, "200 OK over TLS 1.3: ") {
		t.Errorf("services: %v", got.Of("SERVICE"))
	}
}

func compareExtensions(t *testing.T, a imager.Artefact, want []input, got *report.Report) {
	t.Helper()
	lines := got.Of("EXTENSION")
	if len(lines) != len(a.Extensions) || len(lines) != len(want)+1 { // modules.dep is ours
		t.Fatalf("%d extensions in the machine, %d in the manifest, %d in the profile", len(lines), len(a.Extensions), len(want))
	}
	var labels []string
	for i, e := range a.Extensions {
		line := lines[i]
		if line.Get("image") != e.ID+".sqsh" || line.Get("name") != e.Name || line.Get("version") != e.Version {
			t.Errorf("layer %d is %s, the manifest says %+v", i, line, e)
		}
		if i == len(want) {
			if e.Name != "modules.dep" || e.Version != a.Kernel {
				t.Errorf("the last layer is %+v", e)
			}
			continue
		}
		if want[i].name != e.Name || want[i].digest != e.Digest {
			t.Errorf("layer %d is %+v, the profile says %s %s", i, e, want[i].name, want[i].digest)
		}
		files := 0
		for n := range want[i].rootfs.All() {
			if _, firmware := belowFirmware(n.Path); n.Mode.IsRegular() && !firmware {
				files++
			}
			if label := n.Xattrs["security.selinux"]; label != nil {
				labels = append(labels, report.New("LABEL", "file", "/"+n.Path, "value", strings.TrimRight(string(label), "\x00")).String())
			}
		}
		if line.Get("files") != fmt.Sprint(files) {
			t.Errorf("%s brought %d files: %s", e.Name, files, line)
		}
		if n, ok := want[i].rootfs.Lookup(strings.TrimPrefix(line.Get("file"), "/")); files > 0 && (!ok || sandboxtest.Sum(t, n) != line.Get("sha256")) {
			t.Errorf("%s did not bring this: %s", e.Name, line)
		}
	}
	var seen []string
	for _, l := range got.Of("LABEL") {
		seen = append(seen, l.String())
	}
	slices.Sort(labels)
	slices.Sort(seen)
	if len(labels) == 0 || !slices.Equal(labels, seen) {
		t.Errorf("SELinux labels %q, want %q", seen, labels)
	}
}

// belowFirmware cuts the directory of firmware off: "usr/lib/firmware", before Talos 1.10 "lib/firmware".
func belowFirmware(path string) (rest string, ok bool) {
	return strings.CutPrefix(strings.TrimPrefix(path, "usr/"), "lib/firmware/")
}

func compareFirmware(t *testing.T, a imager.Artefact, want []input, got *report.Report) {
	t.Helper()
	firmware := map[string]tree.Node{}
	microcode := map[string]string{}
	for _, e := range want {
		var intel, amd []tree.Node
		for n := range e.rootfs.All() {
			switch rest, ok := belowFirmware(n.Path); {
			case !ok || !n.Mode.IsRegular():
			case strings.HasPrefix(rest, "intel-ucode/"):
				intel = append(intel, n)
			case strings.HasPrefix(rest, "amd-ucode/") && strings.HasSuffix(rest, ".bin"):
				amd = append(amd, n)
			default:
				firmware["/"+n.Path] = n
			}
		}
		if len(intel) > 0 {
			microcode["GenuineIntel.bin"] = sandboxtest.Sum(t, intel...)
		}
		if len(amd) > 0 {
			microcode["AuthenticAMD.bin"] = sandboxtest.Sum(t, amd...)
		}
	}
	if lines := got.Of("MICROCODE"); len(lines) != len(microcode) || a.Architecture == talos.AMD64 && len(lines) != 2 {
		t.Errorf("microcode %v, want %v", lines, microcode)
	}
	for _, l := range got.Of("MICROCODE") {
		if l.Get("sha256") != microcode[l.Get("file")] {
			t.Errorf("%s, want %s", l, microcode[l.Get("file")])
		}
	}
	lines := got.Of("FIRMWARE")
	if len(lines) < 3 || lines[0].Get("files") != fmt.Sprint(len(firmware)) {
		t.Fatalf("%d files of firmware went in: %v", len(firmware), lines)
	}
	for _, l := range lines[1:] {
		if n, ok := firmware[l.Get("file")]; !ok || sandboxtest.Sum(t, n) != l.Get("sha256") {
			t.Errorf("nobody brought this: %s", l)
		}
	}
}

// input is an extension as it went in.
type input struct {
	name, version, digest string
	rootfs                *tree.Tree
}

var theInputs struct {
	sync.Mutex
	all []input
}

// inputs are the extensions of the profile of this repository, in its order.
func inputs(t testing.TB, b *built) []input {
	t.Helper()
	theInputs.Lock()
	defer theInputs.Unlock()
	if theInputs.all != nil {
		return theInputs.all
	}
	a, _ := b.artefact(t, ".iso")
	theInputs.all = inputsOf(t, sandboxtest.Open(t), a)
	return theInputs.all
}

// inputsOf are the extensions of an artefact, as a release has them.
func inputsOf(t testing.TB, r *sandbox.Release, a imager.Artefact) (all []input) {
	t.Helper()
	for _, e := range a.Extensions {
		if e.Name == "modules.dep" {
			continue
		}
		ref := source.Ref{Image: "ghcr.io/siderolabs/" + e.Name + "@" + e.Digest}
		if e.Name == "motd" {
			ref = source.Ref{Path: filepath.Join(repository(t), "examples", "motd")}
		}
		files, digest := pull(t, r, ref, a.Architecture)
		rootfs, err := files.Sub("rootfs")
		if err == nil && ref.Path != "" { // git keeps no times
			rootfs, err = allAt(rootfs, epochOf(t, r))
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, input{e.Name, e.Version, digest, rootfs})
	}
	return all
}

// allAt gives files one time.
func allAt(files *tree.Tree, at time.Time) (*tree.Tree, error) {
	nodes := slices.Collect(files.All())
	for i := range nodes {
		nodes[i].ModTime = at
	}
	return tree.New(nodes)
}

// pull reads an image or a directory.
func pull(t testing.TB, r *sandbox.Release, ref source.Ref, arch string) (files *tree.Tree, digest string) {
	t.Helper()
	mirrors, err := source.ParseMirrors(r.Mirror())
	if err != nil {
		t.Fatal(err)
	}
	s := source.New(source.Options{Cache: filepath.Join(scratch, "pulled"), Mirrors: mirrors})
	a, err := s.Resolve(t.Context(), ref, arch)
	if err != nil {
		t.Fatal(err)
	}
	if files, err = s.Tree(t.Context(), a, nil, new(formattest.Memory)); err != nil {
		t.Fatal(err)
	}
	return files, a.Index
}
