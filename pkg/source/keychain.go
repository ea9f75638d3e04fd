package source

import (
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/authn/github"
	"github.com/google/go-containerregistry/pkg/v1/google"
)

// Keychain has the credentials of `docker login` and `podman login` with their helpers, for ghcr.io else those of GITHUB_TOKEN,
// and for Google's registries else those of gcloud or the machine's service account.
var Keychain = authn.NewMultiKeychain(authn.DefaultKeychain, github.Keychain, google.Keychain)
