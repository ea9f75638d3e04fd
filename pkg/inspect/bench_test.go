package inspect_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/talosmith/talosmith/pkg/inspect"
)

// What structures and holes cost: the payload is small, the disk 8 GiB long.
func BenchmarkOpen(b *testing.B) {
	w := newWorld(b)
	for _, f := range []string{w.disk(), w.isoUEFI(), w.dockerSave(), w.zst()} {
		b.Run(filepath.Base(f), func(b *testing.B) {
			for b.Loop() {
				a, err := inspect.Open(context.Background(), f, inspect.Options{})
				if err != nil {
					b.Fatal(err)
				}
				if err := a.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
