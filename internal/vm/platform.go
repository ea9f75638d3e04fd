package vm

import (
	"fmt"
	"os"
	"slices"
)

// platform is what QEMU has for an architecture.
type platform struct {
	qemu, debian  string // program, and the package that has it
	machine, cpu  string
	bios          bool
	cdrom         string      // device that is a CD-ROM drive
	cdromBus      string      // device that it needs
	uefi          string      // the firmware's name
	uefiPackage   string      // Debian's
	firmwareFiles [][2]string // code, and the template of its variables: places where they may be
}

var platforms = map[string]platform{
	"amd64": {
		qemu: "qemu-system-x86_64", debian: "qemu-system-x86", machine: "q35", cpu: "max", bios: true, cdrom: "ide-cd", uefi: "OVMF", uefiPackage: "ovmf",
		firmwareFiles: [][2]string{
			{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"}, // Debian, Ubuntu
			{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
			{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},                     // Fedora
			{"/opt/homebrew/share/qemu/edk2-x86_64-code.fd", "/opt/homebrew/share/qemu/edk2-i386-vars.fd"}, // macOS
			{"/usr/local/share/qemu/edk2-x86_64-code.fd", "/usr/local/share/qemu/edk2-i386-vars.fd"},       // macOS on Intel
		},
	},
	"arm64": {
		qemu: "qemu-system-aarch64", debian: "qemu-system-arm", machine: "virt", cpu: "cortex-a57", // "max" has features that are dear to emulate
		cdrom: "scsi-cd", cdromBus: "virtio-scsi-pci", uefi: "AAVMF", uefiPackage: "qemu-efi-aarch64",
		firmwareFiles: [][2]string{
			{"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},                                // Debian, Ubuntu
			{"/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"}, // Fedora
			{"/opt/homebrew/share/qemu/edk2-aarch64-code.fd", "/opt/homebrew/share/qemu/edk2-arm-vars.fd"},      // macOS
			{"/usr/local/share/qemu/edk2-aarch64-code.fd", "/usr/local/share/qemu/edk2-arm-vars.fd"},            // macOS on Intel
		},
	},
}

// firmware finds UEFI.
func (p platform) firmware() (code, vars string, err error) {
	i := slices.IndexFunc(p.firmwareFiles, func(f [2]string) bool {
		_, codeErr := os.Stat(f[0])
		_, varsErr := os.Stat(f[1])
		return codeErr == nil && varsErr == nil
	})
	if i < 0 {
		return "", "", fmt.Errorf("the UEFI firmware %s is %w: install the package %s", p.uefi, ErrMissing, p.uefiPackage)
	}
	return p.firmwareFiles[i][0], p.firmwareFiles[i][1], nil
}
