package bench

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/tooltest"
)

func TestTable(t *testing.T) {
	t.Parallel()
	tab := table{title: "some measures", load: "idle"}
	tab.add("for information", seconds, 0.25, 0, none)
	tab.add("a ratio that is reached", seconds, 1, 10, ratioAtMost(0.1))
	tab.add("a ratio that is not", size, 1.5*(1<<20), 1<<20, ratioAtMost(1.08))
	tab.add("a number that is reached", count, 0, 0, atMost(0))
	tab.add("a number that is not", count, 1, 0, atMost(0))
	tab.note("A note.")
	var got strings.Builder
	if err := tab.print(&got); err != nil {
		t.Fatal(err)
	}
	want := `
some measures
(idle)
measure                    ours      reference   ratio   must be        
for information            250 ms                                       
a ratio that is reached    1.00 s    10.00 s     0.100   ≤ 0.1 of it    reached
a ratio that is not        1.5 MiB   1.0 MiB     1.500   ≤ 1.08 of it   MISSED
a number that is reached   0                             ≤ 0            reached
a number that is not       1                             ≤ 0            MISSED
A note.
`
	if got.String() != want {
		t.Errorf("got %s\nwant %s", got.String(), want)
	}
}

func TestPermutationsDiffer(t *testing.T) {
	t.Parallel()
	var all []string
	for n := range fanOut {
		order := permutation(sharedExtensions, n)
		all = append(all, strings.Join(order, " "))
		slices.Sort(order)
		if want := slices.Sorted(slices.Values(sharedExtensions)); !slices.Equal(order, want) {
			t.Errorf("permutation %d has %q", n, order)
		}
	}
	slices.Sort(all)
	if got := len(slices.Compact(all)); got != fanOut {
		t.Errorf("%d of %d orders differ", got, fanOut)
	}
}

func TestDecompressed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ size, at, want int64 }{
		{10, 0, 100},   // shares a block
		{100, 0, 100},  // fills one
		{250, 99, 100}, // the first
		{250, 200, 50}, // the last is shorter
		{250, 249, 50}, //
	} {
		if got := decompressed(c.size, c.at, 100); got != c.want {
			t.Errorf("byte %d of %d: %d bytes come out of its block, want %d", c.at, c.size, got, c.want)
		}
	}
}

func TestChooseRefusesAnUnknownSection(t *testing.T) {
	t.Parallel()
	_, err := choose("speed")
	if want := `there is no section "speed": -only takes one of squashfs, effort, cold, raw, large, unchanged, changed, shared, formats, memory`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestWritten(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// The program holds a file open that has no name any more, and reads another, until its input ends.
	cmd := exec.Command("/bin/sh", "-euc", `exec 3>file 4<"$0"; head -c 1000000 /dev/urandom >&3; rm file; echo ready; read line || true`, os.Args[0])
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	if got := written(cmd.Process.Pid, []string{t.TempDir()}); got < 1e6 || got > 2e6 {
		t.Errorf("the process has files of %d bytes open", got)
	}
	if got := written(cmd.Process.Pid, []string{dir}); got != 0 {
		t.Errorf("the process has files of %d bytes open outside of %s", got, dir)
	}
	if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
		t.Error(err)
	}
}

func TestSteps(t *testing.T) {
	t.Parallel()
	o := outcome{stderr: `unpack       a: 1 KiB in 0.1 s
squashfs     siderolabs/a: 4 KiB in 0.1 s
firmware     a: 4 KiB in 0.1 s
index        modules.dep: 4 KiB in 0.1 s
squashfs     b: fetched 4 KiB in 0.1 s
note: squashfs c: 1
`}
	if got := o.steps(squashfsStep); got != 1 {
		t.Errorf("counted %v squashfs steps, want 1", got)
	}
	if got := o.steps(compressStep); got != 3 {
		t.Errorf("counted %v steps that compress, want 3", got)
	}
}

func TestProgramsAreInDebianPackages(t *testing.T) {
	t.Parallel()
	for _, s := range sections {
		for _, tool := range s.tools {
			if tooltest.Packages[tool] == "" {
				t.Errorf("section %s uses %s: tooltest.Packages does not say which package has it", s.name, tool)
			}
		}
	}
}

func TestScriptsAreShell(t *testing.T) {
	t.Parallel()
	for _, stages := range [][]stage{initramfsStages, {ukiStage}, isoStages, referenceDisk.stages, installerStages} {
		for _, s := range stages {
			if out, err := exec.Command("/bin/sh", "-nc", s.script).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", s.name, err, out)
			}
		}
	}
}
