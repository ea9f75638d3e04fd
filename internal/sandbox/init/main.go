//go:build linux

// Program init is what the stand-in Talos release boots into: /init of the initramfs, and /sbin/init of its root. It does what
// Talos's does with system extensions, then says on the serial console what it sees, in the lines of package report.
//
// First stage: load the kernel modules that the Debian kernel needs for it, read /extensions.yaml, loop-mount /rootfs.sqsh and
// each layer, overlay them (the last layer on top, rootfs.sqsh at the bottom), bind-mount extensions.yaml and the firmware of
// the initramfs, empty the initramfs, change to the new root and execute /sbin/init there.
//
// Second stage: print. Then wait for ever, or power off where the kernel argument standin.poweroff is given.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talosmith/talosmith/internal/sandbox/report"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is the first program of a machine, not to be started by hand")
		os.Exit(1)
	}
	var err error
	if os.Args[0] == "/sbin/init" {
		err = second()
	} else {
		err = first()
	}
	if err != nil {
		say(report.Failed + err.Error())
		time.Sleep(time.Second) // for the console to drain
		unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	}
	if hasArgument("standin.poweroff") {
		unix.Sync()
		unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
	for {
		time.Sleep(time.Hour)
	}
}

// consoles are where lines go: the kernel's console, and the serial ports where that is another.
var consoles []*os.File

func openConsoles() {
	if f, err := os.OpenFile("/dev/console", os.O_WRONLY, 0); err == nil {
		consoles = append(consoles, f)
	}
	active, _ := os.ReadFile("/sys/class/tty/console/active") // "tty0 ttyS0": the last is /dev/console
	names := strings.Fields(string(active))
	for _, serial := range []string{"ttyS0", "ttyAMA0"} { // of amd64, of arm64
		if len(names) > 0 && names[len(names)-1] == serial {
			continue
		}
		if f, err := os.OpenFile("/dev/"+serial, os.O_WRONLY, 0); err == nil {
			consoles = append(consoles, f)
		}
	}
}

func say(text string) {
	for _, c := range consoles {
		fmt.Fprintf(c, "%s\n", text)
	}
}

func print(kind string, keysAndValues ...any) { say(report.New(kind, keysAndValues...).String()) }

func kernelArguments() string {
	b, _ := os.ReadFile("/proc/cmdline")
	return strings.TrimSuffix(string(b), "\n")
}

// argument returns what follows "name=" in the kernel command line.
func argument(name string) string {
	for _, f := range strings.Fields(kernelArguments()) {
		if v, ok := strings.CutPrefix(f, name+"="); ok {
			return v
		}
	}
	return ""
}

func hasArgument(name string) bool {
	for _, f := range strings.Fields(kernelArguments()) {
		if f == name {
			return true
		}
	}
	return false
}
