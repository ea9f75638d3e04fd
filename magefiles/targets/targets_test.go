package targets_test

import (
	"strings"
	"testing"

	"github.com/talosmith/talosmith/magefiles/targets"
)

// TestFlagsWithoutUse: a flag that would change nothing is refused, as whoever writes it expects something else.
func TestFlagsWithoutUse(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"add -prune":   targets.Cache(t.Context(), nil, new("1GiB"), nil),
		"-path names;": targets.Check(t.Context(), nil, nil, nil, new("arm64")),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
