package confine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talosmith/talosmith/pkg/overlay"
	"github.com/talosmith/talosmith/pkg/talos"
)

// Arch is the machine's architecture.
func (r *Runner) Arch() (string, error) {
	return runtime.GOARCH, talos.CheckArchitecture(runtime.GOARCH)
}

// way is a way to confine a program.
type way struct {
	attr   func() *syscall.SysProcAttr
	chroot bool
	// lacks is what it does not keep from the program; empty for nothing.
	lacks string
}

const (
	insideID = 1000  // user and group of a program, as it sees them: not root, who would have all rights in its namespace
	nobody   = 65534 // as the system sees them, where it has no namespace

	namespaces = unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
)

// fileRights let a program pass over the permissions of files that belong to its user.
var fileRights = []uintptr{unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER}

func inUserNamespace() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  namespaces | unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: insideID, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: insideID, HostID: os.Getegid(), Size: 1}},
		AmbientCaps: fileRights,
	}
}

func asNobody(flags uintptr) func() *syscall.SysProcAttr {
	return func() *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Cloneflags: flags, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: fileRights}
	}
}

// waysFor are the ways of a user, the best first.
func waysFor(uid int) []way {
	ways := []way{{inUserNamespace, true, ""}}
	if uid == 0 {
		return append(ways, way{asNobody(namespaces), true, ""}, way{asNobody(0), true, "the network"})
	}
	return append(ways, way{func() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }, false, "the network and your files"})
}

// Run runs a program, confined as the system allows.
func (r *Runner) Run(ctx context.Context, c overlay.Command) ([]byte, error) {
	closeInherited()
	ways := r.ways
	if ways == nil {
		ways = waysFor(os.Geteuid())
	}
	var refused error
	for i, w := range ways {
		out, err := r.run(ctx, c, w, refused)
		if not := (*notStarted)(nil); errors.As(err, &not) && i < len(ways)-1 && notAllowed(err) {
			refused = not.error
			continue
		}
		return out, err
	}
	return nil, refused
}

// notStarted says that a program did not come to run.
type notStarted struct{ error }

func (e *notStarted) Unwrap() error { return e.error }

// notAllowed tells whether the system refused what confines a program, rather than the program.
func notAllowed(err error) bool {
	return slices.ContainsFunc([]error{unix.EPERM, unix.ENOSPC, unix.EINVAL, unix.EUSERS, unix.ENOSYS}, func(e error) bool { return errors.Is(err, e) })
}

// run runs a program in one way.
func (r *Runner) run(ctx context.Context, c overlay.Command, w way, refused error) ([]byte, error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	ctx, stop := context.WithTimeoutCause(ctx, r.limit(), timeError(r.limit()))
	defer stop()
	stdout, stderr := &output{end: end}, &output{end: end}
	runtime.LockOSThread() // a program dies with the thread that started it
	defer runtime.UnlockOSThread()
	cmd, err := start(ctx, c, w, stdout, stderr)
	if err != nil {
		return nil, err
	}
	// Too late for its first moment, and not every root may; what it comes to is looked at in the end.
	_ = unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(c.MaxFile), Max: uint64(c.MaxFile)}, nil)
	if w.lacks != "" {
		r.note(fmt.Sprintf("an overlay's installer runs with %s in its reach: the system does not let it be confined (%v)", w.lacks, refused))
	}
	err = cmd.Wait()
	if cmd.SysProcAttr.Cloneflags&unix.CLONE_NEWPID == 0 {
		_ = syscall.Kill(-cmd.Process.Pid, unix.SIGKILL) // what it left behind, which ends with the namespace otherwise
	}
	if cause := context.Cause(ctx); cause != nil {
		return nil, failure(cause, stderr.buf)
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = errors.New("it ended, but left processes behind, which were ended")
	}
	if err != nil {
		return nil, failure(err, stderr.buf)
	}
	return stdout.buf, nil
}

// busyTries is how often a program is started that another process has open for writing, with pauses of 1, 2, 4 … ms between: a child of
// this one that was forked while the file was written, until it runs its own program. https://go.dev/issue/22315
const busyTries = 10

// start starts a program.
func start(ctx context.Context, c overlay.Command, w way, stdout, stderr io.Writer) (*exec.Cmd, error) {
	for try := 0; ; try++ {
		cmd, err := command(ctx, c, w)
		if err != nil {
			return nil, err
		}
		if own := cmd.SysProcAttr.Credential; own != nil && try == 0 {
			if err := give(c.Root, int(own.Uid), int(own.Gid)); err != nil {
				return nil, err
			}
		}
		cmd.Stdout, cmd.Stderr = stdout, stderr
		switch err = cmd.Start(); {
		case err == nil:
			return cmd, nil
		case errors.Is(err, unix.ETXTBSY) && try < busyTries && ctx.Err() == nil:
			time.Sleep(time.Millisecond << try)
			continue
		case errors.Is(err, unix.EACCES):
			err = fmt.Errorf("%w: is the cache (TALOSMITH_CACHE) on a file system without programs (noexec)?", err)
		}
		return nil, &notStarted{fmt.Errorf("start: %w", err)}
	}
}

// command prepares a program.
func command(ctx context.Context, c overlay.Command, w way) (*exec.Cmd, error) {
	root := c.Root
	if w.chroot {
		root = ""
	}
	in, err := c.Stdin(root)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, root+"/"+c.Program, c.Arg)
	cmd.Dir = root + "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + root + "/tmp", "TMPDIR=" + root + "/tmp", "TZ=UTC", "LC_ALL=C", "SOURCE_DATE_EPOCH=0"}
	cmd.Stdin = bytes.NewReader(in)
	cmd.SysProcAttr = w.attr()
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	if w.chroot {
		cmd.SysProcAttr.Chroot = c.Root
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd, nil
}

// give gives a directory and all below it to a user.
func give(dir string, uid, gid int) error {
	return filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, uid, gid)
	})
}

// closeInherited keeps from all programs that are started what this one was started with, but its standard streams.
func closeInherited() {
	if unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	open, err := filepath.Glob("/proc/self/fd/*") // before Linux 5.11
	if err != nil {
		return
	}
	for _, name := range open {
		if fd, err := strconv.Atoi(filepath.Base(name)); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}
