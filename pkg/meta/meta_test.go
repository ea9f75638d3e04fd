package meta_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/meta"
)

func write(t *testing.T, values ...meta.Value) []byte {
	t.Helper()
	b, err := meta.Write(values)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != meta.Size {
		t.Fatalf("%d bytes", len(b))
	}
	return b
}

// The official imager 1.13.9 wrote these bytes into the META partition of a dual-boot disk for metal.
func TestOfficial(t *testing.T) {
	t.Parallel()
	b := write(t, meta.Value{Key: 17, Value: "dual-boot"})
	const head = "5a4b3c2d" + "00000011" + "00000009" + "6475616c2d626f6f74" + "00000000"
	const tail = "6d0596ed48c85c53cc78720a976e9a7b4bcd961008c286c98c08b1d37df47c89" + "a5b4c3d2"
	for _, copy := range []int{0, 262144} {
		if got := hex.EncodeToString(b[copy : copy+len(head)/2]); got != head {
			t.Errorf("at %d: %s", copy, got)
		}
		if got := hex.EncodeToString(b[copy+262108 : copy+262144]); got != tail {
			t.Errorf("at %d: %s", copy+262108, got)
		}
	}
	if rest := bytes.TrimLeft(b[524288:], "\x00"); len(rest) != 0 {
		t.Errorf("%d bytes from the first that is not zero behind the blocks", len(rest))
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	all := make([]meta.Value, 0, 255)
	for key := 255; key > 0; key-- {
		all = append(all, meta.Value{Key: uint8(key), Value: strings.Repeat("x", key)})
	}
	for _, values := range [][]meta.Value{
		nil, {{Key: 10, Value: ""}}, {{Key: 11, Value: "b"}, {Key: 10, Value: "a\nä\x00"}}, all,
		{{Key: 1, Value: strings.Repeat("y", meta.Room-8)}},
	} {
		got, err := meta.Read(bytes.NewReader(write(t, values...)))
		if err != nil {
			t.Fatal(err)
		}
		want := slices.SortedFunc(slices.Values(values), func(a, b meta.Value) int { return int(a.Key) - int(b.Key) })
		if !slices.Equal(got, want) {
			t.Errorf("%d values came back as %d: %.200q", len(want), len(got), got)
		}
	}
}

func TestOverTheLimit(t *testing.T) {
	t.Parallel()
	for want, values := range map[string][]meta.Value{
		"key 0": {{Key: 0, Value: "a"}},
		"twice": {{Key: 9, Value: "a"}, {Key: 8}, {Key: 9, Value: "b"}},
		"262105 bytes; of the 262104 for all entries 262104 are left": {{Key: 1, Value: strings.Repeat("y", meta.Room-7)}},
		"9 bytes; of the 262104 for all entries 8 are left":           {{Key: 1, Value: strings.Repeat("y", meta.Room-16)}, {Key: 2, Value: "a"}},
	} {
		if _, err := meta.Write(values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestDamaged(t *testing.T) {
	t.Parallel()
	good := []meta.Value{{Key: 10, Value: "foo"}}
	for name, damage := range map[string]func(b []byte){
		"magic": func(b []byte) { b[0]++ }, "end": func(b []byte) { b[262140]++ }, "value": func(b []byte) { b[12]++ }, "sum": func(b []byte) { b[262108]++ },
	} {
		b := write(t, good...)
		damage(b)
		if got, err := meta.Read(bytes.NewReader(b)); err != nil || !slices.Equal(got, good) {
			t.Errorf("%s of the first block: %q, %v", name, got, err)
		}
		damage(b[262144:])
		if got, err := meta.Read(bytes.NewReader(b)); err == nil {
			t.Errorf("%s of both blocks: %q", name, got)
		}
	}
	if _, err := meta.Read(bytes.NewReader(write(t, good...)[:100])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("\x00\x00\x00\x0a\x00\x00\x00\x03foo"))
	f.Add([]byte("\x00\x00\x00\x0a\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, entries []byte) { // with the magics and the checksum made right
		b := meta.Seal(entries)
		values, err := meta.Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := meta.Write(values)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := meta.Read(bytes.NewReader(again)); err != nil || !slices.Equal(got, values) {
			t.Fatalf("%q came back as %q, %v", values, got, err)
		}
		if len(values) > 0 && binary.BigEndian.Uint32(again) != 0x5a4b3c2d {
			t.Fatal("no magic")
		}
	})
}
