package imager_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/talos"
)

// TestDamagedStore: what cannot be read of a damaged store is named, with what mends it.
func TestDamagedStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1.13.9")
	req := imager.Request{Kinds: []talos.Kind{talos.KindUKI}, Arch: "amd64"}
	w.run().build(twoArchitectures, req)
	w.check(os.RemoveAll(filepath.Join(w.dir, "out")))
	w.check(filepath.WalkDir(filepath.Join(w.dir, "store", "blobs"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(name)
		for i := range b {
			b[i] ^= 0xff
		}
		if err == nil {
			err = os.WriteFile(name, b, 0o600)
		}
		return err
	}))
	_, err := w.run().try(twoArchitectures, req)
	if err == nil || !strings.Contains(err.Error(), filepath.Join(w.dir, "store", "blobs")) || !strings.Contains(err.Error(), "TALOSMITH_VERIFY=1 mends") {
		t.Errorf("error %v", err)
	}
}
