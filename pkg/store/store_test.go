package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/tree"
)

// say is a step that writes its text behind its inputs', and counts how often it ran.
func say(text string, ran *atomic.Int64, inputs ...*store.Step) *store.Step {
	return &store.Step{Name: "say", Label: text, Params: text, Inputs: inputs,
		Run: func(_ context.Context, out store.Output, in []tree.Blob) error {
			ran.Add(1)
			at := int64(0)
			for _, b := range append(in, tree.String(text)) {
				n, err := tree.CopyAt(out, at, b)
				if err != nil {
					return err
				}
				at += n
			}
			return nil
		}}
}

func open(t *testing.T, o store.Options) *store.Store {
	t.Helper()
	if o.Workers == 0 {
		o.Workers = 2
	}
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func build(t *testing.T, s *store.Store, st *store.Step) string {
	t.Helper()
	b, err := s.Build(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	text, err := tree.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestStepsRunOnce(t *testing.T) {
	dir := t.TempDir()
	var a, b atomic.Int64
	graph := func() *store.Step { return say("b", &b, say("a", &a), say("a", &a)) }
	for range 2 {
		s := open(t, store.Options{Dir: dir})
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if got := build(t, s, graph()); got != "aab" {
					t.Errorf("got %q", got)
				}
			})
		}
		all.Wait()
	}
	if a.Load() != 1 || b.Load() != 1 {
		t.Errorf("steps ran %d and %d times", a.Load(), b.Load())
	}
}

func TestAnInputMadeAnewWithTheSameBytesCausesNoWork(t *testing.T) {
	dir := t.TempDir()
	var inner, outer atomic.Int64
	for i := range 2 {
		in := say("same", &inner)
		in.Name = fmt.Sprint("made differently ", i)
		build(t, open(t, store.Options{Dir: dir}), say("outer", &outer, in))
	}
	if inner.Load() != 2 || outer.Load() != 1 {
		t.Errorf("the inputs ran %d times, what uses them %d times; want 2 and 1", inner.Load(), outer.Load())
	}
}

func TestTransientContentGoesButStaysKnown(t *testing.T) {
	dir := t.TempDir()
	var big, small atomic.Int64
	graph := func(last string) *store.Step {
		in := say("big", &big)
		in.Transient = true
		return say(last, &small, in)
	}
	run := func(last string) {
		s, err := store.Open(store.Options{Dir: dir, Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		build(t, s, graph(last))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "run")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("run/ is left: %v", err)
		}
	}
	run("1")
	run("1")
	if big.Load() != 1 || small.Load() != 1 {
		t.Errorf("ran %d and %d times", big.Load(), small.Load())
	}
	run("2")
	if big.Load() != 2 || small.Load() != 2 {
		t.Errorf("ran %d and %d times; what is gone is made again for who needs it", big.Load(), small.Load())
	}
}

func TestTransientContentOutlivesAnotherUsersClose(t *testing.T) {
	dir := t.TempDir()
	var ran atomic.Int64
	in := say("big", &ran)
	in.Transient = true
	first := open(t, store.Options{Dir: dir})
	blob, err := first.Build(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	second, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := tree.ReadAll(blob); err != nil || string(got) != "big" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestDamageIsMadeAgain(t *testing.T) {
	for name, damage := range map[string]func(string) error{
		"truncated": func(f string) error { return os.Truncate(f, 1) },
		"removed":   os.Remove,
		"emptied":   func(f string) error { return os.Truncate(f, 0) },
		"huge":      func(f string) error { return os.Truncate(f, 1<<40) },
		"a folder":  func(f string) error { return errors.Join(os.Remove(f), os.MkdirAll(filepath.Join(f, "x"), 0o755)) },
		"a device":  func(f string) error { return errors.Join(os.Remove(f), os.Symlink("/dev/zero", f)) },
	} {
		for _, kind := range []string{"actions", "blobs"} {
			dir := t.TempDir()
			var ran atomic.Int64
			build(t, open(t, store.Options{Dir: dir}), say("text", &ran))
			for _, f := range files(t, filepath.Join(dir, kind)) {
				if err := damage(f); err != nil {
					t.Fatal(err)
				}
			}
			if got := build(t, open(t, store.Options{Dir: dir}), say("text", &ran)); got != "text" || ran.Load() != 2 {
				t.Errorf("%s %s: got %q after %d runs", kind, name, got, ran.Load())
			}
		}
	}
}

func TestVerifyNamesTheFirstDifference(t *testing.T) {
	dir := t.TempDir()
	n := 0
	fickle := &store.Step{Name: "fickle", Label: "thing", Run: func(_ context.Context, out store.Output, _ []tree.Blob) error {
		n++
		_, err := out.WriteAt(fmt.Appendf(nil, "the same but %d", n), 0)
		return err
	}}
	build(t, open(t, store.Options{Dir: dir}), fickle)
	_, err := open(t, store.Options{Dir: dir, Verify: true}).Build(t.Context(), fickle)
	if err == nil || !strings.Contains(err.Error(), "first at byte 13:") || !strings.Contains(err.Error(), "fickle thing") {
		t.Errorf("error %v", err)
	}

	var ran atomic.Int64
	build(t, open(t, store.Options{Dir: dir}), say("text", &ran))
	for _, f := range files(t, filepath.Join(dir, "blobs")) {
		if b, _ := os.ReadFile(f); string(b) == "text" {
			if err := os.WriteFile(f, []byte("teXt"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	var log bytes.Buffer
	verify := func() {
		t.Helper()
		s := open(t, store.Options{Dir: dir, Verify: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
		if got := build(t, s, say("text", &ran)); got != "text" {
			t.Errorf("got %q", got)
		}
	}
	verify()
	if said := log.String(); !strings.Contains(said, "damaged output is replaced") || !strings.Contains(said, `"say text"`) || !strings.Contains(said, `differs"=2`) {
		t.Errorf("a flipped byte in the store gave %q", said)
	}
	log.Reset()
	verify()
	if log.Len() > 0 {
		t.Errorf("after the damage was found: %s", &log)
	}
}

// TestAnInputThatIsMadeAnewWithOtherBytes: the content of a transient input is gone, and comes out differently.
func TestAnInputThatIsMadeAnewWithOtherBytes(t *testing.T) {
	dir := t.TempDir()
	var ran atomic.Int64
	version := 1
	in := &store.Step{Name: "fickle", Transient: true, Run: func(_ context.Context, out store.Output, _ []tree.Blob) error {
		_, err := out.WriteAt(fmt.Append(nil, version), 0)
		return err
	}}
	once := func(last string) string {
		s, err := store.Open(store.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return build(t, s, say(last, &ran, in))
	}
	if got := once("a"); got != "1a" {
		t.Errorf("got %q", got)
	}
	version = 2
	if got := once("b"); got != "2b" {
		t.Errorf("got %q", got)
	}
	if got := once("a"); got != "2a" { // the result of "1" followed by "a" is not taken for it
		t.Errorf("got %q", got)
	}

	fresh := 0
	in.Run = func(_ context.Context, out store.Output, _ []tree.Blob) error {
		fresh++
		_, err := out.WriteAt(fmt.Appendf(nil, "fresh %d, ", fresh), 0)
		return err
	}
	in.Name = "never the same"
	s := open(t, store.Options{Dir: dir})
	build(t, s, in)
	for i := range 5 { // each time, somebody else drops what was made
		last := say(fmt.Sprint(i), &ran, in)
		quick := last.Run
		last.Run = func(ctx context.Context, out store.Output, in []tree.Blob) error { return quick(ctx, out, in) }
		for _, f := range files(t, filepath.Join(dir, "run/transient")) {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := build(t, s, last), fmt.Sprintf("fresh %d, %d", fresh, i); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestFailuresLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	failing := &store.Step{Name: "fail", Label: "it", Run: func(_ context.Context, out store.Output, _ []tree.Blob) error {
		_, _ = out.WriteAt([]byte("half"), 0)
		return errors.New("disk on fire")
	}}
	var ran atomic.Int64
	_, err := open(t, store.Options{Dir: dir}).Build(t.Context(), say("x", &ran, failing))
	if err == nil || err.Error() != "fail it: disk on fire" {
		t.Errorf("error %v", err)
	}
	for _, kind := range []string{"actions", "blobs", "run/tmp"} {
		if left := files(t, filepath.Join(dir, kind)); len(left) != 0 {
			t.Errorf("left %q", left)
		}
	}
}

func TestErrorsNameTheStep(t *testing.T) {
	bad := &store.Step{Name: "pack", Params: make(chan int)}
	if _, err := open(t, store.Options{Dir: t.TempDir()}).Build(t.Context(), bad); err == nil || !strings.HasPrefix(err.Error(), "pack: parameters: ") {
		t.Errorf("error %v", err)
	}
}

// TestCancelStopsASteadyWriter: a step need not look at its context.
func TestCancelStopsASteadyWriter(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	deaf := &store.Step{Name: "deaf", Run: func(_ context.Context, out store.Output, _ []tree.Blob) error {
		for at := int64(0); ; at++ {
			if _, err := out.WriteAt([]byte{1}, 0); err != nil {
				return err
			}
			if at == 10 {
				cancel()
			}
		}
	}}
	s := open(t, store.Options{Dir: t.TempDir()})
	if _, err := s.Build(ctx, deaf); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestCancelStopsWaitingAndRunning(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	slow := &store.Step{Name: "slow", Run: func(ctx context.Context, _ store.Output, _ []tree.Blob) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	}}
	s := open(t, store.Options{Dir: t.TempDir()})
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if _, err := s.Build(ctx, slow); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
		})
	}
	<-started
	cancel()
	all.Wait()
}
