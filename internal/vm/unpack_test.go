package vm_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/vm"
)

func TestUnpack(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	disk := make([]byte, 5<<20+123)
	disk[70000], disk[len(disk)-200000] = 1, 2
	for _, content := range [][]byte{disk, disk[:100], nil} {
		name, err := vm.Unpack(t.Context(), bytes.NewReader(content), int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes become %d others (%v)", len(content), len(got), err)
		}
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := vm.Unpack(t.Context(), bytes.NewReader(disk), 6<<20); err == nil || !strings.Contains(err.Error(), "ends at byte 5243003 of 6291456") {
		t.Errorf("of a disk that is cut off: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := vm.Unpack(ctx, bytes.NewReader(disk), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left: %v (%v)", left, err)
	}
}
