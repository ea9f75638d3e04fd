package talos

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	digestA = "sha256:" + strings.Repeat("a", 64)
	digestB = "sha256:" + strings.Repeat("b", 64)
)

func sample(t testing.TB) *Catalogue {
	t.Helper()
	digests := "# the catalogue of v1.13.9\n\n" +
		"  ghcr.io/siderolabs/i915:20260309-v1.13.9@" + digestB + "  \r\n" +
		"ghcr.io/siderolabs/gvisor:20260101.0@" + digestA + "\n" +
		"registry.corp:5000/siderolabs/iscsi-tools:v0.2.0@" + digestA + "\n" +
		"ghcr.io/siderolabs/nvidia-fabricmanager-lts:580.1@" + digestB
	descriptions := "ghcr.io/siderolabs/gvisor:20260101.0@" + digestA + ":\n" +
		"  author: Sidero Labs\n  more: [ignored]\n  description: |\n    [core] a sandbox\n    with two lines\n" +
		"ghcr.io/siderolabs/i915:20260309-v1.13.9@" + digestB + ":\n" +
		"  author: \"e\\evil\"\n  description: no tier\n"
	c, err := ParseCatalogue([]byte(digests), []byte(descriptions))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	c := sample(t)
	want := []Entry{
		{"siderolabs/gvisor", "20260101.0", digestA, "Sidero Labs", "[core] a sandbox\nwith two lines\n", "core"},
		{"siderolabs/i915", "20260309-v1.13.9", digestB, "e\uFFFDvil", "no tier", ""},
		{Name: "siderolabs/iscsi-tools", Tag: "v0.2.0", Digest: digestA},
		{Name: "siderolabs/nvidia-fabricmanager-lts", Tag: "580.1", Digest: digestB},
	}
	if d := cmp.Diff(want, c.All()); d != "" {
		t.Error(d)
	}
	if got := want[0].Image(); got != "gvisor" {
		t.Errorf("image %q", got)
	}
	for _, tt := range []struct{ ask, name, alias string }{
		{"siderolabs/gvisor", "siderolabs/gvisor", ""},
		{"siderolabs/i915-ucode", "siderolabs/i915", "siderolabs/i915-ucode"},
		{"siderolabs/nvidia-fabricmanager", "siderolabs/nvidia-fabricmanager-lts", "siderolabs/nvidia-fabricmanager"},
		{"siderolabs/amdgpu-firmware", "", ""}, // its new name isn't there either
		{"gvisor", "", ""},
		{"", "", ""},
	} {
		e, alias, ok := c.Find(tt.ask)
		if e.Name != tt.name || alias != tt.alias || ok != (tt.name != "") {
			t.Errorf("%q: %q, alias %q, %v", tt.ask, e.Name, alias, ok)
		}
	}
	for ask, first := range map[string]string{
		"gvisor": "siderolabs/gvisor", "siderolabs/gvizor": "siderolabs/gvisor", "iscsi": "siderolabs/iscsi-tools", "siderolabs/iscsi_tools": "siderolabs/iscsi-tools",
		"ghcr.io/siderolabs/i916": "siderolabs/i915",
	} {
		if got := c.Nearest(ask, 3); len(got) == 0 || got[0] != first {
			t.Errorf("nearest to %q: %q", ask, got)
		}
	}
	if got := c.Nearest("tailscale", 3); got != nil {
		t.Errorf("nearest to what is far: %q", got)
	}
}

func TestCatalogueRefusals(t *testing.T) {
	t.Parallel()
	many := func(n int) []byte {
		var b bytes.Buffer
		for i := range n {
			fmt.Fprintf(&b, "h/s/x%d:1@%s\n", i, digestA)
		}
		return b.Bytes()
	}
	for name, tt := range map[string]struct {
		digests, descriptions []byte
		want                  string
	}{
		"no tag":           {[]byte("ghcr.io:443/siderolabs/a@" + digestA), nil, "line 1: \"ghcr.io:443/siderolabs/a@"},
		"no host":          {[]byte("gvisor:1@" + digestA), nil, "is no repository"},
		"upper case":       {[]byte("h/GVISOR:1@" + digestA), nil, "is no repository"},
		"leaves":           {[]byte("h/../x:1@" + digestA), nil, "is no repository"},
		"bad tag":          {[]byte("\nh/s/x:a b@" + digestA), nil, "line 2: \"a b\" is no tag"},
		"bad digest":       {[]byte("h/s/x:1@sha256:12"), nil, "is no digest"},
		"twice":            {[]byte("h/s/x:1@" + digestA + "\nh/s/x:2@" + digestA), nil, "line 2: s/x is in line 1 already"},
		"too many":         {many(maxCatalogueEntries + 1), nil, "more than 10000 extensions"},
		"digests too long": {make([]byte, MaxCatalogueFile+1), nil, "the limit is"},
		"descr. too long":  {nil, make([]byte, MaxCatalogueFile+1), "the limit is"},
		"descr. no map":    {nil, []byte("- a"), "descriptions.yaml: "},
		"descr. type":      {nil, []byte("a: {author: [x]}"), "descriptions.yaml: "},
		"descr. bomb":      {nil, []byte("a: &a {author: x}\n" + strings.Repeat("b", 20000) + "? "), "descriptions.yaml: "},
	} {
		if _, err := ParseCatalogue(tt.digests, tt.descriptions); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if _, err := ParseCatalogue(many(maxCatalogueEntries), nil); err != nil {
		t.Errorf("as many as there may be: %v", err)
	}
}

func FuzzParseCatalogue(f *testing.F) {
	f.Add("ghcr.io/siderolabs/gvisor:1@"+digestA+"\n", "ghcr.io/siderolabs/gvisor:1@"+digestA+": {author: a, description: '[core] b'}")
	f.Add("a@b\n@\n/@:", "? ")
	f.Add("", "a: &a [*a]\nb: !!binary x\n<<: *a")
	f.Fuzz(func(t *testing.T, digests, descriptions string) {
		c, err := ParseCatalogue([]byte(digests), []byte(descriptions))
		if err != nil {
			return
		}
		for _, e := range c.All() {
			if found, _, ok := c.Find(e.Name); !ok || found != e {
				t.Errorf("%+v isn't found by its name", e)
			}
		}
	})
}
