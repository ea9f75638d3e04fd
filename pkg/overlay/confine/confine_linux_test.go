package confine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/sandbox"
	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/overlay"
	"github.com/talosmith/talosmith/pkg/tree"
)

const (
	board    = "board"
	diskSize = 64 << 20
)

// files is the overlay of the board for this machine.
func files(t testing.TB) *tree.Tree {
	t.Helper()
	files, err := sandbox.OverlayTree(board, tree.Bytes(sandboxtest.Board(t, runtime.GOARCH)), "grub")
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// scratchIn makes the scratch directories of a test lie in a folder of its own, which must be empty at the end.
func scratchIn(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("left in TMPDIR: %v, %v", left, err)
		}
	})
}

// read is a tree's files by path, and directories as nothing.
func read(t testing.TB, files *tree.Tree) map[string]string {
	t.Helper()
	all := map[string]string{}
	for n := range files.All() {
		all[n.Path] = ""
		if n.Content != nil {
			b, err := tree.ReadAll(n.Content)
			if err != nil {
				t.Fatal(err)
			}
			all[n.Path] = string(b)
		}
	}
	return all
}

// install runs the board's installer, and gives what it did as text.
func install(ctx context.Context, t testing.TB, r overlay.Runner, extra map[string]any) (esp map[string]string, raw map[int64]string, err error) {
	t.Helper()
	raw = map[int64]string{}
	err = overlay.Install(ctx, r, "", files(t), board, extra, diskSize, func(e overlay.Effects) error {
		esp = read(t, e.ESP)
		for _, x := range e.Raw {
			b, err := tree.ReadAll(x.Content)
			if err != nil {
				return err
			}
			raw[x.At] = string(b)
		}
		return nil
	})
	return esp, raw, err
}

// everyWay runs a test in every way that this user has and the system allows.
func everyWay(t *testing.T, fn func(t *testing.T, r *Runner, w way)) {
	t.Helper()
	inWays(t, waysFor(os.Geteuid()), fn)
}

// confined is [everyWay] without the one that lacks everything: there, the directories that real installers make can't be entered.
func confined(t *testing.T, fn func(t *testing.T, r *Runner, w way)) {
	t.Helper()
	inWays(t, slices.DeleteFunc(waysFor(os.Geteuid()), func(w way) bool { return !w.chroot }), fn)
}

func inWays(t *testing.T, ways []way, fn func(t *testing.T, r *Runner, w way)) {
	t.Helper()
	for i, w := range ways {
		t.Run(fmt.Sprintf("%d %s", i, w.lacks), func(t *testing.T) {
			scratchIn(t)
			var notes []string
			r := &Runner{ways: []way{w}, Note: func(s string) { notes = append(notes, s) }}
			if _, err := overlay.GetOptions(t.Context(), r, "", files(t), board, nil); notAllowed(err) {
				tooltest.Unable(t, "this system does not allow it: %v", err)
			}
			fn(t, r, w)
			if want := w.lacks != ""; want != (len(notes) == 1) || want && !strings.Contains(notes[0], w.lacks) {
				t.Errorf("notes %q", notes)
			}
		})
	}
}

func TestGetOptions(t *testing.T) {
	everyWay(t, func(t *testing.T, r *Runner, _ way) {
		for want, extra := range map[string]map[string]any{
			"{board [console=tty0 console=ttyBOARD0,115200 talos.dashboard.disabled=1] 20480}": nil,
			"{board [a=1 b] 2048}": {"offset": int64(2048), "kernelArgs": []any{"a=1", "b"}},
		} {
			o, err := overlay.GetOptions(t.Context(), r, "", files(t), board, extra)
			if got := fmt.Sprint(o); err != nil || got != want {
				t.Errorf("options %s, %v; want %s", got, err, want)
			}
		}
	})
}

func TestInstall(t *testing.T) {
	confined(t, func(t *testing.T, r *Runner, _ way) {
		esp, raw, err := install(t.Context(), t, r, map[string]any{"configTxt": "own=1\n"})
		if err != nil {
			t.Fatal(err)
		}
		if len(esp) != 5 || esp["config.txt"] != "own=1\n" || esp["overlays/disable-bt.dtbo"] != "device tree\n" || len(esp["start4.elf"]) != 45000 {
			t.Errorf("EFI system partition %.50q", esp)
		}
		// The boot loader is 32000 bytes, 2 KiB of zeros, of which three sectors are whole, and its end.
		first, rest := raw[32<<10], raw[32<<10+66*512]
		if len(raw) != 2 || len(first) != 63*512 || !strings.HasPrefix(first, "u-boot!!u-boot") || len(rest) != 512 || strings.Trim(rest, "\x00") != "its end\n" {
			t.Errorf("%d raw extents; there %d and %d bytes", len(raw), len(first), len(rest))
		}
	})
}

// TestBusy starts a program that is still open for writing, as a child has it that was forked at the wrong moment.
func TestBusy(t *testing.T) {
	dir := t.TempDir()
	f, err := os.OpenFile(filepath.Join(dir, board), os.O_CREATE|os.O_WRONLY, 0o755)
	if err == nil {
		_, err = f.Write(sandboxtest.Board(t, runtime.GOARCH))
	}
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { f.Close() })
	c := overlay.Command{Root: dir, Program: board, Arg: "get-options", MaxFile: 1, Stdin: func(string) ([]byte, error) { return []byte("{}"), nil }}
	ways := waysFor(os.Geteuid())
	out, err := (&Runner{ways: ways[len(ways)-1:]}).Run(t.Context(), c)
	if err != nil || !strings.Contains(string(out), "name: board") {
		t.Errorf("%q, %v", out, err)
	}
}

// TestConfined lets the program tell what it can see and do.
func TestConfined(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reached := make(chan struct{}, 10)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			reached <- struct{}{}
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close() })
	t.Setenv("SECRET", "token")
	const leak = 200
	if err := syscall.Dup3(2, leak, 0); err != nil { // as if this process had been started with it: not marked close-on-exec
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(leak) })

	confined(t, func(t *testing.T, r *Runner, w way) {
		esp, _, err := install(t.Context(), t, r, map[string]any{"misbehave": "report", "address": listener.Addr().String()})
		if err != nil {
			t.Fatal(err)
		}
		t.Log(esp["report"])
		says := map[string]string{}
		for line := range strings.Lines(esp["report"]) {
			what, v, _ := strings.Cut(strings.TrimSpace(line), ": ")
			says[what] = v
		}
		want := map[string]string{
			"environment": "HOME=/tmp LC_ALL=C PATH=/usr/bin:/bin SOURCE_DATE_EPOCH=0 TMPDIR=/tmp TZ=UTC",
			"directory":   "/, <nil>", "root": "[disk.raw mnt overlay tmp] <nil>", "disk": "/disk.raw",
			"chroot": "operation not permitted", "mount": "operation not permitted", "namespace": "fork/exec /overlay/installers/board: operation not permitted",
			"user": "65534 65534", "groups": "0 <nil>",
		}
		if w.lacks == "" {
			want["process"] = "1"
		}
		if w.attr().Cloneflags&syscall.CLONE_NEWUSER != 0 {
			want["user"] = "1000 1000"
			delete(want, "groups") // that can't be dropped, and count for nothing
		}
		for what, v := range want {
			if says[what] != v {
				t.Errorf("%s: %q, want %q", what, says[what], v)
			}
		}
		if !strings.HasPrefix(says["open files"], "[0 1 2") || strings.Contains(says["open files"], fmt.Sprint(" ", leak)) {
			t.Errorf("open files %s, and %d was open here", says["open files"], leak)
		}
		wantNetwork := "unreachable"
		if w.lacks != "" {
			wantNetwork = "reached"
			<-reached
		}
		if !strings.Contains(says["network"], wantNetwork) {
			t.Errorf("network: %s, want %s", says["network"], wantNetwork)
		}
		if len(reached) > 0 {
			t.Error("it reached the listener")
		}
	})
}

// TestFailures: what a program does wrong is said, is bounded in time and memory, and leaves nothing.
func TestFailures(t *testing.T) {
	confined(t, func(t *testing.T, r *Runner, _ way) {
		r.Limit = 20 * time.Second
		for how, want := range map[string]string{
			"fail":         "installers/board install: exit status 1: the board\ufffd[31m is on fire",
			"flood":        "installers/board install: it printed more than 1048576 bytes, and was ended",
			"flood errors": "installers/board install: it printed more than 1048576 bytes, and was ended: ",
			"longer":       "installers/board install: it made installDisk 1048576 bytes long",
			"replace":      "installers/board install: it replaced installDisk",
			"elsewhere":    `installers/board install: it wrote what would be lost: "/mnt/boot/vmlinuz", "/stray": only files below boot/EFI of mountPrefix`,
			"link":         `installers/board install: it left "link" on the EFI system partition: FAT has files and directories only`,
			"fifo":         `installers/board install: it left "fifo" on the EFI system partition`,
		} {
			if _, _, err := install(t.Context(), t, r, map[string]any{"misbehave": how}); err == nil || !strings.HasPrefix(err.Error(), want) || len(err.Error()) > 3000 {
				t.Errorf("%s: %.300v\nwant %s", how, err, want)
			}
		}
		// The system ends it, or, where it may not limit files, the size is seen in the end.
		if _, _, err := install(t.Context(), t, r, map[string]any{"misbehave": "fill"}); err == nil || !strings.Contains(err.Error(), "file too large") && !strings.Contains(err.Error(), "it made installDisk") {
			t.Errorf("fill: %v", err)
		}
		for how, want := range map[string]string{
			"get-options fail":     "installers/board get-options: exit status 1: the board",
			"get-options flood":    "installers/board get-options: it printed more than 1048576 bytes, and was ended",
			"get-options nonsense": "its answer: ",
		} {
			if _, err := overlay.GetOptions(t.Context(), r, "", files(t), board, map[string]any{"misbehave": how}); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%s: %.300v\nwant %s", how, err, want)
			}
		}
	})
}

// TestEnds: a program that hangs is ended, with all that it has started.
func TestEnds(t *testing.T) {
	confined(t, func(t *testing.T, r *Runner, w way) {
		r.Limit = time.Second
		for _, how := range []string{"hang", "get-options hang"} {
			begin := time.Now()
			var err error
			if how == "hang" {
				_, _, err = install(t.Context(), t, r, map[string]any{"misbehave": how})
			} else {
				_, err = overlay.GetOptions(t.Context(), r, "", files(t), board, map[string]any{"misbehave": how})
			}
			if err == nil || !strings.Contains(err.Error(), "it was not done after 1s, and was ended") {
				t.Errorf("%s: %v", how, err)
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("%s: took %v", how, took)
			}
		}
		r.Limit = time.Minute
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if _, _, err := install(ctx, t, r, map[string]any{"misbehave": "hang"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("cancelled: %v", err)
		}
		_, _, err := install(t.Context(), t, r, map[string]any{"misbehave": "leave"})
		if w.lacks == "" && err != nil || w.lacks != "" && (err == nil || !strings.Contains(err.Error(), "it ended, but left processes behind")) {
			t.Errorf("a process left behind: %v", err)
		}
		if left := running(t, "left-behind"); len(left) > 0 {
			t.Errorf("still running: %q", left)
		}
	})
}

// running are the processes with a word among their arguments.
func running(t *testing.T, word string) (all []string) {
	t.Helper()
	for range 50 { // a killed process may take a moment
		all = nil
		names, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if b, err := os.ReadFile(name); err == nil && slices.Contains(strings.Split(string(b), "\x00"), word) {
				all = append(all, name)
			}
		}
		if len(all) == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return all
}

// TestFallsBack takes the next way where the system refuses one, and no other where the program is at fault.
func TestFallsBack(t *testing.T) {
	scratchIn(t)
	refuse := way{func() *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_FS}
	}, true, ""}
	last := way{func() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }, false, "everything"}
	var notes []string
	r := &Runner{ways: []way{refuse, last}, Note: func(s string) { notes = append(notes, s) }}
	for range 2 {
		if _, err := overlay.GetOptions(t.Context(), r, "", files(t), board, nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "an overlay's installer runs with everything in its reach") {
		t.Errorf("notes %q", notes)
	}
	r.ways = []way{refuse}
	if _, err := overlay.GetOptions(t.Context(), r, "", files(t), board, nil); err == nil || !strings.Contains(err.Error(), "start: ") {
		t.Errorf("no way: %v", err)
	}
}
