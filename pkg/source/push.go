package source

import (
	"context"
	"errors"
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
	return s.upload(ctx, ref, what)
}

// upload puts an image or index under a tag or its digest.
func (s *Sources) upload(ctx context.Context, ref name.Reference, what remote.Taggable) (string, error) {
	ep, ref := s.direct(ref)
	options, err := s.uploading(ctx, ep)
	if err != nil {
		return "", err
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
	if other := (carriedError{}); errors.As(err, &other) {
		return "", other.error
	}
	if err != nil {
		return "", explain(ep, err)
	}
	return hash.String(), nil
}

// direct is the way to a reference's registry itself, and the reference as go-containerregistry wants it.
func (s *Sources) direct(ref name.Reference) (endpoint, name.Reference) {
	ep := endpoint{repo: ref.Context(), block: dockerName(ref.Context().RegistryStr())}
	repo := ep.registry(s).Repo(ref.Context().RepositoryStr())
	if d, ok := ref.(name.Digest); ok {
		return ep, repo.Digest(d.DigestStr())
	}
	return ep, repo.Tag(ref.Identifier())
}

func (s *Sources) uploading(ctx context.Context, ep endpoint) ([]remote.Option, error) {
	base, err := s.base(ep)
	return []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(base), remote.WithAuthFromKeychain(s.keychain), remote.WithJobs(3),
		// The transport repeats requests; an upload whose body was under way is begun again by remote, once.
		remote.WithRetryStatusCodes(), remote.WithRetryBackoff(remote.Backoff{Duration: 100 * time.Millisecond, Steps: 2}),
	}, err
}
