package source

import (
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// Direct is how to talk to a repository of a registry itself: past its mirrors, and with nothing repeated that fails.
type Direct struct {
	Repository name.Repository
	Transport  http.RoundTripper // without credentials
	Keychain   authn.Keychain
	// CheckRedirect is an [http.Client]'s: a registry must not send us to what only this machine can see.
	CheckRedirect func(*http.Request, []*http.Request) error
}

// Direct returns the way to a repository, such as "registry.corp/cache/talosmith".
func (s *Sources) Direct(repository string) (Direct, error) {
	repo, err := name.NewRepository(repository)
	if err != nil {
		return Direct{}, fmt.Errorf("not a repository as REGISTRY/REPOSITORY: %w", err)
	}
	ep := endpoint{repo: repo, block: dockerName(repo.RegistryStr())}
	if ep.registry(s).Scheme() == "http" {
		if repo, err = name.NewRepository(repository, name.Insecure); err != nil {
			return Direct{}, err
		}
	}
	t, err := s.base(ep)
	if err != nil {
		return Direct{}, err
	}
	if r, ok := t.(*retrier); ok {
		t = r.inner
	}
	return Direct{Repository: repo, Transport: t, Keychain: s.keychain, CheckRedirect: checkRedirect}, nil
}
