package kmod

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// The binary index's numbers; doc.go has the byte map.
const (
	trieMagic   = 0xb007f457
	trieVersion = 0x00020001
	trieHeader  = 12

	nodePrefix   = 0x80000000
	nodeValues   = 0x40000000
	nodeChildren = 0x20000000
	nodePlace    = 0x0fffffff

	// maxKey is the longest key, in bytes: depmod normalises no longer alias.
	maxKey = 4095
)

// Entry is a value of a binary index under a key. A key can have many.
type Entry struct {
	Key, Value string
	// Priority orders the values of a key: the module's place in modules.dep, 0 in the indexes of built-in modules.
	Priority uint32
}

// buildTrie makes a binary index of at most limit bytes. As in depmod, of two values with the same key and priority the later entry comes
// first.
func buildTrie(entries []Entry, limit int) ([]byte, error) {
	size := 0
	for _, e := range entries {
		if len(e.Key) > maxKey {
			return nil, fmt.Errorf("index %.100q…: the key has %d bytes, and the limit is %d", e.Key, len(e.Key), maxKey)
		}
		for _, s := range []string{e.Key, e.Value} {
			if i := strings.IndexFunc(s, func(r rune) bool { return r == 0 || r >= 0x80 }); i >= 0 {
				return nil, fmt.Errorf("index %q: %q has byte %#02x, and the index is 7-bit ASCII", e.Key, s, s[i])
			}
		}
		if size += len(e.Value) + 5; size > limit-trieHeader {
			return nil, fmt.Errorf("index %.100q: the values alone take more than %d bytes, the limit of the format", e.Key, limit-trieHeader)
		}
	}
	entries = slices.Clone(entries)
	slices.Reverse(entries)
	slices.SortStableFunc(entries, func(a, b Entry) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), cmp.Compare(a.Priority, b.Priority))
	})
	b := make([]byte, trieHeader, trieHeader+size)
	binary.BigEndian.PutUint32(b, trieMagic)
	binary.BigEndian.PutUint32(b[4:], trieVersion)
	b, root := appendNode(b, entries, 0, 0)
	binary.BigEndian.PutUint32(b[8:], root)
	if len(b) > limit {
		return nil, fmt.Errorf("index: it takes %d bytes, and the limit of the format is %d", len(b), limit)
	}
	return b, nil
}

// appendNode appends the node of sorted entries whose keys agree in their first depth bytes, and then its children. The node's prefix is
// the next n bytes of their keys.
func appendNode(b []byte, entries []Entry, depth, n int) ([]byte, uint32) {
	node := uint32(len(b)) // buildTrie refuses an index where it does not fit
	if n > 0 {
		b = append(b, entries[0].Key[depth:depth+n]...)
		b = append(b, 0)
		node |= nodePrefix
		depth += n
	}
	values := 0
	for values < len(entries) && len(entries[values].Key) == depth {
		values++
	}
	children := entries[values:]
	table := 0 // where the children's nodes are to be written
	var first byte
	if len(children) > 0 {
		node |= nodeChildren
		first = children[0].Key[depth]
		last := children[len(children)-1].Key[depth]
		b = append(b, first, last)
		table = len(b)
		b = append(b, make([]byte, 4*(int(last-first)+1))...)
	}
	if values > 0 {
		node |= nodeValues
		b = binary.BigEndian.AppendUint32(b, uint32(values)) // as above
		for _, e := range entries[:values] {
			b = binary.BigEndian.AppendUint32(b, e.Priority)
			b = append(b, e.Value...)
			b = append(b, 0)
		}
	}
	for len(children) > 0 {
		c := children[0].Key[depth]
		end := 1
		for end < len(children) && children[end].Key[depth] == c {
			end++
		}
		var child uint32
		b, child = appendNode(b, children[:end], depth+1, commonPrefix(children[0].Key[depth+1:], children[end-1].Key[depth+1:]))
		binary.BigEndian.PutUint32(b[table+4*int(c-first):], child)
		children = children[end:]
	}
	return b, node
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
