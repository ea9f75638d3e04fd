package inspect

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/talosmith/talosmith/pkg/gpt"
)

// WriteText writes the report for people: aligned, and no longer than it must be.
func (r *Report) WriteText(w io.Writer) error {
	t := newTable(w)
	kind := r.Kind
	if len(r.Packed) > 0 {
		kind += " in " + strings.Join(r.Packed, ", ")
	}
	t.field("kind", kind+", "+Bytes(r.Size))
	t.field("Talos", r.Talos)
	t.field("architecture", r.Architecture)
	t.field("platform", r.Platform)
	t.field("kernel", r.Kernel)
	t.field("command line", r.Cmdline)
	t.field("boot loaders", r.loaders())
	if v := r.Volume; v != nil {
		t.field("volume", v.ID)
	}
	if c := r.Configuration; c != nil {
		t.field("configuration", fmt.Sprintf("embedded, %s, sha256:%s", Bytes(c.Size), c.SHA256))
	}
	if s := r.Schematic; s != nil {
		t.field("schematic", s.ID)
	}
	if i := r.Initramfs; i != nil {
		t.field("initramfs", fmt.Sprintf("%s, %s", Bytes(i.Size), countOf(len(i.Segments), "segment")))
	}
	for _, m := range r.Modules {
		t.field("modules", fmt.Sprintf("%d of %s, listed by layer %s", m.Count, m.Release, m.Layer))
	}
	for _, m := range r.Microcode {
		t.field("microcode", fmt.Sprintf("%s, %s", m.Path, Bytes(m.Size)))
	}
	if f := r.Firmware; f != nil {
		t.field("firmware", fmt.Sprintf("%s, %s", countOf(f.Files, "file"), Bytes(f.Size)))
	}
	if i := r.Image; i != nil {
		t.field("image", i.Manifest)
		if i.Overlay {
			t.field("overlay", "with an installer for a single-board computer")
		}
	}
	r.tables(t)
	return t.flush()
}

// program are the sections of systemd-stub's own code.
var program = []string{".text", ".rodata", ".data", ".reloc", ".sdmagic"}

func (r *Report) loaders() string {
	var all []string
	for _, l := range r.Loaders {
		text := l.Name
		if l.Version != "" {
			text += " " + l.Version
		}
		text += " (" + strings.ToUpper(l.Firmware)
		if l.Signed {
			text += ", signed"
		}
		all = append(all, text+")")
	}
	return strings.Join(all, ", ")
}

func (r *Report) tables(t *table) {
	if len(r.Partitions) > 0 {
		title := "partitions"
		if d := r.Disk; d != nil && d.SectorSize != usualSector {
			title += fmt.Sprintf(", in sectors of %d bytes", d.SectorSize)
		}
		t.head(title, "LABEL", "TYPE", "FILE SYSTEM", "OFFSET", "SIZE")
		for _, p := range r.Partitions {
			t.row(p.Label, typeName(p.Type), p.FileSystem, Bytes(p.Offset), Bytes(p.Size))
		}
	}
	for _, u := range r.UKIs {
		signed := "not signed"
		if u.Signed {
			signed = "signed"
		}
		if u.PCRs {
			signed += ", with PCR signatures"
		}
		t.head(fmt.Sprintf("UKI %s, %s, %s", cmp.Or(strings.Join(u.Paths, " = "), "of this file"), Bytes(u.Size), signed), "SECTION", "PROFILE", "SIZE", "SHA256")
		for _, s := range u.Sections {
			if slices.Contains(program, s.Name) {
				continue
			}
			t.row(s.Name, s.Profile, Bytes(s.Size), s.SHA256[:min(12, len(s.SHA256))])
		}
	}
	if len(r.Entries) > 1 {
		t.head("boot menu", "LOADER", "ENTRY", "ADDS TO THE COMMAND LINE")
		for _, e := range r.Entries {
			t.row(e.Loader, cmp.Or(e.Title, e.ID), e.added(r.Cmdline))
		}
	}
	if len(r.Extensions) > 0 {
		t.head("extensions", "LAYER", "NAME", "VERSION", "TIER", "AUTHOR", "SIZE", "UNPACKED", "FILES")
		for _, e := range r.Extensions {
			t.row(e.Layer, e.Name, Shorten(e.Version), e.Tier, e.Author, Bytes(e.Size), Bytes(e.Unpacked), fmt.Sprint(e.Files))
		}
	}
	if len(r.Meta) > 0 {
		t.head("META", "KEY", "FROM", "VALUE")
		for _, m := range r.Meta {
			t.row(fmt.Sprintf("%d (%#x)", m.Key, m.Key), m.From, m.Value)
		}
	}
	if len(r.Keys) > 0 {
		t.head("SecureBoot keys", "FILE", "SIZE", "SHA256")
		for _, k := range r.Keys {
			t.row(k.Path, Bytes(k.Size), k.SHA256[:min(12, len(k.SHA256))])
		}
	}
	for _, list := range []struct {
		name  string
		lines []string
	}{{"notes", r.Notes}, {"PROBLEMS: this report is not complete", r.Problems}} {
		if len(list.lines) > 0 {
			t.head(list.name)
			for _, line := range list.lines {
				t.row(line)
			}
		}
	}
}

// added is what an entry's command line has more than the main one.
func (e Entry) added(main string) string {
	if rest, ok := strings.CutPrefix(e.Cmdline, main); ok {
		return strings.TrimSpace(rest)
	}
	return e.Cmdline
}

func typeName(t string) string {
	switch t {
	case gpt.TypeESP.String(), mbrESP:
		return "EFI system"
	case gpt.TypeBIOSBoot.String():
		return "BIOS boot"
	case gpt.TypeLinux.String(), "0x83":
		return "Linux"
	case gpt.TypeBasicData.String():
		return "basic data"
	}
	return t
}

// WriteText writes a file's line: layer, mode, owner, size, hash, path.
func (f File) WriteText(w io.Writer) error {
	link := ""
	if f.Link != "" {
		link = " -> " + printable(f.Link)
	}
	_, err := fmt.Fprintf(w, "%-20s %s %d:%d %10d %-12.12s %s%s\n", printable(f.Layer), f.Mode, f.UID, f.GID, f.Size, f.SHA256, printable(f.Path), link)
	return err
}

func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// table is aligned text. Everything that goes in is made printable.
type table struct {
	tw  *tabwriter.Writer
	err error
}

func newTable(w io.Writer) *table { return &table{tw: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)} }

func (t *table) print(cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	if _, err := fmt.Fprintln(t.tw, strings.TrimRight(strings.Join(cells, "\t"), "\t")); err != nil && t.err == nil {
		t.err = err
	}
}

// field is a line of the summary; none where there is nothing to tell.
func (t *table) field(name, value string) {
	if value != "" {
		t.print(name, value)
	}
}

// head begins a table with a title.
func (t *table) head(title string, columns ...string) {
	t.print()
	t.print(title)
	if len(columns) > 0 {
		t.row(columns...)
	}
}

func (t *table) row(cells ...string) { t.print(append([]string{"  " + cells[0]}, cells[1:]...)...) }

func (t *table) flush() error {
	if err := t.tw.Flush(); err != nil {
		return err
	}
	return t.err
}

// Bytes is a number of bytes for people.
func Bytes(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n)/unit, 0
	for value >= unit && prefix < 4 {
		value /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[prefix])
}
