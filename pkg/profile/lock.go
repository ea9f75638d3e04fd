package profile

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/internal/atomicfile"
)

// LockName is the file beside extensions.hcl, or in a directory of files, that pins what the profile names.
const LockName = "extensions.lock.json"

const lockSuffix = ".lock.json"

// lockVersion is that of the file's form.
const lockVersion = 1

// maxLock bounds what is read, in bytes.
const maxLock = 8 << 20

// Lock pins everything that a profile names to digests. It is made for review: sorted, with small diffs.
type Lock struct {
	Version int    `json:"version"` // of the form: 1
	Talos   string `json:"talos"`
	Pins    []Pin  `json:"pins"` // by name
}

// Pin is one name and what it stands for.
type Pin struct {
	Name      string `json:"name"`              // "siderolabs/gvisor", "extension.motd"; "talos/imager" and such for what Talos is made of
	Version   string `json:"version,omitempty"` // of an extension's manifest
	Reference string `json:"reference"`         // where it comes from, without a digest
	Digest    string `json:"digest"`            // of the image's index, or manifest where there is none; of a directory's content
	// From says who named it: "talos v1.13.9", "catalogue v1.13.9", "extensions.hcl".
	From          string                        `json:"from"`
	Verified      bool                          `json:"verified"` // whether a signature was checked
	Architectures map[string]PinnedArchitecture `json:"architectures"`
}

// PinnedArchitecture is what a pin stands for on one architecture.
type PinnedArchitecture struct {
	Digest string `json:"digest"` // of the manifest
	Size   int64  `json:"size"`   // of the compressed layers, in bytes
	// Reference and Index are the pin's reference and digest where the profile has another source for this architecture.
	Reference string `json:"reference,omitempty"`
	Index     string `json:"index,omitempty"`
}

// For is where a pin comes from on an architecture, and its digest; false where it is not pinned for that.
func (p Pin) For(arch string) (reference, digest string, ok bool) {
	a, ok := p.Architectures[arch]
	return cmp.Or(a.Reference, p.Reference), cmp.Or(a.Index, p.Digest), ok
}

// LockPath is where a profile's lock lies: beside a file, with its name, so that two profiles in one directory don't share one.
func (p *Profile) LockPath() string {
	if p.file == "" {
		return filepath.Join(p.Dir, LockName)
	}
	name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(p.file), ".json"), ".hcl")
	return filepath.Join(p.Dir, name+lockSuffix)
}

// ReadLock reads a lock of at most 8 MiB; nil where there is none.
func ReadLock(name string) (*Lock, error) {
	b, err := readFile(name, maxLock)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %s", name, cause(err))
	}
	return parseLock(name, b)
}

// relock is what to do with a lock that can't be read. Nobody does so unasked: what it pins would move.
const relock = "take the committed one, or remove it and run `go tool mage lock`"

func parseLock(name string, b []byte) (*Lock, error) {
	l := new(Lock)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode(l)
	if err == nil && len(bytes.TrimSpace(b[d.InputOffset():])) > 0 { // of a merge gone wrong
		err = errors.New("something follows its end")
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w; %s", name, err, relock)
	}
	if l.Version != lockVersion {
		return nil, fmt.Errorf("read %s: its form is version %d, this program knows %d: another version of talosmith wrote it; %s", name, l.Version, lockVersion, relock)
	}
	seen := map[string]bool{}
	for _, p := range l.Pins {
		if p.Name == "" || p.Digest == "" || p.Reference == "" || seen[p.Name] {
			return nil, fmt.Errorf("read %s: pin %q is incomplete, or there twice; %s", name, p.Name, relock)
		}
		seen[p.Name] = true
	}
	return l, nil
}

// Find returns the pin of a name. It may be called on nil.
func (l *Lock) Find(name string) (Pin, bool) {
	if l == nil {
		return Pin{}, false
	}
	i := slices.IndexFunc(l.Pins, func(p Pin) bool { return p.Name == name })
	if i < 0 {
		return Pin{}, false
	}
	return l.Pins[i], true
}

// NewLock makes a lock of pins in any order.
func NewLock(talos string, pins []Pin) *Lock {
	l := &Lock{Version: lockVersion, Talos: talos, Pins: slices.Clone(pins)}
	slices.SortFunc(l.Pins, func(a, b Pin) int { return strings.Compare(a.Name, b.Name) })
	return l
}

// Without is the lock without some pins.
func (l *Lock) Without(drop func(Pin) bool) *Lock {
	if l == nil {
		return nil
	}
	return &Lock{Version: l.Version, Talos: l.Talos, Pins: slices.DeleteFunc(slices.Clone(l.Pins), drop)}
}

// Write replaces a lock file in one go.
func (l *Lock) Write(name string) error {
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(name, append(b, '\n'))
}
