package docstest

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"go.yaml.in/yaml/v4"

	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/tooltest"
)

// instead says what is run in place of a command of a page, and why.
type instead struct {
	command *regexp.Regexp
	with    string // $1 and so on are groups of the command
	why     string
}

// commands that can't run here as they are written.
var substitutes = []instead{
	{regexp.MustCompile(`^git clone https://github.com/talosmith/talosmith$`), "mkdir talosmith", "this is the clone, and there may be no network"},
	{regexp.MustCompile(`^go mod (?:tidy|vendor)$`), ":", "downloads modules; internal/e2e uses the targets from a module of its own"},
	{regexp.MustCompile(`^go tool mage demo$`), ":", "internal/e2e runs the demo"},
	{regexp.MustCompile(`^go tool mage tools test$`), ":", "this is one of the tests"},
	{regexp.MustCompile(`^sudo dd .*$`), ":", "there is no USB stick"},
	{regexp.MustCompile(`^talosctl .*$`), ":", "there is no Talos machine"},
	{regexp.MustCompile(`^docker login .*$`), ":", "there is no account"},
	{regexp.MustCompile(`^echo "\$TOKEN" \| docker login .*$`), ":", "the same"},
	{regexp.MustCompile(`^gh pr comment .*$`), ":", "there is no pull request"},
	{regexp.MustCompile(`^notes=.*$`), ":", "there is no merge request"},
	{regexp.MustCompile(`^curl .*/dev/null -H "PRIVATE-TOKEN.*$`), ":", "the same"},
	{regexp.MustCompile(`^git fetch -q --depth=1 origin .*$`), "git branch base HEAD^1 && git fetch -q . base", "the repository has no remote"},
	{regexp.MustCompile(`^curl --data-binary .*$`), ":", "there may be no network"},
	{regexp.MustCompile(`^(go tool mage matrix .*) \| kubectl create -f -$`), "$1 | grep -q 'kind: Job'", "there is no cluster"},
	{regexp.MustCompile(`^go tool mage inspect ghcr.io/siderolabs/installer:(\S+)$`), "go tool mage inspect ghcr.io/siderolabs/installer-base:$1",
		"the stand-in release has no installer, but its base"},
	{regexp.MustCompile(`^(go tool mage diff .*)$`), "$1 || test $$? = 1", "1 says that they differ"},
	{regexp.MustCompile(`^(.*go tool mage all -locked)$`), "rm -rf out; TALOSMITH_MIRRORS=ghcr.io=http://127.0.0.1:1 $1", "the network is cut off"},
	{regexp.MustCompile(`^mkdir -p ~/\.docker$|^auth=.*$|^printf '\{"auths".*$`), ":", "there is no account"},
}

// prepare are the folders that pages begin in. Others begin in a folder with a profile that names the stand-in's extensions.
var prepare = map[string]string{
	"docs/first-image.md":   "",
	"docs/plan.md":          committed + ` && sed -i 's/, .siderolabs.tailscale.\]/]\n  kernel_args = ["console=ttyS1"]/' extensions.hcl`,
	"docs/inspect.md":       "cp extensions.hcl old.hcl && go tool mage lock && cp extensions.lock.json old.lock.json && go tool mage iso disk installer && mkdir out/demo && cp out/metal* out/demo/ && cp out/metal-amd64.iso old.iso && sed -i s/siderolabs.tailscale/siderolabs\\\\/crun/ extensions.hcl && go tool mage lock iso && cp out/metal-amd64.iso new.iso",
	"docs/upgrade.md":       "go tool mage installer && mkdir out/old && cp out/*-installer.tar out/old/ && " + committed,
	"docs/boot-problems.md": "go tool mage iso && mkdir out/old && cp out/*.iso out/old/",
	"docs/extensions.md":    "mkdir bin && echo amd64 > bin/agent-amd64 && echo arm64 > bin/agent-arm64",
	"docs/overlays.md":      "sed -i s/arm64/amd64/ extensions.hcl", // the stand-in release is for amd64 alone
	"docs/store.md":         "printf '\nstore {\n  registry = \"registry.example.com/cache\"\n}\n' >> extensions.hcl && go tool mage uki",
}

// committed makes a repository of the folder.
const committed = "git init -q . && git add extensions.hcl && git -c user.name=a -c user.email=a@b commit -q -m first"

const example = `talos {
  version = "v1.13.9"
}

image "metal" {
  extensions = ["siderolabs/gvisor", "siderolabs/tailscale"]

  output "iso" {}
  output "disk" {
    compression = "none"
  }
  output "installer" {
    tag = "registry.example.com/talos/installer:v1.13.9-metal"
  }
}
`

// world is where commands run: the stand-in release as a mirror, a registry to push to, and the targets compiled.
type world struct {
	dir, bin, registry string
	env                []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	tooltest.Need(t, "skopeo")
	tooltest.Need(t, "git")
	release := sandboxtest.Open(t)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(t.TempDir()))))
	t.Cleanup(server.Close)
	w := &world{dir: t.TempDir(), bin: t.TempDir(), registry: strings.TrimPrefix(server.URL, "http://")}
	mage := filepath.Join(w.bin, "mage")
	cmd := exec.Command("go", "tool", "mage", "-compile", mage)
	cmd.Dir = top
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// "go tool mage" is the compiled targets, so that no folder needs a module.
	w.write(t, filepath.Join(w.bin, "go"), `#!/bin/sh
[ "$1 $2" = "tool mage" ] || { echo "docstest: go $* is not expected here" >&2; exit 1; }
shift 2
if [ "$1" = -w ]; then cd "$2" && shift 2; fi
exec "`+mage+`" "$@"
`, 0o755)
	w.env = []string{
		"PATH=" + w.bin + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TALOSMITH_CACHE=" + filepath.Join(w.dir, "cache"), "TALOSMITH_MIRRORS=" + release.Mirror(),
		"GIT_CONFIG_GLOBAL=/dev/null", "GITHUB_OUTPUT=/dev/null",
		"TALOSMITH_FACTORY=" + factory(t),
	}
	return w
}

// factory is a stand-in for the Image Factory, which knows the schematic that says nothing.
func factory(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/schematics/376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba" {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, "customization: {}\n")
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func (w *world) write(t *testing.T, name, content string, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), mode)); err != nil {
		t.Fatal(err)
	}
}

// local puts the registry of this test in the place of the documentation's.
func (w *world) local(text string) string {
	return strings.ReplaceAll(text, "registry.example.com", w.registry)
}

// run runs a script in a folder and returns the one in which it ends.
func (w *world) run(t *testing.T, dir, script string, more ...string) string {
	t.Helper()
	pwd := filepath.Join(w.dir, "pwd")
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", w.local(script)+"\npwd > "+pwd)
	cmd.Dir, cmd.Env = dir, append(slices.Clone(w.env), more...)
	out, err := cmd.CombinedOutput()
	t.Logf("%s\n%s", script, out)
	if err != nil {
		t.Fatal(err)
	}
	end, err := os.ReadFile(pwd)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(end))
}

var (
	command = regexp.MustCompile(`^(?:[A-Z_]+=\S+ )*(?:go|git|mkdir|cd|cp|sudo|talosctl|docker|skopeo|echo|gh|printf|auth=|curl|\{ echo)\b? ?`)
	remark  = regexp.MustCompile(`\s+# .*$`)
)

// commands are those of a block: all of its lines; or those after a prompt, where it shows a session.
func (f fence) commands() (all []string) {
	if f.language != "" && f.language != "sh" {
		return nil
	}
	session := strings.HasPrefix(f.code, "$ ") || strings.Contains(f.code, "\n$ ")
	for line := range strings.Lines(f.code) {
		line = remark.ReplaceAllString(strings.TrimRight(line, "\n"), "")
		prompted, ok := strings.CutPrefix(line, "$ ")
		if ok {
			line = prompted
		}
		if ok || !session && command.MatchString(line) || f.language == "sh" && line != "" {
			all = append(all, line)
		}
	}
	return all
}

// substituted is what is run for a command; used counts the substitutes.
func substituted(line string, used map[int]int) string {
	for i, s := range substitutes {
		if s.command.MatchString(line) {
			used[i]++
			return s.command.ReplaceAllString(line, s.with)
		}
	}
	return line
}

// TestCommands runs every command of every page, page by page from top to bottom, against the stand-in release. Files that a page shows with
// their names are written as a reader would. It builds a dozen times, which takes a minute.
func TestCommands(t *testing.T) {
	w := newWorld(t)
	used := map[int]int{}
	ran, read := 0, 0
	all := pages(t)
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) {
			read++
			dir := filepath.Join(w.dir, "pages", strings.ReplaceAll(p.name, "/", "-"))
			first, given := prepare[p.name]
			if !given || first != "" {
				w.write(t, filepath.Join(dir, "extensions.hcl"), w.local(example), 0o644)
			} else if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			prepared := first == ""
			for _, f := range p.fences {
				if f.file != "" && f.language != "yaml" {
					w.write(t, filepath.Join(dir, f.file), w.local(f.code), 0o644)
				}
				var script []string
				for _, line := range f.commands() {
					script = append(script, substituted(line, used))
					ran++
				}
				if len(script) == 0 {
					continue
				}
				if !prepared {
					prepared = true
					w.run(t, dir, first)
				}
				dir = w.run(t, dir, strings.Join(script, "\n"))
			}
		})
	}
	w.ci(t, used)
	w.targets(t, all)
	if read < len(all) || t.Failed() { // -run asked for some of them
		return
	}
	if ran < 60 {
		t.Errorf("ran %d commands only", ran)
	}
	for i, s := range substitutes {
		if used[i] == 0 {
			t.Errorf("no page has %s any more: remove its substitute", s.command)
		}
	}
}

// targets looks for the targets that pages name in their text.
func (w *world) targets(t *testing.T, all []page) {
	list, err := exec.Command(filepath.Join(w.bin, "mage"), "-l").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		for _, m := range regexp.MustCompile("`(?:go tool )?mage ((?:[a-z:]+ ?)+)").FindAllStringSubmatch(p.text, -1) {
			for name := range strings.FieldsSeq(m[1]) {
				if !regexp.MustCompile(`(?m)^  ` + name + ` `).Match(list) {
					t.Errorf("%s: there is no target %s", p.name, name)
				}
			}
		}
	}
}

// ci runs what the jobs of docs/ci.md run, in a repository that `mage init` made. The jobs are those that it writes.
func (w *world) ci(t *testing.T, used map[int]int) {
	written := map[string]string{".github/workflows/talos.yml": "github.yml", ".gitlab-ci.yml": "gitlab.yml"}
	for _, p := range pages(t) {
		for _, f := range p.fences {
			if p.name != "docs/ci.md" || f.language != "yaml" {
				continue
			}
			t.Run(f.file, func(t *testing.T) {
				text, err := os.ReadFile(filepath.Join(top, "internal", "cli", "init", written[f.file]))
				if err != nil || string(text) != f.code {
					t.Errorf("%v: `mage init` writes another job than the page has", err)
				}
				dir := filepath.Join(w.dir, "ci", written[f.file])
				w.write(t, filepath.Join(dir, "x"), "", 0o644)
				w.run(t, dir, "go tool mage init -extensions=gvisor && "+committed+" && sed -i 's/# tag/tag/' extensions.hcl && sed -i 's/ # where.*//; s/registry[.]example[.]com/'"+w.registry+"/ extensions.hcl && go tool mage fmt lock && git add . && git -c user.name=a -c user.email=a@b commit -q -m second")
				for _, step := range steps(t, f.code) {
					var script []string
					for line := range strings.Lines(step) {
						script = append(script, substituted(strings.ReplaceAll(strings.TrimSpace(line), "${{ github.event.number }}", "1"), used))
					}
					w.run(t, dir, strings.Join(script, "\n"), "CI=true")
				}
				for _, name := range []string{"out/metal-amd64.iso", "out/metal-amd64-installer.tar", "comment.md"} {
					if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
						t.Error(err)
					}
				}
			})
			delete(written, f.file)
		}
	}
	if len(written) > 0 {
		t.Errorf("docs/ci.md lacks %v", written)
	}
}

// steps are the scripts of GitHub's or GitLab's jobs.
func steps(t *testing.T, text string) (all []string) {
	t.Helper()
	var document map[string]any
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	jobs := document
	if under, ok := document["jobs"].(map[string]any); ok {
		jobs = under
	}
	for _, name := range []string{"images", "comment", "push"} {
		job, ok := jobs[name].(map[string]any)
		if !ok {
			continue
		}
		if list, ok := job["script"].([]any); ok {
			var lines []string
			for _, line := range list {
				lines = append(lines, fmt.Sprint(line))
			}
			all = append(all, strings.Join(lines, "\n"))
		}
		list, _ := job["steps"].([]any)
		for _, s := range list {
			if script, ok := s.(map[string]any)["run"].(string); ok {
				all = append(all, script)
			}
		}
	}
	if len(all) < 2 {
		t.Fatalf("found %d steps only", len(all))
	}
	return all
}
