package preflight

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/talosmith/talosmith/pkg/extension"
)

// Codes of findings, besides those of package extension.
const (
	CodeUnusable        = "unusable"         // an extension of which no layer can be made
	CodeMachine         = "machine"          // an extension for another architecture
	CodeELFMachine      = "elf-machine"      // a program for another architecture
	CodeELFDamaged      = "elf-damaged"      // headers that can't be read
	CodeInterpreter     = "interpreter"      // the loader of a program, or what runs a script, isn't there
	CodeLibrary         = "library"          // a library isn't there
	CodeMount           = "service-mount"    // nothing is where a mount comes from
	CodeKernelRelease   = "kernel-release"   // modules for another kernel
	CodeVermagic        = "vermagic"         // a module that was built with other options
	CodeModule          = "module"           // a module that can't be read
	CodeModuleSymbol    = "module-symbol"    // a symbol that nothing exports, or of another type
	CodeModuleDepends   = "module-depends"   // a module needs one that isn't there
	CodeModuleSignature = "module-signature" // not signed, or by another key
	CodeModuleBuiltin   = "module-builtin"   // the kernel has it built in
	CodeModuleDuplicate = "module-duplicate" // a module of the same name is elsewhere
	CodeSize            = "size"             // a partition is too small, or nearly
	CodeMemory          = "memory"           // small machines can't unpack it
	CodeArgument        = "argument"         // a kernel argument that does nothing
	CodeCmdline         = "cmdline"          // the kernel command line can't be composed
	CodeOverride        = "override"         // nothing is overridden
)

// stopping are what an official image can be wrong in so that the machine would not start, or its image not be made. Anything else in a
// digest-pinned image of the catalogue is a warning: upstream has built and tried it. This is the only place that tells the two apart.
var stopping = []string{CodeUnusable, CodeMachine, CodeKernelRelease, CodeModule}

// Subject is what of a profile a finding is about.
type Subject int

const (
	OfImage Subject = iota
	OfExtension
	OfArgument
	OfOverride
)

// Finding is something that would not work.
type Finding struct {
	extension.Finding
	// Of and Index tell which extension, kernel argument or override of the image it is about.
	Of    Subject
	Index int

	// other is the second extension, where two are in each other's way.
	other    int
	conflict bool
}

// maxAlike is how many findings of one kind about one subject are told; the rest is counted.
const maxAlike = 10

// judged gives findings their severity and order.
func (t Target) judged(all []Finding) []Finding {
	for i, f := range all {
		if f.Of == OfExtension && t.Extensions[f.Index].Official && (!f.conflict || t.Extensions[f.other].Official) && !slices.Contains(stopping, f.Code) {
			all[i].Severity = extension.Warning
		}
	}
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Of, b.Of), cmp.Compare(a.Index, b.Index), cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Code, b.Code),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Summary, b.Summary))
	})
	return few(all)
}

// few keeps the first of each kind, and counts the others.
func few(all []Finding) (told []Finding) {
	for len(all) > 0 {
		n := 1
		for n < len(all) && alike(all[0], all[n]) {
			n++
		}
		told = append(told, all[:min(n, maxAlike)]...)
		if n > maxAlike {
			more := Finding{Of: all[0].Of, Index: all[0].Index}
			more.Severity, more.Code, more.Summary = all[0].Severity, all[0].Code, fmt.Sprintf("%d more of this kind", n-maxAlike)
			told = append(told, more)
		}
		all = all[n:]
	}
	return told
}

func alike(a, b Finding) bool {
	return a.Of == b.Of && a.Index == b.Index && a.Severity == b.Severity && a.Code == b.Code
}
