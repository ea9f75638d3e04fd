package store_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/tree"
)

func TestStepsKeepToTheBudget(t *testing.T) {
	for _, c := range []struct {
		name           string
		workers, cores int
		memory, each   int64
		granted        int
		atOnce         int64 // steps
	}{
		{"one core each", 4, 0, 0, 0, 1, 5},
		{"all cores", 4, 8, 0, 0, 4, 1},
		{"two cores", 4, 2, 0, 0, 2, 2},
		{"memory", 4, 1, 100, 50, 1, 2},
		{"fewer cores for lack of memory", 4, 4, 100, 40, 2, 1},
		{"more memory than there is", 4, 4, 100, 400, 1, 1},
		{"nothing said", 0, 0, 0, 0, 1, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := open(t, store.Options{Dir: t.TempDir(), Workers: max(c.workers, 1), Memory: c.memory})
			var now, most atomic.Int64
			full := make(chan struct{}) // as many run as may
			var once sync.Once
			var steps []*store.Step
			for i := range 12 {
				steps = append(steps, &store.Step{Name: fmt.Sprint(i), Cores: c.cores, Memory: c.each, Run: func(ctx context.Context, _ store.Output, _ []tree.Blob) error {
					if got := store.Cores(ctx); got != c.granted {
						t.Errorf("granted %d cores, want %d", got, c.granted)
					}
					n := now.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					if n >= c.atOnce {
						once.Do(func() { close(full) })
					}
					select {
					case <-full:
						time.Sleep(5 * time.Millisecond) // lets one more begin, if that were possible
					case <-time.After(30 * time.Second):
						t.Errorf("only %d steps run at once", most.Load())
					}
					now.Add(-1)
					return nil
				}})
			}
			if _, err := s.BuildAll(t.Context(), steps); err != nil {
				t.Fatal(err)
			}
			if most.Load() != c.atOnce {
				t.Errorf("%d steps ran at once, want %d", most.Load(), c.atOnce)
			}
		})
	}
}
