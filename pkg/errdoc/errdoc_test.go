package errdoc

import "testing"

func TestClass(t *testing.T) {
	t.Parallel()
	for summary, want := range map[string]string{
		"Bad size":                             "bad-size",
		"Bad masked path":                      "bad-value",
		"Unknown extension":                    "unknown-extension",
		"Unknown platform":                     "unknown-name",
		"Too many outputs":                     "too-much",
		"Too large":                            "size",
		"Too large (amd64)":                    "size",
		"Extension check: world-writable":      "world-writable",
		"Extension siderolabs/gvisor: 1 error": Findings,
		"Extension not found":                  "extension-not-found",
		"Unclosed object":                      Syntax,
		"Missing attribute":                    "missing",
		"Missing item separator":               Syntax,
		"":                                     Syntax,
	} {
		if got := Class(summary); got != want {
			t.Errorf("%q: %q, want %q", summary, got, want)
		}
	}
	if got, want := Link("circle"), Page+"#circle"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
