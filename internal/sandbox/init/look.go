//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func hashFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// hashAll hashes the files of a directory; one that is not there has none.
func hashAll(dir string) ([]file, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var files []file
	for _, e := range entries {
		st, err := e.Info()
		if err != nil {
			return nil, err
		}
		sum, err := hashFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		files = append(files, file{e.Name(), st.Size(), sum})
	}
	return files, nil
}

// label returns a file's SELinux label, "" where it has none.
func label(path string) string {
	buf := make([]byte, 256)
	n, err := unix.Lgetxattr(path, "security.selinux", buf)
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(buf[:n]), "\x00")
}

// kernelErrors returns the last messages of the kernel's log that are errors or worse.
func kernelErrors(limit int) []string {
	buf := make([]byte, 1<<20)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, buf)
	if err != nil {
		return nil
	}
	var messages []string
	for line := range strings.Lines(string(buf[:n])) {
		// "<3>[    1.234567] text": the number's lower three bits are the severity
		priority, text, ok := strings.Cut(strings.TrimSpace(line), ">")
		if !ok || len(priority) < 2 || priority[0] != '<' {
			continue
		}
		if severity := (priority[len(priority)-1] - '0') & 7; len(priority) != 2 || severity > 3 {
			continue
		}
		if _, after, ok := strings.Cut(text, "] "); ok {
			text = after
		}
		messages = append(messages, text)
	}
	return messages[max(0, len(messages)-limit):]
}

// kernelSays is the kernel's last complaint, for an error.
func kernelSays() string {
	if m := kernelErrors(1); len(m) > 0 {
		return " (the kernel says: " + m[0] + ")"
	}
	return ""
}
