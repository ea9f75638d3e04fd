package preflight_test

import (
	"errors"
	"testing"

	"github.com/talosmith/talosmith/pkg/preflight"
	"github.com/talosmith/talosmith/pkg/tree"
)

// unreadable is a file on a broken disk.
type unreadable struct {
	tree.Blob
	err error
}

func (u unreadable) ReadAt([]byte, int64) (int, error) { return 0, u.err }

// TestAFileThatCannotBeRead: that is no property of the file, and must not be kept as one.
func TestAFileThatCannotBeRead(t *testing.T) {
	t.Parallel()
	errDisk := errors.New("input/output error")
	root, err := tree.New([]tree.Node{{Path: "usr/bin/a", Mode: 0o755, Content: unreadable{tree.Zeros(128), errDisk}}})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := preflight.ReadBase(root); !errors.Is(err, errDisk) {
		t.Errorf("%+v, %v", c, err)
	}
}
