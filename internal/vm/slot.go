package vm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// slots is how many machines boot at a time for one user: tests of several packages run at once, and emulation is dear.
const slots = 2

// slot waits until fewer machines are running, in this process and others.
func slot(ctx context.Context) (release func(), err error) {
	for {
		for i := range slots {
			l := flock.New(filepath.Join(os.TempDir(), fmt.Sprintf("talosmith-vm-%d-%d.lock", os.Getuid(), i)))
			ok, err := l.TryLock()
			if err != nil {
				return nil, fmt.Errorf("lock %s: %w", l.Path(), err)
			}
			if ok {
				return func() { l.Unlock() }, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}
