package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/tree"
)

// TestProgress: a step tells how far it is; of one that doesn't, what it has written does.
func TestProgress(t *testing.T) {
	t.Parallel()
	var got []string
	s := open(t, store.Options{Dir: t.TempDir(), Workers: 1, Observe: func(e store.Event) {
		got = append(got, fmt.Sprintf("%s %d: %d of %d", e.Step.Label, e.State, e.Bytes, e.Total))
	}})
	for _, tells := range []bool{false, true} {
		st := &store.Step{Name: "write", Label: fmt.Sprint(tells), Params: tells, Run: func(ctx context.Context, out store.Output, _ []tree.Blob) error {
			if tells {
				store.Progress(ctx, 7, 100)
			}
			_, err := out.WriteAt([]byte("abc"), 0)
			return err
		}}
		if got := build(t, s, st); got != "abc" {
			t.Errorf("made %q", got)
		}
	}
	want := []string{
		"false 3: 0 of 0", "false 3: 3 of 0", "false 4: 3 of 0",
		"true 3: 0 of 0", "true 3: 7 of 100", "true 4: 3 of 0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("observed %q", got)
	}
	store.Progress(t.Context(), 1, 2) // of no step
}

// TestWaiting: whoever waits for another process is told so.
func TestWaiting(t *testing.T) {
	dir := t.TempDir()
	began, end := make(chan struct{}), make(chan struct{})
	st := &store.Step{Name: "slow", Run: func(_ context.Context, out store.Output, _ []tree.Blob) error {
		close(began)
		<-end
		_, err := out.WriteAt([]byte("done"), 0)
		return err
	}}
	first := open(t, store.Options{Dir: dir})
	made := make(chan error)
	go func() {
		_, err := first.Build(t.Context(), st)
		made <- err
	}()
	<-began
	var states []store.State
	second := open(t, store.Options{Dir: dir, Observe: func(e store.Event) {
		if states = append(states, e.State); e.State == store.Waiting {
			close(end)
		}
	}})
	if got := build(t, second, st); got != "done" {
		t.Errorf("got %q", got)
	}
	if err := <-made; err != nil {
		t.Error(err)
	}
	if !slices.Equal(states, []store.State{store.Waiting, store.Stored}) {
		t.Errorf("states %v", states)
	}
}
