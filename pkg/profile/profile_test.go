package profile

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares with a file, or rewrites it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update rewrites it); got:\n%s", name, got)
	}
}

// environment is what tests have for one: bad profiles say in a first line what they need of it ("# env: name=value").
func environment(source []byte) func(string) (string, bool) {
	vars := map[string]string{}
	for line := range strings.Lines(string(source)) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "# env: "); ok {
			name, value, _ := strings.Cut(text, "=")
			vars[name] = value
		}
	}
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

// TestDiagnostics loads every profile of testdata/bad: what is said of it stands beside it.
func TestDiagnostics(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/bad/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if ext := filepath.Ext(name); ext != ".hcl" && ext != ".json" {
			continue
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			source, err := os.ReadFile(name)
			if err != nil && !strings.Contains(name, "directory") {
				t.Fatal(err)
			}
			p, diags := Load(name, Options{Env: environment(source)})
			if len(diags) == 0 {
				t.Fatal("nothing is wrong with it")
			}
			golden(t, name+".txt", printed(t, p, diags))
		})
	}
}

// printed is what a user sees, with the exact range first.
func printed(t *testing.T, p *Profile, diags hcl.Diagnostics) []byte {
	t.Helper()
	var b bytes.Buffer
	for i, d := range diags {
		if i > 0 {
			b.WriteString("\n")
		}
		if d.Subject != nil {
			b.WriteString(d.Subject.String() + "\n")
		}
		if err := WriteDiagnostics(&b, p.Files, hcl.Diagnostics{d}, 100, false); err != nil {
			t.Fatal(err)
		}
		b.Truncate(len(bytes.TrimRight(b.Bytes(), "\n")))
		b.WriteString("\n")
	}
	return b.Bytes()
}

func load(t *testing.T, name string, o Options) *Profile {
	t.Helper()
	p, diags := Load(name, o)
	if len(diags) > 0 {
		t.Fatalf("%s", printed(t, p, diags))
	}
	return p
}

// TestGood compares what the profiles of testdata/good resolve to.
func TestGood(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"issue.hcl", "language.hcl", "outputs.hcl", "authored.hcl", "registries.hcl", "matrix.hcl", "sources.hcl", "directory"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			name := filepath.Join("testdata/good", name)
			golden(t, name+".txt", dumped(t, load(t, name, Options{Env: environmentOf(t, name)})))
		})
	}
}

// dumped prints a profile without ranges.
func dumped(t *testing.T, p *Profile) []byte {
	t.Helper()
	type extension struct {
		Name    string
		Sources map[string]*Source
	}
	var extensions []extension
	for _, e := range p.Extensions {
		extensions = append(extensions, extension{e.Name, e.sources})
	}
	files := map[string][]string{}
	for _, img := range p.Images {
		for j := range img.Extensions {
			if e := img.Extensions[j].Declared; e != nil && e.For("amd64") == nil {
				t.Errorf("extension %s has no source", e.Name)
			}
		}
		for _, o := range img.Outputs {
			files[img.Name] = append(files[img.Name], img.FileNames(o)...)
		}
	}
	var plain any
	all := map[string]any{
		"Talos": p.Talos, "Version": p.Talos.Version.String(), "Extensions": extensions, "Registries": p.Registries, "Images": p.Images, "Dir": p.Dir, "FileNames": files,
	}
	if p.Store != nil {
		all["Store"] = p.Store
	}
	b, err := json.Marshal(all)
	if err == nil {
		err = json.Unmarshal(b, &plain)
	}
	if err == nil {
		b, err = json.MarshalIndent(withoutRanges(plain), "", "  ")
	}
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func withoutRanges(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "Range")
		delete(v, "Declared")
		for k, inner := range v {
			if inner == nil || inner == "" || inner == false || inner == 0.0 {
				delete(v, k)
				continue
			}
			v[k] = withoutRanges(inner)
		}
	case []any:
		for i := range v {
			v[i] = withoutRanges(v[i])
		}
	}
	return v
}

func environmentOf(t *testing.T, name string) func(string) (string, bool) {
	t.Helper()
	source, err := os.ReadFile(name)
	if st, statErr := os.Stat(name); err != nil && (statErr != nil || !st.IsDir()) {
		t.Fatal(err)
	}
	return environment(source)
}

// TestJSON: the JSON form says the same as the native one.
func TestJSON(t *testing.T) {
	t.Parallel()
	native := dumped(t, load(t, "testdata/good/language.hcl", Options{Env: environmentOf(t, "testdata/good/language.hcl")}))
	json := dumped(t, load(t, "testdata/good/language.hcl.json", Options{}))
	if diff := cmp.Diff(string(native), string(json)); diff != "" {
		t.Error(diff)
	}
}

// TestRanges: what a later stage may complain about knows where it stands.
func TestRanges(t *testing.T) {
	t.Parallel()
	p := load(t, "testdata/good/issue.hcl", Options{})
	img := p.Images[0]
	disk, installer := img.Outputs[1], img.Outputs[2]
	for _, c := range []struct {
		got  hcl.Range
		want string
	}{
		{p.Talos.At("version"), `"v1.13.9"`},
		{p.Talos.At("registry"), "talos"},
		{p.Extensions[0].Range, `extension "motd"`},
		{p.Extensions[0].At("path"), `"examples/motd"`},
		{img.Range, `image "metal"`},
		{img.At("platform"), `"metal"`},
		{img.At("splash"), `image "metal"`},
		{img.Extensions[0].Range, `"siderolabs/gvisor"`},
		{img.Extensions[2].Range, "extension.motd"},
		{img.KernelArgs[0].Range, `"console=${console}"`},
		{disk.Range, `output "disk"`},
		{disk.At("size"), `"8GiB"`},
		{installer.At("tag"), `"registry.example.com/talos/installer:v1.13.9-metal"`},
	} {
		if got := string(c.got.SliceBytes(p.Files[c.got.Filename].Bytes)); got != c.want {
			t.Errorf("%s is %s, want %s", c.got, got, c.want)
		}
	}
}

// TestTable: every row has its field, and every field its row.
func TestTable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		spec *blockSpec
		of   any
		// besides are rows that the block evaluates itself.
		besides []string
	}{
		{talosSpec, Talos{}, []string{"version"}},
		{baseSpec, Base{}, []string{"kernel", "initramfs", "sd_boot", "sd_stub"}},
		{baseSpec, BaseFiles{}, []string{"name", "version", "registry"}},
		{extensionSpec, Source{}, nil},
		{serviceSpec, Service{}, nil},
		{serviceSpec.blocks[0], Security{}, nil},
		{registrySpec, Registry{}, nil},
		{storeSpec, Store{}, nil},
		{imageSpec, Image{}, []string{"inherits", "matrix", "name"}},
		{overlaySpec, Overlay{}, nil},
		{outputSpec, Output{}, nil},
	} {
		var fields []string
		for f := range reflect.TypeOf(c.of).Fields() {
			if tag := f.Tag.Get("hcl"); tag != "" {
				fields = append(fields, tag)
			}
		}
		var rows []string
		for _, a := range c.spec.attributes {
			if !slices.Contains(c.besides, a.name) {
				rows = append(rows, a.name)
			}
		}
		slices.Sort(fields)
		slices.Sort(rows)
		if diff := cmp.Diff(rows, fields); diff != "" {
			t.Errorf("%s: rows and fields differ: %s", c.spec.name, diff)
		}
	}
}

// TestUnreadable: what has no source to point at.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	many := filepath.Join(dir, "many")
	if err := os.Mkdir(many, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range maxFiles + 1 {
		write(fmt.Sprintf("many/%d.hcl", i), "")
	}
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, want string }{
		{filepath.Join(dir, "absent.hcl"), "There is no "},
		{write("large.hcl", strings.Repeat("#", MaxBytes+1)), "larger than 256 KiB"},
		{os.DevNull, "not a regular file"},
		{empty, "has no *.hcl"},
		{many, "more than 100"},
	} {
		_, diags := Load(c.name, Options{})
		if len(diags) != 1 || !strings.Contains(diags[0].Detail, c.want) {
			t.Errorf("%s: got %v, want one diagnostic with %q", c.name, diags, c.want)
		}
	}
	if _, diags := Load(write("most.hcl", "talos {\n version = \"v1.13.9\"\n}\nimage \"x\" {\n output \"iso\" {}\n}\n"+strings.Repeat("#", MaxBytes-80)+"\n"), Options{}); len(diags) > 0 {
		t.Errorf("a file of the largest size: %v", diags)
	}
}

// TestAll: one run reports everything, sorted and once.
func TestAll(t *testing.T) {
	t.Parallel()
	_, diags := Load("testdata/bad/names.hcl", Options{})
	seen := map[string]bool{}
	last := 0
	for _, d := range diags {
		key := d.Subject.String() + d.Summary + d.Detail
		if seen[key] || d.Subject.Start.Byte < last {
			t.Errorf("repeated or out of order: %s", key)
		}
		seen[key], last = true, d.Subject.Start.Byte
	}
	if len(diags) < 20 {
		t.Errorf("got %d diagnostics, want all of them", len(diags))
	}
}

// TestBundled: what a bundle has need not be there; everything else has to.
func TestBundled(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "extensions.hcl")
	const text = `talos { version = "v1.13.9" }
extension "a" { tarball = "a-*.tar" }
extension "b" { oci_layout = "b" }
extension "c" { path = "c" }
image "x" {
  extensions = [extension.a, extension.b, extension.c]
  output "iso" {}
}
`
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for bundled, want := range map[bool]int{false: 3, true: 1} {
		p, diags := Load(name, Options{Bundled: bundled})
		if len(diags) != want || !strings.Contains(diags[len(diags)-1].Detail, filepath.ToSlash(filepath.Join(dir, "c"))) {
			t.Errorf("bundled %v: %v", bundled, diags)
		}
		if bundled && p.Extensions[0].For("amd64").Tarball != filepath.Join(dir, "a-*.tar") {
			t.Errorf("tarball %q", p.Extensions[0].For("amd64").Tarball)
		}
	}
	// What is there is taken as ever.
	if err := os.WriteFile(filepath.Join(dir, "a-1.tar"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if p, _ := Load(name, Options{Bundled: true}); p.Extensions[0].For("amd64").Tarball != filepath.Join(dir, "a-1.tar") {
		t.Errorf("tarball %q", p.Extensions[0].For("amd64").Tarball)
	}
}
