//go:build linux

package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/talosmith/talosmith/internal/sandbox/report"
)

// showMount mounts a block device as "type:device" or "type:device:rw" says, and prints every file. With rw it writes a file
// first (and onto Talos's BOOT a second installation), and mounts again.
func showMount(what string) {
	kind, device, _ := strings.Cut(what, ":")
	device, rw := strings.CutSuffix(device, ":rw")
	result := mountDevice(kind, device, rw)
	print("MOUNT", "device", device, "type", kind, "result", result)
	for _, m := range kernelErrors(20) {
		print("KERNEL", "text", m)
	}
	if result != "mounted" {
		return
	}
	filepath.WalkDir("/mnt", func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			print("FILE", "path", path, "error", err)
			return nil
		}
		showFile(path)
		return nil
	})
}

func mountDevice(kind, device string, rw bool) string {
	driver := kind
	if kind == "iso9660" {
		driver = "isofs"
	}
	for _, module := range []string{"virtio_blk", driver} {
		if msg := modprobe(module); msg != "loaded" && msg != "live" {
			return msg
		}
	}
	flags := uintptr(unix.MS_RDONLY)
	if rw {
		flags = 0
	}
	if err := mount(device, "/mnt", kind, flags, ""); err != nil {
		return err.Error()
	}
	if !rw {
		return "mounted"
	}
	err := os.WriteFile("/mnt/standin-was-here", []byte("written by the kernel\n"), 0o644)
	if _, statErr := os.Stat("/mnt/A"); err == nil && statErr == nil {
		err = upgrade("/mnt")
	}
	if err == nil {
		err = unix.Unmount("/mnt", 0)
	}
	if err == nil {
		err = mount(device, "/mnt", kind, unix.MS_RDONLY, "")
	}
	if err != nil {
		return err.Error()
	}
	return "mounted"
}

// upgrade writes what Talos's upgrade writes onto BOOT: the other slot's kernel and initramfs, and a new grub.cfg.
func upgrade(boot string) error {
	if err := os.CopyFS(filepath.Join(boot, "B"), os.DirFS(filepath.Join(boot, "A"))); err != nil {
		return err
	}
	name := filepath.Join(boot, "grub", "grub.cfg")
	config, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return os.WriteFile(name, []byte(strings.ReplaceAll(string(config), "/A/", "/B/")), 0o600)
}

func showFile(path string) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		print("FILE", "path", path, "error", err)
		return
	}
	name := strings.TrimPrefix(strings.TrimPrefix(path, "/mnt"), "/")
	if name == "" {
		name = "."
	}
	l := report.New("FILE", "path", name, "mode", fmt.Sprintf("%o", st.Mode), "uid", st.Uid, "gid", st.Gid, "size", st.Size,
		"mtime", st.Mtim.Sec, "nlink", st.Nlink, "ino", st.Ino)
	add := func(key string, value any) {
		l.Fields = append(l.Fields, report.Field{Key: key, Value: fmt.Sprint(value)})
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		sum, err := hashFile(path)
		if err != nil {
			sum = err.Error()
		}
		add("sha256", sum)
	case unix.S_IFLNK:
		link, err := os.Readlink(path)
		if err != nil {
			link = err.Error()
		}
		add("link", link)
	case unix.S_IFBLK, unix.S_IFCHR:
		add("major", unix.Major(st.Rdev))
		add("minor", unix.Minor(st.Rdev))
	}
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		n = 0 // a file system without
	}
	for _, name := range strings.FieldsFunc(string(names[:n]), func(r rune) bool { return r == 0 }) {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			add(name, err)
			continue
		}
		add(name, string(value[:n]))
	}
	say(l.String())
}
