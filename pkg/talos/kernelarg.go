package talos

import (
	"fmt"
	"slices"
	"strings"
)

// ownArgs are the kernel arguments that Talos itself reads. Source: KernelParam… in pkg/machinery/constants/constants.go of each release's
// tag; what has no rule is in all of them.
// https://github.com/siderolabs/talos/blob/v1.13.9/pkg/machinery/constants/constants.go
var ownArgs = []ownArg{
	{"talos.auditd.disabled", rule{since: Version{Major: 1, Minor: 9, Patch: 2}}},
	{"talos.board", rule{before: minor(13)}},
	{"talos.config", always},
	{"talos.config.early", rule{since: minor(11)}},
	{"talos.config.inline", rule{since: minor(8)}},
	{"talos.config.oauth.audience", rule{since: minor(6)}},
	{"talos.config.oauth.client_id", rule{since: minor(6)}},
	{"talos.config.oauth.client_secret", rule{since: minor(6)}},
	{"talos.config.oauth.device_auth_url", rule{since: minor(6)}},
	{"talos.config.oauth.extra_variable", rule{since: minor(6)}},
	{"talos.config.oauth.scope", rule{since: minor(6)}},
	{"talos.config.oauth.token_url", rule{since: minor(6)}},
	{"talos.dashboard.console", rule{since: minor(12)}},
	{"talos.dashboard.disabled", always},
	{"talos.device.settle_time", rule{since: minor(8)}},
	{"talos.environment", always},
	{"talos.events.sink", always},
	{"talos.experimental.wipe", always},
	{"talos.halt_if_installed", haltIfInstalled},
	{"talos.hostname", always},
	{"talos.logging.kernel", always},
	{"talos.network.interface.ignore", always},
	{"talos.platform", always},
	{"talos.shutdown", always},
	// Talos refuses cgroups v1 from 1.10 on, and says so: internal/app/machined/pkg/startup/tasks.go.
	{"talos.unified_cgroup_hierarchy", rule{before: minor(10)}},

	{"em.events_url", always},
	{"siderolink.api", always},
	{"module.sig_enforce", sigEnforce}, // the kernel's; before, it was built so that it enforces always
}

type ownArg struct {
	key  string
	rule rule
}

// ownPrefix begins the names of almost all of them; the kernel and other programs have none like it.
const ownPrefix = "talos."

// ArgIgnored says why a Talos of this version does nothing for a kernel argument that looks like one of its own, and what could be
// meant; both are empty for all others.
func (v Version) ArgIgnored(a Arg) (why, remedy string) {
	i := slices.IndexFunc(ownArgs, func(o ownArg) bool { return o.key == a.Key })
	switch {
	case i < 0:
		return unknownArg(a.Key)
	case ownArgs[i].rule.holds(v):
		return unknownValue(a)
	case v.CompareCore(ownArgs[i].rule.since) < 0:
		return fmt.Sprintf("Talos %s does not know %s: it came with %s", v, a.Key, ownArgs[i].rule.since), "leave it out, or take a newer Talos"
	}
	return fmt.Sprintf("Talos %s does nothing for %s: it went with %s", v, a.Key, ownArgs[i].rule.before), "leave it out"
}

// unknownArg is about keys that Talos has not: those that begin as its own do, and those that nearly do.
func unknownArg(key string) (why, remedy string) {
	var known []string
	for _, o := range ownArgs {
		known = append(known, o.key)
	}
	prefix, _, dotted := strings.Cut(key, ".")
	near := Nearest(key, known, 1)
	own := strings.HasPrefix(key, ownPrefix)
	switch {
	case own && len(near) == 0:
		return fmt.Sprintf("Talos knows no argument %s", cut(key)), "leave it out"
	case own, dotted && len(near) > 0 && len(Nearest(prefix, []string{"talos", "siderolink"}, 1)) > 0:
		return fmt.Sprintf("Talos knows no argument %s", cut(key)), fmt.Sprintf("did you mean %s?", near[0])
	}
	return "", ""
}

// unknownValue is about the one value that has to be one of a set: a Talos that does not find its platform stops.
func unknownValue(a Arg) (why, remedy string) {
	if a.Key != "talos.platform" || a.Value == "container" {
		return "", ""
	}
	if _, err := FindPlatform(a.Value); err != nil {
		return err.Error(), "without its platform Talos does not start"
	}
	return "", ""
}
