package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

// Factory is the address of the public Image Factory.
const Factory = "https://factory.talos.dev"

const (
	maxSchematic   = 4 << 20
	factoryTimeout = 5 * time.Minute // for an answer, with what is tried again
)

// Schematic asks an Image Factory for the schematic of an ID. Whether the answer is that schematic is for the caller to check.
// Source: siderolabs/image-factory docs/api.md.
func Schematic(ctx context.Context, factory, id string, log *slog.Logger) ([]byte, error) {
	u, err := url.Parse(factory)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("not the URL of an Image Factory, such as " + Factory)
	}
	ctx, cancel := context.WithTimeout(ctx, factoryTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath("schematics", id).String(), nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &retrier{inner: defaultTransport(), wait: sleep, log: log}, CheckRedirect: checkRedirect}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: check the network and the proxy settings, or take a file with the schematic", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%s: schematic %s: %w", u.Host, id, ErrNotFound)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", u.Host, resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxSchematic+1))
	if err == nil && len(b) > maxSchematic {
		err = fmt.Errorf("%s: schematic %s: the answer has more than %d bytes", u.Host, id, maxSchematic)
	}
	return b, err
}
