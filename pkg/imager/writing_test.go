package imager_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/talosmith/talosmith/pkg/imager"
)

// TestWriting: who waits for artefacts hears how long they become and how far they are, holes and all; and what came to nothing.
func TestWriting(t *testing.T) {
	t.Parallel()
	r := newWorld(t, "v1.13.9").run()
	var mu sync.Mutex
	all := map[string][]imager.Writing{}
	r.writing = func(w imager.Writing) {
		mu.Lock()
		defer mu.Unlock()
		all[w.File] = append(all[w.File], w)
	}
	m := r.build(twoArchitectures, imager.Request{Arch: "amd64"})
	for _, a := range m.Artefacts {
		told := all[a.File]
		if len(told) == 0 {
			t.Errorf("%s: nothing was told", a.File)
			continue
		}
		if first, last := told[0], told[len(told)-1]; first.Done != 0 || last.Total != a.Size || last.Failed || last.Done>>20 < a.Size>>20-1 {
			t.Errorf("%s of %d bytes: first %+v, last %+v", a.File, a.Size, first, last)
		}
		if !slices.IsSortedFunc(told, func(a, b imager.Writing) int { return int(a.Done - b.Done) }) {
			t.Errorf("%s went back: %+v", a.File, told)
		}
	}
	clear(all)
	r.build(twoArchitectures, imager.Request{Arch: "amd64"})
	if len(all) > 0 {
		t.Errorf("of unchanged artefacts this was told: %v", all)
	}

	const iso = "metal-amd64.iso"
	r.check(os.Remove(filepath.Join(r.out(), iso)))
	ctx, cancel := context.WithCancel(t.Context())
	r.writing = func(w imager.Writing) {
		mu.Lock()
		defer mu.Unlock()
		all[w.File] = append(all[w.File], w)
		cancel()
	}
	if _, err := r.tryIn(ctx, twoArchitectures, imager.Request{Arch: "amd64"}); err == nil {
		t.Error("a cancelled build is no error")
	}
	if told := all[iso]; len(told) == 0 || !told[len(told)-1].Failed {
		t.Errorf("of an ISO that came to nothing this was told: %v", told)
	}
}
