package talos

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// overlaysFile is in the form of upstream's, which `yq` writes: github.com/siderolabs/overlays, internal/overlays.
var overlaysFile = "overlays:\n" +
	"  - name: rpi_generic\n    image: ghcr.io/siderolabs/sbc-raspberrypi:v0.2.1\n    digest: " + digestA + "\n" +
	"  - name: nanopi-r4s\n    image: ghcr.io/siderolabs/sbc-rockchip:v0.3.0\n    digest: " + digestB + "\n" +
	"  - name: rock4cplus\n    image: registry.corp:5000/siderolabs/sbc-rockchip:v0.3.0\n    digest: " + digestB + "\n    since: later\n"

func TestOverlays(t *testing.T) {
	t.Parallel()
	c, err := ParseOverlays([]byte(overlaysFile))
	if err != nil {
		t.Fatal(err)
	}
	want := []OverlayEntry{
		{"nanopi-r4s", Entry{Name: "siderolabs/sbc-rockchip", Tag: "v0.3.0", Digest: digestB}},
		{"rock4cplus", Entry{Name: "siderolabs/sbc-rockchip", Tag: "v0.3.0", Digest: digestB}},
		{"rpi_generic", Entry{Name: "siderolabs/sbc-raspberrypi", Tag: "v0.2.1", Digest: digestA}},
	}
	if d := cmp.Diff(want, c.All()); d != "" {
		t.Error(d)
	}
	if e, ok := c.Find("rpi_generic"); !ok || e.Image() != "sbc-raspberrypi" {
		t.Errorf("found %+v, %v", e, ok)
	}
	if e, ok := c.Find("rpi"); ok {
		t.Errorf("found %+v", e)
	}
	for ask, first := range map[string]string{"rpi-generic": "rpi_generic", "rpi": "rpi_generic", "nanopi_r4s": "nanopi-r4s"} {
		if got := c.Nearest(ask, 3); len(got) == 0 || got[0] != first {
			t.Errorf("nearest to %q: %q", ask, got)
		}
	}
}

func TestOverlaysRefusals(t *testing.T) {
	t.Parallel()
	one := func(name, image, digest string) string {
		return fmt.Sprintf("overlays:\n- {name: %q, image: %q, digest: %q}\n", name, image, digest)
	}
	many := func(n int) string {
		var b bytes.Buffer
		b.WriteString("overlays:\n")
		for i := range n {
			fmt.Fprintf(&b, "- {name: b%d, image: 'h/s/x:1', digest: '%s'}\n", i, digestA)
		}
		return b.String()
	}
	const image = "ghcr.io/siderolabs/sbc-x:v1"
	for name, tt := range map[string]struct{ file, want string }{
		"nothing":    {"", "0 overlays: want 1 to 1000 in a list \"overlays\""},
		"no list":    {"{}", "0 overlays"},
		"another":    {"overlays: rpi", "overlays.yaml: "},
		"no YAML":    {"overlays: [", "overlays.yaml: "},
		"no digest":  {"overlays:\n- {name: a, image: " + image + "}\n", "overlay 1: \"\" is no digest"},
		"no tag":     {one("a", "ghcr.io/siderolabs/sbc-x", digestA), "has no tag"},
		"no name":    {one("", image, digestA), "\"\" is no name of an overlay"},
		"leaves":     {one("../a", image, digestA), "\"../a\" is no name of an overlay"},
		"hidden":     {one(".a", image, digestA), "is no name of an overlay"},
		"long":       {one(strings.Repeat("a", 101), image, digestA), "is no name of an overlay"},
		"twice":      {one("a", image, digestA) + "- {name: a, image: '" + image + "', digest: '" + digestB + "'}\n", "overlay 2: a is overlay 1 already"},
		"too many":   {many(maxOverlays + 1), "1001 overlays"},
		"too long":   {strings.Repeat("#", MaxCatalogueFile+1), "the limit is"},
		"many wrong": {strings.ReplaceAll(many(20), "h/s", "h/S"), "overlay 10: "},
	} {
		if _, err := ParseOverlays([]byte(tt.file)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if _, err := ParseOverlays([]byte(many(maxOverlays))); err != nil {
		t.Errorf("as many as there may be: %v", err)
	}
}

func FuzzParseOverlays(f *testing.F) {
	f.Add(overlaysFile)
	f.Add("overlays: &a [*a]\n")
	f.Add("overlays:\n- {name: 1, image: 2, digest: 3}\n- null\n- []\n")
	f.Add("? overlays\n: - !!binary x\n<<: *a")
	f.Fuzz(func(t *testing.T, file string) {
		c, err := ParseOverlays([]byte(file))
		if err != nil {
			return
		}
		for _, e := range c.All() {
			if found, ok := c.Find(e.Board); !ok || found != e {
				t.Errorf("%+v isn't found by its name", e)
			}
			if strings.ContainsAny(e.Board+e.Image(), "/\\ \n") || e.Image() == ".." {
				t.Errorf("%+v can't be part of a path", e)
			}
		}
	})
}
