package oci

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/tree"
)

const (
	fanOutEnv = "TALOSMITH_FANOUT_HELPER"
	images    = 8
	shared    = 5
)

// imageStep is what an index builds: an image of shared extensions. Each run of a step is noted in a file.
func imageStep(index int, notes string) *store.Step {
	noted := func(name string, size int, in ...*store.Step) *store.Step {
		return &store.Step{Name: name, Inputs: in, Run: func(ctx context.Context, out store.Output, in []tree.Blob) error {
			f, err := os.OpenFile(notes, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := fmt.Fprintln(f, name); err != nil {
				return err
			}
			select {
			case <-time.After(30 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
			at := int64(0)
			for _, b := range append(in, tree.String(strings.Repeat(name+".", size))) {
				n, err := tree.CopyAt(out, at, b)
				if err != nil {
					return err
				}
				at += n
			}
			return nil
		}}
	}
	var extensions []*store.Step
	for i := range shared {
		unpack := noted(fmt.Sprint("unpack ", i), 3000)
		unpack.Transient = true
		extensions = append(extensions, noted(fmt.Sprint("squashfs ", i), 5000, unpack))
	}
	return noted(fmt.Sprint("image ", index), 1, extensions...)
}

// TestIndexesKilledAtRandom: each index of a matrix is a process with a directory of its own that is gone when it is killed, as a pod's is;
// all they share is the registry.
func TestIndexesKilledAtRandom(t *testing.T) {
	t.Parallel()
	repository := newRegistry(t, "") + "/cache/talosmith"
	notes := filepath.Join(t.TempDir(), "notes")
	var kills atomic.Int64
	var all sync.WaitGroup
	for index := range images {
		all.Go(func() {
			for try := 0; ; try++ {
				cmd := exec.Command(os.Args[0], "-test.run=^TestFanOutHelper$", "-test.count=1")
				cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d|%s|%s|%s", fanOutEnv, index, repository, t.TempDir(), notes))
				cmd.Stdout = os.Stderr
				if err := cmd.Start(); err != nil {
					t.Error(err)
					return
				}
				if try < 3 {
					time.AfterFunc(time.Duration(50+rand.IntN(400))*time.Millisecond, func() { _ = cmd.Process.Kill() })
				}
				err := cmd.Wait()
				if err == nil {
					return
				}
				if cmd.ProcessState.ExitCode() >= 0 {
					t.Errorf("index %d: %v", index, err)
					return
				}
				kills.Add(1)
			}
		})
	}
	all.Wait()
	if kills.Load() == 0 {
		t.Error("nobody was killed")
	}
	text, err := os.ReadFile(notes)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d kills; %d runs of %d steps", kills.Load(), strings.Count(string(text), "\n"), 2*shared+images)
	if err := os.Remove(notes); err != nil {
		t.Fatal(err)
	}
	// Whoever comes now finds everything.
	last := newMachine(t, t.TempDir(), repository, false, keychain{})
	for index := range images {
		last.build(t, imageStep(index, notes))
	}
	if text, err := os.ReadFile(notes); !os.IsNotExist(err) {
		t.Errorf("ran again: %s", text)
	}
	if log := last.log.String(); log != "" {
		t.Error(log)
	}
}

func TestFanOutHelper(t *testing.T) {
	args := strings.Split(os.Getenv(fanOutEnv), "|")
	if len(args) != 4 {
		return // not called by a test
	}
	index, err := strconv.Atoi(args[0])
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, args[2], args[1], true, keychain{})
	got := m.build(t, imageStep(index, args[3]))
	var want strings.Builder
	for i := range shared {
		want.WriteString(strings.Repeat(fmt.Sprintf("unpack %d.", i), 3000) + strings.Repeat(fmt.Sprintf("squashfs %d.", i), 5000))
	}
	if want.WriteString(fmt.Sprintf("image %d.", index)); got != want.String() {
		t.Errorf("index %d: %.100q", index, got)
	}
	m.remote.Wait(t.Context())
	if log := m.log.String(); log != "" {
		t.Errorf("index %d: %s", index, log)
	}
}
