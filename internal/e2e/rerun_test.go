package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/pkg/imager"
)

// smallProfile has an image that is made quickly: %s is a kernel argument.
const smallProfile = `talos {
  version = "v1.13.9"
}

extension "hello" {
  path = "hello"
}

image "small" {
  extensions  = ["siderolabs/fuse3", "siderolabs/usb-modem-drivers", extension.hello]
  kernel_args = ["console=ttyS0", "%s"]

  output "iso" {}
  output "disk" {
    size        = "2200MiB"
    bootloader  = "sd-boot"
    compression = "none"
  }
  output "installer" {}
  output "initramfs" {}
  output "kernel" {}
}
`

// small writes that profile into a folder, with the extension that it has, and returns its path.
func small(t testing.TB, dir, argument string) string {
	t.Helper()
	write(t, filepath.Join(dir, "hello/manifest.yaml"), helloManifest)
	write(t, filepath.Join(dir, "hello/rootfs/usr/local/share/hello"), "hello\n")
	name := filepath.Join(dir, "extensions.hcl")
	write(t, name, fmt.Sprintf(smallProfile, argument))
	return name
}

const helloManifest = `version: v1alpha1
metadata:
  name: hello
  version: 1.2.3
  author: test
  description: An extension of the tests.
  compatibility:
    talos:
      version: ">= v1.5.0"
`

var smallFiles = []string{"small-amd64-initramfs.xz", "small-amd64-installer.tar", "small-amd64-vmlinuz", "small-amd64.iso", "small-amd64.raw"}

// same tells apart files that were written anew.
type same struct {
	inode   uint64
	written time.Time
}

func states(t testing.TB, dir string) map[string]same {
	t.Helper()
	all := map[string]same{}
	for _, name := range list(t, dir) {
		st := stat(t, filepath.Join(dir, name))
		if st.Mode().IsRegular() {
			all[name] = same{st.Sys().(*syscall.Stat_t).Ino, st.ModTime()}
		}
	}
	return all
}

// sums are the SHA-256 of the files in a folder, but for the manifest.
func sums(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range list(t, dir) {
		if name != imager.ManifestName {
			all[name] = sumFile(t, filepath.Join(dir, name))
		}
	}
	return all
}

// stepLine is what is said of a step that ran: "squashfs     hello: 4.0 KiB in 0.0 s".
var stepLine = regexp.MustCompile(`^[a-z]+ +\S.*: [0-9.]+ [KMG]?i?B in [0-9.]+ s$`)

// TestRerun runs the same again, then with another kernel argument, then with another file in the extension.
func TestRerun(t *testing.T) {
	t.Parallel()
	b := build(t)
	release := sandboxtest.Open(t)
	dir := t.TempDir()
	profile := small(t, dir, "one")
	out := filepath.Join(dir, "out")
	r := run{args: []string{"all", "-profile=" + profile, "-out=" + out}, env: b.env(release)}
	first := r.must(t)
	if n := strings.Count(first.stdout, "  written\n"); n != len(smallFiles) {
		t.Errorf("%d artefacts: %s", n, first)
	}
	before := states(t, out)
	if got := slices.Sorted(maps.Keys(before)); !slices.Equal(got, append([]string{imager.ManifestName}, smallFiles...)) {
		t.Fatalf("files %q", got)
	}

	again := r.must(t)
	if after := states(t, out); !maps.Equal(before, after) {
		t.Errorf("an unchanged run has written:\n%v\n%v", before, after)
	}
	if strings.Contains(again.stdout, "written") || strings.Count(again.stdout, "  unchanged\n") != len(smallFiles) {
		t.Errorf("an unchanged run: %s", again)
	}

	// changed runs again, and wants these files to be written anew, by steps for that extension only.
	changed := func(what, extension string, want ...string) {
		t.Helper()
		before := states(t, out)
		res := r.must(t)
		var anew []string
		for name, s := range states(t, out) {
			if s != before[name] {
				anew = append(anew, name)
			}
		}
		slices.Sort(anew)
		if !slices.Equal(anew, want) {
			t.Errorf("%s: written anew: %q, want %q", what, anew, want)
		}
		ran := 0
		for line := range strings.SplitSeq(res.stderr, "\n") {
			if !stepLine.MatchString(line) || strings.HasPrefix(line, "write ") { // an artefact
				continue
			}
			if ran++; strings.Fields(line)[1] != extension+":" {
				t.Errorf("%s: step %q", what, line)
			}
		}
		if (ran > 0) != (extension != "") {
			t.Errorf("%s: %d steps\n%s", what, ran, res)
		}
	}
	small(t, dir, "two")
	changed("another kernel argument", "", imager.ManifestName, "small-amd64-installer.tar", "small-amd64.iso", "small-amd64.raw")
	write(t, filepath.Join(dir, "hello/rootfs/usr/local/share/hello"), "good morning\n")
	changed("another file", "hello", imager.ManifestName, "small-amd64-initramfs.xz", "small-amd64-installer.tar", "small-amd64.iso", "small-amd64.raw")

	// What is gone, or damaged, is made again; the rest stays.
	if err := os.Remove(filepath.Join(out, "small-amd64.iso")); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(out, "small-amd64-vmlinuz"), 100); err != nil {
		t.Fatal(err)
	}
	changed("a file is gone, one cut", "", imager.ManifestName, "small-amd64-vmlinuz", "small-amd64.iso")

	// A run for less keeps the others' entries, and drops those whose file is gone.
	if err := os.Remove(filepath.Join(out, "small-amd64.raw")); err != nil {
		t.Fatal(err)
	}
	run{args: []string{"uki", "-profile=" + profile, "-out=" + out}, env: b.env(release)}.must(t)
	m, err := imager.ReadManifest(out)
	if err != nil {
		t.Fatal(err)
	}
	var entries []string
	for _, a := range m.Artefacts {
		entries = append(entries, a.File)
	}
	if want := []string{"small-amd64-initramfs.xz", "small-amd64-installer.tar", "small-amd64-uki.efi", "small-amd64-vmlinuz", "small-amd64.iso"}; !slices.Equal(entries, want) {
		t.Errorf("entries %q, want %q", entries, want)
	}
}

// TestTwoAtOnce runs twice at the same time, with nothing in the cache: for the same, then for different artefacts of one folder.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	release := sandboxtest.Open(t)
	dir := t.TempDir()
	profile, out := small(t, dir, "x"), filepath.Join(dir, "out")
	b := built{cache: filepath.Join(dir, "cache")}
	both := func(targets ...string) {
		t.Helper()
		var calls []*call
		for _, target := range targets {
			calls = append(calls, run{args: []string{target, "-profile=" + profile, "-out=" + out}, env: b.env(release)}.start(t))
		}
		for i, c := range calls {
			if res := c.wait(); res.code != 0 {
				t.Errorf("%s: %s", targets[i], res)
			}
		}
		m, err := imager.ReadManifest(out)
		if err != nil {
			t.Fatal(err)
		}
		got := sums(t, out)
		if len(got) != len(m.Artefacts) {
			t.Errorf("%q: files %q, %d entries", targets, slices.Sorted(maps.Keys(got)), len(m.Artefacts))
		}
		for _, a := range m.Artefacts {
			if got[a.File] != a.SHA256 {
				t.Errorf("%q: %s is %s, the manifest says %s", targets, a.File, got[a.File], a.SHA256)
			}
		}
	}
	both("iso", "disk")
	both("all", "all")
	if got := slices.Sorted(maps.Keys(sums(t, out))); !slices.Equal(got, smallFiles) {
		t.Errorf("files %q", got)
	}
}

// TestInterrupted stops runs in the midst of downloads, steps and artefacts, by Ctrl-C, as CI does, and by SIGKILL. After each, every
// file that has its name is complete; where there was time nothing else is there; and a run to the end makes what an undisturbed one does.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	b := build(t)
	release := sandboxtest.Open(t)
	reference := t.TempDir()
	small(t, reference, "x")
	run{dir: reference, args: []string{"all"}, env: b.env(release)}.must(t)
	want := sums(t, filepath.Join(reference, "out"))

	dir := t.TempDir()
	small(t, dir, "x")
	cache, out := filepath.Join(dir, "cache"), filepath.Join(dir, "out")
	var stall atomic.Bool
	var stalled atomic.Int32
	p := newProxy(t, release, func(w http.ResponseWriter, q *http.Request) bool {
		if !stall.Load() || !strings.Contains(q.URL.Path, "/siderolabs/imager/blobs/") {
			return false
		}
		size := blobSize(release, q.URL.Path)
		if size < 1<<20 {
			return false // an image's configuration
		}
		w.Header().Set("Content-Length", fmt.Sprint(size))
		w.Write(make([]byte, 1<<20))
		w.(http.Flusher).Flush()
		stalled.Add(1)
		<-q.Context().Done()
		return true
	})
	env := map[string]string{"TALOSMITH_CACHE": cache, "TALOSMITH_MIRRORS": p.mirror()}
	// grown tells of files that a killed run has not left.
	grown := func(pattern string, least int64) func() func() bool {
		return func() func() bool {
			left, _ := filepath.Glob(pattern)
			return func() bool {
				files, err := filepath.Glob(pattern)
				return err == nil && slices.ContainsFunc(files, func(name string) bool {
					st, err := os.Stat(name)
					return err == nil && st.Size() >= least && !slices.Contains(left, name)
				})
			}
		}
	}
	for _, moment := range []struct {
		name  string
		stall bool
		wait  func() func() bool
	}{
		{"download", true, func() func() bool { return func() bool { return stalled.Swap(0) > 0 } }},
		{"step", false, grown(filepath.Join(cache, "store/run/tmp/*"), 1)},
		{"artefact", false, grown(filepath.Join(out, ".tmp-*"), 1<<20)},
	} {
		for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, os.Kill} {
			name := fmt.Sprintf("%s, %v", moment.name, signal)
			stall.Store(moment.stall)
			stalled.Store(0)
			is := moment.wait()
			c := run{dir: dir, args: []string{"all"}, env: env}.start(t)
			done := make(chan result, 1)
			go func() { done <- c.wait() }()
			for reached := false; !reached; reached = is() {
				select {
				case res := <-done:
					t.Fatalf("%s: too late: %s", name, res)
				case <-time.After(2 * time.Millisecond):
				}
			}
			at := time.Now()
			if err := c.cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			res := <-done
			if took := time.Since(at); took > 4*time.Second {
				t.Errorf("%s: ends after %v", name, took)
			} else {
				t.Logf("%s: ends after %v", name, took.Round(time.Millisecond))
			}
			if res.code == 0 {
				t.Errorf("%s: %s", name, res)
			}
			for _, file := range list(t, out) {
				if strings.HasPrefix(file, ".tmp-") {
					if signal != os.Kill {
						t.Errorf("%s leaves %s", name, file)
					}
				} else if file != imager.ManifestName && sumFile(t, filepath.Join(out, file)) != want[file] {
					t.Errorf("%s leaves a broken %s", name, file)
				}
			}
			if signal != os.Kill {
				if left := append(list(t, c.tmp), list(t, filepath.Join(cache, "store/run/tmp"))...); len(left) > 0 {
					t.Errorf("%s leaves %q", name, left)
				}
				if !strings.HasSuffix(res.stderr, "Error: interrupted: what is complete stays\n") || strings.Contains(res.stderr, "canceled") || strings.Contains(res.stderr, "goroutine ") {
					t.Errorf("%s: %s", name, res)
				}
			}
		}
	}
	stall.Store(false)
	res := run{dir: dir, args: []string{"all"}, env: env}.must(t)
	if got := sums(t, out); !maps.Equal(got, want) {
		t.Errorf("after all that: %v, want %v\n%s", got, want, res)
	}
	if left := list(t, filepath.Join(cache, "store/run/tmp")); len(left) > 0 {
		t.Errorf("left in the store: %q", left)
	}
	if left := list(t, filepath.Join(cache, "downloads/partial")); len(left) > 0 {
		t.Errorf("left of downloads: %q", left)
	}
}
