package source

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/talosmith/talosmith/internal/tooltest"
)

// imagesOf resolves the images of cargoOf.
func imagesOf(t testing.TB, s *Sources, refs map[string]Ref) []Named {
	t.Helper()
	return resolveAll(t, s, map[string]Ref{"both": refs["both"], "by digest": refs["by digest"], "one": refs["one"]})
}

func copyAll(t testing.TB, s *Sources, to string, images []Named) (base string, done []Copied) {
	t.Helper()
	base, err := s.Copy(t.Context(), to, images, func(c Copied) { done = append(done, c) })
	if err != nil {
		t.Fatal(err)
	}
	return base, done
}

// TestCopy copies into a registry from another one, and from a bundle: every digest stays, and what is there stays where it is.
func TestCopy(t *testing.T) {
	t.Parallel()
	refs := cargoOf(t)
	home, _, _ := sources(t, Options{})
	images := imagesOf(t, home, refs)
	upstream, _, _ := strings.Cut(refs["one"].Image, "/")
	from := fromBundle(t, bundleOf(t, home, images))
	for name, s := range map[string]*Sources{"registry": home, "bundle": from} {
		t.Run(name, func(t *testing.T) {
			f := &faulty{}
			host := serve(t, f.wrap)
			if name == "bundle" {
				s.transport = defaultTransport() // to the registry that is copied to
			}
			base, done := copyAll(t, s, host+"/mirror", images)
			if base != "http://"+host+"/mirror" || len(done) != len(images) {
				t.Fatalf("base %q, %+v", base, done)
			}
			for i, c := range done {
				there := images[i].Name == images[1].Name // the same digest as the one before, and no tag
				if c.Host != upstream || c.Digest != images[i].Artifact.Index || c.There != there || c.Name != strings.Replace(images[i].Name, upstream, host+"/mirror", 1) {
					t.Errorf("%+v", c)
				}
			}

			// A mirror has everything: for all platforms, without its origin.
			mirrored, _, _ := sources(t, Options{Mirrors: []Mirror{{upstream, base}}})
			for _, n := range images {
				for _, arch := range []string{"amd64", "arm64"} {
					if arch == "arm64" && strings.Contains(n.Name, "/one:") {
						continue
					}
					a, err := mirrored.Resolve(t.Context(), n.Artifact.Ref, arch)
					if err != nil || a.Index != n.Artifact.Index {
						t.Fatalf("%s: %+v, %v", n.Name, a, err)
					}
					if _, err := mirrored.Tree(t.Context(), a, nil, &memSpool{}); err != nil {
						t.Error(err)
					}
				}
			}

			// Again: nothing is sent.
			f.set(nil)
			_, again := copyAll(t, s, host+"/mirror/", images)
			for _, c := range again {
				if !c.There {
					t.Errorf("%s was copied again", c.Name)
				}
			}
			if sent := slices.DeleteFunc(f.log, func(l string) bool { return strings.HasPrefix(l, "GET ") || strings.HasPrefix(l, "HEAD ") }); len(sent) > 0 {
				t.Errorf("sent %q", sent)
			}

			// A tag that has moved there is put back; the blobs are there.
			push(t, host+"/mirror/team/one:v1", image(t, "amd64", tarOf("a=another")))
			f.set(nil)
			_, back := copyAll(t, s, host+"/mirror", images)
			if back[2].There || !back[0].There {
				t.Errorf("%+v", back)
			}
			if sent := slices.DeleteFunc(f.log, func(l string) bool { return !strings.HasPrefix(l, "POST ") }); len(sent) > 0 {
				t.Errorf("sent blobs %q", sent)
			}
		})
	}

	t.Run("without the origin", func(t *testing.T) {
		s, _, _ := sources(t, Options{Registries: map[string]Registry{}})
		host := serve(t)
		if _, done := copyAll(t, home, host, images); len(done) != len(images) {
			t.Fatal(done)
		}
		resolved := imagesOf(t, s, refs) // manifests only
		if _, done := copyAll(t, s, host, resolved); !done[0].There {
			t.Errorf("%+v", done)
		}
		if _, err := os.Stat(s.blobFile(resolved[0].Artifact.Layers[0].Digest)); err == nil {
			t.Error("a layer that is there was got")
		}
	})
}

func TestCopyErrors(t *testing.T) {
	t.Parallel()
	refs := cargoOf(t)
	s, _, _ := sources(t, Options{})
	images := imagesOf(t, s, refs)
	none := func(c Copied) { t.Errorf("copied %+v", c) }
	for to, want := range map[string]string{
		"": "want a registry as HOST or HOST/NAMESPACE", "https://x.test/y": "want a registry as", "x.test/Y Z": "want a registry as", "/x": "want a registry as",
		"127.0.0.1:1": "is the registry running there?",
	} {
		_, err := s.Copy(t.Context(), to, images, none)
		wantError(t, err, "copy to ", want)
	}
	// Two images that would have one name.
	other := serve(t)
	push(t, other+"/team/one:v1", image(t, "amd64", tarOf("a=of another registry")))
	clash := append(resolveAll(t, s, map[string]Ref{"one": {Image: other + "/team/one:v1"}}), images[2])
	_, err := s.Copy(t.Context(), serve(t), clash, none)
	wantError(t, err, other+"/team/one:v1", refs["one"].Image, "would both be", "by its digest")

	// What goes wrong at the origin is told of the origin.
	f, ref, _ := published(t)
	broken := resolveAll(t, s, map[string]Ref{"one": {Image: ref}})
	f.set(status(always, "/blobs/", http.StatusNotFound))
	host := serve(t)
	_, err = s.Copy(t.Context(), host, broken, none)
	origin, _, _ := strings.Cut(ref, "/")
	wantError(t, err, "copy "+ref+" to "+host+"/team/app:v1: "+origin+": not found")

	// What a bundle lacks is told of the bundle.
	all := resolveAll(t, s, map[string]Ref{"both": refs["both"]})
	small := fromBundle(t, bundleOf(t, s, images[2:]))
	small.transport = defaultTransport()
	_, err = small.Copy(t.Context(), host, all, none)
	wantError(t, err, "is not in the bundle "+small.bundle.name)
	if strings.Contains(err.Error(), host+": ") {
		t.Errorf("error %v", err)
	}
}

// TestCopyToDockerRegistry copies into a registry that refuses an index whose images it does not have, with a password, and builds a tree
// from it.
func TestCopyToDockerRegistry(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, key := ca.sign(t, "server")
	htpasswd := filepath.Join(ca.dir, "htpasswd")
	if err := os.WriteFile(htpasswd, []byte(tooltest.Run(t, "htpasswd", "-nbB", "user", "s3cret")), 0o600); err != nil {
		t.Fatal(err)
	}
	host := tooltest.DockerRegistry(t, "  tls: {certificate: "+cert+", key: "+key+"}\nauth: {htpasswd: {realm: test, path: "+htpasswd+"}}\n")
	refs := cargoOf(t)
	settings := map[string]Registry{host: {CA: filepath.Join(ca.dir, "ca.pem")}}
	home, _, _ := sources(t, Options{Registries: settings, Keychain: only{host, password{"user", "s3cret"}}})
	images := imagesOf(t, home, refs)
	from := fromBundle(t, bundleOf(t, home, images))
	from.transport, from.registries, from.keychain = defaultTransport(), settings, home.keychain
	upstream, _, _ := strings.Cut(refs["one"].Image, "/")
	for i, s := range []*Sources{from, home} {
		base, done := copyAll(t, s, host+"/corp/talos", images)
		if base != "https://"+host+"/corp/talos" {
			t.Errorf("base %q", base)
		}
		for j, c := range done {
			if there := i == 1 || j == 1; c.There != there {
				t.Errorf("%+v", c)
			}
		}
	}
	mirrored, _, _ := sources(t, Options{Registries: settings, Keychain: home.keychain, Mirrors: []Mirror{{upstream, "https://" + host + "/corp/talos"}}})
	a, err := mirrored.Resolve(t.Context(), refs["both"], "arm64")
	if err != nil || a.Index != images[0].Artifact.Index {
		t.Fatalf("%+v, %v", a, err)
	}
	if got := list(t, must(mirrored.Tree(t.Context(), a, nil, &memSpool{}))); got != "a=arm\nb=2\n" {
		t.Errorf("tree %q", got)
	}
	home.keychain = anonymous{}
	home.clients = map[clientKey]*clientOnce{}
	_, err = home.Copy(t.Context(), host+"/other", images, func(Copied) {})
	wantError(t, err, "docker login "+host)
	if !errors.Is(err, ErrUnauthorized) {
		t.Errorf("error %v", err)
	}
}

// only has an account of one host.
type only struct {
	host string
	as   authn.Keychain
}

func (o only) Resolve(r authn.Resource) (authn.Authenticator, error) {
	if r.RegistryStr() == o.host {
		return o.as.Resolve(r)
	}
	return authn.Anonymous, nil
}
