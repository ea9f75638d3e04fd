package kmod

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

// sortAsHashed sorts strings as depmod's hash tables list them: by bucket, then by bytes.
func sortAsHashed(list []string, buckets uint32) {
	hashes := make(map[string]uint32, len(list))
	for _, s := range list {
		hashes[s] = superFastHash(s) % buckets
	}
	slices.SortFunc(list, func(a, b string) int {
		return cmp.Or(cmp.Compare(hashes[a], hashes[b]), strings.Compare(a, b))
	})
}

// superFastHash is the function of http://www.azillionmonkeys.com/qed/hash.html, seeded with the length, for ASCII strings (C's signed
// characters make others differ).
func superFastHash(s string) uint32 {
	b := []byte(s)
	h := uint32(len(b)) // names are short
	pair := func(i int) uint32 { return uint32(binary.LittleEndian.Uint16(b[i:])) }
	for ; len(b) >= 4; b = b[4:] {
		h += pair(0)
		h = h<<16 ^ pair(2)<<11 ^ h
		h += h >> 11
	}
	switch len(b) {
	case 3:
		h += pair(0)
		h ^= h << 16
		h ^= uint32(b[2]) << 18
		h += h >> 11
	case 2:
		h += pair(0)
		h ^= h << 11
		h += h >> 17
	case 1:
		h += uint32(b[0])
		h ^= h << 10
		h += h >> 1
	}
	h ^= h << 3
	h += h >> 5
	h ^= h << 4
	h += h >> 17
	h ^= h << 25
	h += h >> 6
	return h
}
