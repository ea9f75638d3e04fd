package fat

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	maxNameUnits = 255 // UTF-16 units of a long name
	unitsPerSlot = 13  // of a long name, in each of its entries
	lowerBase    = 0x08
	lowerExt     = 0x10
)

// shortName is a name as it stands in a directory entry: 8 characters and 3, upper case, padded with blanks.
type shortName [11]byte

// What a directory calls itself and its parent.
var dot, dotDot = shortName([]byte(".          ")), shortName([]byte("..         "))

// checksum ties the entries of a long name to the entry that they belong to.
func (s shortName) checksum() (sum byte) {
	for _, c := range s {
		sum = sum>>1 + sum<<7 + c
	}
	return sum
}

// entryName is all that is written of a name.
type entryName struct {
	short shortName
	// lower says by bits that the base (0x08) or the extension (0x10) of an 8.3 name is in lower case, as Windows NT does.
	lower byte
	// long is the name in UTF-16, where short and lower do not say it all.
	long []uint16
}

// slots is the number of entries in the directory.
func (e entryName) slots() int { return 1 + (len(e.long)+unitsPerSlot-1)/unitsPerSlot }

// foldCase makes names equal that FAT takes for the same.
func foldCase(name string) string { return strings.ToUpper(name) }

// checkName refuses what no FAT driver can find again.
func checkName(name string) error {
	if !utf8.ValidString(name) {
		return errors.New("the name is not UTF-8")
	}
	for _, c := range name {
		if c < 0x20 || strings.ContainsRune(`"*/:<>?\|`, c) {
			return fmt.Errorf("the name has the character %q, which FAT forbids", c)
		}
	}
	if strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") {
		return errors.New("the name ends with a dot or a blank, which FAT drivers drop")
	}
	if n := len(utf16.Encode([]rune(name))); n > maxNameUnits {
		return fmt.Errorf("the name has %d UTF-16 units, FAT holds %d", n, maxNameUnits)
	}
	return nil
}

// entryNames gives each of a directory's names its short one. The order matters only for the number after "~", and 8.3 names
// come before all others.
func entryNames(names []string) ([]entryName, error) {
	entries := make([]entryName, len(names))
	folded := make(map[string]string, len(names))
	used := make(map[shortName]bool, len(names))
	candidates := make([]candidate, len(names))
	for i, name := range names {
		if err := checkName(name); err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		if other, twice := folded[foldCase(name)]; twice {
			return nil, fmt.Errorf("%q and %q: FAT takes both for the same name", other, name)
		}
		folded[foldCase(name)] = name
		c := newCandidate(name)
		candidates[i] = c
		if c.exact {
			entries[i] = entryName{short: c.pack(""), lower: c.lower}
			used[entries[i].short] = true
			if c.mixed {
				entries[i].long = utf16.Encode([]rune(name))
			}
		}
	}
	next := map[string]int{}
	for i, name := range names {
		c := candidates[i]
		if c.exact {
			continue
		}
		key := c.base[:min(len(c.base), 6)] + "." + c.ext
		var short shortName
		for {
			next[key]++
			if short = c.pack("~" + strconv.Itoa(next[key])); !used[short] {
				break
			}
		}
		used[short] = true
		entries[i] = entryName{short: short, long: utf16.Encode([]rune(name))}
	}
	return entries, nil
}

// candidate is what of a name fits an 8.3 one.
type candidate struct {
	base, ext string // at most 8 and 3 characters, upper case
	exact     bool   // nothing but the case is lost
	mixed     bool   // base or extension have letters of both cases
	lower     byte   // see entryName
}

func newCandidate(name string) candidate {
	base, ext := name, ""
	if at := strings.LastIndexByte(name, '.'); at > 0 {
		base, ext = name[:at], name[at+1:]
	}
	c := candidate{}
	var baseExact, extExact bool
	c.base, baseExact = shorten(base, 8)
	c.ext, extExact = shorten(ext, 3)
	c.exact = baseExact && extExact && c.base != ""
	if c.base == "" {
		c.base = "_"
	}
	for _, part := range []struct {
		text string
		bit  byte
	}{{base, lowerBase}, {ext, lowerExt}} {
		hasLower, hasUpper := part.text != strings.ToUpper(part.text), part.text != strings.ToLower(part.text)
		c.mixed = c.mixed || hasLower && hasUpper
		if hasLower {
			c.lower |= part.bit
		}
	}
	if c.mixed {
		c.lower = 0
	}
	return c
}

// shorten returns the first limit characters of s that a short name can hold, in upper case, and whether they are all of it.
func shorten(s string, limit int) (short string, exact bool) {
	exact = true
	var out []byte
	for _, c := range s {
		switch {
		case c == ' ' || c == '.':
			exact = false
			continue
		case c >= 0x7f || strings.ContainsRune("+,;=[]", c):
			exact = false
			c = '_'
		case c >= 'a' && c <= 'z':
			c -= 'a' - 'A'
		}
		if len(out) == limit {
			return string(out), false
		}
		out = append(out, byte(c))
	}
	return string(out), exact
}

// pack makes the short name whose base ends with tail.
func (c candidate) pack(tail string) shortName {
	s := shortName([]byte("           "))
	n := copy(s[:8], c.base[:min(len(c.base), 8-len(tail))])
	copy(s[n:8], tail)
	copy(s[8:], c.ext)
	return s
}
