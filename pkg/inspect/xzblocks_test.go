package inspect_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/talosmith/talosmith/pkg/inspect"
)

// The blocks of xz's own files, from anywhere.
func TestXZBlocks(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(3, 4))
	plain := make([]byte, 5<<20+123)
	for i := range plain[:2<<20] {
		plain[i] = byte(random.IntN(4))
	}
	in := w.write(dir+"/plain", string(plain))
	pack := func(name string, args ...string) []byte {
		w.pipe(dir+"/"+name, "", dir, "xz", append(args, "-c", in)...)
		return []byte(w.read(dir + "/" + name))
	}
	packed := pack("blocks.xz", "-0", "-T2", "--block-size=1MiB")
	x, size, err := inspect.XZBlocks(context.Background(), bytes.NewReader(packed), int64(len(packed)))
	if err != nil || size != int64(len(plain)) {
		t.Fatalf("%d bytes, %v", size, err)
	}
	for range 50 {
		off := random.IntN(len(plain))
		got := make([]byte, random.IntN(2<<20))
		n, err := x.ReadAt(got, int64(off))
		want := plain[off:min(len(plain), off+len(got))]
		if !bytes.Equal(got[:n], want) || (n < len(got)) != errors.Is(err, io.EOF) || err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("%d of %d bytes at %d, %v", n, len(got), off, err)
		}
	}
	for name, b := range map[string][]byte{
		"one block": pack("one.xz", "-0", "-T1"), "two streams": append(bytes.Clone(packed), packed...), "padding": append(bytes.Clone(packed), 0, 0, 0, 0),
		"no index": packed[:len(packed)-20], "too short": packed[:20],
		"an index of nothing but a checksum": slices.Concat(packed[:20], make([]byte, 4), packed[len(packed)-12:len(packed)-8], make([]byte, 4), packed[len(packed)-4:]),
	} {
		if _, _, err := inspect.XZBlocks(context.Background(), bytes.NewReader(b), int64(len(b))); !errors.Is(err, inspect.ErrNoBlocks) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, at := range []int{30, 100 << 10} { // in the header of the first block, in its data
		b := bytes.Clone(packed)
		b[at] ^= 1
		x, _, err := inspect.XZBlocks(context.Background(), bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(io.NewSectionReader(x, 0, size)); err == nil {
			t.Errorf("byte %d is wrong: no error", at)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if x, _, err = inspect.XZBlocks(ctx, bytes.NewReader(packed), int64(len(packed))); err != nil {
		t.Fatal(err)
	}
	if _, err := x.ReadAt(make([]byte, 1), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
