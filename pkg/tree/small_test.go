package tree_test

import (
	"testing"

	"github.com/talosmith/talosmith/pkg/tree"
)

// TestReadSmall: what is too large is not read at all.
func TestReadSmall(t *testing.T) {
	t.Parallel()
	tr := mustNew(t, file("a", "four"), tree.Node{Path: "huge", Mode: 0o644, Content: tree.Zeros(1 << 60)}, dir("d"))
	for name, want := range map[string]string{
		"a": "", "huge": "read huge: 1152921504606846976 bytes, the limit is 4", "d": "read d: invalid argument", "none": "read none: file does not exist",
	} {
		b, err := tr.ReadSmall(name, 4)
		if want == "" && (string(b) != "four" || err != nil) || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: %q, %v, want %s", name, b, err, want)
		}
	}
	if _, err := tree.ReadSmall(tree.String("four"), 3); err == nil {
		t.Error("one byte over the limit was read")
	}
}
