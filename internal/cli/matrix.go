package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
)

// Matrix is how a profile's builds are spread over machines: an image each.
type Matrix struct {
	Format    string // "json", "github", "gitlab" or "kubernetes"
	Target    string // of mage, for each image: "all", "push"
	Container string // image of the jobs, for gitlab: with Go and a shell; of the pods, for kubernetes: with this repository as its working directory, too
}

// goImage is what jobs run in where nothing else is said, as in the pipeline of `mage init`.
const goImage = "golang:1.26"

// Most jobs that one matrix can have:
// https://docs.github.com/actions/reference/limits and https://docs.gitlab.com/ci/yaml/#parallelmatrix.
const (
	maxGitHub = 256
	maxGitLab = 200
)

// PrintMatrix prints the profile's images for a CI system: first those that make between them all that several images share,
// then the rest, which find that in the profile's store.
func PrintMatrix(o Options, m Matrix) error {
	if m.Container != "" && (m.Format == "json" || m.Format == "github") {
		return fmt.Errorf("-container=%s: what jobs run in is for -format=gitlab and -kubernetes; a workflow of GitHub says it itself", m.Container)
	}
	s, err := load(o)
	if err != nil {
		return err
	}
	if s.Profile.Store == nil {
		const remedy = "add store { registry = \"HOST/REPOSITORY\" } to the profile, or every machine makes everything"
		if m.Format == "kubernetes" {
			return fmt.Errorf("%s: no store that the pods could share: %s", s.o.Profile, remedy)
		}
		s.print.note("the profile has no store that the jobs could share: " + remedy)
	}
	images, err := s.imagesFor(m.Target)
	if err != nil {
		return err
	}
	p := *s.Profile
	p.Images = images
	g := group(&p)
	g.command = []string{"go", "tool", "mage", m.Target}
	if o.Profile != "" {
		g.command = append(g.command, "-profile="+o.Profile)
	}
	var b bytes.Buffer
	switch m.Format {
	case "json":
		err = g.json(&b)
	case "github":
		err = g.github(&b)
	case "gitlab":
		err = g.gitlab(&b, cmp.Or(m.Container, goImage))
	case "kubernetes":
		err = g.kubernetes(&b, m.Container)
	default:
		err = fmt.Errorf("format %q: there are json, github and gitlab", m.Format)
	}
	if err == nil {
		_, err = s.o.Stdout.Write(b.Bytes())
	}
	return err
}

// needs are the outputs without which a target has nothing to do.
var needs = map[string]talos.Kind{
	"iso": talos.KindISO, "disk": talos.KindDisk, "installer": talos.KindInstaller, "push": talos.KindInstaller, "pxe": talos.KindPXE,
}

// imagesFor are the images that a target is of use for: a job for another one would fail.
func (s *Session) imagesFor(target string) ([]*profile.Image, error) {
	kind, only := needs[target]
	if !only {
		return s.Profile.Images, nil
	}
	lacks := func(img *profile.Image) bool {
		return !slices.ContainsFunc(img.Outputs, func(o profile.Output) bool { return o.Kind == kind })
	}
	images := slices.DeleteFunc(slices.Clone(s.Profile.Images), lacks)
	if len(images) == 0 {
		return nil, fmt.Errorf("%s: no image declares an output %q, which -target=%s wants", s.o.Profile, kind, target)
	}
	return images, nil
}

// groups are names of images, and the command that builds one when "-image=NAME" follows.
type groups struct {
	first, rest []string
	command     []string
}

// group finds few images that have between them every extension, and Talos itself, that several images are made of: the largest
// share first, else in the profile's order.
func group(p *profile.Profile) (g groups) {
	parts := map[string][]string{}
	wanted := map[string]int{}
	for _, img := range p.Images {
		for _, arch := range img.Architectures {
			of := []string{arch}
			for _, e := range img.Extensions {
				of = append(of, arch+" "+e.Name)
			}
			for _, part := range of {
				parts[img.Name] = append(parts[img.Name], part)
				wanted[part]++
			}
		}
	}
	chosen := map[string]bool{}
	for {
		best, most := "", 0
		for _, img := range p.Images {
			n := 0
			for _, part := range parts[img.Name] {
				if wanted[part] > 1 {
					n++
				}
			}
			if n > most {
				best, most = img.Name, n
			}
		}
		if best == "" {
			break
		}
		chosen[best] = true
		g.first = append(g.first, best)
		for _, part := range parts[best] {
			wanted[part] = 0
		}
	}
	for _, img := range p.Images {
		if !chosen[img.Name] {
			g.rest = append(g.rest, img.Name)
		}
	}
	if len(g.first) == 0 { // a single image
		g.first, g.rest = g.rest, nil
	}
	return g
}

func (g groups) all() []string { return append(g.first[:len(g.first):len(g.first)], g.rest...) }

// json is a list in the order in which to build.
func (g groups) json(w io.Writer) error {
	type build struct {
		Image   string `json:"image"`
		Group   string `json:"group"`
		Command string `json:"command"` // for a shell
	}
	var builds []build
	for i, name := range g.all() {
		b := build{name, "first", shell(g.command) + " -image=" + shell([]string{name})}
		if i >= len(g.first) {
			b.Group = "rest"
		}
		builds = append(builds, b)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(builds)
}

// github is lines for the file $GITHUB_OUTPUT: outputs "first" and "rest", each for strategy.matrix with fromJSON; empty where there is none.
func (g groups) github(w io.Writer) error {
	line := func(name string, images []string) error {
		if len(images) > maxGitHub {
			return fmt.Errorf("group %q: %d images, but a matrix of GitHub Actions has at most %d jobs: split the profile", name, len(images), maxGitHub)
		}
		matrix := ""
		if len(images) > 0 {
			matrix = fmt.Sprintf(`{"image":%s}`, list(images))
		}
		_, err := fmt.Fprintf(w, "%s=%s\n", name, matrix)
		return err
	}
	return errors.Join(line("first", g.first), line("rest", g.rest))
}

func list(names []string) string {
	b, _ := json.Marshal(names) // strings always encode
	return string(b)
}

// quoted is a string for JSON and YAML.
func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// gitlab is a child pipeline with a stage for each group. It has nothing of its parent but variables.
func (g groups) gitlab(w io.Writer, container string) error {
	job := func(stage string, images []string) error {
		if len(images) > maxGitLab {
			return fmt.Errorf("group %q: %d images, but a matrix of GitLab has at most %d jobs: split the profile", stage, len(images), maxGitLab)
		}
		fmt.Fprintf(w, "\n%s:\n  stage: %[1]s\n  parallel:\n    matrix:\n      - TALOSMITH_IMAGE: %s\n", stage, list(images))
		fmt.Fprintf(w, "  dependencies: [] # no artefacts of others\n  script:\n    - %s\n  artifacts:\n    paths: [out/]\n",
			quoted(shell(g.command)+` -image="$TALOSMITH_IMAGE"`))
		return nil
	}
	fmt.Fprintf(w, "default:\n  image: %s\nstages: [first, rest]\n", quoted(container))
	err := job("first", g.first)
	if err == nil && len(g.rest) > 0 {
		err = job("rest", g.rest)
	}
	return err
}

// kubernetes is a Job whose pods build an image each, by their index.
func (g groups) kubernetes(w io.Writer, container string) error {
	if container == "" {
		return fmt.Errorf("no image for the pods: -container=REFERENCE names one that has Go, a shell, and this repository as its working directory")
	}
	n := len(g.all())
	script := fmt.Sprintf(`set -- %s; shift "$JOB_COMPLETION_INDEX" && exec %s -image="${1:?there is none for this index}"`, shell(g.all()), shell(g.command))
	_, err := fmt.Fprintf(w, `# What the pods share is the profile's store. Credentials for it:
#   kubectl create secret docker-registry talosmith-registry --docker-server=HOST --docker-username=… --docker-password=…
apiVersion: batch/v1
kind: Job
metadata:
  generateName: talosmith- # by "kubectl create": a Job runs once
spec:
  completionMode: Indexed
  completions: %d
  parallelism: %[1]d # started by index: images that make what others share come first; with fewer at once less is made twice
  backoffLimitPerIndex: 3
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: build
          image: %s
          command: ["sh", "-c", %s]
          env:
            - {name: TALOSMITH_STORE_WRITE, value: "1"}
            - {name: TALOSMITH_CACHE, value: /cache}
            - {name: DOCKER_CONFIG, value: /registry}
          volumeMounts:
            - {name: cache, mountPath: /cache}
            - {name: registry, mountPath: /registry}
      volumes:
        - {name: cache, emptyDir: {}}
        - name: registry
          secret: {secretName: talosmith-registry, optional: true, items: [{key: .dockerconfigjson, path: config.json}]}
`, n, quoted(container), quoted(script))
	return err
}

// shell quotes words for a shell, where they need it.
func shell(words []string) string {
	var quoted []string
	for _, word := range words {
		if strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:") != "" || word == "" {
			word = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		quoted = append(quoted, word)
	}
	return strings.Join(quoted, " ")
}
