// Package sandboxtest gives tests the stand-in Talos release and machines to boot.
package sandboxtest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/talosmith/talosmith/internal/debian/debiantest"
	"github.com/talosmith/talosmith/internal/sandbox"
	"github.com/talosmith/talosmith/internal/sandbox/report"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/internal/vm"
	"github.com/talosmith/talosmith/pkg/tree"
)

// Version is that of the stand-in in tests.
const Version = "v1.13.9"

// Options are those of the release that all tests share; its cache is the demo's.
func Options(t testing.TB) sandbox.Options {
	t.Helper()
	d := debiantest.Options(t, "trixie", "amd64")
	return sandbox.Options{Cache: filepath.Dir(d.Cache), Version: Version, Mirror: d.Mirror, Log: d.Log}
}

// Open serves the release until the test's end. It ends the test where Debian's packages are not to be had: skipped, or failed
// where REQUIRE_TOOLS=1.
func Open(t testing.TB) *sandbox.Release {
	t.Helper()
	return OpenOther(t, Version, "amd64")
}

// OpenOther serves the release of another version or architecture.
func OpenOther(t testing.TB, version, arch string) *sandbox.Release {
	t.Helper()
	debiantest.Fetch(t, "trixie", arch, "kmod")
	o := Options(t)
	o.Version, o.Arch = version, arch
	r, err := sandbox.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// Boot boots a machine and returns the stand-in's report. The console is logged where the test fails or is verbose.
func Boot(t testing.TB, m vm.Machine) *report.Report {
	t.Helper()
	tool, firmware := "qemu-system-x86_64", "ovmf"
	if m.Arch == "arm64" {
		tool, firmware = "qemu-system-aarch64", "qemu-efi-aarch64"
	}
	tooltest.Need(t, tool)
	var r report.Report
	err := vm.Boot(t.Context(), m, func(line string) bool { t.Log(line); return r.Line(line) })
	if errors.Is(err, vm.ErrMissing) {
		tooltest.Missing(t, "UEFI firmware", firmware)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !r.Ready {
		t.Fatalf("the stand-in failed: %s", r.Failure)
	}
	return &r
}

// Mount lets the stand-in's kernel mount a file system image and returns a FILE line of each file (see package report); with
// "rw", the kernel writes a file first, which the image then has. A refusal ends the test with the kernel's words.
func Mount(t testing.TB, kind, image string, rw bool) []report.Line {
	t.Helper()
	return MountOn(t, vm.Machine{}, kind, image, rw)
}

// MountOn is Mount in a machine whose disks are as m says.
func MountOn(t testing.TB, m vm.Machine, kind, image string, rw bool) []report.Line {
	t.Helper()
	r := Open(t)
	argument := "console=ttyS0 quiet mitigations=off standin.mount=" + kind + ":/dev/vda"
	if rw {
		argument += ":rw"
	}
	m.Kernel, m.Initrd, m.KernelArgs, m.Data, m.Keep = r.Kernel(), r.Initramfs(), argument, []string{image}, rw
	got := Boot(t, m)
	if result := got.First("MOUNT", "result"); result != "mounted" {
		t.Fatalf("the kernel does not mount %s as %s: %s\n%v", filepath.Base(image), kind, result, got.Of("KERNEL"))
	}
	return got.Of("FILE")
}

// TempFile writes an image for Mount.
func TempFile(t testing.TB, content []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// Sum is the SHA-256 of files one after another, as a report has it.
func Sum(t testing.TB, nodes ...tree.Node) string {
	t.Helper()
	var contents []tree.Blob
	for _, n := range nodes {
		if n.Content != nil {
			contents = append(contents, n.Content)
		}
	}
	sum, err := tree.SHA256(tree.Concat(contents...))
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
