package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

// registryJob serves an empty registry, in memory, until its standard input ends.
type registryJob struct{}

func (registryJob) run() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	go server.Serve(listener) // until Close
	fmt.Println(listener.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, server.Close())
}

// shared measures a second machine, which shares its store with the first through a registry.
func (b *bench) shared(ctx context.Context) (table, error) {
	t := table{title: "shared: a machine that never built, with the store of another in a registry on this machine"}
	remote, err := b.start(ctx, job{Registry: &registryJob{}})
	if err != nil {
		return t, err
	}
	return t, errors.Join(b.secondMachine(ctx, &t, remote.address), remote.close())
}

func (b *bench) secondMachine(ctx context.Context, t *table, registry string) error {
	store := fmt.Sprintf("store {\n  registry = %q\n}\n\nregistry %q {\n  insecure = true\n}\n\n", registry+"/cache", registry)
	file, err := b.variant("shared", "variable \"console\" {", store+"variable \"console\" {")
	if err != nil {
		return err
	}
	first, err := b.make(ctx, build{profile: file, cache: b.path("shared", "cache-1"), out: b.path("shared", "out-1"), env: []string{"TALOSMITH_STORE_WRITE=1"}})
	if err != nil {
		return err
	}
	second, err := b.make(ctx, build{profile: file, cache: b.path("shared", "cache-2"), out: b.path("shared", "out-2")})
	if err != nil {
		return err
	}
	if first.steps(compressStep) == 0 {
		return errors.New("the first machine's build says that no step ran that compresses: its lines are read wrong")
	}
	t.add("steps that compress, of the first machine's", count, second.steps(compressStep), first.steps(compressStep), atMost(0))
	t.add("wall time, of the first machine's", seconds, second.wall, first.wall, none)
	t.add("CPU time, of the first machine's", seconds, second.cpu, first.cpu, none)
	t.add("peak memory", size, float64(max(first.peak, second.peak)), 0, atMost(400<<20))
	return remove(b.path("shared"))
}
