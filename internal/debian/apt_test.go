package debian

import (
	"slices"
	"testing"
)

func TestParseTargets(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{"Packages main bookworm http://mirror.example/debian/\nDEP-11 main bookworm http://mirror.example/debian/\n" +
			"Packages main bookworm-security http://mirror.example/debian-security/\n", []string{"http://mirror.example/debian/"}},
		{"Packages main bookworm http://vendor.example/\nPackages stable bookworm http://docker.example/\n" +
			"Packages main bookworm mirror+file:/etc/apt/mirrors/debian.list\nPackages main bookworm-updates mirror+file:/etc/apt/mirrors/debian.list\n",
			[]string{"mirror+file:/etc/apt/mirrors/debian.list", "http://vendor.example/"}},
	} {
		if got := parseTargets([]byte(c.text)); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

func TestParseStanzas(t *testing.T) {
	got := parseStanzas([]byte("Package: kmod\nVersion: 34.2-2\nDepends: libc6 (>= 2.38), debconf (>= 0.5) | debconf-2.0, python3:any\nSize: 12\n\nPackage: kmod\nVersion: 1\n"))
	p := got["kmod"]
	if len(got) != 1 || p.Version != "34.2-2" || p.Size != 12 || !slices.Equal(p.Depends, []string{"libc6", "debconf", "python3"}) {
		t.Errorf("%+v", got)
	}
}
