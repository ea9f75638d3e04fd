package tree_test

import (
	"io/fs"
	"testing"

	"github.com/talosmith/talosmith/pkg/tree"
)

func TestModes(t *testing.T) {
	for mode, unix := range map[fs.FileMode]uint16{
		0o644:                                  0o100644,
		0o755 | fs.ModeSetuid | fs.ModeSetgid:  0o106755,
		fs.ModeDir | fs.ModeSticky | 0o777:     0o041777,
		fs.ModeSymlink | 0o777:                 0o120777,
		fs.ModeNamedPipe:                       0o010000,
		fs.ModeSocket | 0o1:                    0o140001,
		fs.ModeDevice | 0o660:                  0o060660,
		fs.ModeDevice | fs.ModeCharDevice | 06: 0o020006,
	} {
		if got := tree.UnixMode(mode); got != unix {
			t.Errorf("%v is %#o, want %#o", mode, got, unix)
		}
		if got, ok := tree.FileMode(unix); got != mode || !ok {
			t.Errorf("%#o is %v %t, want %v", unix, got, ok, mode)
		}
	}
	for _, unix := range []uint16{0o644, 0o170644} {
		if got, ok := tree.FileMode(unix); got != 0o644 || ok {
			t.Errorf("%#o is %v %t, want no type", unix, got, ok)
		}
	}
	if got := tree.UnixMode(fs.ModeIrregular | 0o640); got != 0o640 {
		t.Errorf("an irregular file is %#o", got)
	}
}
