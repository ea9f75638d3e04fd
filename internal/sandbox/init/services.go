//go:build linux

package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"
)

// showServices starts the extension services: a process in the container's root, without the rest of a container.
func showServices() {
	specs, _ := filepath.Glob("/usr/local/etc/containers/*.yaml")
	for _, name := range specs {
		service, says := startService(name)
		print("SERVICE", "name", service, "says", says)
	}
}

func startService(spec string) (name, says string) {
	var s struct {
		Name      string
		Container struct {
			Entrypoint  string
			Args        []string
			Environment []string
		}
	}
	b, err := os.ReadFile(spec)
	if err == nil {
		err = yaml.Unmarshal(b, &s)
	}
	if err != nil {
		return filepath.Base(spec), err.Error()
	}
	cmd := exec.Command(filepath.Join("/", s.Container.Entrypoint), s.Container.Args...)
	cmd.Env = s.Container.Environment
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: filepath.Join("/usr/local/lib/containers", s.Name)}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return s.Name, err.Error()
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return s.Name, err.Error()
	}
	line := make(chan string, 1)
	go func() {
		scanner := bufio.NewScanner(stdout)
		if scanner.Scan() {
			line <- scanner.Text()
		}
		close(line)
		io.Copy(io.Discard, stdout)
		cmd.Wait()
	}()
	select {
	case text, ok := <-line:
		if !ok {
			text = "nothing: it ended"
		}
		return s.Name, text
	case <-time.After(time.Minute):
		return s.Name, "nothing for a minute"
	}
}
