package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/tree"
)

// uploads are those under way.
type uploads struct {
	all   sync.WaitGroup
	slots chan struct{}
	mu    sync.Mutex
	to    *remote.Pusher
}

// Put implements [store.Remote].
func (s *Store) Put(e store.Entry) {
	if !s.o.Write || s.writes.blown.Err() != nil {
		return
	}
	s.uploads.all.Go(func() {
		select {
		case s.uploads.slots <- struct{}{}:
			defer func() { <-s.uploads.slots }()
		case <-s.writes.blown.Done():
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), s.limits.connect+s.limits.blobTime(e.Size))
		defer cancel()
		s.writes.try(context.Background(), fmt.Sprintf("upload of %s %s", e.Name, e.Label), func(blown context.Context) error {
			defer context.AfterFunc(blown, cancel)()
			return s.upload(ctx, e)
		})
	})
}

// Wait waits for uploads, but not for ever, and ends those that are not done then.
func (s *Store) Wait(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		s.uploads.all.Wait()
		close(done)
	}()
	timeout := time.NewTimer(s.limits.wait)
	defer timeout.Stop()
	select {
	case <-done:
		return
	case <-timeout.C:
		s.o.Log.Warn("remote store: uploads are given up", "repository", s.o.Repository.Name(), "after", s.limits.wait)
	case <-ctx.Done():
	}
	s.writes.blow()
	<-done
}

func (s *Store) upload(ctx context.Context, e store.Entry) error {
	a, err := s.artifact(e)
	if err != nil {
		return err
	}
	img, err := partial.CompressedToImage(a)
	if err != nil {
		return err
	}
	return again(ctx, writeAttempts, func() error {
		to, err := s.uploads.pusher(s.o)
		if err != nil {
			return lasting{err}
		}
		if err = to.Push(ctx, s.o.Repository.Tag(string(e.Key)), img); err != nil {
			s.uploads.drop(to)
		}
		return err
	})
}

// pusher returns what uploads share.
func (u *uploads) pusher(o Options) (_ *remote.Pusher, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.to == nil {
		u.to, err = remote.NewPusher(remote.WithTransport(o.Transport), remote.WithAuthFromKeychain(o.Keychain),
			remote.WithRetryStatusCodes(), remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
	}
	return u.to, err
}

// drop makes the next upload begin with a new pusher: one remembers what failed.
func (u *uploads) drop(to *remote.Pusher) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.to == to {
		u.to = nil
	}
}

// artifact is an entry as a manifest with blobs: what go-containerregistry uploads.
type artifact struct {
	manifest []byte
	blobs    []blob
}

type blob struct {
	v1.Descriptor
	tree.Blob
}

func small(media types.MediaType, content string) blob {
	sum := sha256.Sum256([]byte(content))
	return blob{v1.Descriptor{
		MediaType: media, Size: int64(len(content)), Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])},
	}, tree.String(content)}
}

func (s *Store) artifact(e store.Entry) (*artifact, error) {
	config, layer := small(configType, empty), small(emptyType, empty)
	if e.Content != nil && e.Size > 0 {
		layer = blob{v1.Descriptor{
			MediaType: outputType, Size: e.Size, Digest: v1.Hash{Algorithm: "sha256", Hex: string(e.Digest)},
		}, e.Content}
	}
	text, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: manifestType, Config: config.Descriptor, Layers: []v1.Descriptor{layer.Descriptor},
		Annotations: map[string]string{
			annotation + "key": string(e.Key), annotation + "name": e.Name, annotation + "label": e.Label,
			annotation + "digest": string(e.Digest), annotation + "size": strconv.FormatInt(e.Size, 10), annotation + "tool": s.o.Tool,
		},
	})
	return &artifact{text, []blob{layer, config}}, err
}

// These methods make an artifact what partial.CompressedToImage takes.

func (a *artifact) MediaType() (types.MediaType, error) { return manifestType, nil }
func (a *artifact) RawManifest() ([]byte, error)        { return a.manifest, nil }
func (a *artifact) RawConfigFile() ([]byte, error)      { return []byte(empty), nil }

func (a *artifact) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, b := range a.blobs {
		if b.Descriptor.Digest == h {
			return upload{b}, nil
		}
	}
	return nil, fmt.Errorf("no blob %s", h)
}

type upload struct{ b blob }

func (u upload) Digest() (v1.Hash, error)             { return u.b.Descriptor.Digest, nil }
func (u upload) Size() (int64, error)                 { return u.b.Descriptor.Size, nil }
func (u upload) MediaType() (types.MediaType, error)  { return u.b.Descriptor.MediaType, nil }
func (u upload) Compressed() (io.ReadCloser, error)   { return u.b.Open() }
func (u upload) Uncompressed() (io.ReadCloser, error) { return u.b.Open() } // never asked for in an upload
