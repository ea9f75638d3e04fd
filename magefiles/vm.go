//go:build mage

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/talosmith/talosmith/internal/vm"
	"github.com/talosmith/talosmith/pkg/imager"
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
		switch filepath.Ext(a.File) {
		case ".iso", ".raw", ".qcow2", ".vhd", ".vmdk":
		default:
			return fmt.Errorf("%s: QEMU can't boot it as it is: write compression = \"none\" and a format but ova in the output \"disk\"", filepath.Join(dir, a.File))
		}
		machine := vm.Machine{Arch: a.Architecture, Firmware: or(firmware, "uefi")}
		if a.Kind == talos.KindISO {
			machine.CDROM = filepath.Join(dir, a.File)
		} else {
			machine.Disk = filepath.Join(dir, a.File)
		}
		fmt.Fprintf(os.Stderr, "%s: Ctrl-A X ends it\n", filepath.Join(dir, a.File))
		return vm.Run(ctx, machine, os.Stdin, os.Stdout, os.Stderr)
	}
	if len(have) > 0 {
		return fmt.Errorf("%s has %s: none is what -image, -arch and -output ask for", dir, strings.Join(have, ", "))
	}
	return fmt.Errorf("%s has no ISO or disk: build one first, `go tool mage iso` or `go tool mage disk`, or name the folder: -out=%s", dir, demoOut)
}

func or(flag *string, otherwise string) string {
	if flag == nil {
		return otherwise
	}
	return *flag
}
