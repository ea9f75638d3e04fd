package vm_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/internal/vm"
)

// bootSector says text on the serial port, on a line of its own, then ends as its last instructions say.
func bootSector(text string, end ...byte) []byte {
	code := []byte{
		0xfa,       // cli: SeaBIOS writes the rest of its own lines when the timer interrupts
		0xfc,       // cld
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0xba, 0xf8, 0x03, // mov dx, 3f8: COM1
		0xbe, 0, 0x7c, // mov si, text (filled in below)
		0xac,       // next: lodsb
		0x84, 0xc0, // test al, al
		0x74, 0x03, // jz end
		0xee,       // out dx, al
		0xeb, 0xf8, // jmp next
	}
	code = append(code, end...)
	code[10] = byte(len(code))
	sector := make([]byte, 512)
	copy(sector, append(append(code, "\r\n"+text...), 0))
	sector[510], sector[511] = 0x55, 0xaa
	return append(sector, make([]byte, 1<<20)...)
}

var (
	halt  = []byte{0xf4, 0xeb, 0xfd}       // hlt; jmp to it
	reset = []byte{0xb0, 0xfe, 0xe6, 0x64} // mov al, fe; out 64, al: the keyboard controller resets the machine
	write = []byte{                        // writes the sector that is at 7c00 to sector 2 by BIOS, then resets
		0xb8, 0x01, 0x03, // mov ax, 0301: write one sector
		0xb9, 0x02, 0x00, // mov cx, 0002
		0xb6, 0x00, // mov dh, 0
		0xb2, 0x80, // mov dl, 80
		0xbb, 0x00, 0x7c, // mov bx, 7c00
		0xcd, 0x13, // int 13
		0xb0, 0xfe, 0xe6, 0x64,
	}
)

func image(t *testing.T, content []byte) string {
	t.Helper()
	tooltest.Need(t, "qemu-system-x86_64")
	name := filepath.Join(t.TempDir(), "a,b.raw") // a comma ends a value of QEMU's options
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestBoot(t *testing.T) {
	t.Parallel()
	disk := image(t, bootSector("\x1b[2J\x1b[1;31mhello\x1b[0m\r\n\r\nREADY\r\n", halt...))
	for name, m := range map[string]vm.Machine{"disk": {Disk: disk}, "usb": {USB: disk}} {
		m.Firmware = "bios"
		var lines []string
		err := vm.Boot(t.Context(), m, func(line string) bool { lines = append(lines, line); return line == "READY" })
		text := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return l == "" }) // SeaBIOS adds some when it scrolls
		if err != nil || !strings.HasPrefix(text[0], "SeaBIOS") || strings.Join(text[2:], "|") != "hello|READY" {
			t.Errorf("%s: %q, %v", name, lines, err)
		}
	}
}

// TestBootChangesNothing lets the guest write.
func TestBootChangesNothing(t *testing.T) {
	t.Parallel()
	content := bootSector("writing\r\n", write...)
	disk := image(t, content)
	err := vm.Boot(t.Context(), vm.Machine{Disk: disk, Firmware: "bios"}, func(string) bool { return false })
	if err == nil || !strings.Contains(err.Error(), "the machine stopped; its console ended with") || !strings.Contains(err.Error(), "\twriting") {
		t.Errorf("a machine that resets: %v", err)
	}
	after, err := os.ReadFile(disk)
	if err != nil || !bytes.Equal(after, content) {
		t.Errorf("the disk has changed: %v", err)
	}
}

func TestBootTimeout(t *testing.T) {
	t.Parallel()
	m := vm.Machine{Disk: image(t, bootSector("stuck here\r\n", halt...)), Firmware: "bios", Timeout: 5 * time.Second}
	err := vm.Boot(t.Context(), m, func(string) bool { return false })
	if err == nil || !strings.Contains(err.Error(), "within 5s") || !strings.Contains(err.Error(), "\tstuck here") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = vm.Boot(ctx, m, func(string) bool { cancel(); return false })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestBootNothing starts each firmware with an empty disk.
func TestBootNothing(t *testing.T) {
	t.Parallel()
	for _, firmware := range []string{"bios", "uefi"} {
		err := vm.Boot(t.Context(), vm.Machine{Disk: image(t, make([]byte, 1<<20)), Firmware: firmware}, func(string) bool { return false })
		if errors.Is(err, vm.ErrMissing) {
			tooltest.Missing(t, "OVMF", "ovmf")
		}
		if err == nil || !strings.Contains(err.Error(), "the firmware finds nothing to boot on it; its console ended with") {
			t.Errorf("%s: %v", firmware, err)
		}
	}
}

// TestBootPanic boots a sector that says what a kernel says last.
func TestBootPanic(t *testing.T) {
	t.Parallel()
	disk := image(t, bootSector("---[ end Kernel panic - not syncing: Attempted to kill init! ]---\r\n", halt...))
	err := vm.Boot(t.Context(), vm.Machine{Disk: disk, Firmware: "bios"}, func(string) bool { return false })
	if err == nil || !strings.Contains(err.Error(), "the kernel panics; its console ended with") {
		t.Error(err)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	var out, errOut strings.Builder
	m := vm.Machine{Disk: image(t, bootSector("hello\r\n", reset...)), Firmware: "bios"}
	if err := vm.Run(t.Context(), m, strings.NewReader(""), &out, &errOut); err != nil || !strings.Contains(out.String(), "hello\r\n") {
		t.Errorf("%q %q %v", &out, &errOut, err)
	}
}

func TestRefuses(t *testing.T) {
	disk := image(t, nil)
	for want, m := range map[string]vm.Machine{
		"no such file":                     {CDROM: filepath.Join(t.TempDir(), "none.iso")},
		`"coreboot" is neither uefi nor`:   {Disk: disk, Firmware: "coreboot"},
		"neither uefi nor, on amd64, bios": {Disk: disk, Firmware: "bios", Arch: "arm64"},
		`architecture "riscv64"`:           {Disk: disk, Arch: "riscv64"},
		"Could not open":                   {Kernel: disk + ".none"},
		"there is nothing to boot":         {},
	} {
		if err := vm.Boot(t.Context(), m, func(string) bool { return false }); err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(want)) {
			t.Errorf("%+v: %v", m, err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if err := vm.Boot(t.Context(), vm.Machine{Disk: disk}, nil); !errors.Is(err, vm.ErrMissing) || !strings.Contains(err.Error(), "install the package qemu-system-x86") {
		t.Errorf("without QEMU: %v", err)
	}
}
