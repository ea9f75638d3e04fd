package sandboxtest

import (
	"sync"
	"testing"

	"github.com/talosmith/talosmith/internal/sandbox"
	"github.com/talosmith/talosmith/pkg/tree"
)

var boards struct {
	sync.Mutex
	programs map[string][]byte // by architecture
}

// Board is the program of the stand-in's overlay for an architecture: see command board.
func Board(t testing.TB, arch string) []byte {
	t.Helper()
	boards.Lock()
	defer boards.Unlock()
	if b, ok := boards.programs[arch]; ok {
		return b
	}
	program, err := sandbox.Board(t.Context(), t.TempDir(), arch)
	if err != nil {
		t.Fatal(err)
	}
	b, err := tree.ReadAll(program)
	if err != nil {
		t.Fatal(err)
	}
	if boards.programs == nil {
		boards.programs = map[string][]byte{}
	}
	boards.programs[arch] = b
	return b
}
