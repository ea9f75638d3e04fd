package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// stoppable is a context that also ends when the system wants the process to, as CI, Kubernetes and a closed terminal do: mage listens
// to Ctrl-C alone. Whoever asks twice does not wait.
func stoppable(ctx context.Context) (context.Context, context.CancelFunc) {
	signals := []os.Signal{syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup does
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(ctx, signals...)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
