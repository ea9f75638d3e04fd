package extension

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// Service is the specification of an extension service, which Talos runs as a container "ext-<name>".
// Source: pkg/machinery/extensions/services/services.go.
type Service struct {
	// File is the path of the specification, which may have any name.
	File      string    `yaml:"-"`
	Name      string    `yaml:"name"`
	Container Container `yaml:"container"`
	// Depends are what it waits for.
	Depends []Dependency `yaml:"depends,omitempty"`
	// Restart is "always", "never" or "untilSuccess", in any case of letters.
	Restart string `yaml:"restart"`
	// LogToConsole: its output goes to the console, too.
	LogToConsole bool `yaml:"logToConsole,omitempty"`
}

// Container says what runs, in which environment. Its root is /usr/local/lib/containers/<name>.
type Container struct {
	// Entrypoint is a program below the container's root.
	Entrypoint      string   `yaml:"entrypoint"`
	Environment     []string `yaml:"environment,omitempty"`
	EnvironmentFile string   `yaml:"environmentFile,omitempty"`
	Args            []string `yaml:"args,omitempty"`
	Mounts          []Mount  `yaml:"mounts,omitempty"`
	Security        Security `yaml:"security,omitempty"`
}

// Mount is a mount of the OCI runtime specification. Talos makes a source that doesn't exist as a directory.
type Mount struct {
	Destination string   `yaml:"destination"`
	Type        string   `yaml:"type,omitempty"`
	Source      string   `yaml:"source,omitempty"`
	Options     []string `yaml:"options,omitempty"`
	// Upstream's struct has no YAML names, so these two have lower case letters only.
	UIDMappings []map[string]int64 `yaml:"uidmappings,omitempty"`
	GIDMappings []map[string]int64 `yaml:"gidmappings,omitempty"`
}

// Security opens or closes parts of the container.
type Security struct {
	WriteableSysfs    bool     `yaml:"writeableSysfs,omitempty"`
	MaskedPaths       []string `yaml:"maskedPaths,omitempty"`
	ReadonlyPaths     []string `yaml:"readonlyPaths,omitempty"`
	WriteableRootfs   bool     `yaml:"writeableRootfs,omitempty"`
	RootfsPropagation string   `yaml:"rootfsPropagation,omitempty"`
}

// Dependency is one thing to wait for: exactly one field is set.
type Dependency struct {
	Service       string   `yaml:"service,omitempty"`
	Path          string   `yaml:"path,omitempty"`
	Network       []string `yaml:"network,omitempty"`
	Time          bool     `yaml:"time,omitempty"`
	Configuration bool     `yaml:"configuration,omitempty"`
}

// What a specification may say.
var (
	serviceName  = regexp.MustCompile(`^[-_a-z0-9]+$`)
	restartKinds = []string{"always", "never", "untilSuccess"}
	networkState = []string{"addresses", "connectivity", "hostname", "etcfiles"} // pkg/machinery/nethelpers/status.go
	propagations = []string{"", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"}
)

// ServicePath is where a service's specification lies in the root file system.
func ServicePath(name string) string { return path.Join(services, name+".yaml") }

// ServiceRoot is where a service's root file system lies.
func ServiceRoot(name string) string { return path.Join(containers, name) }

// WriteService encodes a specification.
func WriteService(s Service) ([]byte, error) {
	b, err := encode(s)
	if err != nil {
		return nil, fmt.Errorf("write service %s: %w", s.Name, err)
	}
	return b, nil
}

// ParseService reads a specification and finds what is wrong with it, by itself. At boot Talos skips a specification that has errors, and
// writes so into its log only.
func ParseService(name string, file []byte) (Service, []Finding) {
	const skipped = "Talos skips the service at boot"
	var found findings
	var node yaml.Node
	if err := talos.DecodeYAML(file, serviceLimits, &node); err != nil {
		found.add(Error, CodeServiceSyntax, name, skipped, "%v", err)
		return Service{}, found
	}
	var s Service
	if err := node.Decode(&s); err != nil && node.Kind != 0 {
		found.add(Error, CodeServiceSyntax, name, skipped, "%v", err)
		return Service{}, found
	}
	checkKeys(&found, name, &node, reflect.TypeFor[Service](), 0)

	bad := func(code, format string, args ...any) { found.add(Error, code, name, skipped, format, args...) }
	if !serviceName.MatchString(s.Name) {
		bad(CodeServiceName, "name %q is invalid: it must have small letters, digits, \"-\" and \"_\" only", s.Name)
	}
	if !slices.ContainsFunc(restartKinds, func(k string) bool { return strings.EqualFold(k, s.Restart) }) {
		bad(CodeServiceValue, "restart %q is invalid: must be one of %s", s.Restart, strings.Join(restartKinds, ", "))
	}
	if s.Container.Entrypoint == "" {
		bad(CodeServiceValue, "container.entrypoint is missing")
	}
	for i, d := range s.Depends {
		checkDependency(bad, i, d)
	}
	s.Container.check(&found, name)
	return s, found
}

func checkDependency(bad func(code, format string, args ...any), i int, d Dependency) {
	kinds := 0
	for _, set := range []bool{d.Service != "", d.Path != "", len(d.Network) > 0, d.Time, d.Configuration} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds == 0:
		bad(CodeServiceDepends, "depends[%d] says nothing: set one of service, path, network, time, configuration", i)
	case kinds > 1:
		bad(CodeServiceDepends, "depends[%d] sets %d kinds: make an entry of each", i, kinds)
	}
	if d.Path != "" && !path.IsAbs(d.Path) {
		bad(CodeServiceDepends, "depends[%d].path %q is not absolute", i, d.Path)
	}
	for _, state := range d.Network {
		if !slices.ContainsFunc(networkState, func(s string) bool { return strings.EqualFold(s, state) }) {
			bad(CodeServiceDepends, "depends[%d].network %q is invalid: must be one of %s", i, state, strings.Join(networkState, ", "))
		}
	}
}

// check looks at what Talos doesn't, but the container runtime does.
func (c Container) check(found *findings, name string) {
	bad := func(format string, args ...any) {
		found.add(Error, CodeServiceValue, name, "the container doesn't start", format, args...)
	}
	for i, m := range c.Mounts {
		if !path.IsAbs(m.Destination) {
			bad("container.mounts[%d].destination %q is not absolute", i, m.Destination)
		}
		if m.Source == "" {
			bad("container.mounts[%d].source is missing", i)
		}
	}
	for i, e := range c.Environment {
		if k, _, ok := strings.Cut(e, "="); !ok || k == "" {
			bad("container.environment[%d] %q is not NAME=value", i, e)
		}
	}
	if c.EnvironmentFile != "" && !path.IsAbs(c.EnvironmentFile) {
		bad("container.environmentFile %q is not absolute", c.EnvironmentFile)
	}
	for key, paths := range map[string][]string{"maskedPaths": c.Security.MaskedPaths, "readonlyPaths": c.Security.ReadonlyPaths} {
		for i, p := range paths {
			if !path.IsAbs(p) {
				bad("container.security.%s[%d] %q is not absolute", key, i, p)
			}
		}
	}
	if !slices.Contains(propagations, c.Security.RootfsPropagation) {
		bad("container.security.rootfsPropagation %q is invalid: must be one of %s", c.Security.RootfsPropagation, strings.Join(propagations[1:], ", "))
	}
}

// checkKeys finds keys that a type has no field for: Talos ignores them.
func checkKeys(found *findings, name string, n *yaml.Node, t reflect.Type, depth int) {
	const (
		deepest = 10  // the schema has five levels
		most    = 100 // findings
	)
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if depth > deepest || len(*found) >= most {
		return
	}
	switch {
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			checkKeys(found, name, item, t.Elem(), depth+1)
		}
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		fields := map[string]reflect.Type{}
		var known []string
		for i := range t.NumField() {
			key, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			if key == "-" {
				continue
			}
			fields[key] = t.Field(i).Type
			known = append(known, key)
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if field, ok := fields[key.Value]; ok {
				checkKeys(found, name, n.Content[i+1], field, depth+1)
				continue
			}
			if key.Value == "<<" || len(*found) >= most { // merged keys are checked where they are written
				continue
			}
			detail := "known keys: " + strings.Join(known, ", ")
			if near := talos.Nearest(key.Value, known, 1); len(near) > 0 {
				detail = fmt.Sprintf("did you mean %s? ", near[0]) + detail
			}
			found.add(Warning, CodeServiceKey, name, detail, "line %d: Talos ignores the key %.100q", key.Line, key.Value)
		}
	}
}

// Services are those that Talos would start, by the names of their specifications' files. What is wrong with others, [Extension.Check] says.
func (e *Extension) Services() []Service {
	var said findings
	return e.servicesOf(&said)
}

// servicesOf reads all specifications, by the names of their files.
func (e *Extension) servicesOf(found *findings) []Service {
	var all []Service
	taken := map[string]string{}
	for n := range e.Root.Children(services) {
		if path.Ext(n.Path) != ".yaml" {
			if ext := path.Ext(n.Path); ext == ".yml" || strings.EqualFold(ext, ".yaml") {
				found.add(Warning, CodeServiceIgnored, n.Path, "Talos reads files that end in .yaml: rename it", "not read as a service specification")
			}
			continue
		}
		file, err := e.serviceFile(n)
		if err != nil {
			found.add(Error, CodeServiceSyntax, n.Path, "Talos skips the service at boot", "%v", err)
			continue
		}
		s, wrong := ParseService(n.Path, file)
		s.File = n.Path
		*found = append(*found, wrong...)
		if first, twice := taken[s.Name]; twice && s.Name != "" {
			found.add(Error, CodeServiceName, n.Path, "Talos skips the second", "name %q is that of /%s, too", s.Name, first)
			continue
		}
		taken[s.Name] = n.Path
		if serviceName.MatchString(s.Name) {
			all = append(all, s)
		}
	}
	return all
}

func (e *Extension) serviceFile(n tree.Node) ([]byte, error) {
	at, err := follow(e.Root, tree.Root, n.Path)
	if err != nil {
		return nil, err
	}
	target, _ := e.Root.Lookup(at)
	if !target.Mode.IsRegular() {
		return nil, errors.New("no regular file")
	}
	return readSmall(target, maxService)
}

// checkServiceRoots looks for what services run.
func (e *Extension) checkServiceRoots(found *findings, all []Service) {
	for _, s := range all {
		file, root := s.File, ServiceRoot(s.Name)
		if n, ok := e.Root.Lookup(root); !ok || !n.Mode.IsDir() {
			found.add(Error, CodeServiceMissing, file, "put the container's files there; an empty directory does where all is mounted",
				"the container's root /%s is missing", root)
			continue
		}
		if entry := s.Container.Entrypoint; entry != "" && !e.hasEntrypoint(root, s.Container) {
			found.add(Warning, CodeServiceMissing, file, "another extension may have it", "the entrypoint %.200q is not in /%s", entry, root)
		}
	}
}

// hasEntrypoint tells whether a container has its program, or a mount may bring it.
func (e *Extension) hasEntrypoint(root string, c Container) bool {
	candidates := []string{c.Entrypoint}
	if !strings.Contains(c.Entrypoint, "/") { // looked for along PATH
		if slices.ContainsFunc(c.Environment, func(v string) bool { return strings.HasPrefix(v, "PATH=") }) || c.EnvironmentFile != "" {
			return true
		}
		for _, dir := range []string{"usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"} {
			candidates = append(candidates, path.Join(dir, c.Entrypoint))
		}
	}
	for _, p := range candidates {
		at, err := follow(e.Root, root, path.Join(root, path.Join("/", p)))
		if err == nil {
			if n, ok := e.Root.Lookup(at); ok && n.Mode.IsRegular() {
				return true
			}
			continue
		}
		if allowed(strings.TrimPrefix(at, root+"/"), c.mounted()) {
			return true
		}
	}
	return false
}

// mounted are the places, without leading slash, that a container's mounts fill.
func (c Container) mounted() []string {
	var dirs []string
	for _, m := range c.Mounts {
		dir := strings.TrimPrefix(path.Clean("/"+m.Destination), "/")
		if fs.ValidPath(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}
