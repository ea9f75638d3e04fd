package imager_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/talos"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenVersions has a release of each minor version.
var goldenVersions = []string{"v1.5.5", "v1.6.8", "v1.7.7", "v1.8.4", "v1.9.6", "v1.10.9", "v1.11.6", "v1.12.4", "v1.13.9", "v1.14.0"}

// delta is a line of the golden file: what the plans of some targets have that others have not.
type delta struct {
	Version string                     `json:"version"`
	From    string                     `json:"from"` // version of the same platform and architecture, or a target of the same version
	Set     map[string]json.RawMessage `json:"set,omitempty"`
	Unset   []string                   `json:"unset,omitempty"` // paths
	Targets []string                   `json:"targets"`
}

// TestGoldenPlans plans every output for every version, platform and architecture. The golden file says what differs: from the version before;
// where a platform is new from metal; of arm64 from amd64. So a review sees what a change means, and for which of 348 targets.
func TestGoldenPlans(t *testing.T) {
	t.Parallel()
	var lines []*delta
	plans := map[string]map[string]string{} // by version, platform, architecture
	add := func(version, from, target string, plan, base map[string]string) {
		l := &delta{Version: version, From: from, Set: map[string]json.RawMessage{}}
		for path, v := range plan {
			if base[path] != v {
				l.Set[path] = json.RawMessage(v)
			}
		}
		for path := range base {
			if plan[path] == "" {
				l.Unset = append(l.Unset, path)
			}
		}
		slices.Sort(l.Unset)
		plans[version+" "+target] = plan
		if len(l.Set)+len(l.Unset) == 0 {
			return
		}
		text := mustJSON(t, l)
		for _, have := range lines {
			if one := *have; mustJSON(t, &delta{one.Version, one.From, one.Set, one.Unset, nil}) == text {
				have.Targets = append(have.Targets, target)
				return
			}
		}
		l.Targets = []string{target}
		lines = append(lines, l)
	}
	platforms := talos.Platforms()
	slices.SortStableFunc(platforms, func(a, b string) int { // metal first, as others refer to it
		return strings.Compare(strings.TrimPrefix(a, "metal"), strings.TrimPrefix(b, "metal"))
	})
	before := ""
	for _, version := range goldenVersions {
		for _, platform := range platforms {
			for _, arch := range talos.Architectures() {
				target := platform + " " + arch
				plan := flatPlan(t, version, platform, arch)
				switch {
				case plan == nil: // not there yet
				case plans[before+" "+target] != nil:
					add(version, before, target, plan, plans[before+" "+target])
				case arch != talos.AMD64:
					add(version, talos.AMD64, target, plan, plans[version+" "+platform+" "+talos.AMD64])
				case platform != "metal":
					add(version, "metal", target, plan, plans[version+" metal "+arch])
				default:
					add(version, "", target, plan, nil)
				}
			}
		}
		before = version
	}
	if n := len(plans); n != 348 {
		t.Errorf("%d plans", n)
	}
	var b bytes.Buffer
	for _, l := range lines {
		fmt.Fprintln(&b, mustJSON(t, l))
	}
	const golden = "testdata/plans.jsonl"
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(golden, b.Bytes(), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	have, wanted := strings.Split(b.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(have), len(wanted)) {
		if i >= len(have) || i >= len(wanted) || have[i] != wanted[i] {
			t.Fatalf("%s:%d: `go test ./pkg/imager -run GoldenPlans -update` writes it anew; got\n%s", golden, i+1, strings.Join(have[min(i, len(have)):min(i+1, len(have))], ""))
		}
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}

// flatPlan is the plan of an image with every kind of output, as paths and values, without what is the same for all targets but their own names. It
// is nil where the version does not have the platform yet.
func flatPlan(t *testing.T, version, platform, arch string) map[string]string {
	t.Helper()
	text := fmt.Sprintf("talos {\n version = %q\n}\nimage \"any\" {\n platform = %q\n architectures = [%q]\n", version, platform, arch)
	for _, kind := range talos.Kinds() {
		text += fmt.Sprintf(" output %q {}\n", kind)
	}
	name := filepath.Join(t.TempDir(), "extensions.hcl")
	if err := os.WriteFile(name, []byte(text+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, diags := profile.Load(name, profile.Options{})
	if v, err := talos.ParseVersion(version); err != nil {
		t.Fatal(err)
	} else if _, err := talos.For(v, platform, arch); errors.Is(err, talos.ErrPlatformOld) {
		if !diags.HasErrors() {
			t.Errorf("%s has %s already", version, platform)
		}
		return nil
	}
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	res, jobs, diags := imager.Resolve(t.Context(), p, imager.Request{ExtensionsOnly: true}, source.New(source.Options{}))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	d, err := imager.Describe(res, jobs, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d.Talos != version || d.Images[0].Platform != platform {
		t.Errorf("the plan of %s %s is for %s %s", version, platform, d.Talos, d.Images[0].Platform)
	}
	return flatten(t, d, strings.NewReplacer(version, "$version", arch, "$arch", "talos.platform="+platform, "talos.platform=$platform"))
}

// flatten checks the kernel command lines against their arguments and says each argument's place by the one before, so that one more or less
// is a small difference.
func flatten(t *testing.T, d *imager.Description, names *strings.Replacer) map[string]string {
	t.Helper()
	img := d.Images[0]
	flat := map[string]string{}
	put := func(path string, v any) { flat[names.Replace(path)] = names.Replace(mustJSON(t, v)) }
	var words []string
	for _, a := range img.Args {
		words = append(words, a.Arg)
		if mustJSON(t, a.Reaches) != mustJSON(t, img.Args[0].Reaches) {
			t.Errorf("%s %s: the argument %s reaches %v", d.Talos, img.Platform, a.Arg, a.Reaches)
		}
	}
	if got := strings.Join(words, " "); got != img.Cmdline {
		t.Errorf("%s %s: the arguments are %q, the command line %q", d.Talos, img.Platform, got, img.Cmdline)
	}
	places := links(words)
	for i, a := range img.Args {
		put("args/"+a.Arg, a.Origin+", "+places[words[i]])
	}
	for _, o := range img.Outputs {
		if o.Cmdline != nil {
			if o.Kind == talos.KindCmdline && *o.Size != int64(len(*o.Cmdline)) {
				t.Errorf("%s has %d bytes: %s", o.File, *o.Size, *o.Cmdline)
			} else if o.Kind == talos.KindCmdline {
				o.Size = nil
			}
			cmdline := "the image's"
			for word, place := range links(strings.Fields(*o.Cmdline)) {
				if places[word] != place {
					put("outputs/"+string(o.Kind)+"/cmdline/"+word, place)
				}
			}
			o.Cmdline = &cmdline
		}
		flattenJSON(t, "outputs/"+string(o.Kind)+"/", o, put)
	}
	flattenJSON(t, "", img, put)
	for _, told := range []string{"args", "cmdline", "outputs", "platform"} {
		delete(flat, told)
	}
	put("args", map[string][]talos.Kind{"reach": img.Args[0].Reaches, "miss": img.Args[0].Misses})
	return flat
}

// links are words with where they stand.
func links(words []string) map[string]string {
	all := map[string]string{}
	place := "first"
	for _, w := range words {
		all[w] = place
		place = "after " + w
	}
	return all
}

// flattenJSON puts the fields of an object.
func flattenJSON(t *testing.T, path string, v any, put func(string, any)) {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(mustJSON(t, v)), &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		put(path+name, fields[name])
	}
}
