package talos

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// notOwn are upstream's constants that name arguments of the kernel.
var notOwn = []string{"net.ifnames", "selinux", "enforcing", "vlan", "bond", "panic"}

// TestOwnArgsAgainstUpstream: the table has what upstream's constants name at their version.
func TestOwnArgsAgainstUpstream(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/siderolabs/talos/pkg/machinery/constants").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(out)), "constants.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(v.Names[0].Name, "KernelParam") || len(v.Values) != 1 {
			return true
		}
		key, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(notOwn, key) {
			want = append(want, key)
		}
		return true
	})
	var got []string
	for _, a := range ownArgs {
		if a.rule.holds(minor(13)) || a.key == "talos.unified_cgroup_hierarchy" { // the constant stayed for the message
			got = append(got, a.key)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestArgIgnored(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ version, arg, why, remedy string }{
		{"v1.13.9", "talos.config=metal-iso", "", ""},
		{"v1.13.9", "console=ttyS0", "", ""},
		{"v1.13.9", "talosx", "", ""},
		{"v1.13.9", "nvme_core.io_timeout=1", "", ""},
		{"v1.13.9", "sysctl.kernel.kexec_load_disabled=1", "", ""},
		{"v1.13.9", "siderolink.api=grpc://x", "", ""},
		{"v1.13.9", "tsc.x=1", "", ""},
		{"v1.13.9", "talos.hotsname=x", "Talos knows no argument talos.hotsname", "did you mean talos.hostname?"},
		{"v1.13.9", "talos.dashboard.disable=1", "Talos knows no argument talos.dashboard.disable", "did you mean talos.dashboard.disabled?"},
		{"v1.13.9", "talso.hostname=x", "Talos knows no argument talso.hostname", "did you mean talos.hostname?"},
		{"v1.13.9", "sidero.link=x", "", ""},
		{"v1.13.9", "siderlink.api=x", "Talos knows no argument siderlink.api", "did you mean siderolink.api?"},
		{"v1.13.9", "talos.xyzzyplugh", "Talos knows no argument talos.xyzzyplugh", "leave it out"},
		{"v1.13.9", "talos.board=rpi_4", "Talos v1.13.9 does nothing for talos.board: it went with v1.13.0", "leave it out"},
		{"v1.12.4", "talos.board=rpi_4", "", ""},
		{"v1.10.1", "talos.unified_cgroup_hierarchy=0", "Talos v1.10.1 does nothing for talos.unified_cgroup_hierarchy: it went with v1.10.0", "leave it out"},
		{"v1.7.0", "talos.config.inline=x", "Talos v1.7.0 does not know talos.config.inline: it came with v1.8.0", "leave it out, or take a newer Talos"},
		{"v1.9.1", "talos.auditd.disabled=1", "Talos v1.9.1 does not know talos.auditd.disabled: it came with v1.9.2", "leave it out, or take a newer Talos"},
		{"v1.11.0", "module.sig_enforce=1", "Talos v1.11.0 does not know module.sig_enforce: it came with v1.12.0", "leave it out, or take a newer Talos"},
		{"v1.13.9", "talos.platform=aws", "", ""},
		{"v1.13.9", "talos.platform=packet", "", ""},
		{"v1.13.9", "talos.platform=mettal", `unknown platform "mettal": did you mean "metal"?`, "without its platform Talos does not start"},
	} {
		v, err := ParseVersion(c.version)
		if err != nil {
			t.Fatal(err)
		}
		key, value, _ := strings.Cut(c.arg, "=")
		why, remedy := v.ArgIgnored(Arg{Key: key, Value: value})
		if why != c.why || remedy != c.remedy {
			t.Errorf("%s %s: %q, %q", c.version, c.arg, why, remedy)
		}
	}
}
