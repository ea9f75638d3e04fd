package imager_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/squashfs"
	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

const authored = `
talos {
  version = "v1.13.9"
}
extension "agent" {
  version     = "1.4.0"
  description = "corporate agent"
  files = {
    "/usr/local/bin/agent"      = { source = "bin/agent-${arch}" }
    "/usr/local/etc/agent.conf" = { content = "for ${arch}\n", mode = "0600" }
  }
  service "agent" {
    entrypoint = "/usr/local/bin/agent"
    restart    = "always"
    depends    = [{ network = ["addresses"] }]
  }
}
image "metal" {
  architectures = ["amd64", "arm64"]
  extensions    = ["siderolabs/tiny", extension.agent]
  output "initramfs" {}
}
`

// agents writes the programs that the profile names.
func (r *run) agents(amd64 string) {
	r.t.Helper()
	dir := filepath.Join(r.dir, "bin")
	r.check(os.MkdirAll(dir, 0o755))
	r.check(os.WriteFile(filepath.Join(dir, "agent-amd64"), []byte(amd64), 0o700))
	r.check(os.WriteFile(filepath.Join(dir, "agent-arm64"), []byte("arm64"), 0o755))
}

// layer reads a layer of an initramfs: every node with its mode, owner and time, and what small files have in them.
func layer(t *testing.T, initrd []byte, name string) (list string) {
	t.Helper()
	segments, err := initramfs.Segments(bytes.NewReader(initrd), int64(len(initrd)))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range segments {
		err := initramfs.Walk(s, func(m initramfs.Member) error {
			if m.Path != name {
				return nil
			}
			image, err := io.ReadAll(m.Content)
			if err != nil {
				return err
			}
			reader, err := squashfs.NewReader(bytes.NewReader(image))
			if err != nil {
				return err
			}
			files, err := reader.Tree()
			if err != nil {
				return err
			}
			for n := range files.All() {
				content := []byte(n.Link)
				if n.Mode.IsRegular() {
					content, err = tree.ReadAll(n.Content)
				}
				list += fmt.Sprintf("%s %d:%d %s %q\n", n.Mode, n.UID, n.GID, n.Path, content)
				if !n.ModTime.Equal(time.Unix(fakeEpoch, 0)) {
					t.Errorf("%s is of %s, not of the epoch", n.Path, n.ModTime)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// TestAuthored builds an extension that is written in the profile, for two architectures.
func TestAuthored(t *testing.T) {
	t.Parallel()
	r := newWorld(t, "v1.13.9").run()
	r.agents("amd64")
	m := r.build(authored, imager.Request{})
	if len(r.notes) > 0 {
		t.Errorf("notes: %q", r.notes)
	}
	const spec = "name: agent\\ncontainer:\\n    entrypoint: /usr/local/bin/agent\\ndepends:\\n    - network:\\n        - addresses\\nrestart: always\\n"
	for _, a := range m.Artefacts {
		want := `drwxr-xr-x 0:0 . ""
drwxr-xr-x 0:0 usr ""
drwxr-xr-x 0:0 usr/local ""
drwxr-xr-x 0:0 usr/local/bin ""
Lrwxrwxrwx 0:0 usr/local/bin/agent "/usr/local/lib/containers/agent/usr/local/bin/agent"
drwxr-xr-x 0:0 usr/local/etc ""
-rw------- 0:0 usr/local/etc/agent.conf "for ARCH\n"
drwxr-xr-x 0:0 usr/local/etc/containers ""
-rw-r--r-- 0:0 usr/local/etc/containers/agent.yaml "` + spec + `"
drwxr-xr-x 0:0 usr/local/lib ""
drwxr-xr-x 0:0 usr/local/lib/containers ""
drwxr-xr-x 0:0 usr/local/lib/containers/agent ""
drwxr-xr-x 0:0 usr/local/lib/containers/agent/usr ""
drwxr-xr-x 0:0 usr/local/lib/containers/agent/usr/local ""
drwxr-xr-x 0:0 usr/local/lib/containers/agent/usr/local/bin ""
-rwxr-xr-x 0:0 usr/local/lib/containers/agent/usr/local/bin/agent "ARCH"
`
		want = strings.ReplaceAll(want, "ARCH", a.Architecture)
		if got := layer(t, r.read(a.File), "1.sqsh"); got != want {
			t.Errorf("%s: got\n%s", a.File, got)
		}
		if e := a.Extensions[1]; e.Name != "agent" || e.Version != "1.4.0" || !strings.HasPrefix(e.Digest, "sha256:") {
			t.Errorf("%s: %+v", a.File, e)
		}
	}
}

// TestAuthoredIsKeyedByContent: what is made of an extension is made again when what it says changes, and only then.
func TestAuthoredIsKeyedByContent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "v1.13.9")
	req := imager.Request{Kinds: []talos.Kind{talos.KindInitramfs}, Arch: "amd64"}
	build := func(amd64, profile string) (squashfs int) {
		r := w.run()
		r.agents(amd64)
		r.build(profile, req)
		r.check(r.store.Close())
		return r.ran["squashfs"]
	}
	if n := build("1", authored); n != 2 {
		t.Errorf("the first build makes %d layers, want 2", n)
	}
	for name, n := range map[string]int{
		"nothing changed":      build("1", authored),
		"only the file's time": build("1", authored+"# another comment\n"),
	} {
		if n != 0 {
			t.Errorf("%s: %d layers are made", name, n)
		}
	}
	for _, n := range []int{
		build("2", authored), build("2", strings.Replace(authored, "0600", "0644", 1)), build("2", strings.Replace(authored, "1.4.0", "1.4.1", 1)),
	} {
		if n != 1 {
			t.Errorf("one thing changed: %d layers are made, want 1", n)
		}
	}
}

func TestAuthoredIsChecked(t *testing.T) {
	t.Parallel()
	r := newWorld(t, "v1.13.9").run()
	r.agents("1")
	_, err := r.try(strings.Replace(authored, `"/usr/local/etc/agent.conf"`, `"/opt/agent.conf"`, 1), imager.Request{})
	if err == nil || !strings.Contains(diagText(err), "/opt  its files") {
		t.Errorf("a file in /opt: %v", err)
	}
}
