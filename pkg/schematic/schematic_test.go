package schematic

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/siderolabs/talos/pkg/machinery/imager/imageropts"
)

// ids of testdata/vectors: full, overlay-extensions and vga were computed with the Factory's encoder; the others stand in the Factory's own tests
// (pkg/schematic/schematic_test.go, internal/profile/profile_test.go).
var ids = map[string]string{
	"embedded-config":    "02f29f9a702fceec4fc2e2e51314d63710fc1b192ebb1629ac12301949d49c8c",
	"empty":              "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba",
	"extensions":         "6ba13d510dcc57f233b9b498d34a3c919c1abdd5675b46ad53cf4f2e66362f82",
	"full":               "b8946dd1826a3f80e6eaccb1542c26ec5a68dcdd26c5e4a7f044fcc49316d6fe",
	"kernel-args":        "9cba8e32753f91a16c1837ab8abf356af021706ef284aef07380780177d9a06c",
	"meta":               "d308a2a5ee2277bed5fbaa104fcbc8d59122abfa737df987a95b4ca763459a7f",
	"old-names":          "42c5a897579913a97ad7edc56c0d858bc4dd8639951e02b084edbb2e190a7898",
	"overlay":            "ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9",
	"overlay-extensions": "1da25204d18e6db95cb65ce2e38424b2ad94b2519a53aef34e45f07cc73ca5e8",
	"sector-size":        "92833e9ddd9bb9e11b2464fa5525429f01866306d52ebd882ee08d7918f6d1ea",
	"secureboot":         "fa8e05f142a851d3ee568eb0a8e5841eaf6b0ebc8df9a63df16ac5ed2c04f3e6",
	"vga":                "eea1f9534c46d95c4715a2f13d17eacb927c13a42ef087c79b22c3bd0c49d073",
}

// TestVectors reads canonical files, writes them as they were, and knows their IDs.
func TestVectors(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/vectors/*.yaml")
	if err != nil || len(names) != len(ids) {
		t.Fatalf("%v: %d vectors, %d IDs", err, len(names), len(ids))
	}
	for _, name := range names {
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		s := parse(t, string(file))
		encoded, err := s.Encode()
		if err != nil || string(encoded) != string(file) {
			t.Errorf("%s: %v\n%s", name, err, encoded)
		}
		id, err := s.ID()
		if want := ids[strings.TrimSuffix(filepath.Base(name), ".yaml")]; err != nil || id != want {
			t.Errorf("%s: %v, ID %s, want %s", name, err, id, want)
		}
	}
}

// TestForms: what says the same has the same ID, as in the Factory's tests.
func TestForms(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		`{}`:                "empty",
		`~`:                 "empty",
		`customization: {}`: "empty",
		`{"overlay": {"options": {}}, "customization": {"extraKernelArgs": [], "bootloader": "none"}}`:                              "empty",
		"{\n\t\"customization\": {\"extraKernelArgs\": [\"noapic\", \"nolapic\"], \"systemExtensions\": {}}\n}":                     "kernel-args",
		`{"customization": {"meta": [{"key": 0xa, "value": "foo"}], "extraKernelArgs": []}}`:                                        "meta",
		`{"overlay": {"name": "rpi_generic", "image": "siderolabs/sbc-raspberrypi"}}`:                                               "overlay",
		`overlay: {<<: {name: rpi_generic}, image: siderolabs/sbc-raspberrypi}`:                                                     "overlay",
		"customization:\n  extraKernelArgs: [ &a noapic, nolapic ]\n# the Factory takes anchors\noverlay: {}\n":                     "kernel-args",
		`{"customization":{"secureboot": {"includeWellKnownCertificates": yes, "enrollKeys": ""}, "diskImage": {"sectorSize": 0}}}`: "secureboot",
	} {
		id, err := parse(t, file).ID()
		if err != nil || id != ids[want] {
			t.Errorf("%s: %v, ID %s, want that of %s", file, err, id, want)
		}
	}
}

func parse(t *testing.T, file string) *Schematic {
	t.Helper()
	s, err := Parse([]byte(file))
	if err != nil {
		t.Fatalf("%s\n%v", file, err)
	}
	return s
}

// TestEncoding pins how the encoder writes strings that it could write in several ways, and those that other versions of it write otherwise.
func TestEncoding(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"a b":               "a b",
		"{}":                "'{}'",
		"a: b":              "'a: b'",
		"a #b":              "'a #b'",
		"it's":              "it's",
		"- x":               "'- x'",
		"'":                 "''''",
		"null":              `"null"`,
		"true":              `"true"`,
		"12":                `"12"`,
		"0x1f":              `"0x1f"`,
		"1e3":               `"1e3"`,
		"2026-01-01":        `"2026-01-01"`,
		"on":                `"on"`, // rc.6: 'on'
		"No":                `"No"`,
		"12:30:45":          `"12:30:45"`,
		"<<":                `"<<"`,
		" x ":               "' x '",
		"tab\tin":           `"tab\tin"`,
		"\x00é\u0085\ufeff": `"\0é\N\uFEFF"`,
		"😀":                 `"\U0001F600"`,
		"\xff":              "!!binary /w==",
		"a\nb":              "|-\n        a\n        b",
		"a\n":               "|\n        a",
		"a\n\n":             "|+\n        a\n",
		"a \nb":             `"a \nb"`, // rc.7: a literal block
		" a\nb":             "|4-\n         a\n        b",
		"\ta\nb":            "|-\n        \ta\n        b",  // rc.7: |4-
		"\n a\nb":           "|-\n\n         a\n        b", // rc.7: |4-
		"a\r\nb":            `"a\r\nb"`,
	} {
		b, err := (&Schematic{Customization: Customization{EmbeddedMachineConfiguration: value}}).Encode()
		if want = "customization:\n    embeddedMachineConfiguration: " + want + "\n"; err != nil || string(b) != want {
			t.Errorf("%q: %v\n%swant\n%s", value, err, b, want)
		}
	}
	options := map[string]any{"b10": 1, "b9": 1.5, "b": []any{}, "B": nil, "a": map[any]any{"x": true, 2: uint64(1 << 63)}, "c": []any{[]any{1}, map[string]any{"k": 1e21}}}
	b, err := (&Schematic{Overlay: Overlay{Options: options}}).Encode()
	want := `overlay:
    image: ""
    name: ""
    options:
        B: null
        a:
            2: 9223372036854775808
            x: true
        b: []
        b9: 1.5
        b10: 1
        c:
            - - 1
            - k: 1e+21
customization: {}
`
	if err != nil || string(b) != want {
		t.Errorf("%v\n%s", err, b)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"":                  "read schematic: it says nothing",
		"# nothing":         "it says nothing",
		"module x":          "read schematic: line 1: want keys with values (key: value) at the top",
		"\n- a":             "line 2: want keys",
		"[]":                "line 1: want keys with values",
		"customisation: {}": `line 1: unknown key "customisation": did you mean "customization"?`,
		"customization:\n  extensions: [a]\n  kernelArgs: [b]": "line 2: unknown key \"extensions\": did you mean \"systemExtensions\"?\n" +
			`line 3: unknown key "kernelArgs": did you mean "extraKernelArgs"?`,
		"customization:\n  meta:\n    - {key: 1, vlue: x}":            `line 3: unknown key "vlue": did you mean "value"?`,
		"customization:\n  meta:\n    - key: 256\n      value: {}":    "line 3: cannot construct !!int `256` into uint8\nline 4: cannot construct !!map into string",
		"customization:\n  extraKernelArgs: x":                        "line 2: cannot construct !!str `x` into []string",
		"customization: {}\ncustomization: {}":                        `line 2: mapping key "customization" already defined at line 1`,
		"overlay:\n  options:\n    a: 1\n    a: 2":                    `line 4: mapping key "a" already defined at line 3`,
		"overlay: {<<: {nme: x}}":                                     "field nme not found",
		"customization: {bootloader: auto}":                           `line 1: there is no boot loader "auto": must be one of dual-boot, sd-boot, grub, none`,
		"customization: {bootloader: ''}":                             "there is no boot loader",
		"customization: {diskImage: {sectorSize: -1}}":                "line 1: cannot construct !!int `-1` into uint",
		"customization: {}\n---\ncustomization: {}":                   "a second document begins here",
		"customization: {}\n--- [":                                    "did not find expected",
		"customization: [":                                            "line 1",
		"a: &a [*a]":                                                  `unknown key "a"`,
		"overlay: {options: {a: &a [*a]}}":                            "contains itself",
		strings.Repeat("#", limits.Bytes+1):                           "4194305 bytes, the limit is 4194304",
		"overlay: {options: {" + strings.Repeat("a: 1,", 1001) + "}}": "a mapping with 1001 keys, the limit is 1000",
		"overlay: {options: {a: " + strings.Repeat("[", 20000):        "exceeded max depth",
	} {
		_, err := Parse([]byte(file))
		if len(file) > 100 {
			file = file[:100] + "…"
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, want %q", file, err, want)
		}
	}
}

// TestBootloader compares with upstream's type.
func TestBootloader(t *testing.T) {
	t.Parallel()
	for _, text := range append(imageropts.BootloaderKindStrings(), "SD-Boot", "NONE", "auto", "", " grub") {
		var theirs imageropts.BootloaderKind
		var ours Bootloader
		theirErr, err := theirs.UnmarshalText([]byte(text)), ours.UnmarshalText([]byte(text))
		want := Bootloader(theirs.String())
		if theirs == imageropts.BootLoaderKindNone {
			want = ""
		}
		if (err == nil) != (theirErr == nil) || err == nil && ours != want {
			t.Errorf("%q: %q, %v; upstream %v, %v", text, ours, err, theirs, theirErr)
		}
	}
}

// FuzzParse: whatever a schematic holds, reading it ends; what is read has an encoding, which says the same where it can be read at all: the
// Factory's encoder writes some blocks that its parser refuses.
func FuzzParse(f *testing.F) {
	names, err := filepath.Glob("testdata/vectors/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		file, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	f.Add([]byte(`{"overlay": {"name": "x", "options": {"a": [1, 1.5, null, {"2": true}]}}, "customization": {"bootloader": "GRUB"}}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		s, err := Parse(file)
		if err != nil {
			return
		}
		encoded, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(encoded)
		if err != nil {
			return
		}
		if twice, err := again.Encode(); err != nil || string(twice) != string(encoded) {
			t.Errorf("%v\n%s\n%s", err, encoded, twice)
		}
	})
}
