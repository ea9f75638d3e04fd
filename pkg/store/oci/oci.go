// Package oci keeps what steps made in a repository of an OCI registry, for machines that share it.
//
// What a step made lies under its key as a tag:
//
//	manifest       application/vnd.oci.image.manifest.v1+json
//	  config       {}, of the media type application/vnd.talosmith.step.v1+json, which tells what it all is
//	  layers[0]    the output, application/vnd.talosmith.output.v1; {} of application/vnd.oci.empty.v1+json where the output
//	               is empty, or transient: its digest is enough to find what was made of it
//	  annotations  dev.talosmith.key, .name and .label of the step, .digest and .size of its output, .tool that made it
//
// https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md#guidelines-for-artifact-usage
//
// # Trust
//
// The manifest must name the key that it was asked for by, and the output must be what the manifest's digest says. That keeps
// damage and mix-ups out, not forgeries: whoever may write to the repository decides what images are made of, as whoever may write
// to the profile does. TALOSMITH_VERIFY=1 reads nothing from it.
//
// # When the registry is slow, gone or wrong
//
// Every request has a deadline. What fails is made here; after a few failures, or one that will not pass, the registry is not asked
// again in this run. Uploads run beside the build, and are given up when they take too long.
//
// # Not supported
//
// Deleting: a registry's own retention rules do that; what is gone is made again. Mirrors.
package oci

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/store"
)

const (
	configType = "application/vnd.talosmith.step.v1+json"
	outputType = "application/vnd.talosmith.output.v1"
	emptyType  = "application/vnd.oci.empty.v1+json"
	empty      = "{}" // a config, and a layer of emptyType

	annotation = "dev.talosmith."

	manifestType = types.OCIManifestSchema1
	maxManifest  = 64 << 10 // bytes
	maxOutput    = 64 << 30 // bytes: more than any step makes
)

// Options of a store. All but Write and Tool are needed.
type Options struct {
	source.Direct
	Write bool   // upload what is made here
	Tool  string // what made it, for people
	Log   *slog.Logger
}

// Store is a [store.Remote] in a repository.
type Store struct {
	o       Options
	limits  limits
	reads   *fuse
	writes  *fuse
	pulling chan struct{} // a token for each download at once
	uploads uploads

	mu     sync.Mutex
	client *http.Client
	found  map[store.Key]manifest
}

// limits are what bounds the harm that a registry can do.
type limits struct {
	connect  time.Duration // the first contact, with credentials
	manifest time.Duration
	blob     time.Duration // and as long as what has come takes at
	rate     int64         // bytes a second, at least
	failures int           // then it is not asked again
	wait     time.Duration // for uploads, when the build is done
}

var defaultLimits = limits{connect: 5 * time.Second, manifest: 3 * time.Second, blob: 5 * time.Second, rate: 2 << 20, failures: 3, wait: 2 * time.Minute}

func (l limits) blobTime(size int64) time.Duration {
	return l.blob + time.Duration(size/l.rate)*time.Second
}

// transfers is how many blobs are under way at once, each way.
const transfers = 2

// New makes a store. It asks nothing yet.
func New(o Options) *Store {
	s := &Store{o: o, limits: defaultLimits, pulling: make(chan struct{}, transfers), found: map[store.Key]manifest{}}
	s.reads = newFuse(o, "the remote store is not asked any more", &s.limits)
	s.writes = newFuse(o, "nothing is uploaded to the remote store any more", &s.limits)
	s.uploads.slots = make(chan struct{}, transfers)
	return s
}

// connect returns a client with credentials.
func (s *Store) connect(ctx context.Context) (*http.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		return s.client, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.connect)
	defer cancel()
	auth, err := authn.Resolve(ctx, s.o.Keychain, s.o.Repository)
	if err != nil {
		return nil, lasting{fmt.Errorf("read credentials: %w", err)}
	}
	var t http.RoundTripper
	err = again(ctx, readAttempts, func() (err error) {
		t, err = transport.NewWithContext(ctx, s.o.Repository.Registry, auth, s.o.Transport, []string{s.o.Repository.Scope(transport.PullScope)})
		return err
	})
	if err != nil {
		return nil, lasting{err}
	}
	s.client = &http.Client{Transport: t, CheckRedirect: s.o.CheckRedirect}
	return s.client, nil
}
