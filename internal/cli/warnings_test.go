package cli

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestWarnings(t *testing.T) {
	var out strings.Builder
	p, _ := testPrinter(&out)
	log := slog.New(warnings{p.note})
	log.Info("nobody wants to know")
	log.Warn("registry: the next one is asked", "repository", "siderolabs/imager", "next", "ghcr.io", "because", errors.New("mirror http://127.0.0.1:9: connection refused"))
	log.Warn("cache: a damaged blob is dropped")
	const want = "note: registry: the next one is asked (repository siderolabs/imager, next ghcr.io): mirror http://127.0.0.1:9: connection refused\n" +
		"note: cache: a damaged blob is dropped\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
