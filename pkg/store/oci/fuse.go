package oci

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// fuse blows after a few failures. Nothing goes through it then, and what is under way ends.
type fuse struct {
	log    *slog.Logger
	repo   string
	host   string
	says   string
	limits *limits

	mu       sync.Mutex
	failures int
	blown    context.Context // done when it has blown
	blow     context.CancelFunc
}

func newFuse(o Options, says string, l *limits) *fuse {
	f := &fuse{log: o.Log, repo: o.Repository.Name(), host: o.Repository.RegistryStr(), says: says, limits: l}
	f.blown, f.blow = context.WithCancel(context.Background())
	return f
}

// lasting is a failure that will not pass.
type lasting struct{ error }

func (l lasting) Unwrap() error { return l.error }

// try runs something with a context that ends when the fuse blows, and counts its failure. The caller's own cancellation is none.
func (f *fuse) try(ctx context.Context, what string, run func(context.Context) error) (ok bool) {
	if f.blown.Err() != nil {
		return false
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(f.blown, cancel)()
	err := run(inner)
	if err != nil && ctx.Err() == nil {
		f.fail(what, err)
	}
	return err == nil
}

func (f *fuse) fail(what string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.blown.Err() != nil {
		return // what others ran into meanwhile
	}
	if refused(err) {
		err = fmt.Errorf("%w: `docker login %s` as somebody who may", err, f.host)
	}
	f.failures++
	f.log.Warn("remote store: "+what, "repository", f.repo, "because", err)
	var stays lasting
	if f.failures >= f.limits.failures || errors.As(err, &stays) || refused(err) {
		f.blow()
		f.log.Warn("remote store: "+f.says, "repository", f.repo)
	}
}

// Requests are repeated where it may help: registries stumble over what several machines write at the same moment.
const (
	readAttempts  = 2
	writeAttempts = 5
	pause         = 50 * time.Millisecond // doubled each time
)

// again repeats what fails for a reason that may pass.
func again(ctx context.Context, attempts int, run func() error) error {
	for n := 1; ; n++ {
		err := run()
		var stays lasting
		if err == nil || n == attempts || ctx.Err() != nil || errors.As(err, &stays) || refused(err) {
			return err
		}
		select {
		case <-time.After(pause << n):
		case <-ctx.Done():
			return err
		}
	}
}

// refused tells whether the registry said that credentials are missing or not good enough.
func refused(err error) bool {
	var status *transport.Error
	return errors.As(err, &status) && (status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden)
}
