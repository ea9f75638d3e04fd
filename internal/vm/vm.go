// Package vm boots an artefact in QEMU and gives its serial console. The artefact never changes: what the guest writes goes to
// a temporary overlay. There is no network.
//
// QEMU emulates the processor (TCG), so that it works on any host and in any container: KVM is not to be relied on, since a
// /dev/kvm that opens may belong to a virtual machine whose guests then hang.
package vm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Machine is what to boot and on what.
type Machine struct {
	Arch     string // Go's name: "amd64" (default) or "arm64"
	Firmware string // "uefi" (default: OVMF, AAVMF) or, on amd64, "bios" (SeaBIOS)

	// At most one of these is booted from. A name's extension tells its format: .qcow2, .vmdk, .vhd, else raw.
	CDROM string // an ISO, in a SATA drive
	USB   string // a stick behind xHCI
	Disk  string // a virtio disk
	PXE   string // the URL of a script, which the network card's iPXE gets by DHCP; 10.0.2.2 is this machine. On amd64 by BIOS

	// Kernel is booted directly, with Initrd and KernelArgs, by QEMU itself, without UEFI.
	Kernel, Initrd string
	KernelArgs     string

	Data []string // further virtio disks, never booted from: vda, vdb, … where Disk is empty
	Keep bool     // what the machine writes to Data stays there; all else that it writes is gone with it

	SectorSize int // of Disk and Data, in bytes: default 512

	MemoryMiB int           // default 2048
	Timeout   time.Duration // of Boot, from QEMU's start; default 10 minutes
}

// ErrMissing is wrapped where QEMU or its firmware is not installed.
var ErrMissing = errors.New("not installed")

// Boot starts the machine and hands each line of its serial console, without control sequences, to a function, until that
// returns true. It is an error where the machine stops or the time ends before; the error shows the console's end.
func Boot(ctx context.Context, m Machine, line func(string) (stop bool)) error {
	args, cleanup, err := m.args()
	if err != nil {
		return err
	}
	defer cleanup()
	release, err := slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	timeout := cmp.Or(m.Timeout, 10*time.Minute)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("nothing that was waited for within %v", timeout))
	defer cancel()

	cmd := exec.CommandContext(ctx, args[0], append(args[1:], "-serial", "stdio")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.WaitDelay = 10 * time.Second
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("boot %s: %w", m.what(), err)
	}
	var c console
	var gaveUp error // no use in waiting
	stopped := c.read(stdout, func(text string) bool {
		gaveUp = end(text)
		return gaveUp != nil || line(text)
	})
	if stopped {
		cmd.Process.Kill() // an error would be that it has ended
	}
	waitErr := cmd.Wait()
	switch {
	case gaveUp != nil:
		err = gaveUp
	case stopped:
		return nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case stderr.Len() > 0:
		err = errors.New(strings.TrimSpace(stderr.String()))
	case waitErr != nil:
		err = waitErr
	default:
		err = errors.New("the machine stopped")
	}
	return fmt.Errorf("boot %s: %w; its console ended with\n%s", m.what(), err, c.tail())
}

// end tells of a line after which no other comes.
func end(line string) error {
	switch {
	case strings.Contains(line, "UEFI Interactive Shell"), strings.Contains(line, "No bootable device."):
		return errors.New("the firmware finds nothing to boot on it")
	case strings.Contains(line, "end Kernel panic - not syncing"):
		return errors.New("the kernel panics")
	}
	return nil
}

// Run starts the machine with its serial console on in and out, until it stops or the user ends it with Ctrl-A X.
func Run(ctx context.Context, m Machine, in io.Reader, out, errOut io.Writer) error {
	args, cleanup, err := m.args()
	if err != nil {
		return err
	}
	defer cleanup()
	cmd := exec.CommandContext(ctx, args[0], append(args[1:], "-serial", "mon:stdio")...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, errOut
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("boot %s: %w", m.what(), err)
	}
	return nil
}

func (m Machine) what() string {
	return cmp.Or(m.CDROM, m.USB, m.Disk, m.PXE, m.Kernel)
}

// args returns the command and what removes its temporary files.
func (m Machine) args() (args []string, cleanup func(), err error) {
	cleanup = func() {}
	if m.what() == "" {
		return nil, nil, errors.New("boot: there is nothing to boot from")
	}
	p, ok := platforms[cmp.Or(m.Arch, "amd64")]
	if !ok {
		return nil, nil, fmt.Errorf("boot %s: there is no machine of the architecture %q", m.what(), m.Arch)
	}
	path, err := exec.LookPath(p.qemu)
	if err != nil {
		return nil, nil, fmt.Errorf("boot %s: %s is %w: install the package %s (macOS: brew install qemu)", m.what(), p.qemu, ErrMissing, p.debian)
	}
	// One processor: what the kernel patches in its own code on one of several is not always seen by the others, which QEMU runs as
	// threads, and then it panics ("Oops: int3"). Two are no faster, since a boot is a chain.
	args = []string{path, "-machine", p.machine, "-cpu", p.cpu, "-smp", "1", "-m", fmt.Sprint(cmp.Or(m.MemoryMiB, 2048)),
		"-display", "none", "-no-reboot", "-accel", "tcg"}
	if m.PXE == "" {
		args = append(args, "-nic", "none")
	} else {
		args = append(args, "-netdev", "user,id=net,bootfile="+quote(m.PXE), "-device", "virtio-net-pci,netdev=net,bootindex=0")
	}
	drives, err := m.drives(p)
	if err != nil {
		return nil, nil, err
	}
	args = append(args, drives...)
	switch {
	case m.Kernel != "":
		args = append(args, "-kernel", m.Kernel, "-append", m.KernelArgs)
		if m.Initrd != "" {
			args = append(args, "-initrd", m.Initrd)
		}
	case m.Firmware == "bios" && p.bios:
		args = append(args, "-machine", "graphics=off") // then SeaBIOS shows what boot loaders write to the screen on the serial port, too
	case m.Firmware == "uefi" || m.Firmware == "":
		code, vars, err := p.firmware()
		if err != nil {
			return nil, nil, fmt.Errorf("boot %s: %w", m.what(), err)
		}
		var own string
		if own, cleanup, err = temporaryCopy(vars); err != nil {
			return nil, nil, err
		}
		args = append(args, "-drive", "if=pflash,format=raw,readonly=on,file="+quote(code), "-drive", "if=pflash,format=raw,file="+quote(own))
	default:
		return nil, nil, fmt.Errorf("boot %s: firmware %q is neither uefi nor, on amd64, bios", m.what(), m.Firmware)
	}
	return args, cleanup, nil
}

func (m Machine) drives(p platform) (args []string, err error) {
	add := func(id, file, options, device string) {
		if file == "" || err != nil {
			return
		}
		if _, err = os.Stat(file); err != nil {
			err = fmt.Errorf("boot %s: %w", m.what(), err)
			return
		}
		args = append(args, "-drive", fmt.Sprintf("if=none,id=%s,format=%s,%s,file=%s", id, format(file), options, quote(file)), "-device", device+",drive="+id)
	}
	add("cdrom", m.CDROM, "media=cdrom,readonly=on", p.cdrom+",bootindex=0")
	if m.USB != "" {
		args = append(args, "-device", "qemu-xhci")
	}
	if p.cdromBus != "" && m.CDROM != "" { // before what is on it
		args = append([]string{"-device", p.cdromBus}, args...)
	}
	add("usb", m.USB, "snapshot=on", "usb-storage,bootindex=0")
	virtio := "virtio-blk-pci"
	if m.SectorSize != 0 {
		virtio += fmt.Sprintf(",logical_block_size=%d,physical_block_size=%[1]d", m.SectorSize)
	}
	add("disk", m.Disk, "snapshot=on", virtio+",bootindex=0")
	options := "snapshot=on"
	if m.Keep {
		options = "snapshot=off"
	}
	for i, file := range m.Data {
		add(fmt.Sprintf("data%d", i), file, options, virtio)
	}
	return args, err
}

func format(file string) string {
	switch filepath.Ext(file) {
	case ".qcow2":
		return "qcow2"
	case ".vmdk":
		return "vmdk"
	case ".vhd":
		return "vpc"
	}
	return "raw"
}

// quote writes a value of QEMU's option syntax, where a comma ends it.
func quote(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// temporaryCopy copies the template of UEFI's variables, which the guest writes to.
func temporaryCopy(name string) (string, func(), error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return "", nil, err
	}
	f, err := os.CreateTemp("", "talosmith-vars-*.fd")
	if err != nil {
		return "", nil, err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return "", nil, err
	}
	return f.Name(), func() { os.Remove(f.Name()) }, nil
}
