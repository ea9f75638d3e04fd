package profile

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/errdoc"
	"github.com/talosmith/talosmith/pkg/talos"
)

// WriteDiagnostics prints diagnostics with source snippets from files ([Profile.Files]), each with the address of what is to be known of its
// class. A width of 0 doesn't wrap lines.
func WriteDiagnostics(w io.Writer, files map[string]*hcl.File, diags hcl.Diagnostics, width uint, color bool) error {
	var linked hcl.Diagnostics
	for _, d := range diags {
		more := *d
		if d.Subject != nil && d.Subject.Filename == "" { // of what no file has
			more.Subject = nil
		}
		more.Detail = strings.TrimRight(d.Detail, "\n") + "\n" + errdoc.Link(errdoc.Class(d.Summary))
		linked = append(linked, &more)
	}
	return hcl.NewDiagnosticTextWriter(w, files, width, color).WriteDiagnostics(linked)
}

// maxDiagnostics are reported at most. Nobody reads more, and printing each takes time in proportion to its file.
const maxDiagnostics = 100

// diagnostics collects what is wrong with a profile.
type diagnostics struct{ all hcl.Diagnostics }

// full says that there is no use in looking for more.
func (d *diagnostics) full() bool { return len(d.all) > 2*maxDiagnostics }

// add reports a mistake. Summary is the class of the mistake; the detail names the value and says what to do.
func (d *diagnostics) add(at hcl.Range, summary, detail string, args ...any) {
	d.all = append(d.all, &hcl.Diagnostic{
		Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(detail, args...), Subject: at.Ptr(),
	})
}

// remedies are what HCL's own diagnostics lack, by their summary.
var remedies = map[string]string{
	"Call to unknown function":   "docs/profile.md lists all of them; none depends on time or chance.",
	"Invalid type specification": "A type is string, number, bool, any, list(…), set(…), map(…), object({…}) or tuple([…]).",
}

// addForeign reports what HCL found.
func (d *diagnostics) addForeign(diags hcl.Diagnostics) {
	for _, diag := range diags {
		if remedy := remedies[diag.Summary]; remedy != "" && !strings.Contains(diag.Detail, "Did you mean") {
			more := *diag
			more.Detail += " " + remedy
			diag = &more
		}
		d.all = append(d.all, diag)
	}
}

func (d *diagnostics) warn(at hcl.Range, summary, detail string, args ...any) {
	d.add(at, summary, detail, args...)
	d.all[len(d.all)-1].Severity = hcl.DiagWarning
}

// sorted returns the diagnostics in the order of the source, each once: a loop reports the same mistake in each round.
func (d *diagnostics) sorted() hcl.Diagnostics {
	order := func(a, b *hcl.Diagnostic) int {
		if a.Subject == nil || b.Subject == nil {
			return cmp.Compare(btoi(a.Subject != nil), btoi(b.Subject != nil))
		}
		return cmp.Or(strings.Compare(a.Subject.Filename, b.Subject.Filename), cmp.Compare(a.Subject.Start.Byte, b.Subject.Start.Byte))
	}
	slices.SortStableFunc(d.all, order)
	var once hcl.Diagnostics
	seen := map[string]bool{}
	for _, diag := range d.all {
		key := diag.Summary + "\x00" + diag.Detail
		if diag.Subject != nil {
			key += "\x00" + diag.Subject.String()
		}
		if seen[key] {
			continue
		}
		if len(once) == maxDiagnostics {
			rest := diagnostics{once}
			rest.addAbsent("More mistakes", "There are more; they are shown when these are corrected.")
			return rest.all
		}
		seen[key] = true
		once = append(once, diag)
	}
	return once
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// didYouMean completes a sentence about an unknown name: the nearest names, else all of them.
func didYouMean(name string, known []string) string {
	const most = 1000 // a comparison takes time in proportion to both lengths
	if near := talos.Nearest(name, known[:min(len(known), most)], 3); len(near) > 0 {
		return "Did you mean " + list(near, "or") + "?"
	}
	switch len(known) {
	case 0:
		return "There are none."
	case 1:
		return fmt.Sprintf("The only one is %q.", known[0])
	}
	return "Use one of " + list(known, "and") + "."
}

// list writes names as a sentence does.
func list(names []string, and string) string {
	const most = 20
	quoted := make([]string, 0, len(names))
	for _, n := range names[:min(len(names), most)] {
		quoted = append(quoted, quote(n))
	}
	if len(names) > most {
		quoted = append(quoted, "…")
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " " + and + " " + quoted[len(quoted)-1]
}

// place says where something else stands.
func place(r hcl.Range) string { return fmt.Sprintf("%s:%d", r.Filename, r.Start.Line) }
