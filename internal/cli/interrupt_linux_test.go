package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/tree"
)

const interruptEnv = "TALOSMITH_INTERRUPT_HELPER"

// TestInterrupt presses Ctrl-C on a terminal while steps run that never look at their context.
func TestInterrupt(t *testing.T) {
	terminal, name := newTerminal(t)
	tty, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestInterruptHelper$", "-test.count=1")
	cmd.Env = append(os.Environ(), interruptEnv+"="+dir, "TERM=xterm")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	var shown strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(shown.String(), "squashfs  big") {
		n, err := terminal.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, shown.String())
		}
		shown.Write(buf[:n])
	}
	pressed := time.Now()
	if _, err := terminal.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(terminal) // ends with the process
	shown.Write(rest)
	err = cmd.Wait()
	if took := time.Since(pressed); took > time.Second {
		t.Errorf("it took %s", took)
	}
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d, %v", code, err)
	}
	if left := screen(shown.String()); strings.Contains(left, "squashfs  big") || !strings.Contains(left, "canceled") {
		t.Errorf("left on the screen:\n%s", left)
	}
	err = filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "in-use" {
			t.Errorf("left %s", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// newTerminal makes a pseudo-terminal.
func newTerminal(t *testing.T) (controller *os.File, name string) {
	t.Helper()
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	fd := int(f.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}); err != nil {
		t.Fatal(err)
	}
	return f, fmt.Sprintf("/dev/pts/%d", n)
}

func TestInterruptHelper(t *testing.T) {
	dir := os.Getenv(interruptEnv)
	if dir == "" {
		return // not called by TestInterrupt
	}
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt) // as mage does
	defer stop()
	o := Options{}.withDefaults()
	s := &Session{o: o, print: newPrinter(o)}
	var err error
	if s.store, err = store.Open(store.Options{Dir: dir, Workers: 4, Observe: s.print.step}); err != nil {
		t.Fatal(err)
	}
	var steps []*store.Step
	for i := range 6 {
		steps = append(steps, &store.Step{Name: "squashfs", Label: fmt.Sprint("big ", i), Run: func(_ context.Context, out store.Output, _ []tree.Blob) error {
			for at := int64(0); ; at += 1 << 16 {
				if _, err := out.WriteAt(make([]byte, 1<<16), at%(1<<24)); err != nil {
					return err
				}
				time.Sleep(10 * time.Millisecond)
			}
		}})
	}
	_, err = s.store.BuildAll(ctx, steps)
	if err := errors.Join(err, s.Close()); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
