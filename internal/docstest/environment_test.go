package docstest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEnvironment: docs/environment.md has every variable that the targets look up, and none of talosmith's own that nothing does.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(top, "docs", "environment.md"))
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("`([A-Z_]+)`").FindAllStringSubmatch(string(page), -1) {
		told[m[1]] = false
	}
	for _, folder := range []string{"internal/cli", "internal/tooltest", "internal/debian/debiantest", "magefiles", "magefiles/targets"} {
		names, err := filepath.Glob(filepath.Join(top, folder, "*.go"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", folder, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`[eE]nv(?:\(|, )"([A-Z_]+)"`).FindAllStringSubmatch(string(source), -1) {
				if _, ok := told[m[1]]; !ok {
					t.Errorf("%s looks up %s, of which docs/environment.md tells nothing", name, m[1])
				}
				told[m[1]] = true
			}
		}
	}
	for name, used := range told {
		if strings.HasPrefix(name, "TALOSMITH_") && !used {
			t.Errorf("docs/environment.md tells of %s, which nothing looks up", name)
		}
	}
}
