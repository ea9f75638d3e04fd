package imager

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/talosmith/talosmith/internal/atomicfile"
)

// TestTidyingTakesNothingAway: other runs that begin remove what was left, at any moment of this one's files.
func TestTidyingTakesNothingAway(t *testing.T) {
	dir := t.TempDir()
	var stop atomic.Bool
	var others sync.WaitGroup
	for range 2 {
		others.Go(func() {
			for !stop.Load() {
				if err := removeLeft(dir, atomicfile.Prefix); err != nil {
					t.Error(err)
				}
			}
		})
	}
	defer others.Wait()
	defer stop.Store(true)
	name := filepath.Join(dir, "a.iso")
	for range 300 {
		w, err := createOut(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.WriteAt([]byte("hello"), 0); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.commit(5); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(name); err != nil || string(b) != "hello" {
			t.Fatalf("the file has %q, %v", b, err)
		}
	}
}
