package talos

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mustVersion(t testing.TB, s string) Version {
	t.Helper()
	v, err := ParseVersion(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mustFor(t testing.TB, version, platform, arch string) Facts {
	t.Helper()
	f, err := For(mustVersion(t, version), platform, arch)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func extra(args ...string) []ExtraArg { return words("profile", args...) }

// Numbers 1 to 9 were made with upstream's own code, 10 to 12 by its rules.
func TestCmdlineExamples(t *testing.T) {
	t.Parallel()
	const (
		defaults113 = "init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on selinux=1 " +
			"module.sig_enforce=1 proc_mem.force_override=never"
		iso113 = "talos.platform=metal console=tty0 talos.halt_if_installed=1 " + defaults113
	)
	rpi := []string{"console=tty0", "console=ttyAMA0,115200", "sysctl.kernel.kexec_load_disabled=1", "talos.dashboard.disabled=1"}
	for _, tt := range []struct {
		name, version, platform, arch string
		in                            CmdlineInput
		want                          string
	}{
		{"1", "v1.13.9", "metal", AMD64, CmdlineInput{Kind: KindDisk}, "talos.platform=metal console=tty0 " + defaults113},
		{"1 installer", "v1.13.9", "metal", AMD64, CmdlineInput{Kind: KindInstaller}, "talos.platform=metal console=tty0 " + defaults113},
		{"1 uki", "v1.13.9", "metal", AMD64, CmdlineInput{Kind: KindUKI}, "talos.platform=metal console=tty0 " + defaults113},
		{"1 cmdline", "v1.13.9", "metal", AMD64, CmdlineInput{Kind: KindCmdline}, "talos.platform=metal console=tty0 " + defaults113},
		{"2", "v1.13.9", "metal", AMD64, CmdlineInput{Kind: KindISO}, iso113},
		{"4", "v1.12.0", "metal", ARM64, CmdlineInput{Kind: KindDisk}, "talos.platform=metal console=ttyAMA0 console=tty0 init_on_alloc=1 " +
			"slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on selinux=1 module.sig_enforce=1"},
		{"5", "v1.7.6", "metal", AMD64, CmdlineInput{Kind: KindISO}, "talos.platform=metal console=ttyS0 console=tty0 init_on_alloc=1 " +
			"slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on ima_template=ima-ng ima_appraise=fix ima_hash=sha512"},
		{"6", "v1.10.5", "metal", AMD64, CmdlineInput{Kind: KindISO}, "talos.platform=metal console=tty0 talos.halt_if_installed=1 " +
			"init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on ima_template=ima-ng " +
			"ima_appraise=fix ima_hash=sha512 selinux=1"},
		{"7", "v1.11.3", "vmware", AMD64, CmdlineInput{Kind: KindDisk}, "talos.platform=vmware talos.config=guestinfo console=tty0 " +
			"console=ttyS0 earlyprintk=ttyS0,115200 net.ifnames=0 init_on_alloc=1 slab_nomerge pti=on consoleblank=0 " +
			"nvme_core.io_timeout=4294967295 printk.devkmsg=on selinux=1"},
		{"8", "v1.13.9", "metal", AMD64, CmdlineInput{Kind: KindISO, Meta: []MetaValue{{10, "foo"}, {11, "bar"}},
			Extra: extra("console=ttyS1,115200", "-init_on_alloc", "-selinux=1", "vga=791", "console=tty1")},
			"talos.platform=metal console=ttyS1,115200 console=tty1 talos.halt_if_installed=1 slab_nomerge pti=on consoleblank=0 " +
				"nvme_core.io_timeout=4294967295 printk.devkmsg=on module.sig_enforce=1 proc_mem.force_override=never " +
				"talos.environment=INSTALLER_META_BASE64=MHhhPWZvbzsweGI9YmFy vga=791"},
		{"9", "v1.13.9", "azure", AMD64, CmdlineInput{Kind: KindDisk,
			Extra: extra("-talos.dashboard.disabled", "net.ifnames=1", "talos.platform=metal", "-console=ttyS0,115200n8")},
			"talos.platform=metal earlyprintk=ttyS0,115200 rootdelay=300 net.ifnames=0 net.ifnames=1 sysctl.kernel.kexec_load_disabled=1 " +
				defaults113},
		{"10", "v1.13.9", "metal", ARM64, CmdlineInput{Kind: KindDisk, Overlay: rpi}, "talos.platform=metal console=tty0 " +
			"console=ttyAMA0,115200 sysctl.kernel.kexec_load_disabled=1 talos.dashboard.disabled=1 " + defaults113},
		{"11", "v1.14.0", "aws", AMD64, CmdlineInput{Kind: KindDisk}, "talos.platform=aws console=tty1 console=ttyS0 net.ifnames=0 " +
			"nvme_core.io_timeout=4294967295 slab_nomerge pti=on consoleblank=0 printk.devkmsg=on selinux=1 module.sig_enforce=1 " +
			"proc_mem.force_override=never"},
		{"12", "v1.14.0", "metal", AMD64, CmdlineInput{Kind: KindISO}, "talos.platform=metal console=tty0 " +
			"talos.halt_if_installed=1 slab_nomerge pti=on consoleblank=0 printk.devkmsg=on selinux=1 module.sig_enforce=1 " +
			"proc_mem.force_override=never"},
		{"META reaches no disk's line", "v1.13.9", "metal", AMD64, CmdlineInput{Kind: KindDisk, Meta: []MetaValue{{10, "foo"}}},
			"talos.platform=metal console=tty0 " + defaults113},
		{"packet", "v1.13.9", "packet", ARM64, CmdlineInput{Kind: KindPXE},
			"talos.platform=equinixMetal console=ttyAMA0,115200 " + defaults113},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := mustFor(t, tt.version, tt.platform, tt.arch).Cmdline(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestCmdlineOrigins(t *testing.T) {
	t.Parallel()
	c, err := mustFor(t, "v1.13.9", "metal", AMD64).Cmdline(CmdlineInput{
		Kind: KindISO, Overlay: []string{"console=ttyAMA0"}, Meta: []MetaValue{{10, "x"}},
		Extra: []ExtraArg{{"console=ttyS0", "line 1"}, {"-selinux vga=791", "line 2"}, {"-selinx", "line 3"}, {"-pti=off", "line 4"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	origins := map[string]string{}
	for _, a := range c.Args {
		origins[a.String()] = a.Origin
	}
	want := map[string]string{
		"talos.platform=metal":                       "platform",
		"console=ttyS0":                              "line 1",
		"talos.halt_if_installed=1":                  "iso",
		"init_on_alloc=1":                            "default",
		"slab_nomerge":                               "default",
		"pti=on":                                     "default",
		"consoleblank=0":                             "default",
		"nvme_core.io_timeout=4294967295":            "default",
		"printk.devkmsg=on":                          "default",
		"module.sig_enforce=1":                       "default",
		"proc_mem.force_override=never":              "default",
		"talos.environment=" + MetaEnv + "=MHhhPXg=": "meta",
		"vga=791":                                    "line 2",
	}
	if d := cmp.Diff(want, origins); d != "" {
		t.Error(d)
	}
	removed := []Removal{
		{Arg{"console", "tty0", "platform"}, "overlay", true},
		{Arg{"console", "ttyAMA0", "overlay"}, "line 1", true},
		{Arg{"selinux", "1", "default"}, "line 2", false},
	}
	if d := cmp.Diff(removed, c.Removed); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]Arg{{"-selinx", "", "line 3"}, {"-pti", "off", "line 4"}}, c.Idle); d != "" {
		t.Error(d)
	}
}

// The file has what go-procfs v0.1.2 makes of random lists: see testdata/procfs/README.md.
func TestAgainstProcfs(t *testing.T) {
	t.Parallel()
	file, err := os.Open("testdata/procfs/answers.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n := 0
	for s := bufio.NewScanner(file); s.Scan(); n++ {
		var c struct {
			Append, Set, Extra, Defaults []string
			Want                         string
		}
		if err := json.Unmarshal(s.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		var b builder
		for _, a := range c.Append {
			key, value, _ := strings.Cut(a, "=")
			b.list.add(Arg{Key: key, Value: value})
		}
		b.setAll(c.Set, "")
		b.addAll(words("", c.Defaults...))
		b.customize(words("", c.Extra...))
		if got := (Cmdline{Args: b.list.args()}).String(); got != c.Want {
			t.Errorf("%s\ngot  %q\nwant %q", s.Text(), got, c.Want)
		}
	}
	if n < 300 {
		t.Errorf("only %d cases", n)
	}
}

func TestCmdlineRefusals(t *testing.T) {
	t.Parallel()
	f := mustFor(t, "v1.13.9", "metal", AMD64)
	room := func(k Kind) string { // an argument with which the line is as long as it can be
		c, err := f.Cmdline(CmdlineInput{Kind: k})
		if err != nil {
			t.Fatal(err)
		}
		n := CmdlineMax - len(c.String()) - 1
		if r, ok := f.Reset(k); ok {
			n -= len(r.Args) + 1
		}
		return strings.Repeat("x", n)
	}
	for _, k := range Kinds() {
		if _, err := f.Cmdline(CmdlineInput{Kind: k, Extra: extra(room(k))}); err != nil {
			t.Errorf("%s: the longest line: %v", k, err)
		}
		if _, err := f.Cmdline(CmdlineInput{Kind: k, Extra: extra(room(k) + "x")}); err == nil || !strings.Contains(err.Error(), "2048 bytes") {
			t.Errorf("%s: one byte more: %v", k, err)
		}
	}
	for name, tt := range map[string]struct {
		in   CmdlineInput
		want string
	}{
		"NUL":        {CmdlineInput{Extra: extra("a=\x00")}, "control character at byte 2"},
		"escape":     {CmdlineInput{Extra: extra("\x1b[1m")}, "control character at byte 0"},
		"encoding":   {CmdlineInput{Extra: extra("a=\xff")}, "not UTF-8"},
		"META twice": {CmdlineInput{Meta: []MetaValue{{10, "a"}, {10, "b"}}}, "key 10: given twice"},
	} {
		if _, err := f.Cmdline(tt.in); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	var unknownErr *UnknownError
	if _, err := MetaKey("netwrok"); !errors.As(err, &unknownErr) || unknownErr.Nearest[0] != "network" {
		t.Errorf("META key: %v", err)
	}
}
