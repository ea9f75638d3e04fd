package talos

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CmdlineMax is the number of bytes of a command line that a kernel takes on both architectures (COMMAND_LINE_SIZE with its NUL);
// it drops what is more without a word. Source: arch/x86/include/asm/setup.h, arch/arm64/include/uapi/asm/setup.h of Linux.
const CmdlineMax = 2047

// ExtraArg is a kernel argument that somebody asks for, and who: "profile line 23".
// It may hold several words. "-key" removes an argument, "-key=value" one of its values.
type ExtraArg struct{ Value, Origin string }

// CmdlineInput is what a command line depends on besides [Facts].
type CmdlineInput struct {
	Kind Kind
	// Overlay are the kernelArgs that the overlay's installer answers with.
	Overlay []string
	// Meta reaches the command line of every output but a disk, where it stands in the META partition.
	Meta []MetaValue
	// Extra are added last: console and talos.platform replace what is there, any other is added to it.
	Extra []ExtraArg
}

// Removal is an argument that is not in the final command line, and the origin of what took it away.
type Removal struct {
	Arg
	By string
	// Replaced: another value took its place.
	Replaced bool
}

// Cmdline is a kernel command line with the origin of everything.
type Cmdline struct {
	// Args in the order in which they are printed.
	Args    []Arg
	Removed []Removal
	// Idle are removals ("-key") that found nothing to remove.
	Idle []Arg
}

// String returns the command line: no newline, no NUL.
func (c Cmdline) String() string {
	var b strings.Builder
	for _, a := range c.Args {
		b.WriteString(a.String() + " ")
	}
	return strings.TrimRight(b.String(), " ")
}

// Default arguments, in order. Source: pkg/machinery/kernel/kernel.go (DefaultArgs).
var defaultArgs = []struct {
	rule rule
	args string
}{
	{initOnAlloc, "init_on_alloc=1"},
	{always, "slab_nomerge pti=on consoleblank=0"},
	{nvmeTimeoutAll, "nvme_core.io_timeout=4294967295"},
	{always, "printk.devkmsg=on"},
	{ima, "ima_template=ima-ng ima_appraise=fix ima_hash=sha512"},
	{seLinux, "selinux=1"},
	{sigEnforce, "module.sig_enforce=1"},
	{procMemNever, "proc_mem.force_override=never"},
}

// overwritten are the keys whose values an extra argument replaces.
var overwritten = []string{"console", "talos.platform"}

// Cmdline composes the kernel command line of an output. Source: pkg/imager/imager.go (buildCmdline).
// An extra argument with a control character, META values that can't be encoded and a line that the kernel would cut are errors.
func (f Facts) Cmdline(in CmdlineInput) (Cmdline, error) {
	if err := checkExtra(in.Extra); err != nil {
		return Cmdline{}, err
	}
	var b builder
	b.list.add(Arg{"talos.platform", f.Platform.Name, "platform"})
	b.setAll(f.Platform.kernelArgs(f.Version, f.Arch), "platform")
	if in.Kind == KindISO && haltIfInstalled.holds(f.Version) {
		b.list.add(Arg{"talos.halt_if_installed", "1", "iso"})
	}
	b.setAll(in.Overlay, "overlay")
	for _, d := range defaultArgs {
		if d.rule.holds(f.Version) {
			b.addAll(words("default", d.args))
		}
	}
	if len(in.Meta) > 0 && in.Kind != KindDisk {
		env, err := EncodeMeta(in.Meta, f.MetaGzip)
		if err != nil {
			return Cmdline{}, err
		}
		b.list.add(Arg{"talos.environment", MetaEnv + "=" + env, "meta"})
	}
	b.customize(in.Extra)
	c := Cmdline{b.list.args(), b.removed, b.idle}

	longest := c.String()
	if r, ok := f.Reset(in.Kind); ok {
		longest += " " + r.Args
	}
	if len(longest) > CmdlineMax {
		return Cmdline{}, fmt.Errorf("kernel command line: %d bytes (the boot menu's reset entry included), the kernel takes %d: leave out kernel arguments or META values",
			len(longest), CmdlineMax)
	}
	return c, nil
}

func words(origin string, args ...string) []ExtraArg {
	w := make([]ExtraArg, len(args))
	for i, a := range args {
		w[i] = ExtraArg{a, origin}
	}
	return w
}

// builder is a command line in the making.
type builder struct {
	list    argList
	removed []Removal
	idle    []Arg
}

// setAll replaces the values of each key among args.
func (b *builder) setAll(args []string, origin string) {
	for _, p := range parse(words(origin, args...)) {
		b.took(b.list.set(p), p.values[0], true)
	}
}

// addAll adds args to what is there.
func (b *builder) addAll(args []ExtraArg) {
	for _, p := range parse(args) {
		for _, v := range p.values {
			b.list.add(v)
		}
	}
}

// customize adds args; those with a key among overwritten replace its values, and a "-" in front removes. "-" alone is an argument.
func (b *builder) customize(args []ExtraArg) {
	for _, p := range parse(args) {
		switch key, negated := strings.CutPrefix(p.key, "-"); {
		case negated && key != "" && p.values[0].Value == "":
			b.took(b.list.remove(key), p.values[0], false)
		case negated && key != "":
			for _, v := range p.values {
				b.took(b.list.removeValue(Arg{Key: key, Value: v.Value}), v, false)
			}
		case slices.Contains(overwritten, p.key):
			b.took(b.list.set(p), p.values[0], true)
		default:
			for _, v := range p.values {
				b.list.add(v)
			}
		}
	}
}

// took notes what an argument took away.
func (b *builder) took(old []Arg, by Arg, replaced bool) {
	if len(old) == 0 && !replaced {
		b.idle = append(b.idle, by)
	}
	for _, a := range old {
		b.removed = append(b.removed, Removal{a, by.Origin, replaced})
	}
}

func checkExtra(extra []ExtraArg) error {
	for _, e := range extra {
		if !utf8.ValidString(e.Value) {
			return fmt.Errorf("kernel argument %q (%s): not UTF-8", cut(e.Value), e.Origin)
		}
		i := strings.IndexFunc(e.Value, func(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) })
		if i >= 0 {
			return fmt.Errorf("kernel argument %q (%s): has a control character at byte %d", cut(e.Value), e.Origin, i)
		}
	}
	return nil
}
