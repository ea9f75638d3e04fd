package extension

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talosmith/talosmith/pkg/tree"
)

const goodService = `name: hello
container:
  entrypoint: ./hello
  args: [--log=debug]
  environment: ["A=b"]
  environmentFile: /var/hello.env
  mounts:
    - {source: /var/lib/hello, destination: /data, type: bind, options: [rbind, rw]}
  security:
    writeableSysfs: true
    maskedPaths: [/proc/kcore]
    rootfsPropagation: shared
depends:
  - service: cri
  - path: /system/run/machined/machined.sock
  - network: [addresses, connectivity, hostname, etcFiles]
  - time: true
  - configuration: true
restart: UntilSuccess
logToConsole: true
`

// full is an extension with something of everything, and nothing wrong.
func full() []tree.Node {
	tmp := dir("usr/local/lib/containers/hello/tmp", 0o777)
	tmp.Mode |= fs.ModeSticky
	return []tree.Node{
		file("usr/local/etc/containers/hello.yaml", goodService),
		file("usr/local/lib/containers/hello/hello", "\x7fELF"),
		link("usr/local/lib/containers/hello/mtab", "/proc/mounts"),
		link("usr/local/lib/containers/hello/state", "/data/state"),
		link("usr/local/lib/containers/hello/self", "/hello"),
		link("usr/local/bin/hello", "../lib/containers/hello/hello"),
		link("usr/local/bin/sh", "/usr/bin/sh"),
		link("usr/local/lib/now", "/run/now"),
		tmp,
		file("usr/lib/firmware/a.bin", "a"),
		link("usr/lib/firmware/b.bin", "a.bin"),
		file("usr/lib/modules/6.18.0-talos/extras/x.ko", "x"),
		file("usr/bin/nvidia-smi", ""),
		file("etc/cri/conf.d/10-x.part", ""),
		dir("srv", 0o755),
	}
}

func TestCheckFinds(t *testing.T) {
	t.Parallel()
	chmod := func(n tree.Node, mode fs.FileMode) tree.Node { n.Mode |= mode; return n }
	service := func(text string) []tree.Node {
		return []tree.Node{file("usr/local/etc/containers/a.yaml", text), file("usr/local/lib/containers/a/run", "")}
	}
	const ok = "name: a\nrestart: always\ncontainer: {entrypoint: /run}\n"
	at := "error %s: \"/usr/local/etc/containers/a.yaml\": "
	errorIn := func(code string) string { return strings.Replace(at, "%s", code, 1) }
	warnIn := func(code string) string {
		return strings.Replace(strings.Replace(at, "%s", code, 1), "error", "warning", 1)
	}
	noManifest, future, broken, long := with(t), with(t), with(t), with(t)
	noManifest.Manifest.Metadata.Version = ""
	future.Manifest.Metadata.Compatibility.Talos.Version = ">= v1.14.0"
	broken.Manifest.Metadata.Compatibility.Talos.Version = "newest"
	long.Manifest.Metadata.Compatibility.Talos.Version = strings.Repeat(">", 257)

	for name, tt := range map[string]struct {
		nodes []tree.Node
		ext   *Extension
		want  []string
	}{
		"nothing wrong": {nodes: full()},
		"no version":    {ext: noManifest, want: []string{`warning manifest: the manifest has name "tool" and version ""`}},
		"newer Talos":   {ext: future, want: []string{"error talos-version: version constraint >= v1.14.0 can't be satisfied with Talos version v1.13.9"}},
		"no range":      {ext: broken, want: []string{`error constraint: version constraint "newest": Could not get version from string: "newest"`}},
		"long range":    {ext: long, want: []string{"error constraint: version constraint: 257 bytes, the limit is 256"}},

		"path": {nodes: []tree.Node{file("opt/a/b", ""), file("opt/c", ""), file("usr/local2", ""), file("usr/bin/nvidia-smi-evil", ""),
			file("usr/lib/firmware-x/a", ""), link("usr/sbin", "bin"), file("etc/cri/x", "")},
			want: []string{
				`error path: "/etc/cri/x": path is not allowed in extensions`,
				`error path: "/opt": its files (2) are not allowed in extensions`,
				`error path: "/usr/bin/nvidia-smi-evil": path is not allowed in extensions`,
				`error path: "/usr/lib/firmware-x": its files (1) are not allowed in extensions`,
				`error path: "/usr/local2": path is not allowed in extensions`,
				`error path: "/usr/sbin": path is not allowed in extensions`,
			}},
		"world-writable": {nodes: []tree.Node{chmod(file("usr/local/a", ""), 0o002), dir("usr/local/d", 0o777)},
			want: []string{
				`error world-writable: "/usr/local/a": world-writable files are not allowed (mode 0646)`,
				`error world-writable: "/usr/local/d": world-writable files are not allowed (mode 0777)`,
			}},
		"special": {nodes: []tree.Node{
			{Path: "usr/local/null", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o644, Major: 1, Minor: 3},
			{Path: "usr/local/pipe", Mode: fs.ModeNamedPipe | 0o644}, {Path: "usr/local/sock", Mode: fs.ModeSocket | 0o644}},
			want: []string{
				`error special-file: "/usr/local/null": special files are not allowed (device)`,
				`error special-file: "/usr/local/pipe": special files are not allowed (pipe)`,
				`error special-file: "/usr/local/sock": special files are not allowed (socket)`,
			}},
		"setuid": {nodes: []tree.Node{chmod(file("usr/local/u", ""), fs.ModeSetuid), chmod(file("usr/local/g", ""), fs.ModeSetgid)},
			want: []string{
				`warning setuid: "/usr/local/g": setuid or setgid is set (grw-r--r--)`,
				`warning setuid: "/usr/local/u": setuid or setgid is set (urw-r--r--)`,
			}},
		"size": {nodes: []tree.Node{{Path: "usr/local/fits", Content: tree.Zeros(1<<32 - 1)}, {Path: "usr/local/big", Content: tree.Zeros(1 << 32)}},
			want: []string{`error file-size: "/usr/local/big": 4294967296 bytes, the limit is 4294967295`}},
		"links": {nodes: []tree.Node{link("usr/local/bin/gone", "../lib/gone"), link("usr/local/bin/out", "../../../../usr/bin/sh"),
			link("usr/local/a", "b"), link("usr/local/b", "a"), link("usr/local/lib/containers/c/x", "/gone"),
			link("usr/local/lib/containers/c/y", "../../x"), link("usr/local/bin/there", "/usr/lib/libc.so")},
			want: []string{
				`warning link-dangling: "/usr/local/a": more than 40 links one after another, or a circle`,
				`warning link-dangling: "/usr/local/b": more than 40 links one after another, or a circle`,
				`warning link-dangling: "/usr/local/bin/gone": the link leads to "/usr/local/lib/gone", where nothing is`,
				`error link-escapes: "/usr/local/bin/out": the link to "../../../../usr/bin/sh" leaves the root with ".."`,
				`warning link-dangling: "/usr/local/lib/containers/c/x": the link leads to "/usr/local/lib/containers/c/gone", where nothing is`,
				`warning link-dangling: "/usr/local/lib/containers/c/y": the link leads to "/usr/local/lib/containers/c/gone", where nothing is`,
				`warning link-escapes: "/usr/local/lib/containers/c/y": the link to "../../x" leaves the container's root with ".."`,
			}},
		"firmware links": {nodes: []tree.Node{link("usr/lib/firmware/a", "b"), link("usr/lib/firmware/c", "../../bin/sh")},
			want: []string{
				`error firmware-link: "/usr/lib/firmware/a": the link leads to "/usr/lib/firmware/b", where nothing is`,
				`error firmware-link: "/usr/lib/firmware/c": the link leads to "/usr/bin", where nothing is`,
			}},

		"service":         {nodes: service(ok)},
		"service no YAML": {nodes: service("a: ["), want: []string{errorIn("service-syntax") + "yaml: "}},
		"service a list":  {nodes: service("[a]"), want: []string{errorIn("service-syntax") + "yaml: "}},
		"service types":   {nodes: service(ok + "depends: x\n"), want: []string{errorIn("service-syntax") + "yaml: "}},
		"service bomb":    {nodes: service(ok + strings.Replace(bomb, "layers", "depends", 1)), want: []string{errorIn("service-syntax") + "yaml: "}},
		"service empty": {nodes: service(""), want: []string{
			errorIn("service-name") + `name "" is invalid: it must have small letters, digits, "-" and "_" only`,
			errorIn("service-value") + "container.entrypoint is missing",
			errorIn("service-value") + `restart "" is invalid: must be one of always, never, untilSuccess`,
		}},
		"service too long": {nodes: []tree.Node{{Path: "usr/local/etc/containers/a.yaml", Content: tree.Zeros(maxService + 1)}},
			want: []string{errorIn("service-syntax") + "read usr/local/etc/containers/a.yaml: 1048577 bytes, the limit is 1048576"}},
		"service directory": {nodes: []tree.Node{dir("usr/local/etc/containers/a.yaml", 0o755)}, want: []string{errorIn("service-syntax") + "no regular file"}},
		"service gone": {nodes: []tree.Node{link("usr/local/etc/containers/a.yaml", "b")}, want: []string{
			warnIn("link-dangling"), errorIn("service-syntax") + "the link leads to"}},
		"service unreadable": {nodes: []tree.Node{{Path: "usr/local/etc/containers/a.yaml", Content: unreadable(3)}},
			want: []string{errorIn("service-syntax") + "read usr/local/etc/containers/a.yaml: disk on fire"}},
		"service name": {nodes: service(strings.Replace(ok, "name: a", "name: A b", 1)), want: []string{errorIn("service-name") + `name "A b" is invalid`}},
		"service keys": {nodes: service(ok + "Restart: never\nlogtoconsole: true\ndepends:\n- {time: true, tiem: true}\n"), want: []string{
			warnIn("service-key") + `line 4: Talos ignores the key "Restart"`,
			warnIn("service-key") + `line 5: Talos ignores the key "logtoconsole"`,
			warnIn("service-key") + `line 7: Talos ignores the key "tiem"`,
		}},
		"service depends": {nodes: service(ok + "depends: [{}, {path: a}, {time: true, service: cri}, {network: [dns]}]\n"), want: []string{
			errorIn("service-depends") + "depends[0] says nothing: set one of service, path, network, time, configuration",
			errorIn("service-depends") + `depends[1].path "a" is not absolute`,
			errorIn("service-depends") + "depends[2] sets 2 kinds: make an entry of each",
			errorIn("service-depends") + `depends[3].network "dns" is invalid: must be one of addresses, connectivity, hostname, etcfiles`,
		}},
		"service container": {nodes: service("name: a\nrestart: always\ncontainer: {entrypoint: /run, mounts: [{destination: data}], environment: [=x, A], environmentFile: x, " +
			"security: {maskedPaths: [a], readonlyPaths: [b], rootfsPropagation: both}}\n"), want: []string{
			errorIn("service-value") + `container.environmentFile "x" is not absolute`,
			errorIn("service-value") + `container.environment[0] "=x" is not NAME=value`,
			errorIn("service-value") + `container.environment[1] "A" is not NAME=value`,
			errorIn("service-value") + `container.mounts[0].destination "data" is not absolute`,
			errorIn("service-value") + "container.mounts[0].source is missing",
			errorIn("service-value") + `container.security.maskedPaths[0] "a" is not absolute`,
			errorIn("service-value") + `container.security.readonlyPaths[0] "b" is not absolute`,
			errorIn("service-value") + `container.security.rootfsPropagation "both" is invalid: must be one of private, `,
		}},
		"service twice": {nodes: append(service(ok), file("usr/local/etc/containers/b.yaml", ok)), want: []string{
			`error service-name: "/usr/local/etc/containers/b.yaml": name "a" is that of /usr/local/etc/containers/a.yaml, too`}},
		"service ignored": {nodes: append(service(ok), file("usr/local/etc/containers/b.yml", ok), file("usr/local/etc/containers/README", "")), want: []string{
			`warning service-ignored: "/usr/local/etc/containers/b.yml": not read as a service specification`}},
		"service root": {nodes: service(ok)[:1], want: []string{errorIn("service-missing") + "the container's root /usr/local/lib/containers/a is missing"}},
		"service entrypoint": {nodes: append(service(ok)[:1], dir("usr/local/lib/containers/a", 0o755)), want: []string{
			warnIn("service-missing") + `the entrypoint "/run" is not in /usr/local/lib/containers/a`}},
		"service entrypoint on PATH": {nodes: []tree.Node{file("usr/local/etc/containers/a.yaml", strings.Replace(ok, "/run", "run", 1)),
			file("usr/local/lib/containers/a/usr/bin/run", "")}},
		"service entrypoint mounted": {nodes: []tree.Node{file("usr/local/etc/containers/a.yaml",
			"name: a\nrestart: never\ncontainer: {entrypoint: /usr/bin/run, mounts: [{source: /usr, destination: /usr}]}"), dir("usr/local/lib/containers/a", 0o755)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ext := tt.ext
			if ext == nil {
				ext = with(t, tt.nodes...)
			}
			var got []string
			for i, f := range ext.Check(facts(t, "v1.13.9")) {
				line := f.String()
				if i < len(tt.want) && strings.HasPrefix(line, tt.want[i]) { // the wanted start is enough
					line = tt.want[i]
				}
				if f.Detail == "" {
					t.Errorf("%s: no remedy", line)
				}
				got = append(got, line)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

type unreadable int64

func (u unreadable) Size() int64                { return int64(u) }
func (unreadable) Open() (io.ReadCloser, error) { return nil, errors.New("disk on fire") }

// The allowed places are those of the version.
func TestCheckVersions(t *testing.T) {
	t.Parallel()
	e := with(t, file("lib/firmware/a", ""), file("lib/modules/6.1/x.ko", ""))
	if got := e.Check(facts(t, "v1.9.6")); got != nil {
		t.Errorf("1.9: %v", got)
	}
	got := e.Check(facts(t, "v1.10.0"))
	if len(got) != 1 || got[0].Path != "lib" {
		t.Errorf("1.10: %v", got)
	}
}

func TestConstraint(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		constraint, version string
		want                bool
	}{
		{"", "1.13.9", true},
		{">= v1.5.0", "1.13.9", true},
		{">=v1.5.0 <v1.6.0", "1.5.9", true},
		{">=v1.5.0 <v1.6.0", "1.6.0", false},
		{"1.13.x || v1.12.1", "1.13.2", true},
		{"1.13.x || v1.12.1", "1.12.2", false},
		{"!1.13.9", "1.13.9", false},
	} {
		m := Metadata{Compatibility: Compatibility{Constraint{tt.constraint}}}
		if got, err := m.satisfied(tt.version); got != tt.want || err != nil {
			t.Errorf("%q with %s: %v, %v", tt.constraint, tt.version, got, err)
		}
	}
	pre := with(t)
	pre.Manifest.Metadata.Compatibility.Talos.Version = ">= 1.14.0"
	if got := pre.Check(facts(t, "v1.14.0-beta.1")); got != nil {
		t.Errorf("a pre-release doesn't count as its release: %v", got)
	}
}

func TestWriteService(t *testing.T) {
	t.Parallel()
	s, found := ParseService("x", []byte(goodService))
	if found != nil {
		t.Fatal(found)
	}
	b, err := WriteService(s)
	if err != nil {
		t.Fatal(err)
	}
	again, found := ParseService("x", b)
	if d := cmp.Diff(s, again); d != "" || found != nil {
		t.Errorf("%s\n%v\n%s", d, found, b)
	}
}

func FuzzParseService(f *testing.F) {
	f.Add(goodService)
	f.Add("name: &a [*a]")
	f.Add("container: &c {mounts: [{source: a, destination: ../..}], x: *c}\ndepends: [{<<: *c}]")
	f.Add(bomb)
	f.Fuzz(func(t *testing.T, text string) {
		s, found := ParseService("usr/local/etc/containers/a.yaml", []byte(text))
		e := with(t, file("usr/local/etc/containers/a.yaml", text), link("usr/local/lib/containers/a/l", "/x/../.."))
		all := e.Check(facts(t, "v1.13.9"))
		if len(all) < len(found) {
			t.Errorf("%d findings alone, %d in all", len(found), len(all))
		}
		if len(found) == 0 {
			if _, err := WriteService(s); err != nil {
				t.Error(err)
			}
		}
	})
}
