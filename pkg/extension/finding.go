package extension

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity of a finding.
type Severity string

const (
	// Error: the image would not do what the profile says.
	Error Severity = "error"
	// Warning: it may be meant so.
	Warning Severity = "warning"
)

// Finding is something wrong with an extension.
type Finding struct {
	Severity Severity
	// Code is short and stays the same: it can be looked up, and allowed.
	Code string
	// Path in the root file system, without leading slash; empty where there is none.
	Path string
	// Summary says what is wrong, Detail why that matters and what to do.
	Summary, Detail string
}

// String returns the finding on one line.
func (f Finding) String() string {
	f.Detail = ""
	return string(f.Severity) + " " + f.Code + ": " + f.Text()
}

// Text returns what the finding says, in full.
func (f Finding) Text() string {
	s := f.Summary
	if f.Path != "" {
		s = fmt.Sprintf("%q: %s", "/"+f.Path, s)
	}
	if f.Detail != "" {
		s += "; " + f.Detail
	}
	return s
}

// Codes of findings.
const (
	CodeManifest        = "manifest"         // name or version missing
	CodeTalosVersion    = "talos-version"    // the manifest excludes this Talos version
	CodeConstraint      = "constraint"       // the manifest's range of versions can't be read
	CodePath            = "path"             // a file where extensions may have none
	CodeWorldWritable   = "world-writable"   // anybody may write
	CodeSpecialFile     = "special-file"     // device, pipe or socket
	CodeSetuid          = "setuid"           // setuid or setgid
	CodeFileSize        = "file-size"        // 4 GiB or more
	CodeLinkEscapes     = "link-escapes"     // more ".." than directories
	CodeLinkDangling    = "link-dangling"    // nothing at the end of a link
	CodeFirmwareLink    = "firmware-link"    // a link in the firmware directory that can't be copied
	CodeServiceSyntax   = "service-syntax"   // not readable
	CodeServiceKey      = "service-key"      // a key that Talos ignores
	CodeServiceName     = "service-name"     // no valid name, or one that is taken
	CodeServiceValue    = "service-value"    // a value that is not allowed
	CodeServiceDepends  = "service-depends"  // not exactly one kind of dependency
	CodeServiceMissing  = "service-missing"  // no container root, or no entrypoint in it
	CodeServiceIgnored  = "service-ignored"  // a file that Talos doesn't look at
	CodeConflict        = "conflict"         // two extensions have different files at one path
	CodeAcceptedOverlap = "accepted-overlap" // … and upstream knows of it
)

// findings collects; the same finding about more than a few paths is summed up by whoever adds it.
type findings []Finding

func (f *findings) add(s Severity, code, path, detail, format string, args ...any) {
	*f = append(*f, Finding{s, code, path, fmt.Sprintf(format, args...), detail})
}

// sorted returns the findings by path, then code.
func (f findings) sorted() []Finding {
	slices.SortStableFunc(f, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Code, b.Code), strings.Compare(a.Summary, b.Summary))
	})
	return f
}
