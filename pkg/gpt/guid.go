package gpt

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// GUID is a globally unique identifier in the order of its text.
type GUID [16]byte

// ParseGUID reads the form 01234567-89ab-cdef-0123-456789abcdef, in either case.
func ParseGUID(s string) (g GUID, err error) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return g, fmt.Errorf("parse GUID %q: not of the form 01234567-89ab-cdef-0123-456789abcdef", s)
	}
	if _, err := hex.Decode(g[:], []byte(strings.ReplaceAll(s, "-", ""))); err != nil {
		return GUID{}, fmt.Errorf("parse GUID %q: %w", s, err)
	}
	return g, nil
}

// MustParseGUID is ParseGUID for constants; it panics.
func MustParseGUID(s string) GUID {
	g, err := ParseGUID(s)
	if err != nil {
		panic(err)
	}
	return g
}

// String returns the usual form, in lower case.
func (g GUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", g[:4], g[4:6], g[6:8], g[8:10], g[10:])
}

// IsZero tells whether there is no GUID.
func (g GUID) IsZero() bool { return g == GUID{} }

// put writes the form on disk: the first three fields little-endian.
func (g GUID) put(b []byte) {
	copy(b, g.swapped())
}

// guidAt reads the form on disk.
func guidAt(b []byte) GUID {
	return GUID(GUID(b[:16]).swapped())
}

func (g GUID) swapped() []byte {
	slices.Reverse(g[:4])
	slices.Reverse(g[4:6])
	slices.Reverse(g[6:8])
	return g[:]
}
