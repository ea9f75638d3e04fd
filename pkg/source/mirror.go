package source

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Mirror is a registry that is asked before the one that a reference names. Content has the same digest wherever it comes from, so
// a mirror never shows in what is built.
type Mirror struct {
	Host string // of references: "ghcr.io"
	Base string // "http://127.0.0.1:5000/prefix": the prefix goes before the repository's name
}

// ParseMirrors reads "HOST=URL,HOST=URL": the value of TALOSMITH_MIRRORS. A host may come several times; the first is asked first.
func ParseMirrors(s string) ([]Mirror, error) {
	var mirrors []Mirror
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		host, base, ok := strings.Cut(part, "=")
		m := Mirror{Host: strings.TrimSpace(host), Base: strings.TrimSpace(base)}
		if !ok || m.Host == "" {
			return nil, fmt.Errorf("parse mirror %q: want HOST=URL, as ghcr.io=https://mirror.example.com/ghcr", part)
		}
		if _, err := name.NewRegistry(m.Host); err != nil || strings.Contains(m.Host, "/") {
			return nil, fmt.Errorf("parse mirror %q: %q is no registry's host name", part, m.Host)
		}
		if _, _, err := m.split(); err != nil {
			return nil, err
		}
		mirrors = append(mirrors, m)
	}
	return mirrors, nil
}

// split divides the base URL into what the registry is reached at and the prefix of its repositories.
func (m Mirror) split() (u *url.URL, prefix string, err error) {
	u, err = url.Parse(m.Base)
	if err != nil {
		return nil, "", fmt.Errorf("parse mirror of %s: %w", m.Host, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, "", fmt.Errorf("parse mirror of %s: %q is no URL: want http://… or https://…", m.Host, u.Redacted())
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, "", fmt.Errorf("parse mirror of %s: %q has more than scheme, host and path (credentials come from `docker login %s`)",
			m.Host, u.Redacted(), u.Host)
	}
	prefix = strings.Trim(u.Path, "/")
	if prefix == "v2" { // containerd's and Talos's way to write a base URL
		prefix = ""
	}
	prefix = strings.TrimPrefix(prefix, "v2/")
	if prefix != "" {
		if _, err := name.NewRepository("example.com/" + prefix); err != nil {
			return nil, "", fmt.Errorf("parse mirror of %s: path %q: %w", m.Host, u.Path, err)
		}
	}
	return u, prefix, nil
}

// endpoint is one place that has a repository: a mirror, or the registry itself.
type endpoint struct {
	repo   name.Repository // as it is called there
	mirror string          // the mirror's base URL; "" for the registry itself
	scheme string          // "http" or "https" where the mirror's URL says so
	block  string          // the registry whose settings hold here
}

func (e endpoint) String() string {
	if e.mirror != "" {
		return "mirror " + e.mirror
	}
	return dockerName(e.repo.RegistryStr())
}

// endpoints lists where a repository may be, in the order in which to ask.
func (s *Sources) endpoints(repo name.Repository) ([]endpoint, error) {
	host := dockerName(repo.RegistryStr())
	mirrors := s.mirrors[host]
	for _, base := range s.registries[host].Mirrors {
		mirrors = append(mirrors[:len(mirrors):len(mirrors)], Mirror{Host: host, Base: base})
	}
	var eps []endpoint
	for _, m := range mirrors {
		u, prefix, err := m.split()
		if err != nil {
			return nil, err
		}
		ep := endpoint{mirror: m.Base, scheme: u.Scheme, block: u.Host}
		if _, own := s.registries[u.Host]; !own {
			ep.block = host // "registry "ghcr.io" { mirrors = […], ca = … }": the authority is the mirror's as well
		}
		reg, err := name.NewRegistry(u.Host)
		if err != nil {
			return nil, fmt.Errorf("mirror %s of %s: %w", m.Base, m.Host, err)
		}
		ep.repo = reg.Repo(prefix, repo.RepositoryStr())
		eps = append(eps, ep)
	}
	return append(eps, endpoint{repo: repo, block: host}), nil
}

// dockerName undoes a rewriting of go-containerregistry: people write, and log in to, docker.io.
func dockerName(host string) string {
	if host == name.DefaultRegistry {
		return "docker.io"
	}
	return host
}
