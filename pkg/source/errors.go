package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/talosmith/talosmith/pkg/errdoc"
)

// Classes of errors that a caller may tell apart with [errors.Is].
var (
	ErrDigest       = errors.New("wrong digest")
	ErrNotFound     = errors.New("not found")
	ErrUnauthorized = errors.New("not authorized")
)

// Classes of what can go wrong at a registry, or with a bundle: sections of docs/errors.md.
const (
	classDigest       = "wrong-digest"
	classNotFound     = "not-found"
	classUnauthorized = "not-authorized"
	classCertificate  = "certificate"
	classClient       = "client-certificate"
	classRequests     = "too-many-requests"
	classPlain        = "plain-http"
	className         = "no-such-host"
	classRefused      = "connection-refused"
	classBroken       = "connection-broken"
	classAnswer       = "registry-error"
	classBundled      = "not-in-bundle"
	classBundle       = "bad-bundle"
)

// explain says what went wrong at an endpoint, what to do about it, and where more is to be read.
func explain(ep endpoint, err error) error {
	class, err := diagnose(ep, err)
	if class == "" {
		return fmt.Errorf("%s: %w", ep, err)
	}
	return fmt.Errorf("%s: %w (%s)", ep, err, errdoc.Link(class))
}

func diagnose(ep endpoint, err error) (class string, _ error) {
	var status *transport.Error
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var verify *tls.CertificateVerificationError
	var dns *net.DNSError
	// A host on this machine is asked by TLS and by plain HTTP, so there may be two errors: that of TLS tells more.
	switch {
	case errors.Is(err, context.Canceled):
	case errors.Is(err, ErrDigest):
		class = classDigest
	case errors.Is(err, ErrNotFound):
		class = classNotFound
	case errors.As(err, &hostname):
		return classCertificate, fmt.Errorf("%w; use a name that the certificate has", hostname)
	case errors.As(err, &authority), errors.As(err, &verify):
		return classCertificate, fmt.Errorf("its certificate is not trusted: %w; where the registry has an own authority, set registry %q { ca = \"FILE.pem\" }",
			cause(err), ep.block)
	case strings.Contains(err.Error(), "tls: certificate required"), strings.Contains(err.Error(), "tls: bad certificate"):
		return classClient, fmt.Errorf("it wants a client certificate that it trusts: set client_cert and client_key in registry %q", ep.block)
	case errors.As(err, &status):
		var wants impatient
		errors.As(err, &wants)
		return diagnoseStatus(ep, status, wants.pause)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"), errors.Is(err, errPlain):
		return classPlain, fmt.Errorf("%w; where the registry has no TLS, set registry %q { insecure = true }, or give its mirror as http://…",
			errPlain, ep.block)
	case errors.As(err, &dns):
		return className, fmt.Errorf("%w; check the name, the network and the proxy settings", dns)
	case errors.Is(err, syscall.ECONNREFUSED):
		return classRefused, fmt.Errorf("%w: is the registry running there?", syscall.ECONNREFUSED)
	}
	// The URL in the error may be that of a storage to which the registry redirects, signed for us: not to be told.
	if address := (*url.Error)(nil); errors.As(err, &address) {
		err = address.Err
	}
	if class == "" && passing(err) {
		return classBroken, fmt.Errorf("the connection broke off, also when tried again: %w", err)
	}
	return class, err
}

// diagnoseStatus says what an answer means that is none of the expected ones.
func diagnoseStatus(ep endpoint, status *transport.Error, pause time.Duration) (class string, _ error) {
	host := dockerName(ep.repo.RegistryStr())
	message := strings.TrimSpace(fmt.Sprint(status.StatusCode, " ", http.StatusText(status.StatusCode), " ", diagnostics(status)))
	switch status.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return classUnauthorized, fmt.Errorf("%w: %s; run `docker login %s` (or `podman login`) with an account that may use %s, "+
			"and check that the name is right: many registries say this of an image that does not exist",
			ErrUnauthorized, message, host, ep.repo.RepositoryStr())
	case http.StatusNotFound:
		return classNotFound, fmt.Errorf("%w: %s; check the name and the tag of the image", ErrNotFound, message)
	case http.StatusTooManyRequests:
		if pause > 0 {
			message += fmt.Sprintf(", wait for %s", pause.Round(time.Second))
		}
		return classRequests, fmt.Errorf("too many requests: %s; run `docker login %s` for a higher limit, set a mirror, or try again later", message, host)
	}
	return classAnswer, fmt.Errorf("the registry answers %s", message)
}

func cause(err error) error {
	if verify := (*tls.CertificateVerificationError)(nil); errors.As(err, &verify) {
		return verify.Err
	}
	return err
}

// diagnostics are the registry's own words, cut to a readable length.
func diagnostics(e *transport.Error) string {
	var words []string
	for _, d := range e.Errors {
		words = append(words, strings.TrimSpace(string(d.Code)+" "+d.Message))
	}
	return printable(strings.Join(words, ", "))
}
