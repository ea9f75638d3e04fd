package extension

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/talosmith/talosmith/pkg/tree"
)

// testdata/extensions.yaml is what the official imager 1.13.9 wrote for five extensions, one with kernel modules.
func TestExtensionsYAML(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("testdata/extensions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	list, err := ParseExtensionsYAML(want)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 6 || list[1].Metadata.Version != "20260101.0" {
		t.Errorf("%+v", list)
	}
	last := Layer{ModulesDepImage, ModulesDepManifest("6.12.107+deb13-amd64").Metadata}
	if d := cmp.Diff(last, list[5]); d != "" {
		t.Error(d)
	}
	got, err := WriteExtensionsYAML(list)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Error(d)
	}
}

func TestExtensionsYAMLExtraInfo(t *testing.T) {
	t.Parallel()
	got, err := WriteExtensionsYAML([]Layer{{"5.sqsh", Metadata{Name: "schematic", Version: "abc", ExtraInfo: "customization: {}\n",
		Compatibility: Compatibility{Constraint{">= 1.0.0"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	want := `layers:
    - image: 5.sqsh
      metadata:
        name: schematic
        version: abc
        author: ""
        description: ""
        compatibility:
            talos:
                version: '>= 1.0.0'
        extraInfo: |
            customization: {}
`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
}

func TestExtensionsYAMLRefusals(t *testing.T) {
	t.Parallel()
	if _, err := WriteExtensionsYAML(make([]Layer, maxLayers+1)); err == nil {
		t.Error("too many layers are written")
	}
	for name, file := range map[string]string{
		"too many layers": "layers:\n" + strings.Repeat("- {image: x}\n", maxLayers+1),
		"wrong type":      "layers: {}",
		"no YAML":         "\t",
		"too long":        strings.Repeat("#", maxManifest+1),
		"bomb":            bomb,
	} {
		if l, err := ParseExtensionsYAML([]byte(file)); err == nil || !strings.HasPrefix(err.Error(), "read extensions.yaml: ") {
			t.Errorf("%s: %d layers, %v", name, len(l), err)
		}
	}
	if l, err := ParseExtensionsYAML(nil); l != nil || err != nil {
		t.Errorf("an empty file has no layers: %v, %v", l, err)
	}
}

// bomb would be 9^8 layers.
var bomb = func() string {
	s := "a0: &a0 {image: x}\n"
	for i := range 8 {
		n := string(rune('0' + i))
		m := string(rune('1' + i))
		s += "a" + m + ": &a" + m + " [" + strings.Repeat("*a"+n+",", 9) + "]\n"
	}
	return s + "layers: *a8\n"
}()

const manifest = `version: v1alpha1
metadata:
  name: tool
  version: 1.0
  author: me
  description: |
    [core] text
  compatibility:
    talos:
      version: ">= v1.5.0"
  later: {unknown: [keys, are, ignored]}
`

func TestParseManifest(t *testing.T) {
	t.Parallel()
	want := Manifest{"v1alpha1", Metadata{"tool", "1.0", "me", "[core] text\n", Compatibility{Constraint{">= v1.5.0"}}, ""}}
	got, err := ParseManifest([]byte(manifest + "---\nversion: second documents are not read\n"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	written, err := WriteManifest(got)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ParseManifest(written); err != nil || again != want {
		t.Errorf("written and read: %+v, %v", again, err)
	}
	for name, tt := range map[string]struct{ file, want string }{
		"empty":        {"", "extension manifest is missing"},
		"comment":      {"# nothing\n", "extension manifest is missing"},
		"other format": {"version: v1beta1", `unsupported manifest version "v1beta1": write version: v1alpha1`},
		"no format":    {"metadata: {name: x}", `unsupported manifest version ""`},
		"list":         {"version: v1alpha1\nmetadata: [x]", "read manifest.yaml: yaml: "},
		"map":          {"version: v1alpha1\nmetadata: {name: {}}", "read manifest.yaml: yaml: "},
		"twice":        {"version: v1alpha1\nversion: v1alpha1", "read manifest.yaml: yaml: "},
		"too long":     {strings.Repeat(" ", maxManifest+1), "4194305 bytes, the limit is 4194304"},
	} {
		if _, err := ParseManifest([]byte(tt.file)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add(manifest)
	f.Add("version: v1alpha1\nmetadata: &a {name: x, <<: *a}")
	f.Add("version: !!binary djFhbHBoYTE=\nmetadata: {extraInfo: \"\\e\\0\"}")
	f.Add("? {a: b}\n: c")
	f.Fuzz(func(t *testing.T, file string) {
		m, err := ParseManifest([]byte(file))
		if err != nil {
			return
		}
		m.Metadata.satisfied("1.13.9") // must not panic
		list := []Layer{{"0.sqsh", m.Metadata}}
		b, err := WriteExtensionsYAML(list)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseExtensionsYAML(b)
		if err != nil {
			t.Fatalf("%v\n%q", err, b)
		}
		if d := cmp.Diff(list, back); d != "" {
			t.Error(d)
		}
	})
}

func TestLoad(t *testing.T) {
	t.Parallel()
	good := []tree.Node{file("manifest.yaml", manifest), file("rootfs/usr/local/bin/tool", "x")}
	e, err := Load(newTree(t, good...))
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := e.Root.Lookup("usr/local/bin/tool"); !ok || n.Size() != 1 || e.Manifest.Metadata.Name != "tool" {
		t.Errorf("%+v, %v", n, ok)
	}
	for name, tt := range map[string]struct {
		nodes []tree.Node
		want  []string
	}{
		"nothing":     {nil, []string{"extension manifest is missing", "extension rootfs is missing"}},
		"no manifest": {good[1:], []string{"extension manifest is missing"}},
		"no rootfs":   {good[:1], []string{"extension rootfs is missing"}},
		"more":        {append([]tree.Node{file("README", ""), dir("etc", 0o755)}, good...), []string{`unexpected file "README"`, `unexpected file "etc"`}},
		"rootfs file": {[]tree.Node{good[0], file("rootfs", "")}, []string{"extension rootfs is missing"}},
		"rootfs link": {[]tree.Node{good[0], link("rootfs", "/")}, []string{"extension rootfs is missing"}},
		"directory":   {[]tree.Node{dir("manifest.yaml", 0o755), good[1]}, []string{"extension manifest is missing"}},
		"link":        {[]tree.Node{link("manifest.yaml", "rootfs/x"), good[1]}, []string{"extension manifest is missing"}},
		"bad version": {[]tree.Node{file("manifest.yaml", "version: 7"), good[1]}, []string{`unsupported manifest version "7"`}},
		"too long": {[]tree.Node{{Path: "manifest.yaml", Content: tree.Zeros(maxManifest + 1)}, good[1]},
			[]string{"read manifest.yaml: 4194305 bytes, the limit is 4194304"}},
	} {
		_, err := Load(newTree(t, tt.nodes...))
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
}
