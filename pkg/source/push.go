package source

import (
	"context"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Push uploads an image ([v1.Image]) or index ([v1.ImageIndex]) to a tag and returns its digest. It goes to the registry itself, never to
// a mirror.
func (s *Sources) Push(ctx context.Context, tag string, what remote.Taggable) (digest string, err error) {
	digest, err = s.push(ctx, tag, what)
	if err != nil {
		return "", fmt.Errorf("push %s: %w", tag, err)
	}
	return digest, nil
}

func (s *Sources) push(ctx context.Context, tag string, what remote.Taggable) (string, error) {
	ref, err := name.NewTag(tag)
	if err != nil {
		return "", fmt.Errorf("not a tag as REGISTRY/REPOSITORY:TAG: %w", err)
	}
	ep := endpoint{repo: ref.Context(), block: dockerName(ref.RegistryStr())}
	if ep.registry(s).Scheme() == "http" {
		if ref, err = name.NewTag(tag, name.Insecure); err != nil {
			return "", err
		}
	}
	base, err := s.base(ep)
	if err != nil {
		return "", err
	}
	options := []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(base), remote.WithAuthFromKeychain(s.keychain), remote.WithJobs(3),
		// The transport repeats requests; an upload whose body was under way is begun again by remote, once.
		remote.WithRetryStatusCodes(), remote.WithRetryBackoff(remote.Backoff{Duration: 100 * time.Millisecond, Steps: 2}),
	}
	var hash v1.Hash
	switch t := what.(type) {
	case v1.ImageIndex:
		if err = remote.WriteIndex(ref, t, options...); err == nil {
			hash, err = t.Digest()
		}
	case v1.Image:
		if err = remote.Write(ref, t, options...); err == nil {
			hash, err = t.Digest()
		}
	default:
		return "", fmt.Errorf("%T is neither an image nor an index", what)
	}
	if err != nil {
		return "", explain(ep, err)
	}
	return hash.String(), nil
}
