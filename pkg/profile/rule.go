package profile

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"

	"github.com/talosmith/talosmith/pkg/talos"
)

// rule is what a string must obey.
type rule struct {
	// doc completes "Must be …" in the reference page.
	doc string
	// pattern and max, the longest length in bytes (0: not limited), are what the JSON Schema can check of it.
	pattern string
	max     int
	// check says what is wrong with s and what to do, in whole sentences; "" if s is fine.
	check func(s string) string
}

// matching is a rule that a pattern says in full; max is the longest length in bytes.
func matching(pattern string, max int, doc string) rule {
	re := regexp.MustCompile(pattern)
	return rule{doc: doc, pattern: pattern, max: max, check: func(s string) string {
		wrong := tooLong(s, max)
		if wrong == "" && !re.MatchString(s) {
			wrong = fmt.Sprintf("%s must be %s.", quote(s), doc)
		}
		return wrong
	}}
}

func tooLong(s string, max int) string {
	if len(s) <= max {
		return ""
	}
	return fmt.Sprintf("%s is %d bytes long, but at most %d are allowed.", quote(s), len(s), max)
}

// quote keeps a foreign string printable and short.
func quote(s string) string {
	const most = 120
	if len(s) > most {
		s = s[:most] + "…"
	}
	return fmt.Sprintf("%q", s)
}

var (
	// A file name and a tag hold it: at most 128 characters of a tag, a version among them.
	imageNameRule        = matching(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`, maxName, `letters, digits, "_", "." and "-", beginning with neither "." nor "-"`)
	extensionNameRule    = matching(`^[A-Za-z0-9][A-Za-z0-9_-]*$`, maxName, `letters, digits, "_" and "-", beginning with a letter or a digit`)
	extensionVersionRule = matching(`^[A-Za-z0-9_][A-Za-z0-9_.+-]*$`, maxName, `letters, digits, "_", ".", "+" and "-", beginning with none of the last three`)
	serviceNameRule      = matching(`^[-_a-z0-9]+$`, maxName, `lower-case letters, digits, "-" and "_"`)
	hostRule             = matching(`^`+hostPattern+`$`, 255, `a host, with a port where it isn't the usual one ("ghcr.io", "registry.corp:5000")`)
	dependencyRule       = matching(`^(ext-)?[-_a-z0-9]+$`, 104, `a service's name: lower-case letters, digits, "-" and "_"`)
	environmentRule      = matching(`^[A-Za-z_][A-Za-z0-9_]*=[^\x00]*$`, 32<<10, "NAME=value")
	argumentRule         = matching(`^[^\x00]*$`, 128<<10-1, "an argument of a program, without NUL") // Linux's MAX_ARG_STRLEN has the NUL that ends it
	mountSourceRule      = matching(`^[^\x00-\x1f\x7f]+$`, maxPath, `an absolute path, or the name of what has none ("tmpfs")`)
	mountTypeRule        = matching(`^[a-z0-9][a-z0-9._-]*$`, 64, `the name of a file system ("tmpfs"), or "bind"`)
	mountOptionRule      = matching(`^[^\x00-\x20\x7f,]+$`, 255, `a single option, without commas and spaces ("rbind", "size=64m")`)
	shortNameRule        = matching(`^[A-Za-z0-9][A-Za-z0-9 ._+-]*$`, 64, `letters, digits, spaces, ".", "_", "+" and "-", beginning with a letter or a digit`)
	baseVersionRule      = matching(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`, 64, `a tag: letters, digits, "_", "." and "-", beginning with neither "." nor "-"`)
	overlayNameRule      = matching(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`, maxName, `letters, digits, "_", "." and "-", beginning with neither "." nor "-"`)
	shortRule            = matching(`^[^\x00-\x1f\x7f]*$`, 500, "one line without control characters")
)

// Lengths in bytes.
const (
	maxName      = 100
	maxURL       = 1024
	maxReference = 512
	maxPath      = 4095 // Linux's PATH_MAX, without the NUL that ends it
)

// reserved are names that expressions have for something else.
var reserved = map[string]string{
	"arch":      "the architecture in an extension block",
	"extension": "declared extensions",
	"local":     "locals",
	"var":       "nothing: variables have bare names here, but readers of Terraform would stumble",
}

const variablePattern = `^[A-Za-z_][A-Za-z0-9_-]*$`

var variableName = regexp.MustCompile(variablePattern)

var variableNameRule = rule{
	doc:     "letters, digits, \"_\" and \"-\", beginning with a letter or \"_\"; not `arch`, `extension`, `local`, `var`",
	pattern: variablePattern,
	max:     maxName,
	check: func(s string) string {
		if why, ok := reserved[s]; ok {
			return fmt.Sprintf("The name %q is taken by %s; choose another one.", s, why)
		}
		if !variableName.MatchString(s) || len(s) > maxName {
			return fmt.Sprintf(
				`%s can't be used in an expression; use at most %d letters, digits, "_" and "-", beginning with a letter or "_".`, quote(s), maxName)
		}
		return ""
	},
}

// Parts of image references: https://github.com/distribution/reference.
const (
	hostPattern       = `(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?`
	componentPattern  = `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*`
	repositoryPattern = componentPattern + `(?:/` + componentPattern + `)*`
	tagPattern        = `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`
	digestPattern     = `sha256:[0-9a-f]{64}`
)

var reference = regexp.MustCompile(`^(` + hostPattern + `)/(` + repositoryPattern + `)(?::(` + tagPattern + `))?(?:@(` + digestPattern + `))?$`)

// parseReference takes the tag and the digest off an image reference; what and example say what it should be. A host must be written out: one that
// a client adds would differ from tool to tool.
func parseReference(s, what, example string) (tag, digest, wrong string) {
	if wrong := tooLong(s, maxReference); wrong != "" {
		return "", "", wrong
	}
	m := reference.FindStringSubmatch(s)
	if m == nil {
		return "", "", fmt.Sprintf("%s is not %s. Write %s; repositories are lower case.", quote(s), what, example)
	}
	if !strings.ContainsAny(m[1], ".:") && m[1] != "localhost" {
		return "", "", fmt.Sprintf(
			`%s does not begin with a registry's host (%q has neither "." nor ":"). Write it out, such as "docker.io/%s%s".`, quote(s), m[1],
			strings.ToLower(m[1]), s[len(m[1]):])
	}
	return m[3], m[4], ""
}

// parseImage splits the reference of an image.
func parseImage(s string) (tag, digest, wrong string) {
	return parseReference(s, "an image reference", `HOST/REPOSITORY:TAG, such as "registry.corp/talos/agent:1.4.0"`)
}

var repositoryRule = rule{
	doc:     "a host and a namespace: \"ghcr.io/siderolabs\"",
	pattern: `^[^/]+/.+$`,
	max:     maxReference,
	check: func(s string) string {
		tag, digest, wrong := parseReference(s, "a registry with a namespace", `HOST/NAMESPACE, such as "registry.corp/siderolabs"`)
		if wrong == "" && tag+digest != "" {
			wrong = fmt.Sprintf("%s has a tag or a digest, but images below it get theirs from the Talos version. Leave it out.", quote(s))
		}
		return wrong
	},
}

// maxMachineConfig bounds an embedded machine configuration, in bytes.
const maxMachineConfig = 512 << 10

// machineConfigRule never says what a configuration contains: it has secrets.
var machineConfigRule = rule{
	doc: "YAML with a machine configuration",
	max: maxMachineConfig,
	check: func(s string) string {
		if len(s) > maxMachineConfig {
			return fmt.Sprintf("The machine configuration is %d bytes long, but at most %d are allowed.", len(s), maxMachineConfig)
		}
		var first yaml.Node
		if err := talos.DecodeYAML([]byte(s), talos.YAMLLimits{Bytes: maxMachineConfig, Keys: 10000}, &first); err != nil {
			return fmt.Sprintf("The machine configuration is not YAML: %v.", err)
		}
		for i := 0; first.Kind == yaml.MappingNode && i < len(first.Content); i += 2 {
			if key := first.Content[i].Value; key == "version" || key == "apiVersion" {
				return ""
			}
		}
		return `This is no machine configuration: its first document has neither "version" nor "apiVersion". ` +
			`Give its content, not a path: file("controlplane.yaml").`
	},
}

var baseURLRule = rule{
	doc: "an http, https or tftp URL without query and fragment; iPXE's settings may stand in it, as `$${next-server}`",
	max: maxURL,
	check: func(s string) string {
		scheme, rest, ok := strings.Cut(s, "://")
		switch {
		case !ok || rest == "" || scheme != "http" && scheme != "https" && scheme != "tftp":
			return fmt.Sprintf(`%s is not a URL that iPXE loads from. Write it like "http://boot.corp/talos".`, quote(s))
		case len(s) > maxURL || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '?' || r == '#' }):
			return fmt.Sprintf("%s has a space, a query, a fragment, a control character or one that is not ASCII, or more than %d bytes. Leave that out.", quote(s), maxURL)
		}
		return ""
	},
}

var storeRule = rule{
	doc:     "a host and a repository",
	pattern: `^[^/]+/.+$`,
	max:     maxReference,
	check: func(s string) string {
		tag, digest, wrong := parseReference(s, "a registry with a repository", `HOST/REPOSITORY, such as "registry.corp/cache/talosmith"`)
		if wrong == "" && tag+digest != "" {
			wrong = fmt.Sprintf("%s has a tag or a digest, but the store makes its own tags. Leave it out.", quote(s))
		}
		return wrong
	},
}

var imageRule = rule{
	doc:     "an image reference with host and tag or digest",
	pattern: `^[^/]+/.+[:@].+$`,
	max:     maxReference,
	check: func(s string) string {
		tag, digest, wrong := parseImage(s)
		if wrong == "" && tag+digest == "" {
			wrong = fmt.Sprintf(`%s has neither a tag nor a digest. Add one (%q): "latest" would be another image tomorrow.`, quote(s), s+":1.0.0")
		}
		return wrong
	},
}

var tagRule = rule{
	doc:     "an image reference with host and tag",
	pattern: `^[^/]+/.+:.+$`,
	max:     maxReference,
	check: func(s string) string {
		tag, digest, wrong := parseImage(s)
		switch {
		case wrong != "":
			return wrong
		case digest != "":
			return fmt.Sprintf("%s has a digest, which only the build can give. Leave out what comes after the \"@\".", quote(s))
		case tag == "":
			return fmt.Sprintf("%s has no tag. Add one, such as %q.", quote(s), s+":v1.13.9")
		}
		return ""
	},
}

var mirrorRule = rule{
	doc:     "an http:// or https:// URL",
	pattern: `^https?://[^/?#@]+[^?#]*$`,
	max:     maxURL,
	check: func(s string) string {
		if len(s) > maxURL { // not shown: a password may be in it
			return fmt.Sprintf("The URL of a mirror is %d bytes long, but at most %d are allowed.", len(s), maxURL)
		}
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			return fmt.Sprintf(`%s is not the URL of a mirror. Write it like "https://mirror.corp/ghcr".`, quote(strings.SplitN(s, "@", 2)[0]))
		case u.User != nil:
			return "The URL of a mirror must not hold credentials: the profile is no place for secrets. Log in with docker or podman instead."
		case u.RawQuery != "" || u.Fragment != "":
			return fmt.Sprintf("%s has a query or a fragment, which a registry's URL can't have. Leave it out.", quote(s))
		}
		return ""
	},
}

var absoluteRule = rule{
	doc:     "an absolute path without \"..\"",
	pattern: "^/",
	max:     maxPath,
	check: func(s string) string {
		switch {
		case !strings.HasPrefix(s, "/"):
			return fmt.Sprintf("%s is not an absolute path. Write %q.", quote(s), path.Join("/", s))
		case path.Clean(s) != s:
			return fmt.Sprintf("%s is not written plainly. Write %q.", quote(s), path.Clean(s))
		case strings.ContainsFunc(s, unicode.IsControl) || len(s) > maxPath:
			return fmt.Sprintf("%s is no path that Linux takes: at most %d bytes, no control characters.", quote(s), maxPath)
		}
		return ""
	},
}

var modeRule = rule{
	doc:     "octal permissions, not writeable by everyone (\"0755\")",
	pattern: `^0?[0-7]?[0-7]?[0145]$`,
	max:     4,
	check: func(s string) string {
		n, err := strconv.ParseUint(s, 8, 32)
		switch {
		case err != nil || n == 0 || len(s) > 4:
			return fmt.Sprintf("%s is no mode. Write the permissions in octal, as a string, such as \"0755\".", quote(s))
		case n > 0o777:
			return fmt.Sprintf("%s has more than permissions: nothing in an extension needs setuid, setgid or the sticky bit. Write %q.", quote(s), fmt.Sprintf("%04o", n&0o775))
		case n&0o002 != 0:
			return fmt.Sprintf("By the mode %s everyone could write to the file, which Talos does not allow in extensions. Write %q.", quote(s), fmt.Sprintf("%04o", n&^0o002))
		}
		return ""
	},
}

var overrideRule = rule{
	doc:     "an absolute path without \"..\", not \"/\" itself",
	pattern: "^/.",
	max:     maxPath,
	check: func(s string) string {
		switch s {
		case "":
			return "A path can't be empty. Leave the element out; compact([…]) drops empty ones."
		case "/":
			return `"/" stands for every path: nothing would be looked at any more. Name the files or directories that may be replaced.`
		}
		return absoluteRule.check(s)
	},
}

var kernelArgRule = rule{
	doc:     "printable ASCII without spaces",
	pattern: `^[!-~]+$`,
	max:     talos.CmdlineMax,
	check: func(s string) string {
		foreign := strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
		switch {
		case s == "":
			return "A kernel argument can't be empty. Leave the element out; compact([…]) drops empty ones."
		case s == "-" || strings.HasPrefix(s, "=") || strings.HasPrefix(s, "-="):
			return fmt.Sprintf("The kernel argument %q has no name. Write NAME, NAME=VALUE or, to remove one, -NAME.", s)
		case strings.ContainsAny(s, " \t") && strings.Contains(s, `"`):
			return fmt.Sprintf(
				"The kernel argument %s has a space inside quotes, but Talos splits its command line at every space. Use a value without spaces.",
				quote(s))
		case strings.ContainsFunc(s, unicode.IsSpace):
			words := strings.Fields(s)
			if len(words) < 2 {
				return fmt.Sprintf(
					"The kernel argument %s has white space around it. Leave it out; trimspace(…) does so for a file's content.", quote(s))
			}
			return fmt.Sprintf("The kernel argument %s has white space in it. Write an element for each: %q, %q.", quote(s), words[0], words[1])
		case strings.ContainsFunc(s, unicode.IsControl):
			return fmt.Sprintf("The kernel argument %s has a control character in it, which no boot loader passes on. Leave it out.", quote(s))
		case foreign >= 0:
			r := []rune(s[foreign:])[0]
			return fmt.Sprintf(
				"The kernel argument %s has the character %q (U+%04X) in it; a command line is ASCII. Is it a quotation mark or a dash from a text document?",
				quote(s), r, r)
		case strings.Count(s, `"`)%2 == 1:
			return fmt.Sprintf(
				"The kernel argument %s has one quotation mark without its other: the kernel would read on to the next one. Leave it out or add the other.",
				quote(s))
		case len(s) > talos.CmdlineMax:
			return fmt.Sprintf(
				"The kernel argument %s is %d bytes long, but the whole command line has at most %d.", quote(s), len(s), talos.CmdlineMax)
		}
		return ""
	},
}
