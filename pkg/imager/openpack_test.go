package imager

import (
	"context"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/tree"
)

// TestOpenADamagedPack: every artefact that asks is told what helps, and no file stays open.
func TestOpenADamagedPack(t *testing.T) {
	t.Parallel()
	s, err := store.Open(store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	step := &store.Step{Name: "no pack", Run: func(_ context.Context, out store.Output, _ []tree.Blob) error {
		_, err := out.WriteAt([]byte("no tree pack, though it has more bytes than the footer of one, which are sixty-four"), 0)
		return err
	}}
	var p openPack
	for range 2 {
		if _, err := p.open(t.Context(), s, step); err == nil || !strings.Contains(err.Error(), "TALOSMITH_VERIFY=1 mends") || p.file != nil {
			t.Errorf("%v, file %v", err, p.file)
		}
	}
}
