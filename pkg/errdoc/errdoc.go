// Package errdoc says where docs/errors.md tells more about an error. Every class of errors has a section there, whose anchor is the class:
// the code of a finding, the class of a diagnostic's summary, the class of what a registry did.
package errdoc

import (
	"maps"
	"slices"
	"strings"
)

// Page is docs/errors.md where everybody can read it.
const Page = "https://github.com/talosmith/talosmith/blob/main/docs/errors.md"

// Link is where a class is explained.
func Link(class string) string { return Page + "#" + class }

// summaries of diagnostics that have a class of their own, or one that their first word does not give.
var summaries = map[string]string{
	"Attribute not allowed":             "not-allowed",
	"Bad Talos version":                 "unknown-talos-version",
	"Bad environment variable":          "bad-variable",
	"Bad extension":                     "extension-not-found",
	"Bad file path":                     "bad-path",
	"Bad kernel argument":               "bad-kernel-argument",
	"Bad path":                          "bad-path",
	"Bad size":                          "bad-size",
	"Bad tag":                           "bad-tag",
	"Bad value":                         "wrong-type",
	"Catalogue of extensions not found": "talos-release-not-found",
	"Catalogue of overlays not found":   "talos-release-not-found",
	"Circular reference":                "circle",
	"Extension not found":               "extension-not-found",
	"Image cache not found":             "unreadable-file",
	"Image without outputs":             "missing",
	"Incomplete reference":              "unknown-name",
	"Inheritance cycle":                 "circle",
	"Installer base not found":          "talos-release-not-found",
	"Invalid value of a variable":       "bad-variable",
	"Kernel argument without effect":    "argument",
	"Kernel command line":               "cmdline",
	"Label not allowed":                 "not-allowed",
	"Missing attribute":                 "missing",
	"Missing block":                     "missing",
	"Missing label":                     "missing",
	"Missing source":                    "missing",
	"More mistakes":                     "too-much",
	"Much memory":                       "memory",
	"Nearly too large":                  "size",
	"No image":                          "missing",
	"No profile":                        "no-profile",
	"No such output":                    "no-such-output",
	"No such target":                    "no-such-output",
	"Not a schematic":                   "not-a-schematic",
	"Not possible":                      "not-possible",
	"Overlay not allowed to run":        "overlay-run",
	"Overlay not found":                 "overlay-not-found",
	"Overlay not runnable here":         "overlay-here",
	"Override without a conflict":       "override",
	"Renamed extension":                 "renamed-extension",
	"Same output file":                  "same-output",
	"Same tag":                          "same-output",
	"Several sources":                   "not-allowed",
	"Talos release not found":           "talos-release-not-found",
	"Too large":                         "size",
	"Unknown Talos version":             "unknown-talos-version",
	"Unknown extension":                 "unknown-extension",
	"Unknown overlay":                   "overlay-not-found",
	"Unreadable file":                   "unreadable-file",
	"Unwritable file":                   "unreadable-file",
	"Variable without a value":          "bad-variable",
	"Wrong type":                        "wrong-type",
}

// firstWords of summaries give the class of all others; but for "Missing", with which many of HCL's begin.
var firstWords = map[string]string{
	"Bad": "bad-value", "Duplicate": "duplicate", "Repeated": "duplicate", "Too": "too-much", "Unknown": "unknown-name",
}

// CheckPrefix begins the summary of a diagnostic about a finding, before its code.
const CheckPrefix = "Extension check: "

// Classes that summaries have which are made up.
const (
	Syntax   = "syntax"             // what the parser of HCL says, and its functions
	Findings = "extension-findings" // several findings about an extension, each with its code
)

// Classes are all that [Class] can return but codes of findings.
func Classes() []string {
	all := slices.AppendSeq([]string{Syntax, Findings}, maps.Values(summaries))
	all = slices.AppendSeq(all, maps.Values(firstWords))
	slices.Sort(all)
	return slices.Compact(all)
}

// Class returns the class of a diagnostic's summary.
func Class(summary string) string {
	if code, ok := strings.CutPrefix(summary, CheckPrefix); ok {
		return code
	}
	summary, _, _ = strings.Cut(summary, " (") // architectures
	if class, ok := summaries[summary]; ok {
		return class
	}
	if strings.HasPrefix(summary, "Extension ") {
		return Findings
	}
	first, _, _ := strings.Cut(summary, " ")
	if class, ok := firstWords[first]; ok {
		return class
	}
	return Syntax
}
