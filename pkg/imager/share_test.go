package imager

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/talosmith/talosmith/pkg/tree"
)

// TestCopyRange: an artefact that is made of files' ranges has their bytes and the SHA-256 of these, however the ranges lie in it.
func TestCopyRange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	content := make([]byte, 3*copyAtOnce+12345)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(content)
	name := filepath.Join(dir, "file")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	whole, err := tree.File(name)
	if err != nil {
		t.Fatal(err)
	}
	out, err := createOut(t.Context(), filepath.Join(dir, "artefact"))
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	for _, at := range []int64{0, 1 << 20, 2<<20 + 1, 3<<20 + 4096, 4<<20 + 512} {
		if _, err := tree.CopyAt(tree.Offset(out, 1<<20), at, whole); err != nil {
			t.Fatal(err)
		}
		want = append(want, make([]byte, at+1<<20-int64(len(want)))...)
		want = append(want, content...)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, part := range []struct{ off, size, hole int64 }{{4096, 8192, 0}, {100, 5000, 3}, {int64(len(content)) - 1, 1, 70000}, {7, 0, 0}} {
		if err := out.CopyRange(f, part.off, part.size, int64(len(want))+part.hole); err != nil {
			t.Fatal(err)
		}
		want = append(want, make([]byte, part.hole)...)
		want = append(want, content[part.off:][:part.size]...)
	}
	sum, _, err := out.commit(int64(len(want)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out.name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the artefact has other bytes")
	}
	if want := sha256.Sum256(want); sum != hex.EncodeToString(want[:]) {
		t.Error("the artefact has another SHA-256")
	}
}

func TestCopyRangeRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	if err := os.WriteFile(name, make([]byte, 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	out, err := createOut(ctx, filepath.Join(dir, "artefact"))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 1} {
		if err := out.CopyRange(f, 0, 10001, out.at+at); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("more than the file has, offset %d: %v", at, err)
		}
	}
	if err := out.CopyRange(f, 0, 10, 0); err == nil {
		t.Error("what is written already is written again")
	}
	cancel()
	if err := out.CopyRange(f, 0, 10, out.at); !errors.Is(err, context.Canceled) {
		t.Errorf("after the build was cancelled: %v", err)
	}
	if err := out.discard(); err != nil {
		t.Error(err)
	}
}
