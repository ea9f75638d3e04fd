package kmod

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// maxRead is the largest index to read. That of a distribution's kernel has 2 MiB.
const maxRead = 32 << 20

// ReadIndex reads a binary index as depmod and [Index] write it: keys in byte order, the values of each as they come in the file. An empty
// file, which depmod makes where it has nothing to read, is an empty index.
func ReadIndex(b []byte) ([]Entry, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) < trieHeader || len(b) > maxRead {
		return nil, fmt.Errorf("read index: it has %d bytes, and %d to %d are possible", len(b), trieHeader, maxRead)
	}
	if magic, version := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]); magic != trieMagic || version != trieVersion {
		return nil, fmt.Errorf("read index: magic %#x, version %#x: %#x and %#x are expected", magic, version, trieMagic, trieVersion)
	}
	r := trieReader{b: b, at: trieHeader}
	if err := r.node(binary.BigEndian.Uint32(b[8:]), nil); err != nil {
		return nil, fmt.Errorf("read index: byte %d: %w", r.at, err)
	}
	if r.at != len(b) {
		return nil, fmt.Errorf("read index: byte %d: %d bytes belong to no node", r.at, len(b)-r.at)
	}
	return r.entries, nil
}

// trieReader reads nodes one after another. They follow each other in the order of the keys, which makes a loop or a node of two parents
// impossible.
type trieReader struct {
	b       []byte
	at      int
	keys    int // bytes of all keys
	entries []Entry
}

var errTrieEnd = errors.New("the index ends within a node")

func (r *trieReader) node(node uint32, key []byte) error {
	if int(node&nodePlace) != r.at {
		return fmt.Errorf("the node %#x does not follow the one before it", node)
	}
	if node&nodePrefix != 0 {
		prefix, err := r.string()
		if err != nil {
			return err
		}
		key = append(key[:len(key):len(key)], prefix...)
	}
	if len(key) > maxKey {
		return fmt.Errorf("a key has more than %d bytes", maxKey)
	}
	var first byte
	var children []byte
	if node&nodeChildren != 0 {
		span, err := r.take(2)
		if err != nil {
			return err
		}
		first = span[0]
		if first == 0 || span[1] < first || span[1] >= 0x80 {
			return fmt.Errorf("children from %#02x to %#02x: a range of 7-bit ASCII is expected", first, span[1])
		}
		if children, err = r.take(4 * (int(span[1]-first) + 1)); err != nil {
			return err
		}
	}
	if node&nodeValues != 0 {
		if err := r.values(key); err != nil {
			return err
		}
	}
	for i := 0; i < len(children); i += 4 {
		if child := binary.BigEndian.Uint32(children[i:]); child != 0 {
			if err := r.node(child, append(key[:len(key):len(key)], first+byte(i/4))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *trieReader) values(key []byte) error {
	b, err := r.take(4)
	if err != nil {
		return err
	}
	name := string(key)
	if r.keys += len(name); r.keys > maxRead {
		return fmt.Errorf("the keys have more than %d bytes", maxRead)
	}
	for range binary.BigEndian.Uint32(b) {
		if b, err = r.take(4); err != nil {
			return err
		}
		value, err := r.string()
		if err != nil {
			return err
		}
		r.entries = append(r.entries, Entry{Key: name, Value: string(value), Priority: binary.BigEndian.Uint32(b)})
	}
	return nil
}

func (r *trieReader) take(n int) ([]byte, error) {
	if n > len(r.b)-r.at {
		return nil, errTrieEnd
	}
	r.at += n
	return r.b[r.at-n : r.at], nil
}

func (r *trieReader) string() ([]byte, error) {
	n := bytes.IndexByte(r.b[r.at:], 0)
	if n < 0 {
		return nil, errTrieEnd
	}
	for _, c := range r.b[r.at : r.at+n] {
		if c >= 0x80 {
			return nil, fmt.Errorf("%q is not 7-bit ASCII", r.b[r.at:r.at+n])
		}
	}
	s, err := r.take(n + 1)
	return s[:n], err
}
