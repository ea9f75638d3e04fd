package oci

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/tree"
)

// machine is a store directory of its own with a remote store.
type machine struct {
	*store.Store
	remote *Store
	log    *lockedBuffer
	pulled atomic.Int64 // outputs
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func newMachine(t testing.TB, dir, repository string, write bool, keychain authn.Keychain) *machine {
	t.Helper()
	to, err := source.New(source.Options{Keychain: keychain}).Direct(repository)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{log: new(lockedBuffer)}
	m.remote = New(Options{Direct: to, Write: write, Tool: "test", Log: slog.New(slog.NewTextHandler(m.log, nil))})
	m.Store, err = store.Open(store.Options{Dir: dir, Workers: 2, Remote: m.remote, Observe: func(e store.Event) {
		if e.State == store.Fetched {
			m.pulled.Add(1)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func (m *machine) build(t testing.TB, st *store.Step) string {
	t.Helper()
	b, err := m.Build(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	text, err := tree.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// graph is a large transient step, one made of it, one with no output at all, and one made of both.
func graph(ran *atomic.Int64) *store.Step {
	step := func(name string, size int, in ...*store.Step) *store.Step {
		return &store.Step{Name: name, Label: "thing", Inputs: in, Run: func(_ context.Context, out store.Output, in []tree.Blob) error {
			ran.Add(1)
			at := int64(0)
			for _, b := range append(in, tree.String(strings.Repeat(name, size))) {
				n, err := tree.CopyAt(out, at, b)
				if err != nil {
					return err
				}
				at += n
			}
			return nil
		}}
	}
	unpack := step("unpack", 20000)
	unpack.Transient = true
	return step("index", 1, step("squashfs", 10000, unpack), step("firmware", 0))
}

var graphWant = strings.Repeat("unpack", 20000) + strings.Repeat("squashfs", 10000) + "index"

const graphSteps = 4

// newRegistry starts Debian's, with users where there is a password.
func newRegistry(t testing.TB, password string) (host string) {
	t.Helper()
	server := tooltest.Need(t, "docker-registry")
	dir := t.TempDir()
	auth := ""
	if password != "" {
		htpasswd, err := exec.Command(tooltest.Need(t, "htpasswd"), "-nbB", "user", password).Output()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "htpasswd"), htpasswd, 0o600); err != nil {
			t.Fatal(err)
		}
		auth = "auth: {htpasswd: {realm: test, path: " + dir + "/htpasswd}}\n"
	}
	for range 5 { // a free port may be another's a moment later
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		host = l.Addr().String()
		l.Close()
		config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s/data}}\nhttp: {addr: %q, secret: x}\n%s", dir, host, auth)
		if err := os.WriteFile(filepath.Join(dir, "config.yml"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		var out lockedBuffer
		cmd := exec.Command(server, "serve", filepath.Join(dir, "config.yml"))
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { _ = cmd.Wait(); close(done) }()
		t.Cleanup(func() { _ = cmd.Process.Kill(); <-done })
		for range 200 {
			if c, err := net.Dial("tcp", host); err == nil {
				c.Close()
				return host
			}
			select {
			case <-done:
			case <-time.After(50 * time.Millisecond):
				continue
			}
			break
		}
		t.Logf("docker-registry on %s: %s", host, out.String())
	}
	t.Fatal("docker-registry does not start")
	return ""
}

type keychain struct{ password string }

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	if k.password == "" {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(authn.AuthConfig{Username: "user", Password: k.password}), nil
}

// TestSecondMachineRunsNothing: what one machine made, another gets from Debian's registry.
func TestSecondMachineRunsNothing(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"", "secret"} {
		repository := newRegistry(t, password) + "/cache/talosmith"
		var ran atomic.Int64
		first := newMachine(t, t.TempDir(), repository, true, keychain{password})
		if got := first.build(t, graph(&ran)); got != graphWant {
			t.Errorf("got %.100q", got)
		}
		first.remote.Wait(t.Context())
		second := newMachine(t, t.TempDir(), repository, false, keychain{password})
		for range 2 {
			if got := second.build(t, graph(&ran)); got != graphWant {
				t.Errorf("got %.100q", got)
			}
		}
		if ran.Load() != graphSteps || second.pulled.Load() != 1 { // the last output alone
			t.Errorf("%d steps ran, %d outputs were pulled", ran.Load(), second.pulled.Load())
		}
		if log := first.log.String() + second.log.String(); log != "" {
			t.Errorf("logged %s", log)
		}

		// Something new of what is there pulls what it is made of, but makes the transient again if it needs that.
		more := graph(&ran)
		more.Params = "other"
		second.build(t, more)
		if ran.Load() != graphSteps+1 || second.pulled.Load() != 3 {
			t.Errorf("%d steps ran, %d outputs were pulled", ran.Load(), second.pulled.Load())
		}
		// To verify, everything runs.
		verify, err := store.Open(store.Options{Dir: t.TempDir(), Remote: second.remote, Verify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer verify.Close()
		if _, err := verify.Build(t.Context(), graph(&ran)); err != nil || ran.Load() != 2*graphSteps+1 {
			t.Errorf("%d steps ran, %v", ran.Load(), err)
		}
	}
}

// TestUploadsNeedPermission: without it, the build is as good.
func TestUploadsNeedPermission(t *testing.T) {
	t.Parallel()
	repository := newRegistry(t, "secret") + "/cache"
	var ran atomic.Int64
	m := newMachine(t, t.TempDir(), repository, true, keychain{"wrong"})
	if got := m.build(t, graph(&ran)); got != graphWant {
		t.Errorf("got %.100q", got)
	}
	m.remote.Wait(t.Context())
	log := m.log.String()
	if strings.Count(log, "not asked any more") != 1 || strings.Count(log, "nothing is uploaded") != 1 || strings.Contains(log, "wrong") {
		t.Errorf("logged %s", log)
	}
}
