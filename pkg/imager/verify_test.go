package imager_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/talos"
)

// TestVerifyComparesArtefacts: size and time don't tell a file whose bytes have changed, or that was made of a damaged output.
func TestVerifyComparesArtefacts(t *testing.T) {
	t.Parallel()
	r := newWorld(t, "v1.13.9").run()
	req := imager.Request{Kinds: []talos.Kind{talos.KindISO, talos.KindInstaller}, Arch: "amd64"} // hashing a disk's holes takes a while
	before := r.build(twoArchitectures, req)
	const iso = "metal-amd64.iso"
	right := r.read(iso)
	name := filepath.Join(r.out(), iso)
	st, err := os.Stat(name)
	r.check(err)
	wrong := slices.Clone(right)
	wrong[70000] ^= 1
	r.check(os.WriteFile(name, wrong, 0o644))
	r.check(os.Chtimes(name, st.ModTime(), st.ModTime()))

	r.build(twoArchitectures, req)
	if !bytes.Equal(r.read(iso), wrong) {
		t.Error("without Verify, size and time count")
	}
	r.verify = true
	said := func() (verify []string) {
		for _, note := range r.notes {
			if strings.HasPrefix(note, "verify:") {
				verify = append(verify, note)
			}
		}
		r.notes = nil
		return verify
	}
	r.build(twoArchitectures, req)
	if !bytes.Equal(r.read(iso), right) {
		t.Error("the wrong bytes are still there")
	}
	if notes := said(); len(notes) != 1 || !strings.Contains(notes[0], iso+" was not what its steps make, first at byte 70000;") {
		t.Errorf("notes %q", notes)
	}
	again := r.build(twoArchitectures, req)
	if notes := said(); len(notes) > 0 {
		t.Errorf("nothing is wrong any more, and: %q", notes)
	}
	for i, a := range again.Artefacts {
		if b := before.Artefacts[i]; a.SHA256 != b.SHA256 || a.File != iso && !a.Modified.Equal(b.Modified) {
			t.Errorf("%s became %+v, was %+v", a.File, a, b)
		}
	}
	left, err := filepath.Glob(filepath.Join(r.out(), ".tmp-*"))
	r.check(err)
	if len(left) > 0 {
		t.Errorf("left %q", left)
	}
}
