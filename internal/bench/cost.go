package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// cost is what a process took, with those that it waited for.
type cost struct {
	wall, cpu float64 // seconds
	peak      int64   // bytes of memory of the largest one
}

func (c cost) plus(d cost) cost { return cost{c.wall + d.wall, c.cpu + d.cpu, max(c.peak, d.peak)} }

// process is something to run.
type process struct {
	dir  string
	env  []string // besides this process's own, but for what changes builds
	args []string // the first is a path
	// inside are folders that the process may write to: what it writes elsewhere is measured. Nil: nothing is.
	inside []string
}

// outcome is what a process printed and cost.
type outcome struct {
	cost
	stdout, stderr string
	elsewhere      int64 // bytes on the disk in files that it had open for writing at a time, outside of where it may
}

// run runs a process to its end. The peak includes that of this process, which a child has for a moment: it stays small.
func (p process) run(ctx context.Context) (outcome, error) {
	cmd := p.command(ctx)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Start()
	var elsewhere int64
	if err == nil {
		stop := watch(cmd.Process.Pid, p.inside)
		err = cmd.Wait()
		elsewhere = stop()
	}
	wall := time.Since(began).Seconds()
	if err != nil {
		return outcome{}, fmt.Errorf("%s: %w\n%s", strings.Join(p.args, " "), err, tail(stderr.String()))
	}
	c := cost{wall: wall, cpu: (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.peak = int64(usage.Maxrss) << 10
	}
	return outcome{c, stdout.String(), stderr.String(), elsewhere}, nil
}

func (p process) command(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.args[0], p.args[1:]...)
	cmd.Dir = p.dir
	cmd.Env = append(environment(), p.env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// environment is this process's, without what changes builds or the programs' behaviour.
func environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "TALOSMITH_") || strings.HasPrefix(v, "SOURCE_DATE_EPOCH=") || strings.HasPrefix(v, "GOMEMLIMIT=") || strings.HasPrefix(v, "PATH=")
	})
	return append(env, "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "LC_ALL=C", "TZ=UTC", "MTOOLS_SKIP_CHECK=1")
}

// tail is the end of what a process said.
func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// ownTime is this process's CPU time in seconds.
func ownTime() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // the arguments are right
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// median runs a process a few times and returns the outcome with the middle wall time.
func median(ctx context.Context, times int, p process) (outcome, error) {
	var all []outcome
	for range times {
		o, err := p.run(ctx)
		if err != nil {
			return o, err
		}
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b outcome) int { return int((a.wall - b.wall) * 1e6) })
	return all[len(all)/2], nil
}

// loadAverage is that of the last minute.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	load, _, _ := strings.Cut(string(b), " ")
	return load
}

// fileSize of something that was made.
func fileSize(name string) (float64, error) {
	st, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return float64(st.Size()), nil
}

// remove removes files and folders.
func remove(names ...string) error {
	var errs []error
	for _, n := range names {
		errs = append(errs, os.RemoveAll(n))
	}
	return errors.Join(errs...)
}
