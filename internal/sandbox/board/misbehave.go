//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// leftBehind is the command of a process that never ends.
const leftBehind = "left-behind"

// misbehave does what an installer should not; nothing for what it does not know.
func misbehave(how string, r request) error {
	esp := filepath.Join(r.MountPrefix, "boot", "EFI")
	disk := func(at int64, text string) error {
		f, err := os.OpenFile(r.InstallDisk, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte(text), at)
		return errors.Join(err, f.Close())
	}
	switch how {
	case "fail", "get-options fail":
		return errors.New("the board\x1b[31m is on fire")
	case "hang", "get-options hang":
		hang()
	case "flood", "get-options flood":
		signal.Ignore()
		line := []byte(strings.Repeat("y", 1<<16))
		for range 1 << 14 { // 1 GiB
			if _, err := os.Stdout.Write(line); err != nil {
				hang()
			}
		}
	case "flood errors":
		for range 1 << 20 {
			fmt.Fprintln(os.Stderr, strings.Repeat("y", 1<<10))
		}
	case "get-options nonsense":
		fmt.Println("kernelArgs: {")
	case "mbr":
		return disk(100, "boot code")
	case "mbr table":
		return disk(440, "12345678")
	case "header":
		return disk(512, "EFI PART")
	case "entries":
		return disk((2+entriesSkip)*512+100, "x")
	case "partition":
		return disk(11<<20+5000, "in EFI")
	case "backup":
		st, err := os.Stat(r.InstallDisk)
		if err != nil {
			return err
		}
		return disk(st.Size()-1, "x")
	case "longer":
		return os.Truncate(r.InstallDisk, 1<<20)
	case "replace":
		return errors.Join(os.Remove(r.InstallDisk), os.WriteFile(r.InstallDisk, nil, 0o600))
	case "fill":
		return disk(1<<40, "x")
	case "elsewhere":
		stray := filepath.Dir(r.MountPrefix)
		return errors.Join(os.WriteFile(filepath.Join(stray, "stray"), nil, 0o600), os.WriteFile(filepath.Join(r.MountPrefix, "boot", "vmlinuz"), nil, 0o600))
	case "link":
		return os.Symlink("/etc/passwd", filepath.Join(esp, "link"))
	case "fifo":
		return syscall.Mkfifo(filepath.Join(esp, "fifo"), 0o600)
	case "replace loader":
		dir := filepath.Join(esp, "EFI", "BOOT")
		return errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "BOOTX64.EFI"), []byte("own loader"), 0o600),
			os.WriteFile(filepath.Join(dir, "BOOTAA64.EFI"), []byte("own loader"), 0o600))
	case "clock":
		return os.WriteFile(filepath.Join(esp, "clock"), []byte(time.Now().String()), 0o600)
	case "leave":
		cmd := exec.Command(os.Args[0], leftBehind)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr // there is no /dev/null
		return cmd.Start()
	case "report":
		return os.WriteFile(filepath.Join(esp, "report"), []byte(report(r)), 0o600)
	}
	return nil
}

// hang never ends of its own.
func hang() {
	signal.Ignore()
	for {
		time.Sleep(time.Hour)
	}
}

// report is what the program sees, a line each.
func report(r request) string {
	var lines []string
	say := func(what string, v any) { lines = append(lines, fmt.Sprintf("%s: %v", what, v)) }
	say("user", fmt.Sprint(os.Getuid(), os.Getgid()))
	groups, err := os.Getgroups()
	say("groups", fmt.Sprint(len(groups), err))
	say("process", os.Getpid())
	env := os.Environ()
	slices.Sort(env)
	say("environment", strings.Join(env, " "))
	dir, err := os.Getwd()
	say("directory", fmt.Sprintf("%s, %v", dir, err))
	entries, err := os.ReadDir("/")
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	say("root", fmt.Sprint(names, err))
	var open []int
	for fd := range 256 {
		var st syscall.Stat_t
		if syscall.Fstat(fd, &st) == nil {
			open = append(open, fd)
		}
	}
	say("open files", open)
	conn, err := net.DialTimeout("tcp", r.ExtraOptions.Address, time.Second)
	if err == nil {
		err = conn.Close()
		say("network", fmt.Sprint("reached ", err))
	} else {
		say("network", err)
	}
	say("disk", r.InstallDisk)
	say("chroot", syscall.Chroot("/tmp"))
	say("mount", syscall.Mount("tmpfs", "/tmp", "tmpfs", 0, ""))
	again := &exec.Cmd{Path: os.Args[0], Args: os.Args[:1], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	say("namespace", again.Run())
	return strings.Join(lines, "\n") + "\n"
}
