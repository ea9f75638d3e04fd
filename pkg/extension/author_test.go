package extension

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/pkg/tree"
)

func agent() Authored {
	return Authored{
		Metadata: Metadata{Name: "agent", Version: "1.4.0", Description: "corporate agent"},
		Files: []File{
			{"/usr/local/etc/agent.conf", 0o640, tree.String("level = 1\n")},
			{"/usr/local/bin/agent", 0o755, tree.String("\x7fELF")},
			{"/usr/local/lib/containers/sidecar/sidecar", 0o755, tree.String("\x7fELF 2")},
		},
		Services: []Service{
			{Name: "agent", Container: Container{Entrypoint: "/usr/local/bin/agent"}, Restart: "always", Depends: []Dependency{{Network: []string{"addresses"}}}},
			{Name: "sidecar", Container: Container{Entrypoint: "/sidecar"}, Restart: "never"},
		},
	}
}

// TestAuthor compares every node of a tree, and reads it as an extension that nothing is wrong with.
func TestAuthor(t *testing.T) {
	t.Parallel()
	got, err := Author(agent())
	if err != nil {
		t.Fatal(err)
	}
	var list strings.Builder
	for n := range got.All() {
		fmt.Fprintln(&list, strings.TrimSpace(fmt.Sprintf("%s %d:%d %d %s %s", n.Mode, n.UID, n.GID, n.Size(), n.Path, n.Link)))
		if !n.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s is of %s", n.Path, n.ModTime)
		}
	}
	const want = `drwxr-xr-x 0:0 0 .
-rw-r--r-- 0:0 169 manifest.yaml
drwxr-xr-x 0:0 0 rootfs
drwxr-xr-x 0:0 0 rootfs/usr
drwxr-xr-x 0:0 0 rootfs/usr/local
drwxr-xr-x 0:0 0 rootfs/usr/local/bin
Lrwxrwxrwx 0:0 0 rootfs/usr/local/bin/agent /usr/local/lib/containers/agent/usr/local/bin/agent
drwxr-xr-x 0:0 0 rootfs/usr/local/etc
-rw-r----- 0:0 10 rootfs/usr/local/etc/agent.conf
drwxr-xr-x 0:0 0 rootfs/usr/local/etc/containers
-rw-r--r-- 0:0 120 rootfs/usr/local/etc/containers/agent.yaml
-rw-r--r-- 0:0 65 rootfs/usr/local/etc/containers/sidecar.yaml
drwxr-xr-x 0:0 0 rootfs/usr/local/lib
drwxr-xr-x 0:0 0 rootfs/usr/local/lib/containers
drwxr-xr-x 0:0 0 rootfs/usr/local/lib/containers/agent
drwxr-xr-x 0:0 0 rootfs/usr/local/lib/containers/agent/usr
drwxr-xr-x 0:0 0 rootfs/usr/local/lib/containers/agent/usr/local
drwxr-xr-x 0:0 0 rootfs/usr/local/lib/containers/agent/usr/local/bin
-rwxr-xr-x 0:0 4 rootfs/usr/local/lib/containers/agent/usr/local/bin/agent
drwxr-xr-x 0:0 0 rootfs/usr/local/lib/containers/sidecar
-rwxr-xr-x 0:0 6 rootfs/usr/local/lib/containers/sidecar/sidecar
`
	if list.String() != want {
		t.Errorf("got\n%s", list.String())
	}
	e, err := Load(got)
	if err != nil {
		t.Fatal(err)
	}
	if found := e.Check(facts(t, "v1.13.9")); len(found) > 0 {
		t.Errorf("found %v", found)
	}
	if e.Manifest.Metadata != agent().Metadata {
		t.Errorf("manifest: %+v", e.Manifest)
	}
}

// TestAuthorEmptyRoot: a service that mounts all that it needs has a root nevertheless.
func TestAuthorEmptyRoot(t *testing.T) {
	t.Parallel()
	a := agent()
	a.Files = nil
	a.Services = []Service{{Name: "shell", Container: Container{Entrypoint: "/bin/x", Mounts: []Mount{{Source: "/bin", Destination: "/bin"}}}, Restart: "always"}}
	got, err := Author(a)
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := got.Lookup("rootfs/usr/local/lib/containers/shell"); !ok || !n.Mode.IsDir() {
		t.Errorf("the root: %v, %+v", ok, n)
	}
}

// TestAuthorSharedProgram: two services with one entrypoint have a copy each.
func TestAuthorSharedProgram(t *testing.T) {
	t.Parallel()
	a := agent()
	a.Services[1].Container.Entrypoint = "/usr/local/bin/agent"
	got, err := Author(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"agent", "sidecar"} {
		n, ok := got.Lookup("rootfs/usr/local/lib/containers/" + name + "/usr/local/bin/agent")
		if !ok || !n.Mode.IsRegular() || n.Link != "" {
			t.Errorf("%s: %v, %+v", name, ok, n)
		}
	}
	e, err := Load(got)
	if err != nil {
		t.Fatal(err)
	}
	if found := e.Check(facts(t, "v1.13.9")); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}

func TestAuthorRefuses(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Authored){
		`file "bin/agent"`:         func(a *Authored) { a.Files[0].Path = "bin/agent" },
		`file "/usr/../bin/agent"`: func(a *Authored) { a.Files[0].Path = "/usr/../bin/agent" },
		`file "/"`:                 func(a *Authored) { a.Files[0].Path = "/" },
		`mode u`:                   func(a *Authored) { a.Files[0].Mode |= 1 << 23 },
		"is there twice":           func(a *Authored) { a.Files[0].Path = a.Files[1].Path },
		"is below":                 func(a *Authored) { a.Files[0].Path = a.Files[1].Path + "/x" },
		`service "../x"`:           func(a *Authored) { a.Services[0].Name = "../x" },
		"agent.yaml\" is there":    func(a *Authored) { a.Files[0].Path = "/usr/local/etc/containers/agent.yaml" },
		"has no content":           func(a *Authored) { a.Files[0].Content = nil },
	} {
		a := agent()
		change(&a)
		if _, err := Author(a); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "extension agent: ") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
