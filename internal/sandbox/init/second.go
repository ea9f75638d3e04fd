//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/talosmith/talosmith/internal/sandbox/report"
)

func second() error {
	openConsoles()
	b, err := os.ReadFile(stateFile)
	if err != nil {
		return err
	}
	var s state
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if what := argument("standin.mount"); what != "" {
		showMount(what)
	} else {
		show(s)
	}
	say(report.Ready)
	return nil
}

func show(s state) {
	print("STANDIN", "version", version(), "kernel", release())
	print("CMDLINE", "text", kernelArguments())
	for _, f := range s.Microcode {
		print("MICROCODE", "file", f.Name, "size", f.Size, "sha256", f.SHA256)
	}
	for _, l := range s.Layers {
		showExtension(l)
	}
	for _, l := range s.Layers {
		for _, name := range l.Labelled {
			print("LABEL", "file", name, "value", label(name))
		}
	}
	for _, dir := range firmwareDirs {
		if real, err := filepath.EvalSymlinks(dir); err == nil && real == dir {
			showFirmware(dir)
		}
	}
	showModules(s.Layers)
	showServices()
	for _, m := range kernelErrors(20) {
		print("KERNEL", "text", m)
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		print("MEMORY", "total", info.Totalram*uint64(info.Unit), "available", memAvailable())
		print("UPTIME", "seconds", info.Uptime)
	}
}

func showExtension(l layer) {
	fields := []any{"image", l.Image, "name", l.Metadata.Name, "version", l.Metadata.Version, "files", l.Files}
	if l.Biggest != "" {
		sum, err := hashFile(l.Biggest)
		if err != nil {
			sum = err.Error()
		}
		fields = append(fields, "file", l.Biggest, "sha256", sum)
	}
	print("EXTENSION", fields...)
}

func showFirmware(dir string) {
	var files, bytes int64
	var firsts []string // of each directory
	seen := map[string]bool{}
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if st, err := d.Info(); err == nil {
			files++
			bytes += st.Size()
		}
		if parent := filepath.Dir(path); !seen[parent] {
			seen[parent] = true
			firsts = append(firsts, path)
		}
		return nil
	})
	print("FIRMWARE", "files", files, "bytes", bytes)
	for _, path := range firsts {
		sum, err := hashFile(path)
		if err != nil {
			sum = err.Error()
		}
		print("FIRMWARE", "file", path, "sha256", sum)
	}
}

// showModules loads every kernel module that a layer brought, by name: modprobe finds it and what it needs in modules.dep.
func showModules(layers []layer) {
	for _, l := range layers {
		for _, name := range slices.Sorted(maps.Keys(l.Modules)) {
			print("MODULE", "name", name, "release", l.Modules[name], "result", modprobe(name))
		}
	}
}

func modprobe(name string) string {
	if live(name) {
		return "live"
	}
	out, err := exec.Command("/usr/sbin/modprobe", name).CombinedOutput()
	switch {
	case err != nil:
		return strings.TrimSpace(fmt.Sprintf("%v: %s%s", err, out, kernelSays()))
	case !live(name):
		return "modprobe succeeded, but the module is not in /proc/modules"
	}
	return "loaded"
}

func live(module string) bool {
	b, _ := os.ReadFile("/proc/modules")
	return strings.HasPrefix(string(b), module+" ") || strings.Contains(string(b), "\n"+module+" ")
}

func release() string {
	var u unix.Utsname
	unix.Uname(&u)
	return unix.ByteSliceToString(u.Release[:])
}

func version() string {
	b, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VERSION_ID="); ok {
			return strings.Trim(v, "\"\n")
		}
	}
	return ""
}

func memAvailable() (bytes int64) {
	b, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, "MemAvailable: %d kB", &bytes); err == nil {
			return bytes << 10
		}
	}
	return 0
}
