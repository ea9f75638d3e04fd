// Package e2e tests the whole command, as users have it: mage targets, imported by a module of its own, run as processes against
// the stand-in Talos release; their artefacts booted, and read by the programs that others have for them.
package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/sandbox"
	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/pkg/imager"
)

// scratch is a folder that lives as long as the test binary: for what tests share.
var scratch string

func TestMain(m *testing.M) {
	code, err := inScratch(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func inScratch(m *testing.M) (code int, err error) {
	if scratch, err = os.MkdirTemp("", "talosmith-e2e-"); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	return m.Run(), nil
}

// repository is the top of this one.
func repository(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// run is one call of the command.
type run struct {
	command string // default: that of a consumer
	args    []string
	dir     string            // default: the repository
	env     map[string]string // beside PATH, HOME and TMPDIR, which are empty folders
	mask    string            // umask, as "0077"

	stdin, stdout *os.File // default: nothing; kept for the result
}

// result is what a call has left.
type result struct {
	stdout, stderr string
	code           int
	took, cpu      time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d after %v\n--- stdout\n%s--- stderr\n%s", r.code, r.took.Round(time.Millisecond), r.stdout, r.stderr)
}

// start starts a call. Wait waits for it, and checks that it leaves nothing in TMPDIR.
func (r run) start(t testing.TB) *call {
	t.Helper()
	name, args := r.command, r.args
	if name == "" {
		name = command(t)
	}
	c := &call{t: t, tmp: t.TempDir(), began: time.Now()}
	if r.mask != "" {
		name, args = "/bin/sh", append([]string{"-c", `umask "$0" && exec "$@"`, r.mask, name}, args...)
	}
	c.cmd = exec.Command(name, args...)
	c.cmd.Dir = r.dir
	if r.dir == "" {
		c.cmd.Dir = repository(t)
	}
	env := map[string]string{"PATH": os.Getenv("PATH"), "HOME": t.TempDir(), "TMPDIR": c.tmp}
	maps.Copy(env, r.env)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		c.cmd.Env = append(c.cmd.Env, name+"="+env[name])
	}
	c.cmd.Stdout, c.cmd.Stderr = &c.stdout, &c.stderr
	if r.stdin != nil {
		c.cmd.Stdin, c.cmd.Stdout = r.stdin, r.stdout
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// call is one that runs.
type call struct {
	t              testing.TB
	cmd            *exec.Cmd
	tmp            string
	began          time.Time
	stdout, stderr bytes.Buffer
}

func (c *call) wait() result {
	c.t.Helper()
	err := c.cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	p := c.cmd.ProcessState
	return result{c.stdout.String(), c.stderr.String(), p.ExitCode(), time.Since(c.began), p.UserTime() + p.SystemTime()}
}

// do runs a call to its end.
func (r run) do(t testing.TB) result {
	t.Helper()
	c := r.start(t)
	res := c.wait()
	if left := list(t, c.tmp); len(left) > 0 {
		t.Errorf("%q leaves %q in TMPDIR", r.args, left)
	}
	return res
}

// must runs a call that succeeds.
func (r run) must(t testing.TB) result {
	t.Helper()
	res := r.do(t)
	if res.code != 0 {
		t.Fatalf("%q: %s", r.args, res)
	}
	return res
}

// list is all files and folders below a folder, hidden ones too, relative to it.
func list(t testing.TB, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if path != dir && err == nil {
			rel, _ := filepath.Rel(dir, path)
			all = append(all, rel)
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return all
}

// write makes a file with its folders.
func write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// built is what one run of the profile of this repository has made, for all tests to read.
type built struct {
	out, cache string
	manifest   *imager.Manifest
}

var theBuild struct {
	sync.Mutex
	*built
}

// build makes everything once: each artefact of the profile of this repository, and the parts that nobody has declared.
func build(t testing.TB) *built {
	t.Helper()
	release := sandboxtest.Open(t)
	theBuild.Lock()
	defer theBuild.Unlock()
	if theBuild.built != nil {
		return theBuild.built
	}
	b := &built{out: filepath.Join(scratch, "out"), cache: filepath.Join(scratch, "cache")}
	out := "-out=" + b.out
	res := run{args: []string{"all", out, "uki", out, "initramfs", out, "kernel", out, "cmdline", out}, env: b.env(release)}.must(t)
	t.Log(res)
	var err error
	if b.manifest, err = imager.ReadManifest(b.out); err != nil {
		t.Fatal(err)
	}
	theBuild.built = b
	return b
}

// env is what makes a run reach the stand-in and share the cache.
func (b *built) env(r *sandbox.Release) map[string]string {
	return map[string]string{"TALOSMITH_CACHE": b.cache, "TALOSMITH_MIRRORS": r.Mirror()}
}

// artefact returns an artefact's entry and path.
func (b *built) artefact(t testing.TB, suffix string) (imager.Artefact, string) {
	t.Helper()
	for _, a := range b.manifest.Artefacts {
		if strings.HasSuffix(a.File, suffix) {
			return a, filepath.Join(b.out, a.File)
		}
	}
	t.Fatalf("no artefact …%s in %+v", suffix, b.manifest.Artefacts)
	return imager.Artefact{}, ""
}
