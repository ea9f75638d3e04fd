package iso9660

import (
	"cmp"
	"strconv"
	"strings"
)

// isoName is an identifier of ECMA-119 in its two parts; a directory has no extension. Both are of d-characters.
type isoName struct {
	base, ext string
	dir       bool
}

const (
	maxDirName  = 31
	maxFileName = 30 // base and extension together
	maxExt      = 22 // so that eight characters of the base are left
)

func (n isoName) String() string {
	if n.dir {
		return n.base
	}
	return n.base + "." + n.ext + ";1" // the dot belongs to a name without extension too
}

// compare orders names as ECMA-119 9.3 wants: each part as if filled up with spaces, which sort before every d-character.
func (n isoName) compare(m isoName) int {
	order := cmp.Or(strings.Compare(n.base, m.base), strings.Compare(n.ext, m.ext))
	if order == 0 && n.dir != m.dir {
		order = 1
		if n.dir {
			order = -1
		}
	}
	return order
}

// namer gives the entries of one directory their identifiers. Later ones get a number where they would be equal to an earlier one.
type namer struct {
	used map[isoName]bool
	last map[isoName]int // the last number tried for a name
}

func newNamer() *namer { return &namer{map[isoName]bool{}, map[isoName]int{}} }

func (u *namer) name(s string, dir bool) isoName {
	want := mangle(s, dir)
	for n := want; ; n = numbered(want, u.last[want]) {
		if !u.used[n] {
			u.used[n] = true
			return n
		}
		u.last[want]++
	}
}

func mangle(s string, dir bool) isoName {
	if dir {
		s = dChars(s)
		return isoName{base: s[:min(len(s), maxDirName)], dir: true}
	}
	base, ext := s, ""
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		base, ext = s[:i], s[i+1:]
	}
	base, ext = dChars(base), dChars(ext)
	if len(base)+len(ext) > maxFileName {
		ext = ext[:min(len(ext), max(maxExt, maxFileName-len(base)))]
		base = base[:min(len(base), maxFileName-len(ext))]
	}
	if base == "" && ext == "" { // "." of an identifier would be taken for the directory itself
		base = "_"
	}
	return isoName{base: base, ext: ext}
}

// numbered puts a number at the end of the base, which is cut where there is no room for it.
func numbered(n isoName, number int) isoName {
	s := strconv.Itoa(number)
	room := maxFileName - len(n.ext)
	if n.dir {
		room = maxDirName
	}
	n.base = n.base[:min(len(n.base), room-len(s))] + s
	return n
}

func dChars(s string) string {
	b := []byte(strings.ToUpper(s))
	for i, c := range b {
		if !isD(c) {
			b[i] = '_'
		}
	}
	return string(b)
}
