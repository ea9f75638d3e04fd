package store

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// DefaultMemory is what steps get where [Options] says nothing, in bytes.
const DefaultMemory = 256 << 20

// budget lets steps run side by side as far as cores and memory go.
type budget struct {
	workers int
	memory  int64
	// Besides those that compute one more step may run: it keeps a core busy while another reads, hashes or waits for the disk.
	cores *semaphore.Weighted
	bytes *semaphore.Weighted
}

func newBudget(workers int, memory int64) *budget {
	if memory == 0 {
		memory = DefaultMemory
	}
	workers = max(workers, 1)
	return &budget{workers, memory, semaphore.NewWeighted(int64(workers) + 1), semaphore.NewWeighted(memory)}
}

// share is what a step got of the budget.
type share struct {
	cores   int
	waited  bool
	release func()
}

// acquire waits until there is room for a step. A step never waits with less than all that it needs but cores, which steps that have
// everything give back: so they cannot wait for each other.
func (b *budget) acquire(ctx context.Context, st *Step) (s share, err error) {
	cores := min(max(st.Cores, 1), b.workers)
	if st.Memory > 0 {
		cores = max(min(cores, int(b.memory/st.Memory)), 1)
	}
	bytes := min(int64(cores)*st.Memory, b.memory)
	waited := !b.cores.TryAcquire(int64(cores))
	if waited {
		if err := b.cores.Acquire(ctx, int64(cores)); err != nil {
			return s, err
		}
	}
	if !b.bytes.TryAcquire(bytes) {
		waited = true
		if err := b.bytes.Acquire(ctx, bytes); err != nil {
			b.cores.Release(int64(cores))
			return s, err
		}
	}
	return share{cores, waited, func() {
		b.bytes.Release(bytes)
		b.cores.Release(int64(cores))
	}}, nil
}

type coresKey struct{}

// Cores is how many goroutines may compute in a step that runs with this context.
func Cores(ctx context.Context) int {
	if n, ok := ctx.Value(coresKey{}).(int); ok {
		return n
	}
	return 1
}
