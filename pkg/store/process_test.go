package store_test

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/tree"
)

const helperEnv = "TALOSMITH_STORE_HELPER"

// helper is a process that builds slowSteps in a store, and notes each run of a step in a file.
func helper(t *testing.T, dir, notes string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperProcess$", "-test.count=1")
	cmd.Env = append(os.Environ(), helperEnv+"="+dir+"|"+notes)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestHelperProcess(t *testing.T) {
	dir, notes, ok := strings.Cut(os.Getenv(helperEnv), "|")
	if !ok {
		return // not called by a test
	}
	s, err := store.Open(store.Options{Dir: dir, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	if got := build(t, s, slowSteps(notes)); got != slowWant {
		t.Errorf("got %q", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

const slowWant = "0123456789"

// slowSteps is a chain of steps, every second one transient.
func slowSteps(notes string) *store.Step {
	var st *store.Step
	for i := range len(slowWant) {
		var in []*store.Step
		if st != nil {
			in = append(in, st)
		}
		text := slowWant[i : i+1]
		st = say(text, new(atomic.Int64), in...)
		st.Transient = i%2 == 1 && i < len(slowWant)-1
		quick := st.Run
		st.Run = func(ctx context.Context, out store.Output, in []tree.Blob) error {
			f, err := os.OpenFile(notes, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := f.WriteString(text); err != nil {
				return err
			}
			if _, err := out.WriteAt([]byte("h"), 0); err != nil {
				return err
			}
			time.Sleep(3 * time.Millisecond)
			return quick(ctx, out, in)
		}
	}
	return st
}

// TestProcessesShareSteps: what many processes want at once runs once.
func TestProcessesShareSteps(t *testing.T) {
	dir, notes := t.TempDir(), filepath.Join(t.TempDir(), "notes")
	var all []*exec.Cmd
	for range 6 {
		all = append(all, helper(t, dir, notes))
	}
	for _, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	if got, err := os.ReadFile(notes); err != nil || string(got) != slowWant {
		t.Errorf("ran %q, %v; want each step once", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "run")); !os.IsNotExist(err) {
		t.Errorf("run/ is left: %v", err)
	}
}

// TestKilledProcesses kills processes at any point, several at work at once, and lets the last ones finish.
func TestKilledProcesses(t *testing.T) {
	dir, notes := t.TempDir(), filepath.Join(t.TempDir(), "notes")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 8 {
				cmd := helper(t, dir, notes)
				time.AfterFunc(time.Duration(rand.IntN(60))*time.Millisecond, func() { _ = cmd.Process.Kill() })
				_ = cmd.Wait()
			}
		})
	}
	all.Wait()
	last := []*exec.Cmd{helper(t, dir, notes), helper(t, dir, notes)}
	for _, cmd := range last {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "run")); !os.IsNotExist(err) {
		t.Errorf("run/ is left: %v", err)
	}
	if err := os.Truncate(notes, 0); err != nil {
		t.Fatal(err)
	}
	verifying := open(t, store.Options{Dir: dir, Verify: true}) // nothing in it is wrong
	if got := build(t, verifying, slowSteps(notes)); got != slowWant {
		t.Errorf("got %q", got)
	}
	if got, _ := os.ReadFile(notes); string(got) != slowWant {
		t.Errorf("ran %q", got)
	}
}
