package imager

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/preflight"
	"github.com/talosmith/talosmith/pkg/profile"
	"github.com/talosmith/talosmith/pkg/talos"
)

// said is a diagnostic and the architectures that it is about.
type said struct {
	hcl.Diagnostic
	image *profile.Image
	archs []string
}

// diagnose says what was found where the profile says it: each thing once, in the order of the source.
func diagnose(targets []checked) hcl.Diagnostics {
	var all []said
	archs := map[*profile.Image]int{} // that were looked at
	for _, t := range targets {
		archs[t.Image]++
		for _, d := range t.diagnostics() {
			same := slices.IndexFunc(all, func(s said) bool { return s.image == t.Image && equal(s.Diagnostic, d) })
			if same < 0 {
				all = append(all, said{d, t.Image, nil})
				same = len(all) - 1
			}
			all[same].archs = append(all[same].archs, t.Arch)
		}
	}
	for _, t := range targets {
		if n := archs[t.Image]; n > 0 {
			for _, d := range argumentDiagnostics(t.Image, targets) {
				all = append(all, said{d, t.Image, make([]string, n)})
			}
			for i, s := range all {
				if s.image == t.Image && len(s.archs) < n {
					all[i].Summary += " (" + strings.Join(s.archs, ", ") + ")"
				}
			}
			archs[t.Image] = 0
		}
	}
	var diags hcl.Diagnostics
	for _, s := range all {
		if !slices.ContainsFunc(diags, func(have *hcl.Diagnostic) bool { return equal(*have, s.Diagnostic) }) { // what several images inherit
			diags = append(diags, &s.Diagnostic)
		}
	}
	return diags
}

// inOrder sorts diagnostics by the source, and drops what is said already.
func inOrder(diags hcl.Diagnostics) hcl.Diagnostics {
	slices.SortStableFunc(diags, func(a, b *hcl.Diagnostic) int {
		return cmp.Or(strings.Compare(rangeOf(a).Filename, rangeOf(b).Filename), cmp.Compare(rangeOf(a).Start.Byte, rangeOf(b).Start.Byte), cmp.Compare(a.Severity, b.Severity))
	})
	return slices.CompactFunc(diags, func(a, b *hcl.Diagnostic) bool { return equal(*a, *b) })
}

func rangeOf(d *hcl.Diagnostic) hcl.Range {
	if d.Subject == nil {
		return hcl.Range{}
	}
	return *d.Subject
}

func equal(a, b hcl.Diagnostic) bool {
	return a.Severity == b.Severity && a.Summary == b.Summary && a.Detail == b.Detail && rangeOf(&a) == rangeOf(&b)
}

// diagnostics are those of a target: one for each extension and severity, one for each of the others.
func (c *checked) diagnostics() (all []hcl.Diagnostic) {
	for rest := c.found; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[0].Of == preflight.OfExtension && rest[n].Of == rest[0].Of && rest[n].Index == rest[0].Index && rest[n].Severity == rest[0].Severity {
			n++
		}
		all = append(all, c.diagnostic(rest[:n]))
		rest = rest[n:]
	}
	return all
}

func (c *checked) diagnostic(found []preflight.Finding) hcl.Diagnostic {
	f := found[0]
	switch f.Of {
	case preflight.OfExtension:
		e := c.Target.Extensions[f.Index]
		return diagnostic(f, e.Range, fmt.Sprintf("Extension %s: %s", e.Name, counted(len(found), f.Severity)), listed(found))
	case preflight.OfOverride:
		return diagnostic(f, c.Image.Override[f.Index].Range, "Override without a conflict", "/"+f.Path+": "+sentence(f.Finding))
	}
	return diagnostic(f, c.Image.Range, map[string]string{preflight.CodeMemory: "Much memory"}[f.Code], sentence(f.Finding))
}

// argumentDiagnostics are about the kernel arguments of an image, for all of its architectures.
func argumentDiagnostics(img *profile.Image, targets []checked) (all []hcl.Diagnostic) {
	a := preflight.Arguments{}
	for _, t := range targets {
		if t.Image == img {
			if img.Overlay != nil && t.overlay == nil { // whose arguments nobody has asked for
				return nil
			}
			a.Overlay = t.overlayArgs()
			a.Facts = append(a.Facts, t.Facts)
		}
	}
	for _, t := range img.KernelArgs {
		a.Args = append(a.Args, t.Value)
	}
	for _, o := range img.Outputs {
		a.Kinds = append(a.Kinds, o.Kind)
	}
	if len(a.Kinds) == 0 {
		a.Kinds = []talos.Kind{talos.KindUKI}
	}
	for _, f := range preflight.CheckArgs(a) {
		at, summary := img.At("kernel_args"), "Kernel command line"
		if f.Code == preflight.CodeArgument {
			at, summary = img.KernelArgs[f.Index].Range, "Kernel argument without effect"
		}
		all = append(all, diagnostic(f, at, summary, sentence(f.Finding)))
	}
	return all
}

func diagnostic(f preflight.Finding, at hcl.Range, summary, detail string) hcl.Diagnostic {
	d := hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: summary, Detail: detail}
	if f.Severity == extension.Error {
		d.Severity = hcl.DiagError
	}
	if summary == "" {
		d.Summary = "Too large"
		if f.Severity == extension.Warning {
			d.Summary = "Nearly too large"
		}
	}
	if at.Filename != "" {
		d.Subject = &at
	}
	return d
}

func counted(n int, s extension.Severity) string {
	if n == 1 {
		return fmt.Sprintf("1 %s", s)
	}
	return fmt.Sprintf("%d %ss", n, s)
}

// sentence is what is wrong, and what to do.
func sentence(f extension.Finding) string {
	text := capital(f.Summary)
	if f.Detail != "" {
		text += ". " + capital(f.Detail)
	}
	if strings.HasSuffix(text, "?") {
		return text
	}
	return text + "."
}

func capital(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 || strings.ContainsAny(strings.SplitN(s, " ", 2)[0], "./=_-") { // the name of something
		return s
	}
	return strings.ToUpper(string(r)) + s[n:]
}

// listed writes findings of one subject: each kind with what to do once, and below it a line for each path.
func listed(found []preflight.Finding) string {
	var b strings.Builder
	for len(found) > 0 {
		n, width := 1, 0
		for n < len(found) && found[n].Code == found[0].Code && (found[n].Detail == found[0].Detail || found[n].Path+found[n].Detail == "") {
			n++
		}
		const widest = 60
		for _, f := range found[:n] {
			if l := len(f.Path) + 1; l > width && l <= widest && f.Path != "" {
				width = l
			}
		}
		b.WriteString(found[0].Code)
		if found[0].Detail != "" {
			b.WriteString(": " + found[0].Detail)
		}
		b.WriteString("\n")
		for _, f := range found[:n] {
			if f.Path == "" {
				fmt.Fprintf(&b, "  %s\n", f.Summary)
			} else {
				fmt.Fprintf(&b, "  %-*s  %s\n", width, "/"+f.Path, f.Summary)
			}
		}
		found = found[n:]
	}
	return strings.TrimSuffix(b.String(), "\n")
}
