package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
)

// TestMistakes runs the command with mistakes of its user: what is wrong, where, and what to do; exit code 1; nothing is left.
func TestMistakes(t *testing.T) {
	t.Parallel()
	release := sandboxtest.Open(t)
	for _, c := range []struct {
		name   string
		change []string // of the profile: old and new in turn
		target string   // default: iso
		args   []string
		env    map[string]string
		files  map[string]string // in the folder
		want   []string
	}{
		{name: "unknown extension", change: []string{"siderolabs/fuse3", "siderolabs/gvisr"}, want: []string{
			"Error: Unknown extension", "extensions.hcl line 10", `"siderolabs/gvisr"`, `Did you mean "siderolabs/gvisor"`}},
		{name: "two unknown extensions", change: []string{"siderolabs/fuse3", "siderolabs/fuse", "siderolabs/usb-modem-drivers", "siderolabs/btrf"}, want: []string{
			`"siderolabs/fuse3"`, `"siderolabs/btrfs"`}},
		{name: "no such output", change: []string{`  output "iso" {}`, ""}, want: []string{"Error: No such output", "extensions.hcl line 9", `output "iso" {}`}},
		{name: "unknown image", args: []string{"-image=smal"}, want: []string{"Error: Unknown image", `it has small`, `Did you mean "small"?`}},
		{name: "a small disk", target: "disk", change: []string{"2200MiB", "1GiB"}, want: []string{"Error: Bad size", "extensions.hcl line 15", "take 2104 MiB", "EFI 2101, META 1"}},
		{name: "unknown Talos", change: []string{"v1.13.9", "v1.99.0"}, want: []string{"extensions.hcl line 2", "v1.99.0", "allow_unknown = true"}},
		{name: "a Talos that is not there", change: []string{"v1.13.9", "v1.13.8"}, want: []string{"Error: Talos release not found", "extensions.hcl line 2", "v1.13.8"}},
		{name: "no such directory", change: []string{`path = "hello"`, `path = "helo"`}, want: []string{"extensions.hcl line 6", `"helo"`}},
		{name: "several mistakes", change: []string{"kernel_args", "kernel_arg", `output "kernel"`, `output "kernl"`, "2200MiB", "2200MB"}, want: []string{
			`Did you mean "kernel_args"?`, `Did you mean "kernel"?`, "2200MB", "extensions.hcl line 11", "extensions.hcl line 15", "extensions.hcl line 21"}},
		{name: "no profile", args: []string{"-profile=none.hcl"}, want: []string{"none.hcl"}},
		{name: "no HCL", change: []string{"talos {", "talos {{"}, want: []string{"extensions.hcl line 1"}},
		{name: "mirrors", env: map[string]string{"TALOSMITH_MIRRORS": "nonsense"}, want: []string{"TALOSMITH_MIRRORS", "nonsense"}},
		{name: "epoch", env: map[string]string{"SOURCE_DATE_EPOCH": "yesterday"}, want: []string{"SOURCE_DATE_EPOCH=yesterday", "seconds since 1970"}},
		{name: "out is a file", args: []string{"-out=hello/manifest.yaml"}, want: []string{"hello/manifest.yaml"}},
		{name: "a broken manifest", files: map[string]string{"out/manifest.json": "{"}, want: []string{"out/manifest.json", "remove it"}},
		{name: "a broken manifest.yaml", files: map[string]string{"hello/manifest.yaml": "version: v9\n"}, want: []string{"hello", "manifest.yaml", "v9"}},
		{name: "a forbidden path", files: map[string]string{"hello/rootfs/sbin/init": "x"}, want: []string{"Extension hello", "extensions.hcl line 10", "/sbin  its files (1) are not allowed"}},
		{name: "cache", env: map[string]string{"TALOSMITH_CACHE": "/proc/none"}, want: []string{"/proc/none"}},
		{name: "a cache that cannot be one", env: map[string]string{"TALOSMITH_CACHE": "extensions.hcl"}, want: []string{"extensions.hcl", "set TALOSMITH_CACHE to a folder that can be written to"}},
		{name: "verify", env: map[string]string{"TALOSMITH_VERIFY": "true"}, want: []string{"TALOSMITH_VERIFY=true: want 0 or 1"}},
		{name: "an argument", change: []string{`"changed"`, `"a b"`}, want: []string{"extensions.hcl line 11", `"a b"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			profile := small(t, dir, "changed")
			text := string(read(t, profile))
			for i := 0; i < len(c.change); i += 2 {
				if !strings.Contains(text, c.change[i]) {
					t.Fatalf("the profile has no %q", c.change[i])
				}
				text = strings.ReplaceAll(text, c.change[i], c.change[i+1])
			}
			write(t, profile, text)
			for name, content := range c.files {
				write(t, filepath.Join(dir, name), content)
			}
			before := list(t, dir)
			r := run{dir: dir, args: append([]string{"iso"}, c.args...), env: map[string]string{
				"TALOSMITH_CACHE": filepath.Join(scratch, "cache-of-mistakes"), "TALOSMITH_MIRRORS": release.Mirror(),
				"HTTPS_PROXY": "http://127.0.0.1:9", // what the mirror does not have is not looked for elsewhere
			}}
			if c.target != "" {
				r.args[0] = c.target
			}
			for name, value := range c.env {
				r.env[name] = value
			}
			res := r.do(t)
			if res.code != 1 || res.stdout != "" {
				t.Errorf("%s", res)
			}
			for _, want := range c.want {
				if !strings.Contains(res.stderr, want) {
					t.Errorf("no %q: %s", want, res)
				}
			}
			if strings.Contains(res.stderr, "goroutine ") || strings.Contains(res.stderr, "panic") {
				t.Errorf("%s", res)
			}
			after := slices.DeleteFunc(list(t, dir), func(name string) bool { return name == "out" })
			if before = slices.DeleteFunc(before, func(name string) bool { return name == "out" }); !slices.Equal(before, after) {
				t.Errorf("files before %q, after %q", before, after)
			}
			t.Logf("%s", res)
		})
	}
}

// TestRenamed builds with the old name of an extension.
func TestRenamed(t *testing.T) {
	t.Parallel()
	b := build(t)
	release := sandboxtest.Open(t)
	dir := t.TempDir()
	profile := small(t, dir, "x")
	write(t, profile, strings.Replace(string(read(t, profile)), "siderolabs/usb-modem-drivers", "siderolabs/usb-modem", 1))
	res := run{dir: dir, args: []string{"cmdline"}, env: b.env(release)}.must(t)
	for _, want := range []string{"Warning: Renamed extension", "extensions.hcl line 10", `"siderolabs/usb-modem" is called "siderolabs/usb-modem-drivers"`} {
		if !strings.Contains(res.stderr, want) {
			t.Errorf("no %q: %s", want, res)
		}
	}
	if got := string(read(t, filepath.Join(dir, "out/small-amd64-cmdline"))); !strings.Contains(got, "console=ttyS0") {
		t.Errorf("command line %q", got)
	}
}

// TestNoRoom builds into a folder that nobody may write to.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	b := build(t)
	release := sandboxtest.Open(t)
	dir := t.TempDir()
	small(t, dir, "x")
	out := "/proc/sys/out" // even root may not
	if os.Getuid() != 0 {
		out = filepath.Join(dir, "out")
		if err := os.Mkdir(out, 0o500); err != nil {
			t.Fatal(err)
		}
	}
	res := run{dir: dir, args: []string{"kernel", "-out=" + out}, env: b.env(release)}.do(t)
	if res.code != 1 || !strings.Contains(res.stderr, out) {
		t.Errorf("%s", res)
	}
}
