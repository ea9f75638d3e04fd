package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/source"
)

// git runs it in a repository.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command(tooltest.Need(t, "git"), append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", args, err, out)
	}
	return string(out)
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPlanSinceRevision: several files of a profile, files that it reads, a directory and the lock are those of the revision, whatever lies in
// the folder now.
func TestPlanSinceRevision(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing")) // may be memory
	r := serveRelease(t)
	r.publish("v1.13.9", "gvisor:20260101.0 [core] x", "iscsi-tools:v0.1.6 [core] y")
	const main = `
image "metal" {
  extensions  = concat(["siderolabs/gvisor"], more, [extension.motd])
  kernel_args = ["console=${chomp(file("../args/console"))}"]
  output "uki" {}
}
variable "more" {
  type    = list(string)
  default = ["siderolabs/iscsi-tools"]
}
extension "motd" {
  path = "../motd"
}
`
	o, _, stderr := at(t, map[string]string{
		"infra/main.hcl": main, "infra/talos.hcl": "talos {\n  version = \"v1.13.9\"\n}\n", "args/console": "ttyS0\n",
		"motd/manifest.yaml": motd, "motd/rootfs/usr/local/share/motd": "hello", ".gitattributes": "args export-ignore\n",
	})
	top := filepath.Dir(o.Profile)
	o.Profile, o.Mirrors = filepath.Join(top, "infra"), []source.Mirror{r.mirror()}
	git(t, top, "init", "-q")
	git(t, top, "add", "infra", "args", "motd", ".gitattributes")
	git(t, top, "commit", "-q", "-m", "one")

	if text := mustPlan(t, o, PlanOptions{Diff: "HEAD"}); text != "the same\n" {
		t.Errorf("nothing has changed:\n%s\n%s", text, stderr)
	}
	writeFiles(t, top, map[string]string{
		"infra/main.hcl": strings.Replace(main, `default = ["siderolabs/iscsi-tools"]`, "default = []", 1), "args/console": "ttyS7\n",
		"motd/rootfs/usr/local/share/motd": "hello again",
	})
	before := git(t, top, "status", "--porcelain")
	text := mustPlan(t, o, PlanOptions{Diff: "HEAD"})
	const want = "this removes siderolabs/iscsi-tools from metal amd64\nthis changes motd (other content) in metal amd64\nthis changes kernel arguments (console) of metal amd64\n\n"
	if !strings.HasPrefix(text, want) {
		t.Errorf("printed\n%s", text)
	}
	if got := git(t, top, "status", "--porcelain"); got != before {
		t.Errorf("the repository was\n%sand is\n%s", before, got)
	}
	comment := mustPlan(t, o, PlanOptions{Diff: "HEAD", Markdown: true})
	commit := strings.TrimSpace(git(t, top, "rev-parse", "HEAD"))
	for _, want := range []string{
		"### What the images change since HEAD (" + commit[:12] + ")\n\n- this removes siderolabs/iscsi-tools from metal amd64\n",
		"<summary>kernel arguments of metal amd64: 1 change</summary>\n\n```diff\n- console  ttyS0\n+ console  ttyS7\n```\n",
	} {
		if !strings.Contains(comment, want) {
			t.Errorf("missing %q in\n%s", want, comment)
		}
	}
	if text := mustPlan(t, o, PlanOptions{Diff: "HEAD", JSON: true}); !strings.HasPrefix(text, "{\n  \"same\": false,\n  \"summary\": [\n    \"this removes") {
		t.Errorf("printed\n%s", text)
	}
	if text := mustPlan(t, Options{Profile: o.Profile, Env: o.Env, Mirrors: o.Mirrors, Stderr: o.Stderr, Image: "metal"}, PlanOptions{Diff: commit[:8]}); !strings.HasPrefix(text, want) {
		t.Errorf("printed\n%s", text)
	}

	for rev, want := range map[string]string{
		"nowhere":       "-diff=nowhere: the repository " + top + " has no such revision; a shallow clone lacks most",
		"--help":        "-diff=--help: the repository",
		"HEAD:infra":    "has no such revision",
		"HEAD -- infra": "has no such revision",
	} {
		if _, err := plan(t, o, PlanOptions{Diff: rev}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", rev, err, want)
		}
	}

	// A revision without the profile; one with a mistake.
	git(t, top, "rm", "-q", "-r", "--cached", "infra")
	git(t, top, "commit", "-q", "-m", "two")
	if text := mustPlan(t, o, PlanOptions{Diff: "HEAD"}); !strings.HasPrefix(text, "this adds the image metal amd64\n") || !strings.Contains(stderr.String(), "all of it is new") {
		t.Errorf("printed\n%s%s", text, stderr)
	}
	git(t, top, "add", "infra")
	git(t, top, "commit", "-q", "-m", "three")
	writeFiles(t, top, map[string]string{"infra/main.hcl": "oops {}\n"})
	git(t, top, "commit", "-q", "-a", "-m", "four")
	git(t, top, "checkout", "-q", "HEAD^", "--", "infra")
	if _, err := plan(t, o, PlanOptions{Diff: "HEAD"}); !errors.Is(err, ErrShown) || !strings.Contains(err.Error(), " in HEAD: ") || !strings.Contains(stderr.String(), "on HEAD:infra/main.hcl line 1") {
		t.Errorf("error %v, printed\n%s", err, stderr)
	}

	cache, err := CacheDir(o.Env)
	if err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(cache, downloadsDir, "partial", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left %q, %v", left, err)
	}
}

// TestPlanOutsideOfRepository says that there is none.
func TestPlanOutsideOfRepository(t *testing.T) {
	t.Parallel()
	tooltest.Need(t, "git")
	o, _, _ := at(t, map[string]string{"extensions.hcl": strings.Replace(planned, `["siderolabs/gvisor", "siderolabs/iscsi-tools"]`, "[]", 1)})
	if _, err := plan(t, o, PlanOptions{Diff: "HEAD"}); err == nil || !strings.Contains(err.Error(), "-diff=HEAD: git rev-parse: ") {
		t.Errorf("error %v", err)
	}
}
