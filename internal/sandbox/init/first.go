//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"gopkg.in/yaml.v3"
)

// layer is an entry of /extensions.yaml, and what the first stage saw in it.
type layer struct {
	Image    string
	Metadata struct{ Name, Version string }

	Files    int
	Biggest  string            // path of the biggest regular file, with a leading slash
	Labelled []string          // files with security.selinux
	Modules  map[string]string // kernel modules: name to release
}

// file is one that only the first stage can see.
type file struct {
	Name   string
	Size   int64
	SHA256 string
}

// state is what the first stage tells the second.
type state struct {
	Layers    []layer
	Microcode []file
}

// firmwareDirs are where the firmware is: before Talos 1.10, and since.
var firmwareDirs = []string{"/lib/firmware", "/usr/lib/firmware"}

const stateFile = "/run/standin.json"

func first() error {
	for _, m := range []struct{ kind, at string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/run"}} {
		if err := mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return err
		}
	}
	openConsoles()
	unix.Klogset(unix.SYSLOG_ACTION_CONSOLE_LEVEL, 1) // messages of the kernel would tear our lines; they stay in its log
	if err := loadEarlyModules("/early"); err != nil {
		return err
	}
	var s state
	var err error
	if s.Microcode, err = hashAll("/kernel/x86/microcode"); err != nil {
		return err
	}
	if s.Layers, err = readLayers("/extensions.yaml"); err != nil {
		return err
	}
	if err := mountRoot(s.Layers); err != nil {
		return err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.WriteFile(stateFile, b, 0o600); err != nil {
		return err
	}
	return switchRoot()
}

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s on %s: %w%s", source, target, err, kernelSays())
	}
	return nil
}

// loadEarlyModules loads what the kernel needs before there is a root, in order of the file names.
func loadEarlyModules(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && err != unix.EEXIST {
			return fmt.Errorf("load kernel module %s: %w%s", e.Name(), err, kernelSays())
		}
	}
	return nil
}

// readLayers reads extensions.yaml; one that is not there has no layers.
func readLayers(name string) ([]layer, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var config struct{ Layers []layer }
	if err := yaml.Unmarshal(b, &config); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return config.Layers, nil
}

// mountRoot mounts the new root at /root.
func mountRoot(layers []layer) error {
	if len(layers) == 0 {
		if err := mountImage("/rootfs.sqsh", "/root"); err != nil {
			return err
		}
	} else {
		if err := mountImage("/rootfs.sqsh", "/layers/root"); err != nil {
			return err
		}
		lower := []string{"/layers/root"}
		for i := range layers {
			at := fmt.Sprintf("/layers/layer%d", i)
			if err := mountImage("/"+layers[i].Image, at); err != nil {
				return err
			}
			if err := layers[i].look(at); err != nil {
				return err
			}
			lower = append(lower, at)
		}
		slices.Reverse(lower) // the first is on top
		if err := mount("overlay", "/root", "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(lower, ":")); err != nil {
			return err
		}
		if err := bind("/extensions.yaml", "/root/etc/extensions.yaml"); err != nil {
			return err
		}
	}
	for _, path := range append(firmwareDirs, "/.extra") {
		if _, err := os.Stat(path); err == nil {
			if err := bind(path, "/root"+path); err != nil {
				return err
			}
		}
	}
	return nil
}

func bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", from, to, err)
	}
	return nil
}

// mountImage mounts a squashfs image through a loop device.
func mountImage(image, at string) error {
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer f.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return fmt.Errorf("find a free loop device: %w", err)
	}
	device := fmt.Sprintf("/dev/loop%d", number)
	loop, err := os.OpenFile(device, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer loop.Close()
	config := unix.LoopConfig{Fd: uint32(f.Fd())}
	config.Info.Flags = unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR
	if err := unix.IoctlLoopConfigure(int(loop.Fd()), &config); err != nil {
		return fmt.Errorf("attach %s to %s: %w", image, device, err)
	}
	if err := mount(device, at, "squashfs", unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("%s: %w", image, err)
	}
	return nil
}

// look notes what a layer has.
func (l *layer) look(root string) error {
	l.Modules = map[string]string{}
	biggest := int64(-1)
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root)
		if label(path) != "" && len(l.Labelled) < 20 {
			l.Labelled = append(l.Labelled, name)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		l.Files++
		st, err := d.Info()
		if err != nil {
			return err
		}
		if st.Size() > biggest {
			biggest, l.Biggest = st.Size(), name
		}
		if rest, ok := strings.CutPrefix(strings.TrimPrefix(name, "/usr"), "/lib/modules/"); ok {
			release, _, _ := strings.Cut(rest, "/")
			if module, _, ok := strings.Cut(filepath.Base(rest), ".ko"); ok {
				l.Modules[strings.ReplaceAll(module, "-", "_")] = release
			}
		}
		return nil
	})
}

// switchRoot frees the initramfs's memory and goes on in the new root.
func switchRoot() error {
	for _, at := range []string{"/dev", "/proc", "/sys", "/run"} {
		if err := unix.Mount(at, "/root"+at, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s to the new root: %w", at, err)
		}
	}
	var st unix.Stat_t
	if err := unix.Lstat("/", &st); err != nil {
		return err
	}
	removeAll("/", st.Dev)
	if err := unix.Chdir("/root"); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the new root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return fmt.Errorf("execute /sbin/init: %w", unix.Exec("/sbin/init", []string{"/sbin/init"}, nil))
}

// removeAll empties a directory, but for other file systems and what is bound into the new root. What cannot be removed stays.
func removeAll(dir string, dev uint64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil || st.Dev != dev {
			continue
		}
		switch {
		case path == "/extensions.yaml" || slices.Contains(firmwareDirs, path) || path == "/.extra":
		case e.IsDir():
			removeAll(path, dev)
			unix.Rmdir(path)
		default:
			unix.Unlink(path)
		}
	}
}
