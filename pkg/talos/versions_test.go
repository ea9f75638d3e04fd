package talos

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// versionsPage is what users read of the facts.
const versionsPage = "../../docs/versions.md"

const versionsHead = `# Talos versions

Every release from 1.5 on can be built, and its pre-releases: a pre-release counts as its release. A version newer than the newest known is
an error, unless the profile says ` + "`talos { allow_unknown = true }`" + `: then it gets the rules of the newest.

What differs between versions, by the code of Talos itself; written from the facts that builds use (package ` + "`pkg/talos`" + `), which a test
compares with upstream's module up to 1.13. What is said of 1.14 is what upstream's main branch says.

`

// versionRows are what differs, with what it is in a version.
var versionRows = []struct {
	name string
	of   func(amd64, arm64 Facts) string
}{
	{"boot loader on amd64", func(f, _ Facts) string { return "`" + string(f.Bootloader(KindDisk)) + "`" }},
	{"boot loader on arm64", func(_, f Facts) string { return "`" + string(f.Bootloader(KindDisk)) + "`" }},
	{"others that can be chosen (amd64)", func(f, _ Facts) string {
		var others []string
		for _, b := range Bootloaders() {
			if b != f.Bootloader(KindDisk) && f.CheckBootloader(b) == nil {
				others = append(others, "`"+string(b)+"`")
			}
		}
		return strings.Join(others, ", ")
	}},
	{"layers and firmware compressed with", func(f, _ Facts) string { return string(f.Compression) }},
	{"modules and firmware in", func(f, _ Facts) string { return "/" + f.LibDir }},
	{"installer made on", func(f, _ Facts) string { return "`" + f.InstallerBase + "`" }},
	{"installer brings", func(f, _ Facts) string {
		var parts []string
		for _, p := range f.InstallerFiles() {
			parts = append(parts, string(p.Part))
		}
		return strings.Join(parts, ", ")
	}},
	{"reset entry in the UKI", func(f, _ Facts) string { return yes(f.UKIProfiles) }},
	{"volume of an ISO", func(f, _ Facts) string { id, _ := f.ISOVolume(); return "`" + id + "`" }},
	{"BOOT", func(f, _ Facts) string { return fmt.Sprintf("%d MiB", f.BootSize/MiB) }},
	{"disk of metal, amd64", func(f, _ Facts) string { return fmt.Sprintf("%d MiB", f.DiskSize(f.Bootloader(KindDisk))/MiB) }},
	{"STATE, EPHEMERAL on it", func(f, _ Facts) string { return yes(f.DataPartitions) }},
	{"overlays", func(f, _ Facts) string { return yes(f.Overlays) }},
	{"image cache", func(f, _ Facts) string { return yes(f.ImageCache) }},
	{"embedded configuration", func(f, _ Facts) string { return yes(f.EmbeddedConfig) }},
	{"long META values compressed", func(f, _ Facts) string { return yes(f.MetaGzip) }},
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// TestVersionsPage writes docs/versions.md, or compares it: go test ./pkg/talos -run TestVersionsPage -update
func TestVersionsPage(t *testing.T) {
	t.Parallel()
	var minors []uint64
	for m := oldest.Minor; m <= newest.Minor; m++ {
		minors = append(minors, m)
	}
	line := func(name string, cells []string) string {
		return "| " + name + " | " + strings.Join(cells, " | ") + " |\n"
	}
	page := versionsHead
	table := func(rows map[string][]string, order []string) {
		var head []string
		for _, m := range minors {
			head = append(head, fmt.Sprintf("1.%d", m))
		}
		page += line("", head) + "|" + strings.Repeat("---|", len(head)+1) + "\n"
		for _, name := range order {
			page += line(name, rows[name])
		}
	}
	rows, order := map[string][]string{}, []string{}
	for _, r := range versionRows {
		order = append(order, r.name)
		for _, m := range minors {
			at := func(patch uint64) string {
				version := Version{1, m, patch, ""}.String()
				return r.of(mustFor(t, version, "metal", AMD64), mustFor(t, version, "metal", ARM64))
			}
			cell := at(0)
			for p := uint64(1); p <= 20; p++ {
				if later := at(p); later != cell && !strings.HasPrefix(later, "`TALOS_") {
					cell = strings.TrimSpace(fmt.Sprintf("%s since 1.%d.%d", later, m, p))
					break
				}
			}
			rows[r.name] = append(rows[r.name], cell)
		}
	}
	table(rows, order)

	page += "\nThe kernel arguments of a metal disk for amd64 (an ISO has `talos.halt_if_installed=1`, too, since 1.8):\n\n"
	rows, order = map[string][]string{}, nil
	for i, m := range minors {
		c, err := mustFor(t, Version{1, m, 0, ""}.String(), "metal", AMD64).Cmdline(CmdlineInput{Kind: KindDisk})
		if err != nil {
			t.Fatal(err)
		}
		at := 0 // where the next argument belongs
		for _, a := range c.Args {
			name := "`" + a.String() + "`"
			if k := slices.Index(order, name); k >= 0 {
				at = k + 1
			} else {
				order = slices.Insert(order, at, name)
				rows[name] = make([]string, len(minors))
				at++
			}
			rows[name][i] = "yes"
		}
	}
	table(rows, order)

	if *update {
		if err := os.WriteFile(versionsPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(versionsPage)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(page, "\n")); d != "" {
		t.Errorf("docs/versions.md differs (-update writes it): %s", d)
	}
}
