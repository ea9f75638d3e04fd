package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/tooltest"
)

// alone runs a call in a network namespace of its own, where even loopback is down, and counts the packets that found no way out.
func (r run) alone(t testing.TB) (res result, attempts string) {
	t.Helper()
	unshare := tooltest.Need(t, "unshare")
	flags := "-n"
	if os.Getuid() != 0 {
		flags = "-rn"
	}
	if out, err := exec.Command(unshare, flags, "true").CombinedOutput(); err != nil {
		tooltest.Missing(t, fmt.Sprintf("a network namespace of its own (unshare %s: %v: %s)", flags, err, out), "util-linux")
	}
	count := filepath.Join(t.TempDir(), "count")
	script := `"$@"; code=$?; grep ^Ip: /proc/net/snmp > ` + count + `; exit $code`
	r.args = append([]string{flags, "sh", "-c", script, "sh", command(t)}, r.args...)
	r.command = unshare
	res = r.do(t)
	lines := strings.Split(string(read(t, count)), "\n")
	names, values := strings.Fields(lines[0]), strings.Fields(lines[1])
	i := slices.Index(names, "OutNoRoutes")
	if i < 0 {
		t.Fatalf("the kernel does not count: %q", lines)
	}
	if sent := values[slices.Index(names, "OutRequests")]; sent != "0" {
		t.Errorf("packets went out: %s", sent)
	}
	return res, values[i]
}

// TestAirGap builds with the network cut off what was built with it: from a warm cache; from nothing but a bundle; and from a mirror
// that was filled by it.
func TestAirGap(t *testing.T) {
	t.Parallel()
	release := sandboxtest.Open(t)
	dir := t.TempDir()
	profile := string(read(t, small(t, dir, "x")))
	profile = regexp.MustCompile(`(?s)  output "disk" \{.*?\}\n`).ReplaceAllString(profile, "") // which takes the longest to compare
	profile = strings.Replace(profile, "extension.hello]", "extension.hello, extension.archive]", 1) + "\nextension \"archive\" {\n  tarball = \"archive.tar\"\n}\n"
	write(t, filepath.Join(dir, "extensions.hcl"), profile)
	write(t, filepath.Join(dir, "archive/manifest.yaml"), strings.Replace(helloManifest, "name: hello", "name: archive", 1))
	write(t, filepath.Join(dir, "archive/rootfs/usr/local/share/archive"), "archive\n")
	archive := filepath.Join(dir, "archive.tar")
	tooltest.Run(t, "tar", "-C", filepath.Join(dir, "archive"), "-cf", archive, "manifest.yaml", "rootfs")
	online := map[string]string{"TALOSMITH_CACHE": filepath.Join(dir, "cache"), "TALOSMITH_MIRRORS": release.Mirror()}
	call := func(env map[string]string, args ...string) run { return run{dir: dir, env: env, args: args} }

	// No lock, then one that does not fit.
	if res := call(online, "bundle", "bundle.tar").do(t); res.code != 1 || !strings.Contains(res.stderr, "extensions.lock.json is missing") || !strings.Contains(res.stderr, "run `go tool mage lock`") {
		t.Errorf("without a lock: %s", res)
	}
	call(online, "lock").must(t)
	write(t, filepath.Join(dir, "extensions.hcl"), strings.Replace(profile, `"siderolabs/fuse3"`, `"siderolabs/crun"`, 1))
	for _, target := range []string{"bundle", "mirror"} {
		res := call(online, target, "127.0.0.1:1").do(t)
		for _, want := range []string{"does not match the profile", "siderolabs/crun (amd64): it is not in the lock", "siderolabs/fuse3: the profile does not name it"} {
			if res.code != 1 || !strings.Contains(res.stderr, want) {
				t.Errorf("%s, no %q: %s", target, want, res)
			}
		}
	}
	write(t, filepath.Join(dir, "extensions.hcl"), profile)
	if left := list(t, dir); slices.ContainsFunc(left, func(name string) bool { return name == "bundle.tar" || strings.HasPrefix(name, ".tmp") }) {
		t.Errorf("left %q", left)
	}

	call(online, "all", "-locked", "-out=online").must(t)
	want := sums(t, filepath.Join(dir, "online"))
	made := call(online, "bundle", "bundle.tar").must(t)
	bundle := filepath.Join(dir, "bundle.tar")
	if !regexp.MustCompile(`^bundle\.tar  \S+ [KM]iB  sha256:` + sumFile(t, bundle) + `  6 images\n$`).MatchString(made.stdout) {
		t.Errorf("%s", made)
	}
	fresh := map[string]string{"TALOSMITH_CACHE": filepath.Join(dir, "fresh"), "TALOSMITH_MIRRORS": release.Mirror()}
	call(fresh, "bundle", "again.tar").must(t)
	if a, b := sumFile(t, bundle), sumFile(t, filepath.Join(dir, "again.tar")); a != b {
		t.Errorf("two bundles of one lock: %s, %s", a, b)
	}
	tooltest.Run(t, "skopeo", "inspect", "oci-archive:"+bundle+":ghcr.io/siderolabs/imager:v1.13.9")

	offline := func(name, cache, from string) {
		t.Helper()
		env := map[string]string{"TALOSMITH_CACHE": cache, "TALOSMITH_FROM": from, "CI": "true"}
		args := [][]string{{"all", "-out=" + name}, {"plan"}, {"lock", "-check"}}
		if from != "" {
			args = append(args, []string{"extensions", "-find=fuse"}, []string{"lock"}, []string{"lock", "-update=siderolabs/fuse3"})
		}
		lock := string(read(t, filepath.Join(dir, "extensions.lock.json")))
		for _, a := range args {
			res, attempts := call(env, a...).alone(t)
			if res.code != 0 || attempts != "0" {
				t.Errorf("%s: %q: %s attempts to reach the network: %s", name, a, attempts, res)
			}
		}
		if got := sums(t, filepath.Join(dir, name)); !maps.Equal(got, want) {
			t.Errorf("%s: %v, online %v", name, got, want)
		}
		if got := string(read(t, filepath.Join(dir, "extensions.lock.json"))); got != lock {
			t.Errorf("%s: the lock has changed:\n%s", name, got)
		}
	}
	offline("warm", online["TALOSMITH_CACHE"], "")
	if err := os.Rename(archive, archive+".away"); err != nil { // the bundle has it
		t.Fatal(err)
	}
	offline("bundled", filepath.Join(dir, "empty"), "bundle.tar")
	if err := os.Rename(archive+".away", archive); err != nil {
		t.Fatal(err)
	}
	if left := list(t, filepath.Join(dir, "empty/downloads")); len(left) > 1 || len(left) == 1 && left[0] != "partial" { // where extensions are unpacked
		t.Errorf("copied out of the bundle: %q", left)
	}
	// With neither, the network is missed: what is counted above is what there is to count.
	res, attempts := call(map[string]string{"TALOSMITH_CACHE": filepath.Join(dir, "none")}, "iso", "-out=none").alone(t)
	if res.code == 0 || attempts == "0" {
		t.Errorf("without anything: %s attempts, %s", attempts, res)
	}
	// What the profile names and the bundle lacks is said where the profile names it; a damaged bundle is refused.
	other := filepath.Join(dir, "other")
	small(t, other, "x")
	write(t, filepath.Join(other, "archive.tar"), string(read(t, archive)))
	write(t, filepath.Join(other, "extensions.hcl"), strings.Replace(profile, `"siderolabs/fuse3"`, `"siderolabs/crun"`, 1))
	env := map[string]string{"TALOSMITH_CACHE": filepath.Join(dir, "empty"), "TALOSMITH_FROM": bundle}
	res, attempts = run{dir: other, env: env, args: []string{"iso"}}.alone(t)
	for _, want := range []string{"Extension not found", "extensions.hcl line 10", "ghcr.io/siderolabs/crun", "is not in the bundle " + bundle, "run `go tool mage lock` and `go tool mage bundle` again", "#not-in-bundle"} {
		if res.code != 1 || attempts != "0" || !strings.Contains(res.stderr, want) {
			t.Errorf("no %q, %s attempts: %s", want, attempts, res)
		}
	}
	if err := os.Truncate(filepath.Join(dir, "again.tar"), stat(t, bundle).Size()/2); err != nil {
		t.Fatal(err)
	}
	env["TALOSMITH_FROM"] = filepath.Join(dir, "again.tar")
	if res := call(env, "iso").do(t); res.code != 1 || !strings.Contains(res.stderr, "not copied to its end") || !strings.Contains(res.stderr, "#bad-bundle") {
		t.Errorf("half a bundle: %s", res)
	}

	// A registry inside, filled from the bundle, with what is printed in the profile.
	registry := tooltest.DockerRegistry(t, "") + "/corp"
	env["TALOSMITH_FROM"] = bundle
	filled := call(env, "mirror", registry).must(t)
	if strings.Count(filled.stdout, "  copied\n") != 5 {
		t.Errorf("%s", filled)
	}
	if again := call(online, "mirror", registry).must(t); strings.Count(again.stdout, "  there already\n") != 5 {
		t.Errorf("%s", again)
	}
	_, block, _ := strings.Cut(filled.stdout, "add to extensions.hcl:\n")
	block, _, _ = strings.Cut(block, "on this machine alone:")
	write(t, filepath.Join(dir, "extensions.hcl"), profile+block)
	call(map[string]string{"TALOSMITH_CACHE": filepath.Join(dir, "mirrored-cache"), "CI": "true"}, "all", "-out=mirrored").must(t)
	if got := sums(t, filepath.Join(dir, "mirrored")); !maps.Equal(got, want) {
		t.Errorf("from the mirror: %v, online %v", got, want)
	}
}
