package talos

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// CatalogueOverlays is the file of the catalogue image of overlays, at its root.
const CatalogueOverlays = "overlays.yaml"

// maxOverlays of a catalogue. The official one of 1.13 has 22.
const maxOverlays = 1000

// OverlayEntry is an official overlay of one Talos version: a board, and the image that has its overlay; images have those of several.
type OverlayEntry struct {
	Board string
	Entry
}

// OverlayCatalogue is the official overlays of one Talos version.
type OverlayCatalogue struct {
	entries []OverlayEntry // by board
}

// boardPattern: the name is that of a file in the overlay's image.
var boardPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$`)

// ParseOverlays reads a catalogue of overlays: a YAML mapping with a list "overlays" of name, image ("host/repository:tag") and digest.
func ParseOverlays(file []byte) (*OverlayCatalogue, error) {
	var list struct {
		Overlays []struct{ Name, Image, Digest string }
	}
	if err := DecodeYAML(file, YAMLLimits{MaxCatalogueFile, maxCatalogueEntries}, &list); err != nil {
		return nil, fmt.Errorf("catalogue %s: %w", CatalogueOverlays, err)
	}
	if n := len(list.Overlays); n == 0 || n > maxOverlays {
		return nil, fmt.Errorf("catalogue %s: %d overlays: want 1 to %d in a list \"overlays\"", CatalogueOverlays, n, maxOverlays)
	}
	c := &OverlayCatalogue{}
	var errs []error
	seen := map[string]int{}
	for i, o := range list.Overlays {
		e, err := parseEntry(o.Image + "@" + o.Digest)
		if !boardPattern.MatchString(o.Name) {
			err = fmt.Errorf("%q is no name of an overlay: want letters, digits, \"_\", \".\" and \"-\"", cut(o.Name))
		} else if first, twice := seen[o.Name]; err == nil && twice {
			err = fmt.Errorf("%s is overlay %d already", o.Name, first)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("catalogue %s overlay %d: %w", CatalogueOverlays, i+1, err))
			if len(errs) == 10 {
				break
			}
			continue
		}
		seen[o.Name] = i + 1
		c.entries = append(c.entries, OverlayEntry{Board: o.Name, Entry: e})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	slices.SortFunc(c.entries, func(a, b OverlayEntry) int { return strings.Compare(a.Board, b.Board) })
	return c, nil
}

// All returns the entries by board.
func (c *OverlayCatalogue) All() []OverlayEntry { return slices.Clone(c.entries) }

// Find returns the overlay of a board.
func (c *OverlayCatalogue) Find(board string) (OverlayEntry, bool) {
	i, ok := slices.BinarySearchFunc(c.entries, board, func(e OverlayEntry, board string) int { return strings.Compare(e.Board, board) })
	if !ok {
		return OverlayEntry{}, false
	}
	return c.entries[i], true
}

// Nearest returns up to n boards that somebody who wrote board could have meant.
func (c *OverlayCatalogue) Nearest(board string, n int) []string {
	names := make([]string, len(c.entries))
	for i, e := range c.entries {
		names[i] = e.Board
	}
	return Nearest(board, names, n)
}
