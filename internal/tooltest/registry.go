package tooltest

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// DockerRegistry starts Debian's registry server with more lines of its configuration, below "http:" first, and returns its host.
func DockerRegistry(t testing.TB, config string) (host string) {
	t.Helper()
	server := Need(t, "docker-registry")
	for range 5 { // a free port may be another's a moment later
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		host = l.Addr().String()
		l.Close()
		dir := t.TempDir()
		file := filepath.Join(dir, "config.yml")
		text := "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: " + dir + "/data}}\nhttp:\n  addr: " + host + "\n  secret: x\n" + config
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		cmd := exec.Command(server, "serve", file)
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { cmd.Wait(); close(done) }()
		t.Cleanup(func() { cmd.Process.Kill(); <-done })
		if listens(host, done) {
			return host
		}
		cmd.Process.Kill()
		<-done
		t.Logf("docker-registry on %s: %s", host, out.String())
	}
	t.Fatal("docker-registry does not start")
	return ""
}

// listens waits until a server can be reached, and tells whether it is the process that is not done.
func listens(host string, done chan struct{}) bool {
	for range 300 {
		c, err := net.Dial("tcp", host)
		if err == nil {
			c.Close()
		}
		select {
		case <-done:
			return false
		case <-time.After(50 * time.Millisecond):
			if err == nil {
				return true
			}
		}
	}
	return false
}
