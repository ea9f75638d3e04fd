package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/google/go-cmp/cmp"
)

const matrixProfile = `
talos {
  version = "v1.13.9"
}
store {
  registry = "registry.corp/cache/talosmith"
}
locals {
  five = ["siderolabs/a", "siderolabs/b", "siderolabs/c", "siderolabs/d", "siderolabs/e"]
}
image "small" {
  extensions = ["siderolabs/a", "siderolabs/own"]
  output "iso" {}
}
image "rack" {
  matrix     = { row = ["x", "y", "z"] }
  name       = "rack-${row}"
  extensions = local.five
  output "iso" {}
}
image "arm" {
  architectures = ["arm64"]
  extensions    = ["siderolabs/a"]
  output "iso" {}
}
image "other" {
  extensions = ["siderolabs/f", "siderolabs/g"]
  output "iso" {}
}
image "other-2" {
  extensions = ["siderolabs/g", "siderolabs/f"]
  output "disk" {}
}
`

func matrix(t *testing.T, profile string, m Matrix) (string, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "extensions.hcl")
	if err := os.WriteFile(name, []byte(profile), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, notes strings.Builder
	err := PrintMatrix(Options{Profile: name, Stdout: &out, Stderr: &notes, Env: func(string) (string, bool) { return "", false }}, m)
	return strings.ReplaceAll(out.String(), name, "PROFILE"), err
}

// indexes are the images in the order in which they are built: "rack-x" has all that three share, "other" what two share besides.
var indexes = []string{"rack-x", "other", "small", "rack-y", "rack-z", "arm", "other-2"}

func TestMatrix(t *testing.T) {
	text, err := matrix(t, matrixProfile, Matrix{Format: "json", Target: "all"})
	if err != nil {
		t.Fatal(err)
	}
	var builds []struct{ Image, Group, Command string }
	if err := json.Unmarshal([]byte(text), &builds); err != nil {
		t.Fatal(err)
	}
	var names []string
	for i, b := range builds {
		names = append(names, b.Image)
		if want := "go tool mage all -profile=PROFILE -image=" + b.Image; b.Command != want {
			t.Errorf("command %q", b.Command)
		}
		if first := i < 2; first != (b.Group == "first") {
			t.Errorf("%s is in group %q", b.Image, b.Group)
		}
	}
	if diff := cmp.Diff(indexes, names); diff != "" {
		t.Error(diff)
	}

	text, err = matrix(t, matrixProfile, Matrix{Format: "github", Target: "all"})
	const github = `first={"image":["rack-x","other"]}
rest={"image":["small","rack-y","rack-z","arm","other-2"]}
`
	if err != nil || text != github {
		t.Errorf("%v: %s", err, text)
	}
	disks, err := matrix(t, matrixProfile, Matrix{Format: "github", Target: "disk"})
	if want := "first={\"image\":[\"other-2\"]}\nrest=\n"; err != nil || disks != want {
		t.Errorf("images without a disk have no job: %v: %s", err, disks)
	}
	single, err := matrix(t, matrixProfile[:strings.Index(matrixProfile, `image "rack"`)], Matrix{Format: "github", Target: "all"})
	if want := "first={\"image\":[\"small\"]}\nrest=\n"; err != nil || single != want {
		t.Errorf("%v: %s", err, single)
	}
}

func TestGitLabMatrix(t *testing.T) {
	text, err := matrix(t, matrixProfile, Matrix{Format: "gitlab", Target: "uki"})
	if err != nil {
		t.Fatal(err)
	}
	type job struct {
		Stage    string
		Script   []string
		Parallel struct{ Matrix []map[string][]string }

		Dependencies []string
	}
	var pipeline struct {
		Default     struct{ Image string }
		Stages      []string
		First, Rest job
	}
	if err := yaml.Unmarshal([]byte(text), &pipeline); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if diff := cmp.Diff(indexes[2:], pipeline.Rest.Parallel.Matrix[0]["TALOSMITH_IMAGE"]); diff != "" {
		t.Error(diff)
	}
	if got := pipeline.First.Script[0]; got != `go tool mage uki -profile=PROFILE -image="$TALOSMITH_IMAGE"` || pipeline.First.Stage != "first" {
		t.Errorf("script %q, stage %q", got, pipeline.First.Stage)
	}
	if d := pipeline.Rest.Dependencies; d == nil || len(d) > 0 {
		t.Errorf("dependencies %q", d)
	}
	parent, err := os.ReadFile("init/gitlab.yml")
	if err != nil || pipeline.Default.Image != goImage || !strings.Contains(string(parent), "\nimage: "+goImage+"\n") {
		t.Errorf("image %q: %v", pipeline.Default.Image, err)
	}

	// Whatever the profile is called, the shell has one word of it.
	odd := groups{first: []string{"x"}, command: []string{"go", "-profile=it's: a # $(b) \"c\".hcl"}}
	var b strings.Builder
	if err := odd.gitlab(&b, "registry.corp/go:1"); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(b.String()), &pipeline); err != nil {
		t.Fatalf("%v in\n%s", err, &b)
	}
	if got := pipeline.First.Script[0]; got != `go '-profile=it'\''s: a # $(b) "c".hcl' -image="$TALOSMITH_IMAGE"` || pipeline.Default.Image != "registry.corp/go:1" {
		t.Errorf("script %q, image %q", got, pipeline.Default.Image)
	}
}

// TestKubernetesMatrix runs the pods' command for each index, with a go that tells how it was called.
func TestKubernetesMatrix(t *testing.T) {
	text, err := matrix(t, matrixProfile, Matrix{Format: "kubernetes", Target: "all", Container: "registry.corp/builder:1"})
	if err != nil {
		t.Fatal(err)
	}
	var job struct {
		Kind     string
		Metadata struct {
			Name         string
			GenerateName string `yaml:"generateName"`
		}
		Spec struct {
			CompletionMode           string `yaml:"completionMode"`
			Completions, Parallelism int
			Template                 struct {
				Spec struct {
					RestartPolicy string `yaml:"restartPolicy"`
					Containers    []struct {
						Image   string
						Command []string
						Env     []struct{ Name, Value string }
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal([]byte(text), &job); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	pod := job.Spec.Template.Spec
	if job.Kind != "Job" || job.Spec.CompletionMode != "Indexed" || job.Spec.Completions != len(indexes) || pod.RestartPolicy != "Never" ||
		pod.Containers[0].Image != "registry.corp/builder:1" {
		t.Errorf("got\n%s", text)
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte("#!/bin/sh\necho \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if job.Metadata.Name != "" || !regexp.MustCompile(`^[a-z]([a-z0-9-]{0,30})-$`).MatchString(job.Metadata.GenerateName) {
		t.Errorf("a Job can be made once only: %+v", job.Metadata)
	}
	// An index that has no image must not build all of them.
	for _, index := range []string{"7", "8", "-1", "x", ""} {
		cmd := exec.Command(pod.Containers[0].Command[0], pod.Containers[0].Command[1:]...)
		cmd.Env = append(os.Environ(), "JOB_COMPLETION_INDEX="+index, "PATH="+bin+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err == nil || strings.Contains(string(out), "mage") {
			t.Errorf("index %q: %v, %s", index, err, out)
		}
	}
	for i, name := range indexes {
		cmd := exec.Command(pod.Containers[0].Command[0], pod.Containers[0].Command[1:]...)
		cmd.Env = append(os.Environ(), fmt.Sprint("JOB_COMPLETION_INDEX=", i), "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if want := "tool mage all -profile=PROFILE -image=" + name + "\n"; err != nil || string(out) != want {
			t.Errorf("index %d: %v, %s", i, err, out)
		}
	}
}

func TestMatrixRefuses(t *testing.T) {
	many := matrixProfile[:strings.Index(matrixProfile, "locals {")] + `
image "many" {
  matrix = { n = range(0, %d) }
  name   = "many-${n}"
  output "iso" {}
}
`
	for _, c := range []struct {
		name, profile string
		m             Matrix
		want          string
	}{
		{"format", matrixProfile, Matrix{Format: "jenkins"}, "there are json, github and gitlab"},
		{"no store", strings.Replace(matrixProfile, "store {\n  registry = \"registry.corp/cache/talosmith\"\n}", "", 1),
			Matrix{Format: "kubernetes", Container: "x"}, "no store that the pods could share"},
		{"nothing to push", matrixProfile, Matrix{Format: "json", Target: "push"}, `no image declares an output "installer", which -target=push wants`},
		{"a container for nothing", matrixProfile, Matrix{Format: "github", Container: "x"}, "-container=x: what jobs run in is for"},
		{"no container", matrixProfile, Matrix{Format: "kubernetes"}, "-container=REFERENCE"},
		{"github", fmt.Sprintf(many, maxGitHub+2), Matrix{Format: "github"}, "at most 256 jobs"},
		{"gitlab", fmt.Sprintf(many, maxGitLab+2), Matrix{Format: "gitlab"}, "at most 200 jobs"},
	} {
		if text, err := matrix(t, c.profile, c.m); err == nil || !strings.Contains(err.Error(), c.want) || text != "" {
			t.Errorf("%s: error %v, printed %q", c.name, err, text)
		}
	}
	for format, most := range map[string]int{"github": maxGitHub, "gitlab": maxGitLab} {
		if _, err := matrix(t, fmt.Sprintf(many, most+1), Matrix{Format: format}); err != nil {
			t.Error(err)
		}
	}
}
