package grub

import (
	"fmt"
	"strings"
)

// Entry is one of a boot menu: a Linux kernel.
type Entry struct {
	Title          string
	Kernel, Initrd string // absolute paths on the device from which grub.cfg comes
	Cmdline        string
}

// ISOConfig is the grub.cfg of Talos's ISOs; the first entry is the default.
func ISOConfig(entries ...Entry) ([]byte, error) {
	return config("set default=0\n", "\t", "\n", entries)
}

// DiskConfig is the grub.cfg of Talos's disks. The form matters: Talos reads it back when it upgrades.
func DiskConfig(entries ...Entry) ([]byte, error) {
	if len(entries) == 0 {
		return nil, fmt.Errorf("write grub.cfg: there is no boot entry")
	}
	return config(fmt.Sprintf("set default=\"%s\"\n\n", entries[0].Title), "  ", "", entries)
}

// config writes a grub.cfg with what goes before its lines, into its entries and between them.
func config(first, indent, between string, entries []Entry) ([]byte, error) {
	var b strings.Builder
	b.WriteString(first + "set timeout=3\n\ninsmod all_video\n\nterminal_input console\nterminal_output console\n\n")
	for i, e := range entries {
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("write grub.cfg: %w", err)
		}
		if i > 0 {
			b.WriteString(between)
		}
		fmt.Fprintf(&b, "menuentry \"%s\" {\n", e.Title)
		for _, line := range []string{
			"set gfxmode=auto", "set gfxpayload=text", "linux " + e.Kernel + " " + Quote(e.Cmdline), "initrd " + e.Initrd,
		} {
			b.WriteString(indent + line + "\n")
		}
		b.WriteString("}\n")
	}
	return []byte(b.String()), nil
}

// check refuses what would end a line, a word or a string early.
func (e Entry) check() error {
	for _, c := range []struct{ field, text, refused string }{
		{"title", e.Title, "\"\\$"},
		{"kernel", e.Kernel, special + " '#"},
		{"initrd", e.Initrd, special + " '#"},
		{"command line", e.Cmdline, ""},
	} {
		if i := strings.IndexFunc(c.text, func(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune(c.refused, r) }); i >= 0 {
			return fmt.Errorf("boot entry %q: %s %q: character %q is not possible", e.Title, c.field, c.text, c.text[i:i+1])
		}
	}
	return nil
}

// special are the characters with a meaning in GRUB's scripts that upstream takes care of.
const special = `\{}&$|;<>"`

// Quote makes GRUB take a command line as it is written. Quotation marks ' and # are left alone, as upstream leaves them.
func Quote(cmdline string) string {
	var b strings.Builder
	for _, r := range cmdline {
		if strings.ContainsRune(special, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
