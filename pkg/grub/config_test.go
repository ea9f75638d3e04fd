package grub_test

import (
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/grub"
)

// What the official imager 1.13.9 wrote for metal, amd64.
func TestISOConfig(t *testing.T) {
	t.Parallel()
	const cmdline = "talos.platform=metal console=ttyS0 talos.halt_if_installed=1"
	got, err := grub.ISOConfig(
		grub.Entry{Title: "Talos ISO", Kernel: "/boot/vmlinuz", Initrd: "/boot/initramfs.xz", Cmdline: cmdline},
		grub.Entry{Title: "Reset Talos installation", Kernel: "/boot/vmlinuz", Initrd: "/boot/initramfs.xz", Cmdline: cmdline + " talos.experimental.wipe=system"},
	)
	if err != nil {
		t.Fatal(err)
	}
	const want = `set default=0
set timeout=3

insmod all_video

terminal_input console
terminal_output console

menuentry "Talos ISO" {
	set gfxmode=auto
	set gfxpayload=text
	linux /boot/vmlinuz talos.platform=metal console=ttyS0 talos.halt_if_installed=1
	initrd /boot/initramfs.xz
}

menuentry "Reset Talos installation" {
	set gfxmode=auto
	set gfxpayload=text
	linux /boot/vmlinuz talos.platform=metal console=ttyS0 talos.halt_if_installed=1 talos.experimental.wipe=system
	initrd /boot/initramfs.xz
}
`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestDiskConfig(t *testing.T) {
	t.Parallel()
	got, err := grub.DiskConfig(
		grub.Entry{Title: "A - Talos v1.13.9", Kernel: "/A/vmlinuz", Initrd: "/A/initramfs.xz", Cmdline: `a=$b "c"`},
		grub.Entry{Title: "Reset Talos installation and return to maintenance mode", Kernel: "/A/vmlinuz", Initrd: "/A/initramfs.xz", Cmdline: "x"},
	)
	if err != nil {
		t.Fatal(err)
	}
	const want = `set default="A - Talos v1.13.9"

set timeout=3

insmod all_video

terminal_input console
terminal_output console

menuentry "A - Talos v1.13.9" {
  set gfxmode=auto
  set gfxpayload=text
  linux /A/vmlinuz a=\$b \"c\"
  initrd /A/initramfs.xz
}
menuentry "Reset Talos installation and return to maintenance mode" {
  set gfxmode=auto
  set gfxpayload=text
  linux /A/vmlinuz x
  initrd /A/initramfs.xz
}
`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                     "",
		"console=ttyS0":                        "console=ttyS0",
		`\{}&$|;<>"`:                           `\\\{\}\&\$\|\;\<\>\"`,
		"a 'b' # c ü":                          "a 'b' # c ü",
		`talos.config=http://x/?a=1&b=${uuid}`: `talos.config=http://x/?a=1\&b=\$\{uuid\}`,
	} {
		if got := grub.Quote(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	good := grub.Entry{Title: "t", Kernel: "/k", Initrd: "/i", Cmdline: "c"}
	change := func(f func(e *grub.Entry)) grub.Entry { e := good; f(&e); return e }
	for want, e := range map[string]grub.Entry{
		`title "a\"b": character "\""`:            change(func(e *grub.Entry) { e.Title = `a"b` }),
		`title "a$b": character "$"`:              change(func(e *grub.Entry) { e.Title = `a$b` }),
		`title "a\nb": character "\n"`:            change(func(e *grub.Entry) { e.Title = "a\nb" }),
		`kernel "/a b": character " "`:            change(func(e *grub.Entry) { e.Kernel = "/a b" }),
		`kernel "/a#b": character "#"`:            change(func(e *grub.Entry) { e.Kernel = "/a#b" }),
		`initrd "/a;b": character ";"`:            change(func(e *grub.Entry) { e.Initrd = "/a;b" }),
		`command line "a\nboot": character "\n"`:  change(func(e *grub.Entry) { e.Cmdline = "a\nboot" }),
		`command line "a\x00b": character "\x00"`: change(func(e *grub.Entry) { e.Cmdline = "a\x00b" }),
		`command line "a\x7fb": character "\x7f"`: change(func(e *grub.Entry) { e.Cmdline = "a\x7fb" }),
	} {
		for _, write := range []func(...grub.Entry) ([]byte, error){grub.ISOConfig, grub.DiskConfig} {
			if _, err := write(good, e); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		}
	}
	for range 20 { // of several mistakes, the same is told each time
		if _, err := grub.DiskConfig(grub.Entry{Title: "$", Kernel: "/a b", Initrd: "/a b", Cmdline: "\n"}); err == nil || !strings.Contains(err.Error(), "title") {
			t.Fatal(err)
		}
	}
	if _, err := grub.DiskConfig(); err == nil {
		t.Error("no entry: no error")
	}
}
