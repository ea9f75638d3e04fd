//go:build mage

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/talosmith/talosmith/internal/vm"
	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/inspect"
	"github.com/talosmith/talosmith/pkg/talos"
)

// Vm boots an artefact of the folder -out (default out) in QEMU, with its serial console here: -output=iso or disk, -firmware=uefi or bios; Ctrl-A X ends it.
func Vm(ctx context.Context, image, arch, output, firmware, out *string) error {
	dir := or(out, "out")
	m, err := imager.ReadManifest(dir)
	if err != nil {
		return err
	}
	var have []string
	for _, a := range m.Artefacts {
		if a.Kind != talos.KindISO && a.Kind != talos.KindDisk {
			continue
		}
		have = append(have, a.File)
		if a.Image != or(image, a.Image) || a.Architecture != or(arch, a.Architecture) || string(a.Kind) != or(output, string(a.Kind)) {
			continue
		}
		name := filepath.Join(dir, a.File)
		machine := vm.Machine{Arch: a.Architecture, Firmware: or(firmware, "uefi")}
		if a.Kind == talos.KindDisk {
			return bootDisk(ctx, machine, name)
		}
		machine.CDROM = name
		return boot(ctx, machine, name)
	}
	if len(have) > 0 {
		return fmt.Errorf("%s has %s: none is what -image, -arch and -output ask for", dir, strings.Join(have, ", "))
	}
	return fmt.Errorf("%s has no ISO or disk: build one first, `go tool mage iso` or `go tool mage disk`, or name the folder: -out=%s", dir, demoOut)
}

func boot(ctx context.Context, m vm.Machine, name string) error {
	fmt.Fprintf(os.Stderr, "%s: Ctrl-A X ends it\n", name)
	return vm.Run(ctx, m, os.Stdin, os.Stdout, os.Stderr)
}

// bootDisk boots a disk with sectors as long as it wants. What QEMU can't read as it is, such as .raw.zst, is unpacked first.
func bootDisk(ctx context.Context, m vm.Machine, name string) (err error) {
	a, err := inspect.Open(ctx, name, inspect.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	disk := a.Disk()
	if disk == nil {
		return fmt.Errorf("%s is no disk", name)
	}
	m.Disk, m.SectorSize = name, a.Report.Disk.SectorSize
	switch filepath.Ext(name) {
	case ".raw", ".qcow2", ".vhd", ".vmdk":
	default:
		if m.Disk, err = vm.Unpack(ctx, disk.(io.ReaderAt), disk.Size()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		defer func() { err = errors.Join(err, os.Remove(m.Disk)) }()
	}
	return boot(ctx, m, name)
}

func or(flag *string, otherwise string) string {
	if flag == nil {
		return otherwise
	}
	return *flag
}
