package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/vm"
)

const authored = `talos {
  version = "v1.13.9"
}

extension "agent" {
  version     = "1.4.0"
  description = "corporate agent"
  files = {
    "/usr/local/bin/agent"       = { source = "bin/agent-${arch}", mode = "0755" }
    "/usr/local/etc/agent/level" = { content = "info\n" }
  }
  service "agent" {
    entrypoint = "/usr/local/bin/agent"
    restart    = "always"
    depends    = [{ network = ["addresses"] }]
  }
}

image "authored" {
  extensions = [extension.agent]
  output "initramfs" {}
  output "kernel" {}
}
`

// TestAuthored boots an extension that a profile has written: its files are there, and its service runs, in its own root.
func TestAuthored(t *testing.T) {
	t.Parallel()
	b := build(t)
	release := sandboxtest.Open(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "extensions.hcl"), authored)
	program := exec.Command("go", "build", "-o", filepath.Join(dir, "bin", "agent-amd64"), "./internal/sandbox/service")
	program.Dir, program.Env = repository(t), append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := program.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	res := run{args: []string{"validate", "check", "all"}, dir: dir, env: b.env(release)}.must(t)
	if !strings.Contains(res.stdout, "looked at 1 image: nothing is wrong") {
		t.Errorf("it is found fault with: %s", res)
	}
	got := sandboxtest.Boot(t, vm.Machine{
		Kernel: filepath.Join(dir, "out/authored-amd64-vmlinuz"), Initrd: filepath.Join(dir, "out/authored-amd64-initramfs.xz"), KernelArgs: "console=ttyS0 quiet mitigations=off",
	})
	lines := got.Of("EXTENSION")
	if len(lines) != 1 || lines[0].Get("name") != "agent" || lines[0].Get("version") != "1.4.0" || !strings.HasPrefix(lines[0].Get("file"), "/usr/local/") {
		t.Errorf("extensions: %v", lines)
	}
	if says := got.First("SERVICE", "says"); got.First("SERVICE", "name") != "agent" || !strings.HasPrefix(says, "200 OK over TLS 1.3: ") || !strings.HasSuffix(says, "1 entries in my root") {
		t.Errorf("services: %v", got.Of("SERVICE"))
	}
}
