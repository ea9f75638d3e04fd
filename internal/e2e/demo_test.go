package e2e

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/sandbox/report"
	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/profile"
)

// TestDemo does what README says of a fresh machine: `mage demo`, and `mage vm` with what that made.
func TestDemo(t *testing.T) {
	t.Parallel()
	b := build(t)
	shared := sandboxtest.Options(t).Cache
	for _, name := range []string{"debian", "standin"} { // what the release is made of is there
		if err := os.Symlink(filepath.Join(shared, name), filepath.Join(b.cache, name)); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	top := repository(t)
	if err := os.CopyFS(filepath.Join(dir, "examples"), os.DirFS(filepath.Join(top, "examples"))); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "extensions.hcl"), string(read(t, filepath.Join(top, "extensions.hcl"))))
	const noLock = "nobody reads this\n"
	write(t, filepath.Join(dir, "extensions.lock.json"), noLock)
	r := run{command: ourCommand(t), dir: dir, args: []string{"demo"}, env: map[string]string{"TALOSMITH_CACHE": b.cache}}

	listed := run{command: r.command, dir: dir, args: []string{"-l"}}.must(t).stdout
	for _, name := range []string{"all", "bench", "cmdline", "demo", "disk", "initramfs", "installer", "iso", "kernel", "lint", "push", "test", "tools", "uki", "vm"} {
		if !regexp.MustCompile(`(?m)^  ` + name + ` +\S.*\S$`).MatchString(listed) {
			t.Errorf("no sentence about %s:\n%s", name, listed)
		}
	}

	first := r.must(t)
	if !strings.Contains(first.stderr, "This is a demo: ") {
		t.Errorf("it does not say what it is: %s", first)
	}
	out := filepath.Join(dir, "out/demo")
	if lock := string(read(t, filepath.Join(dir, "extensions.lock.json"))); lock != noLock {
		t.Errorf("the demo writes the profile's lock:\n%s", lock)
	}
	if lock, err := profile.ReadLock(filepath.Join(out, "extensions.lock.json")); err != nil || len(lock.Pins) < 8 {
		t.Errorf("the demo's own lock: %+v, %v", lock, err)
	}
	var files []string
	for _, name := range list(t, out) {
		if ext := filepath.Ext(name); ext != ".json" {
			files = append(files, name)
		}
	}
	if !slices.Equal(files, []string{"metal-amd64-installer.tar", "metal-amd64.iso", "metal-amd64.raw"}) {
		t.Errorf("files %q", files)
	}
	m, err := imager.ReadManifest(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range m.Artefacts {
		if same, _ := b.artefact(t, strings.TrimPrefix(a.File, "metal-amd64")); same.SHA256 != a.SHA256 {
			t.Errorf("the demo's %s is another than that of the mirrored release", a.File)
		}
	}
	before := states(t, out)
	again := r.must(t)
	if after := states(t, out); len(after) != len(before) {
		t.Errorf("files %v, then %v", before, after)
	} else {
		for name, s := range before {
			if after[name] != s && filepath.Ext(name) != ".json" {
				t.Errorf("an unchanged demo writes %s", name)
			}
		}
	}
	if again.cpu > 3*time.Second { // the clock depends on what else this machine does
		t.Errorf("an unchanged demo takes %v of processor time, %v in all", again.cpu, again.took)
	}
	t.Logf("unchanged: %v, %v of processor time", again.took.Round(time.Millisecond), again.cpu)

	a, _ := b.artefact(t, ".iso")
	got := bootByCommand(t, run{command: r.command, dir: dir, args: []string{"vm", "-out=out/demo", "-image=metal", "-output=iso", "-firmware=uefi"}})
	compare(t, a, inputs(t, b), got)
	if entry := menu["iso uefi"]; !slices.ContainsFunc(got.Console, func(line string) bool { return strings.Contains(line, entry) }) {
		t.Errorf("the boot menu does not show %q", entry)
	}
}

// bootByCommand reads the console of `mage vm` until the stand-in is ready, then types Ctrl-A X.
func bootByCommand(t *testing.T, r run) *report.Report {
	t.Helper()
	tooltest.Need(t, "qemu-system-x86_64")
	keys, typed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	shown, screen, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer shown.Close()
	defer typed.Close()
	r.stdin, r.stdout = keys, screen
	c := r.start(t)
	keys.Close()
	screen.Close()
	deadline := time.AfterFunc(5*time.Minute, func() { typed.WriteString("\x01x") })
	defer deadline.Stop()
	got := new(report.Report)
	lines := bufio.NewScanner(shown)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() && !got.Line(strings.TrimRight(lines.Text(), "\r")) {
	}
	if _, err := typed.WriteString("\x01x"); err != nil {
		t.Error(err)
	}
	rest, _ := io.ReadAll(shown)
	if res := c.wait(); res.code != 0 || !got.Ready {
		t.Fatalf("ready %v, %q, %q: %s%s", got.Ready, got.Failure, rest, res, strings.Join(got.Console, "\n"))
	}
	return got
}

// ourCommand compiles the magefiles of this repository, all targets.
func ourCommand(t *testing.T) string {
	t.Helper()
	top := repository(t)
	// mage writes a file beside the magefiles while it compiles: a copy, in the one folder here that is there to be written to.
	dir, err := os.MkdirTemp(filepath.Join(top, "out"), ".mage-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	files, err := filepath.Glob(filepath.Join(top, "magefiles", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if filepath.Base(name) != "mage_output_file.go" {
			write(t, filepath.Join(dir, filepath.Base(name)), string(read(t, name)))
		}
	}
	path := filepath.Join(t.TempDir(), "mage")
	cmd := exec.Command("go", "tool", "mage", "-d", dir, "-compile", path)
	cmd.Dir = top
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
	}
	return path
}
