package migrate

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/schematic"
	"github.com/talosmith/talosmith/pkg/talos"
)

var update = flag.Bool("update", false, "write the golden files anew")

// load reads what was written, in a folder where its paths lead somewhere.
func load(t testing.TB, dir string, text []byte) *profile.Profile {
	t.Helper()
	name := filepath.Join(dir, "extensions.hcl")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	p, diags := profile.Load(name, profile.Options{})
	if len(diags) > 0 {
		t.Fatalf("%v\n%s", diags, text)
	}
	if changed, _, diags := profile.Format(name, true); len(changed) > 0 || len(diags) > 0 {
		t.Errorf("not in the canonical style, %v\n%s", diags, text)
	}
	return p
}

// roundTrip imports a schematic, and returns what is written with the ID of what it says.
func roundTrip(t testing.TB, dir string, s *schematic.Schematic, o Options) (text, id string) {
	t.Helper()
	written, err := Schematic(s, o)
	if err != nil {
		t.Fatal(err)
	}
	p := load(t, dir, written)
	again, unsaid := schematic.Of(p, p.Images[0])
	if p.Talos.EmbedSchematic == (len(unsaid) > 0) {
		t.Errorf("embed_schematic = %v, unsaid %v\n%s", p.Talos.EmbedSchematic, unsaid, written)
	}
	id, err = again.ID()
	if err != nil {
		t.Fatal(err)
	}
	return string(written), id
}

// tells says whether a profile says which ID it has now, if it is another one.
func tells(text, before, now string) bool {
	if before == now {
		return strings.Contains(text, "gives the ID above") && !strings.Contains(text, "No equivalent")
	}
	return strings.Contains(text, "gives another ID, "+now)
}

// TestVectors: every schematic gives its own ID again, but for what the page says has no equivalent.
func TestVectors(t *testing.T) {
	t.Parallel()
	changed := map[string]string{
		"secureboot":         "No equivalent: secureboot.",
		"full":               "No equivalent: secureboot.",
		"overlay-extensions": `No equivalent: image "ghcr.io/siderolabs/sbc-raspberrypi:v0.1.0".`,
	}
	names, err := filepath.Glob("../schematic/testdata/vectors/*.yaml")
	if err != nil || len(names) < 10 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := schematic.Parse(file)
		if err != nil {
			t.Fatal(err)
		}
		before, err := s.ID()
		if err != nil {
			t.Fatal(err)
		}
		text, now := roundTrip(t, t.TempDir(), s, Options{})
		lost, isLost := changed[strings.TrimSuffix(filepath.Base(name), ".yaml")]
		if (before == now) == isLost || isLost && !strings.Contains(text, lost) || !tells(text, before, now) {
			t.Errorf("%s: ID %s, then %s\n%s", name, before, now, text)
		}
	}
}

// TestGolden compares what is written of files in testdata with what was before, and loads it.
func TestGolden(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(names) < 5 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var o Options
		if first, _, _ := strings.Cut(string(file), "\n"); strings.HasPrefix(first, "# ") {
			if _, err := fmt.Sscanf(first, "# -talos=%s", &o.Talos); err != nil {
				t.Fatal(name, err)
			}
		}
		got, err := File(file, o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		golden := strings.TrimSuffix(name, ".yaml") + ".hcl"
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(golden); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
		dir := t.TempDir()
		for _, path := range []string{"cache", "overlay"} {
			if err := os.Mkdir(filepath.Join(dir, path), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, path := range []string{"kernel", "ext.tar"} {
			if err := os.WriteFile(filepath.Join(dir, path), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p := load(t, dir, got)
		if config := p.Images[0].EmbeddedConfig; config != "" && !strings.Contains(string(file), strings.ReplaceAll(strings.TrimSuffix(config, "\n"), "\n", "\n    ")) && strings.Contains(name, "imager") {
			t.Errorf("%s: the machine configuration has become %q", name, config)
		}
	}
}

// TestRefuses: what is neither a schematic nor a profile of the imager.
func TestRefuses(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"":            "it says nothing",
		"[]":          "want keys with values",
		"a: b":        `line 1: unknown key "a"`,
		"arch: amd64": `output.kind: there is no output ""`,
		"arch: amd64\noutput: {kind: image, size: 5}":   `line 2: unknown key "size"`,
		"baseProfileName: mettal":                       `there is no base profile "mettal"`,
		"arch: riscv\noutput: {kind: iso}":              `unknown architecture "riscv"`,
		"platform: mettal\noutput: {kind: iso}":         `unknown platform "mettal": did you mean "metal"?`,
		"version: 1.99.0\noutput: {kind: iso}":          "v1.99.0",
		"version: x\noutput: {kind: iso}":               "x",
		"customization: {}\nx: [":                       "line 2",
		"arch: amd64\narch: arm64\noutput: {kind: iso}": "already defined at line 1",
		"customization: {embeddedMachineConfiguration: \"version: v1alpha1\\n" + strings.Repeat("#", 300<<10) + "\"}": "a profile has at most 262144",
	} {
		_, err := File([]byte(file), Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: %v, want %q", file, err, want)
		}
	}
	if _, err := File([]byte("{}"), Options{Talos: "v1.13.9", Platform: "alibabacloud"}); err == nil || !strings.Contains(err.Error(), "it came with v1.14.0") {
		t.Errorf("%v", err)
	}
}

// TestOptions: what is asked for wins.
func TestOptions(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"{}": "v1.12.0 aws [amd64]",
		"{arch: arm64, version: 1.13.9, platform: metal, output: {kind: disk}}": "",
		"{arch: arm64, version: 1.13.9, platform: metal, output: {kind: iso}}":  "v1.12.0 aws [arm64]",
	} {
		text, err := File([]byte(file), Options{Talos: "1.12.0", Platform: "aws"})
		if (err == nil) != (want != "") {
			t.Errorf("%s: %v", file, err)
		}
		if err != nil {
			continue
		}
		p := load(t, t.TempDir(), text)
		if got := fmt.Sprint(p.Talos.Version, " ", p.Images[0].Platform, " ", p.Images[0].Architectures); got != want {
			t.Errorf("%s: %s", file, got)
		}
	}
}

// FuzzSchematic: whatever a schematic says, what is written of it loads, and its schematic has the ID that the profile tells.
func FuzzSchematic(f *testing.F) {
	for _, pattern := range []string{"testdata/schematic-*.yaml", "../schematic/testdata/vectors/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			file, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(file, "v1.13.9")
		}
	}
	f.Add([]byte("customization:\n  extraKernelArgs: [\"a\"]\n  meta: [{key: 12, value: \"e\\u0301 ${x} $${y} %{ \\x00\\n\"}]\n"), "v1.6.0")
	f.Add([]byte("overlay: {name: rpi_5, options: {1: .inf, a: 1e15, b: 18446744073709551615, c: -0.0, d: {e: !!binary /w==}}}"), "v1.14.0")
	f.Fuzz(func(t *testing.T, file []byte, version string) {
		s, err := schematic.Parse(file)
		if err != nil {
			return
		}
		before, err := s.ID()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Schematic(s, Options{Talos: version}); err != nil {
			return // no such version, or too much
		}
		text, now := roundTrip(t, t.TempDir(), s, Options{Talos: version})
		if strings.Contains(text, "embed_schematic = true\n}") && !tells(text, before, now) {
			t.Errorf("ID %s, then %s\n%s", before, now, text)
		}
	})
}

// FuzzRoundTrip is FuzzSchematic with strings of any kind where a schematic has them.
func FuzzRoundTrip(f *testing.F) {
	f.Add("quiet", "network: ${x}\n", uint8(10), "machine: {}\n", "siderolabs/gvisor", "rpi_5", "configTxt", "a\n", 1.5, int64(3), "GRUB")
	f.Add("a b", "é%{", uint8(12), "# EOT\nEOT\n", "gvisor", "rock5b", "e\u0301", "\x00\x7f$${", 1e15, int64(-1<<63), "sd-boot")
	f.Add("", "\r\n", uint8(255), "a: |\n  $$$ { \t\n\n", "siderolabs/x y", "", "", "on", math.Copysign(0, -1), int64(0), "none")
	f.Fuzz(func(t *testing.T, arg, meta string, key uint8, config, extension, overlay, option, text string, number float64, n int64, loader string) {
		s := &schematic.Schematic{Overlay: schematic.Overlay{Name: overlay, Options: map[string]any{option: text, "list": []any{number, n, nil, map[string]any{option: true}}}}}
		if err := s.Customization.Bootloader.UnmarshalText([]byte(loader)); err != nil {
			return
		}
		s.Overlay.Image, _ = talos.OverlayImage(overlay)
		c := &s.Customization
		c.ExtraKernelArgs = []string{"quiet", arg}
		c.Meta = []schematic.MetaValue{{Key: key, Value: meta}, {Key: 15, Value: text}}
		c.EmbeddedMachineConfiguration = "version: v1alpha1\n" + config
		c.SystemExtensions.OfficialExtensions = []string{extension, "siderolabs/crun"}
		before, err := s.ID()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Schematic(s, Options{}); err != nil {
			return
		}
		text, now := roundTrip(t, t.TempDir(), s, Options{})
		if strings.Contains(text, "embed_schematic = true\n}") && !tells(text, before, now) {
			t.Errorf("ID %s, then %s\n%s", before, now, text)
		}
	})
}

// FuzzImager: whatever a profile of the imager says, what is written of it is HCL in the canonical style.
func FuzzImager(f *testing.F) {
	names, err := filepath.Glob("testdata/imager-*.yaml")
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
	f.Fuzz(func(t *testing.T, file []byte) {
		text, err := imagerProfile(file, Options{})
		if err != nil {
			return
		}
		name := filepath.Join(t.TempDir(), "extensions.hcl")
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		_, diags := profile.Load(name, profile.Options{})
		for _, d := range diags {
			if d.Summary != "Bad path" { // of the container that the imager runs in
				t.Errorf("%v\n%s", d, text)
			}
		}
		if changed, _, _ := profile.Format(name, true); len(changed) > 0 {
			t.Errorf("not in the canonical style\n%s", text)
		}
	})
}
