package kmod

import (
	"cmp"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// The byte map of doc.go.
func TestTrieBytes(t *testing.T) {
	t.Parallel()
	got, err := buildTrie([]Entry{{"on", "1", 3}, {"once", "3", 0}, {"a", "4", 9}, {"on", "2", 3}, {"on", "7", 1}}, nodePlace)
	if err != nil {
		t.Fatal(err)
	}
	u32 := func(v uint32) string { return string(binary.BigEndian.AppendUint32(nil, v)) }
	want := u32(0xb007f457) + u32(0x00020001) + u32(0x20000000|12) +
		/* 12 */ "ao" + u32(0x40000000|74) + strings.Repeat(u32(0), 13) + u32(0xe0000000|84) +
		/* 74, "a" */ u32(1) + u32(9) + "4\x00" +
		/* 84, "on" */ "n\x00" + "cc" + u32(0xc0000000|114) + u32(3) + u32(1) + "7\x00" + u32(3) + "2\x00" + u32(3) + "1\x00" +
		/* 114, "once" */ "e\x00" + u32(1) + u32(0) + "3\x00"
	if string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestTrieRoundTrip(t *testing.T) {
	t.Parallel()
	for name, entries := range map[string][]Entry{
		"nothing":      nil,
		"empty key":    {{"", "value", 0}},
		"nested":       {{"a", "1", 0}, {"ab", "2", 0}, {"abc", "", 5}, {"b", "", 0}},
		"same key":     {{"k", "b", 1}, {"k", "a", 2}, {"k", "c", 2}},
		"longest key":  {{strings.Repeat("k", maxKey), "v", 1 << 31}},
		"all of ASCII": {{"\x01", "\x7f", 0}, {"\x01\x7f", "\x01", 0}, {"\x7f", "", 0}},
	} {
		reversed := slices.Clone(entries) // of the same key and priority, the later goes first
		slices.Reverse(reversed)
		b, err := buildTrie(reversed, nodePlace)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadIndex(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(entries, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if got, err := ReadIndex(nil); got != nil || err != nil {
		t.Errorf("empty file: %v, %v", got, err)
	}
}

func TestTrieRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		entry Entry
		want  string
	}{
		{Entry{Key: strings.Repeat("k", maxKey+1)}, "the key has 4096 bytes, and the limit is 4095"},
		{Entry{Key: "a\x80"}, `"a\x80" has byte 0x80, and the index is 7-bit ASCII`},
		{Entry{Key: "a", Value: "\x00"}, "has byte 0x00"},
	} {
		if _, err := buildTrie([]Entry{c.entry}, nodePlace); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

func TestTrieLimit(t *testing.T) {
	t.Parallel()
	entries := []Entry{{"a", "1", 0}, {"b", "2", 0}}
	fits, err := buildTrie(entries, 42)
	if err != nil || len(fits) != 42 {
		t.Fatalf("%d bytes, %v", len(fits), err)
	}
	for limit, want := range map[int]string{
		41: "it takes 42 bytes, and the limit of the format is 41",
		23: "the values alone take more than 11 bytes",
	} {
		if _, err := buildTrie(entries, limit); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("limit %d: error %v, want %q", limit, err, want)
		}
	}
}

func TestReadIndexRefuses(t *testing.T) {
	t.Parallel()
	good, err := buildTrie([]Entry{{"ask", "2", 0}, {"ate", "4", 9}, {"on", "7", 1}}, nodePlace)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n < len(good); n++ {
		if _, err := ReadIndex(good[:n]); err == nil {
			t.Errorf("an index cut to %d of %d bytes was read", n, len(good))
		}
	}
	for name, c := range map[string]struct {
		at    int
		value string
		want  string
	}{
		"magic":    {0, "\xb0\x07\xfa\x57", "magic 0xb007fa57, version 0x20001: 0xb007f457 and 0x20001 are expected"},
		"version":  {5, "\x03", "version 0x30001"},
		"loop":     {14, "\x20\x00\x00\x0c", "does not follow the one before it"},
		"range":    {12, "oa", "children from 0x6f to 0x61"},
		"NUL":      {12, "\x00", "children from 0x00 to 0x6f"},
		"8 bits":   {13, "\x80", "children from 0x61 to 0x80"},
		"value":    {len(good) - 2, "\xff", "is not 7-bit ASCII"},
		"trailing": {len(good), "x", "1 bytes belong to no node"},
	} {
		bad := append(append(slices.Clone(good[:c.at]), c.value...), good[min(len(good), c.at+len(c.value)):]...)
		if _, err := ReadIndex(bad); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	deep := binary.BigEndian.AppendUint32(nil, trieMagic)
	deep = binary.BigEndian.AppendUint32(deep, trieVersion)
	for range maxKey + 3 {
		deep = binary.BigEndian.AppendUint32(deep, nodeChildren|uint32(len(deep)+4))
		deep = append(deep, "aa"...)
	}
	if _, err := ReadIndex(deep); err == nil || !strings.Contains(err.Error(), "a key has more than 4095 bytes") {
		t.Errorf("error %v, want one for too deep a key", err)
	}
}

func FuzzReadIndex(f *testing.F) {
	list, err := filepath.Glob("testdata/complete/*.bin")
	if err != nil || len(list) == 0 {
		f.Fatal(list, err)
	}
	for _, name := range list {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := ReadIndex(b)
		if err != nil {
			return
		}
		again, err := buildTrie(entries, nodePlace)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ReadIndex(again)
		if err != nil {
			t.Fatal(err)
		}
		order := func(a, b Entry) int {
			return cmp.Or(strings.Compare(a.Key, b.Key), cmp.Compare(a.Priority, b.Priority), strings.Compare(a.Value, b.Value))
		}
		slices.SortFunc(entries, order)
		slices.SortFunc(back, order)
		if diff := gocmp.Diff(entries, back); diff != "" {
			t.Error(diff)
		}
	})
}
