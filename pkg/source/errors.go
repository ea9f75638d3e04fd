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

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Classes of errors that a caller may tell apart with [errors.Is].
var (
	ErrDigest       = errors.New("wrong digest")
	ErrNotFound     = errors.New("not found")
	ErrUnauthorized = errors.New("not authorized")
)

// explain says what went wrong at an endpoint, and what to do about it.
func explain(ep endpoint, err error) error {
	var status *transport.Error
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var verify *tls.CertificateVerificationError
	var dns *net.DNSError
	host := ep.repo.RegistryStr()
	said := func(class error, remedy string, args ...any) error {
		return fmt.Errorf("%s: %w: %s", ep, class, fmt.Sprintf(remedy, args...))
	}
	// A host on this machine is asked by TLS and by plain HTTP, so there may be two errors: that of TLS tells more.
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, ErrDigest), errors.Is(err, ErrNotFound):
	case errors.As(err, &hostname):
		return fmt.Errorf("%s: %w; use a name that the certificate has", ep, hostname)
	case errors.As(err, &authority), errors.As(err, &verify):
		return fmt.Errorf("%s: its certificate is not trusted: %w; where the registry has an own authority, set registry %q { ca = \"FILE.pem\" }",
			ep, cause(err), ep.block)
	case strings.Contains(err.Error(), "tls: certificate required"), strings.Contains(err.Error(), "tls: bad certificate"):
		return fmt.Errorf("%s: it wants a client certificate that it trusts: set client_cert and client_key in registry %q", ep, ep.block)
	case errors.As(err, &status):
		message := strings.TrimSpace(fmt.Sprint(status.StatusCode, " ", http.StatusText(status.StatusCode), " ", diagnostics(status)))
		switch status.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			return said(ErrUnauthorized, "%s; run `docker login %s` (or `podman login`) with an account that may use %s, "+
				"and check that the name is right: many registries say this of an image that does not exist",
				message, dockerName(host), ep.repo.RepositoryStr())
		case http.StatusNotFound:
			return said(ErrNotFound, "%s; check the name and the tag of the image", message)
		case http.StatusTooManyRequests:
			return fmt.Errorf("%s: too many requests: %s; run `docker login %s` for a higher limit, set a mirror, or try again later",
				ep, message, dockerName(host))
		}
		return fmt.Errorf("%s: the registry answers %s", ep, message)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"), errors.Is(err, errPlain):
		return fmt.Errorf("%s: %w; where the registry has no TLS, set registry %q { insecure = true }, or give its mirror as http://…",
			ep, errPlain, ep.block)
	case errors.As(err, &dns):
		return fmt.Errorf("%s: %w; check the name, the network and the proxy settings", ep, dns)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s: %w: is the registry running there?", ep, syscall.ECONNREFUSED)
	}
	// The URL in the error may be that of a storage to which the registry redirects, signed for us: not to be told.
	if address := (*url.Error)(nil); errors.As(err, &address) {
		err = address.Err
	}
	if passing(err) {
		return fmt.Errorf("%s: the connection broke off, also when tried again: %w", ep, err)
	}
	return fmt.Errorf("%s: %w", ep, err)
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
