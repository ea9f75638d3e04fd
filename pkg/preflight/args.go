package preflight

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/talosmith/talosmith/pkg/extension"
	"github.com/talosmith/talosmith/pkg/talos"
)

// Arguments are the kernel arguments that an image adds.
type Arguments struct {
	Args []string
	// Overlay are those that the image's overlay has.
	Overlay []string
	// Facts of each architecture, and Kinds of the image's outputs.
	Facts []talos.Facts
	Kinds []talos.Kind
}

// CheckArgs finds what does nothing among the kernel arguments of an image.
func CheckArgs(a Arguments) []Finding {
	if len(a.Args) == 0 || len(a.Facts) == 0 {
		return nil
	}
	var found []Finding
	add := func(i int, detail, format string, args ...any) {
		f := Finding{Of: OfArgument, Index: i}
		f.Severity, f.Code, f.Detail, f.Summary = extension.Warning, CodeArgument, detail, fmt.Sprintf(format, args...)
		found = append(found, f)
	}
	lines := a.lines(&found)
	for i, text := range a.Args {
		key, value, _ := strings.Cut(text, "=")
		if removed, ok := strings.CutPrefix(key, "-"); ok && removed != "" {
			if len(lines) > 0 && !slices.ContainsFunc(lines, func(l talos.Cmdline) bool { return !idle(l, i) }) {
				add(i, nearbyArgs(removed, value, lines), "%s removes nothing: it is not in the kernel command line", text)
			}
			continue
		}
		if why, remedy := a.Facts[0].Version.ArgIgnored(talos.Arg{Key: key, Value: value}); why != "" {
			add(i, remedy, "%s", why)
		}
		if key == sigEnforce && !truthy(value) && slices.ContainsFunc(lines, enforced) {
			add(i, "the kernel can be told to enforce signatures, not to stop: write \"-module.sig_enforce\" before", "%s does nothing beside module.sig_enforce=1", text)
		}
	}
	if why, detail := a.unreached(); why != "" {
		add(0, detail, "%s", why)
	}
	return found
}

// lines composes the command line of each output that has one; who asked for an argument is its number. What is wrong with one is reported.
func (a Arguments) lines(found *[]Finding) (all []talos.Cmdline) {
	var extra []talos.ExtraArg
	for i, text := range a.Args {
		extra = append(extra, talos.ExtraArg{Value: text, Origin: strconv.Itoa(i)})
	}
	for _, f := range a.Facts {
		for _, kind := range a.Kinds {
			if !carries(kind) {
				continue
			}
			l, err := f.Cmdline(talos.CmdlineInput{Kind: kind, Overlay: a.Overlay, Extra: extra})
			if err != nil {
				one := Finding{Of: OfArgument}
				one.Severity, one.Code, one.Summary = extension.Error, CodeCmdline, err.Error()
				if !slices.Contains(*found, one) {
					*found = append(*found, one)
				}
				continue
			}
			all = append(all, l)
		}
	}
	return all
}

// carries tells whether an output has a kernel command line.
func carries(k talos.Kind) bool { return k != talos.KindKernel && k != talos.KindInitramfs }

// idle tells whether the removal with a number found nothing.
func idle(l talos.Cmdline, arg int) bool {
	return slices.ContainsFunc(l.Idle, func(i talos.Arg) bool { return i.Origin == strconv.Itoa(arg) })
}

// nearbyArgs says what is there that could have been meant.
func nearbyArgs(key, value string, lines []talos.Cmdline) string {
	var keys []string
	for _, a := range lines[0].Args {
		if a.Key == key {
			return fmt.Sprintf("it has %s", a)
		}
		keys = append(keys, a.Key)
	}
	if near := talos.Nearest(key, keys, 1); len(near) > 0 {
		if value != "" {
			value = "=" + value
		}
		return fmt.Sprintf("did you mean -%s%s?", near[0], value)
	}
	return "leave it out"
}

// unreached says which outputs the arguments can't reach.
func (a Arguments) unreached() (why, detail string) {
	f := a.Facts[0]
	onAMD64 := slices.ContainsFunc(a.Facts, func(f talos.Facts) bool { return f.Arch == talos.AMD64 })
	const machineConfig = "set machine.install.extraKernelArgs in the machine configuration, too"
	switch {
	case !slices.ContainsFunc(a.Kinds, carries):
		return "no output of the image has a kernel command line", "a kernel and an initramfs carry none: add an output \"cmdline\", or leave them out"
	case !slices.Contains(a.Kinds, talos.KindInstaller):
		return "", ""
	case !f.SDBootUEFI:
		return fmt.Sprintf("the installer of Talos %s can't carry them: it composes the command line on the machine", f.Version), machineConfig
	case f.GRUBCmdline && onAMD64:
		return fmt.Sprintf("the installer of Talos %s can't carry them to machines that boot through GRUB (BIOS)", f.Version), machineConfig
	}
	return "", ""
}

const sigEnforce = "module.sig_enforce"

// truthy is how the kernel reads a boolean parameter (lib/kstrtox.c); a word alone is true.
func truthy(value string) bool {
	return value == "" || strings.ContainsAny(value[:1], "yYtT1") || strings.HasPrefix(strings.ToLower(value), "on")
}

func enforced(l talos.Cmdline) bool {
	return slices.ContainsFunc(l.Args, func(a talos.Arg) bool { return a.Key == sigEnforce && truthy(a.Value) })
}

// SignedModules tells whether a kernel takes only modules that are signed: by its command line; before Talos 1.12 it was built so.
func SignedModules(f talos.Facts, l talos.Cmdline) bool { return !f.ModuleSignatures || enforced(l) }
