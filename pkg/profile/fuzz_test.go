package profile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FuzzLoad: whatever a profile holds, loading it ends soon, without a panic, and what it reports can be printed.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.hcl", "testdata/good/*.json", "testdata/bad/*.hcl", "testdata/bad/*.json"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			if strings.HasPrefix(filepath.Base(name), "bomb_") { // slow on purpose: TestDiagnostics has them
				continue
			}
			source, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(source, filepath.Ext(name) == ".json")
		}
	}
	f.Fuzz(func(t *testing.T, source []byte, isJSON bool) {
		name := "extensions.hcl"
		if isJSON {
			name += ".json"
		}
		name = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(name, source, 0o644); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		p, diags := Load(name, Options{Env: environment(source)})
		if took := time.Since(start); took > time.Minute {
			t.Errorf("took %s", took)
		}
		printed(t, p, diags[:min(len(diags), 5)])
		if diags.HasErrors() {
			return
		}
		for _, img := range p.Images {
			for _, o := range img.Outputs {
				if len(img.FileNames(o)) == 0 {
					t.Errorf("an output without a file: %+v", o)
				}
			}
		}
	})
}

// BenchmarkLoad loads a profile as teams have them.
func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, diags := Load("testdata/good/language.hcl.json", Options{}); diags.HasErrors() {
			b.Fatal(diags)
		}
	}
}
