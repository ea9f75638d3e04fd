package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/internal/sandbox/sandboxtest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/imager"
)

// TestSameBytes makes everything once more: in another folder, with nothing in the cache, another umask, time zone, locale, number of
// processors and folder for temporary files, by a registry on another port, later.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	b := build(t)
	release := sandboxtest.Open(t)
	dir := t.TempDir()
	top := repository(t)
	if err := os.CopyFS(filepath.Join(dir, "examples"), os.DirFS(filepath.Join(top, "examples"))); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "extensions.hcl"), string(read(t, filepath.Join(top, "extensions.hcl"))))
	motd := filepath.Join(dir, "examples/motd/rootfs/usr/local/share/motd")
	if err := os.Chmod(filepath.Join(motd, "motd"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(motd, time.Time{}, time.Unix(12345, 0)); err != nil {
		t.Fatal(err)
	}
	run{
		dir: dir, mask: "0077", args: []string{"all", "cmdline", "kernel", "initramfs", "uki"},
		env: map[string]string{
			"TALOSMITH_CACHE": filepath.Join(dir, "cache"), "TALOSMITH_MIRRORS": release.Mirror(),
			"TZ": "Asia/Kathmandu", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "GOMAXPROCS": "1", "NO_COLOR": "1",
		},
	}.must(t)
	m, err := imager.ReadManifest(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	compareManifests(t, b.manifest, m)
	for _, name := range list(t, filepath.Join(dir, "out")) {
		if mode := stat(t, filepath.Join(dir, "out", name)).Mode(); mode != 0o644 {
			t.Errorf("%s has the mode %v", name, mode)
		}
	}
}

// compareManifests compares all that manifests say but when the files were written.
func compareManifests(t *testing.T, a, b *imager.Manifest) {
	t.Helper()
	var texts [2][]byte
	for i, m := range []*imager.Manifest{a, b} {
		m := imager.Manifest{Tool: m.Tool, Artefacts: slices.Clone(m.Artefacts)}
		for j := range m.Artefacts {
			m.Artefacts[j].Modified = time.Time{}
		}
		var err error
		if texts[i], err = json.MarshalIndent(m, "", " "); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(texts[0], texts[1]) {
		t.Errorf("%s\n\nthen\n\n%s", texts[0], texts[1])
	}
}

// TestSourceDateEpoch makes the same twice with a time of its own, and looks for that time, and none later, in what was made.
func TestSourceDateEpoch(t *testing.T) {
	t.Parallel()
	release := sandboxtest.Open(t)
	const epoch = "1600000000" // before the stand-in's files
	at := time.Unix(1600000000, 0).UTC()
	var made [2]map[string]string
	var out string
	for i := range made {
		dir := t.TempDir()
		small(t, dir, "x")
		out = filepath.Join(dir, "out")
		run{dir: dir, args: []string{"all"}, env: map[string]string{
			"TALOSMITH_CACHE": filepath.Join(dir, "cache"), "TALOSMITH_MIRRORS": release.Mirror(), "SOURCE_DATE_EPOCH": epoch, "GOMAXPROCS": []string{"1", "4"}[i],
		}}.must(t)
		made[i] = sums(t, out)
	}
	if !maps.Equal(made[0], made[1]) || len(made[0]) != len(smallFiles) {
		t.Errorf("%v\n\nthen\n\n%v", made[0], made[1])
	}
	image := read(t, filepath.Join(out, "small-amd64-initramfs.xz"))
	for _, layer := range []string{"0.sqsh", "1.sqsh", "2.sqsh", "modules.dep.sqsh"} {
		file := member(t, image, layer)
		if got := stat(t, file).ModTime(); !got.Equal(at) {
			t.Errorf("%s has the time %v", layer, got.UTC())
		}
		for line := range strings.Lines(tooltest.Run(t, "unsquashfs", "-lln", "-UTC", file)) {
			fields := strings.Fields(line)
			if len(fields) < 6 {
				continue
			}
			if when, err := time.Parse("2006-01-02 15:04", fields[3]+" "+fields[4]); err != nil || when.After(at) {
				t.Errorf("%s: %v: %s", layer, err, line)
			}
		}
	}
	iso := filepath.Join(out, "small-amd64.iso")
	said := tooltest.Run(t, "xorriso", "-indev", iso, "-pvd_info", "-find", "/", "-exec", "lsdl", "--")
	for _, want := range []string{"Creation Time: 2020091312264000", "Modif. Time  : 2020091312264000"} {
		if !strings.Contains(said, want) {
			t.Errorf("xorriso does not say %q:\n%s", want, said)
		}
	}
	for line := range strings.Lines(said) {
		if regexp.MustCompile(`^[a-z-]{10} `).MatchString(line) && !strings.Contains(line, "Sep 13  2020") && !strings.Contains(line, "boot.catalog") {
			t.Errorf("xorriso says %s", line)
		}
	}
	for line := range strings.Lines(tooltest.Run(t, "mdir", "-/", "-a", "-i", fmt.Sprintf("%s@@%d", iso, partition(t, iso, espType).Start*512), "::")) {
		if fields := strings.Fields(line); slices.Contains(fields, "<DIR>") && !strings.Contains(line, "2020-09-13") {
			t.Errorf("mdir says %s", line)
		}
	}
}
