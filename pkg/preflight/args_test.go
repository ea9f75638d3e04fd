package preflight_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/preflight"
	"github.com/talosmith/talosmith/pkg/talos"
)

func cmpInt(n int64) string { return strconv.FormatInt(n, 10) }

func TestArgs(t *testing.T) {
	t.Parallel()
	iso, disk := []talos.Kind{talos.KindISO}, []talos.Kind{talos.KindDisk}
	both := []talos.Kind{talos.KindISO, talos.KindDisk}
	for name, c := range map[string]struct {
		version string
		archs   []string
		kinds   []talos.Kind
		args    []string
		want    []string
		overlay []string
	}{
		"none":                        {kinds: []talos.Kind{talos.KindKernel}},
		"fine":                        {args: []string{"console=ttyS0", "talos.config=metal-iso", "-init_on_alloc", "quiet"}},
		"typo":                        {args: []string{"quiet", "talos.hotsname=x"}, want: []string{"argument 1: warning argument: Talos knows no argument talos.hotsname; did you mean talos.hostname?"}},
		"too old":                     {version: "v1.7.0", args: []string{"talos.config.inline=x"}, want: []string{"argument 0: warning argument: Talos v1.7.0 does not know talos.config.inline: it came with v1.8.0; leave it out, or take a newer Talos"}},
		"platform":                    {args: []string{"talos.platform=mettal"}, want: []string{`argument 0: warning argument: unknown platform "mettal": did you mean "metal"?; without its platform Talos does not start`}},
		"idle":                        {args: []string{"-quiet"}, want: []string{"argument 0: warning argument: -quiet removes nothing: it is not in the kernel command line; leave it out"}},
		"idle, nearly":                {args: []string{"-init_on_aloc"}, want: []string{"argument 0: warning argument: -init_on_aloc removes nothing: it is not in the kernel command line; did you mean -init_on_alloc?"}},
		"idle value":                  {args: []string{"-selinux=0"}, want: []string{"argument 0: warning argument: -selinux=0 removes nothing: it is not in the kernel command line; it has selinux=1"}},
		"idle value, nearly":          {args: []string{"-sellinux=1"}, want: []string{"argument 0: warning argument: -sellinux=1 removes nothing: it is not in the kernel command line; did you mean -selinux=1?"}},
		"idle by version":             {version: "v1.14.0", args: []string{"-init_on_alloc"}, want: []string{"argument 0: warning argument: -init_on_alloc removes nothing: it is not in the kernel command line; leave it out"}},
		"in one output":               {kinds: both, args: []string{"-talos.halt_if_installed"}},
		"in no output":                {kinds: disk, args: []string{"-talos.halt_if_installed"}, want: []string{"argument 0: warning argument: -talos.halt_if_installed removes nothing: it is not in the kernel command line; leave it out"}},
		"in one architecture":         {archs: []string{"amd64", "arm64"}, args: []string{"-console=ttyAMA0"}},
		"in the other":                {args: []string{"-console=ttyAMA0"}, want: []string{"argument 0: warning argument: -console=ttyAMA0 removes nothing: it is not in the kernel command line; it has console=tty0"}},
		"of the overlay":              {args: []string{"-talos.dashboard.disabled"}, overlay: []string{"talos.dashboard.disabled=1"}},
		"replaced by the overlay":     {args: []string{"-console=tty0"}, overlay: []string{"console=ttyAMA0"}, want: []string{"argument 0: warning argument: -console=tty0 removes nothing: it is not in the kernel command line; it has console=ttyAMA0"}},
		"twice":                       {args: []string{"-selinux", "-selinux"}},
		"enforced":                    {args: []string{"module.sig_enforce=0"}, want: []string{"argument 0: warning argument: module.sig_enforce=0 does nothing beside module.sig_enforce=1; the kernel can be told to enforce signatures, not to stop: write \"-module.sig_enforce\" before"}},
		"not enforced":                {args: []string{"-module.sig_enforce", "module.sig_enforce=0"}},
		"no command line":             {kinds: []talos.Kind{talos.KindKernel, talos.KindInitramfs}, args: []string{"quiet", "-quiet"}, want: []string{`argument 0: warning argument: no output of the image has a kernel command line; a kernel and an initramfs carry none: add an output "cmdline", or leave them out`}},
		"installer of 1.9":            {version: "v1.9.0", kinds: []talos.Kind{talos.KindInstaller}, args: []string{"quiet"}, want: []string{"argument 0: warning argument: the installer of Talos v1.9.0 can't carry them: it composes the command line on the machine; set machine.install.extraKernelArgs in the machine configuration, too"}},
		"installer of 1.11":           {version: "v1.11.0", kinds: []talos.Kind{talos.KindInstaller, talos.KindISO}, args: []string{"quiet"}, want: []string{"argument 0: warning argument: the installer of Talos v1.11.0 can't carry them to machines that boot through GRUB (BIOS); set machine.install.extraKernelArgs in the machine configuration, too"}},
		"installer of 1.11 for arm64": {version: "v1.11.0", archs: []string{"arm64"}, kinds: []talos.Kind{talos.KindInstaller}, args: []string{"quiet"}},
		"installer of 1.13":           {kinds: []talos.Kind{talos.KindInstaller}, args: []string{"quiet"}},
		"too long":                    {args: []string{strings.Repeat("x", 2000)}, want: []string{"argument 0: error cmdline: kernel command line: 2253 bytes (the boot menu's reset entry included), the kernel takes 2047: leave out kernel arguments or META values; "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.version == "" {
				c.version = "v1.13.9"
			}
			if c.archs == nil {
				c.archs = []string{"amd64"}
			}
			if c.kinds == nil {
				c.kinds = iso
			}
			a := preflight.Arguments{Args: c.args, Overlay: c.overlay, Kinds: c.kinds}
			for _, arch := range c.archs {
				a.Facts = append(a.Facts, facts(t, c.version, arch))
			}
			found := preflight.CheckArgs(a)
			for i := range found {
				found[i].Summary += "; " + found[i].Detail
			}
			check(t, found, c.want...)
		})
	}
}

func TestSignedModules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		version, arg string
		want         bool
	}{
		{"v1.13.9", "quiet", true}, {"v1.13.9", "-module.sig_enforce", false}, {"v1.13.9", "module.sig_enforce=0", true},
		{"v1.11.0", "quiet", true}, {"v1.11.0", "-module.sig_enforce", true},
	} {
		f := facts(t, c.version, "amd64")
		line, err := f.Cmdline(talos.CmdlineInput{Kind: talos.KindISO, Extra: []talos.ExtraArg{{Value: c.arg}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := preflight.SignedModules(f, line); got != c.want {
			t.Errorf("%s %s: %v", c.version, c.arg, got)
		}
	}
}
