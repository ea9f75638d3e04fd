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
