package docstest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/talos"
)

// TestDisks compares the table of disks with what is built.
func TestDisks(t *testing.T) {
	t.Parallel()
	all := pages(t)
	text := all[slices.IndexFunc(all, func(p page) bool { return p.name == "docs/disks.md" })].text
	rows := map[string]string{} // by platform
	for line := range strings.Lines(text) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 {
			continue
		}
		for name := range strings.SplitSeq(cells[1], ",") {
			name, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(name), "`"), "`")
			rows[name] = strings.Join(cells[2:5], "|")
		}
	}
	for _, name := range talos.Platforms() {
		version := "v1.13.9"
		if name == "alibabacloud" {
			version = "v1.14.0"
		}
		v, err := talos.ParseVersion(version)
		if err != nil {
			t.Fatal(err)
		}
		f, err := talos.For(v, name, talos.AMD64)
		if err != nil {
			t.Fatal(err)
		}
		d := f.Platform.Disk
		want := fmt.Sprintf(" `%s` | `%s` | %d MiB ", d.Format, d.Compression, f.DiskSize(f.Bootloader(talos.KindDisk))/talos.MiB)
		if rows[name] != want {
			t.Errorf("docs/disks.md: %s: %q, want %q", name, rows[name], want)
		}
	}
}
