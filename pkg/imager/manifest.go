package imager

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/talosmith/talosmith/internal/atomicfile"
	"github.com/talosmith/talosmith/pkg/talos"
)

// ManifestName is the file in the output folder that tells what the others are.
const ManifestName = "manifest.json"

// Manifest says of every artefact in a folder what it is.
type Manifest struct {
	Tool      string     `json:"tool"` // what wrote it
	Artefacts []Artefact `json:"artefacts"`
}

// Artefact is one file.
type Artefact struct {
	File         string              `json:"file"` // relative to the manifest
	Kind         talos.Kind          `json:"kind"`
	Image        string              `json:"image"`
	Architecture string              `json:"architecture,omitempty"` // empty for an index of several
	Platform     string              `json:"platform"`
	Talos        string              `json:"talos"`
	Kernel       string              `json:"kernel,omitempty"` // release, where the kernel's file says it
	Cmdline      string              `json:"cmdline,omitempty"`
	SHA256       string              `json:"sha256"`
	Size         int64               `json:"size"` // bytes
	Extensions   []ArtefactExtension `json:"extensions,omitempty"`
	Overlay      *ArtefactOverlay    `json:"overlay,omitempty"`
	Tag          string              `json:"tag,omitempty"`    // of an installer image
	Digest       string              `json:"digest,omitempty"` // of an installer image's manifest or index

	Key      string    `json:"key"` // of everything that the bytes depend on
	Modified time.Time `json:"modified"`
}

// ArtefactExtension is a layer of an artefact.
type ArtefactExtension struct {
	ID      string `json:"id"` // as `talosctl get extensions` shows it
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest,omitempty"` // of the extension's image; none for a layer that is made here
}

// ArtefactOverlay is what an artefact has for a single-board computer.
type ArtefactOverlay struct {
	Name   string `json:"name"`
	Digest string `json:"digest"` // of the overlay's image
}

// maxManifest bounds what is read, in bytes.
const maxManifest = 64 << 20

// ReadManifest reads the manifest of a folder. A missing one is an empty one.
func ReadManifest(dir string) (*Manifest, error) {
	name := filepath.Join(dir, ManifestName)
	st, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return new(Manifest), nil
	}
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("read %s: not a regular file: remove it", name)
	} else if err == nil && st.Size() > maxManifest {
		err = fmt.Errorf("read %s: %d bytes, more than %d: remove it", name, st.Size(), maxManifest)
	}
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	m := new(Manifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("read %s: %w: remove it, and the artefacts are built anew", name, err)
	}
	return m, nil
}

// find returns the entry of a file.
func (m *Manifest) find(file string) (Artefact, bool) {
	for _, a := range m.Artefacts {
		if a.File == file {
			return a, true
		}
	}
	return Artefact{}, false
}

// unchanged tells whether a file is still what the manifest says, and made of what key stands for.
func (m *Manifest) unchanged(dir, file, key string) (Artefact, bool) {
	a, ok := m.find(file)
	if !ok || a.Key != key {
		return a, false
	}
	st, err := os.Stat(filepath.Join(dir, file))
	return a, err == nil && st.Size() == a.Size && st.ModTime().Equal(a.Modified)
}

// update replaces the entries of what was built, keeps others and drops those whose file is gone.
func (m *Manifest) update(dir string, built []Artefact) *Manifest {
	next := &Manifest{Tool: m.Tool, Artefacts: slices.Clone(built)}
	for _, a := range m.Artefacts {
		_, isNew := next.find(a.File)
		if _, err := os.Stat(filepath.Join(dir, a.File)); isNew || err != nil {
			continue
		}
		next.Artefacts = append(next.Artefacts, a)
	}
	slices.SortFunc(next.Artefacts, func(a, b Artefact) int { return strings.Compare(a.File, b.File) })
	return next
}

// write replaces the manifest of a folder in one go, unless it says the same.
func (m *Manifest) write(dir string) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	name := filepath.Join(dir, ManifestName)
	if have, err := os.ReadFile(name); err == nil && bytes.Equal(have, b) {
		return nil
	}
	return atomicfile.Write(name, b)
}
