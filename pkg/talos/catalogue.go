package talos

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// The files of the catalogue image, at its root.
const (
	CatalogueDigests      = "image-digests"
	CatalogueDescriptions = "descriptions.yaml"
)

// Limits of a catalogue: bytes of a file, entries. The official one of 1.13 has about 80 entries in 11 kB and 25 kB.
const (
	MaxCatalogueFile    = 4 << 20
	maxCatalogueEntries = 10000
)

// Entry is an official extension of one Talos version.
type Entry struct {
	// Name is the repository without its host, "siderolabs/gvisor": what profiles and schematics call the extension.
	Name string
	// Tag is the extension's version, with which the image is tagged.
	Tag string
	// Digest is the image's ("sha256:…"); of an index, where there are several architectures.
	Digest string
	// Author and Description as in the manifest, without control characters; empty where the catalogue has none.
	Author, Description string
	// Tier is that of the description.
	Tier string
}

// Image is the image's name below a registry's namespace: "gvisor".
func (e Entry) Image() string { return path.Base(e.Name) }

// Catalogue is the official extensions of one Talos version.
type Catalogue struct {
	entries []Entry // by name
}

// Source of the grammar: OCI distribution specification, "Pulling manifests".
var (
	repositoryPattern = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	digestPattern     = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	tierPattern       = regexp.MustCompile(`^\[([a-z]+)\]`)
)

// ParseCatalogue reads a catalogue: image-digests with a line "host/repository:tag@digest" for each extension (a line without "@"
// means nothing), and descriptions.yaml, which may be missing (nil).
func ParseCatalogue(digests, descriptions []byte) (*Catalogue, error) {
	if len(digests) > MaxCatalogueFile {
		return nil, fmt.Errorf("catalogue %s: %d bytes, the limit is %d", CatalogueDigests, len(digests), MaxCatalogueFile)
	}
	about, err := parseDescriptions(descriptions)
	if err != nil {
		return nil, err
	}
	c := &Catalogue{}
	var errs []error
	lines := map[string]int{}
	for number, line := range strings.Split(string(digests), "\n") {
		line = strings.TrimSpace(line)
		if !strings.Contains(line, "@") {
			continue
		}
		e, err := parseEntry(line)
		if first, twice := lines[e.Name]; err == nil && twice {
			err = fmt.Errorf("%s is in line %d already", e.Name, first)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("catalogue %s line %d: %w", CatalogueDigests, number+1, err))
			if len(errs) == 10 {
				break
			}
			continue
		}
		lines[e.Name] = number + 1
		if d, ok := about[line]; ok {
			e.Author, e.Description = printable(d.Author), printable(d.Description)
			e.Tier = Tier(e.Description)
		}
		if c.entries = append(c.entries, e); len(c.entries) > maxCatalogueEntries {
			return nil, fmt.Errorf("catalogue %s: more than %d extensions", CatalogueDigests, maxCatalogueEntries)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	slices.SortFunc(c.entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return c, nil
}

func parseEntry(line string) (Entry, error) {
	image, digest, _ := strings.Cut(line, "@")
	colon := strings.LastIndexByte(image, ':')
	if colon <= strings.LastIndexByte(image, '/') {
		return Entry{}, fmt.Errorf("%q has no tag: want host/repository:tag@sha256:…", cut(line))
	}
	reference, tag := image[:colon], image[colon+1:]
	host, name, ok := strings.Cut(reference, "/")
	switch {
	case !ok || host == "" || !repositoryPattern.MatchString(name) || len(name) > 255:
		return Entry{}, fmt.Errorf("%q is no repository: want host/repository:tag@sha256:…", cut(reference))
	case !tagPattern.MatchString(tag):
		return Entry{}, fmt.Errorf("%q is no tag", cut(tag))
	case !digestPattern.MatchString(digest):
		return Entry{}, fmt.Errorf("%q is no digest: want sha256: and 64 hexadecimal digits", cut(digest))
	}
	return Entry{Name: name, Tag: tag, Digest: digest}, nil
}

// Tier is what an extension's description starts with, in brackets: "core", "extra", "contrib"; or empty.
func Tier(description string) string {
	if m := tierPattern.FindStringSubmatch(description); m != nil {
		return m[1]
	}
	return ""
}

type description struct {
	Author      string `yaml:"author"`
	Description string `yaml:"description"`
}

func parseDescriptions(file []byte) (map[string]description, error) {
	var about map[string]description
	if err := DecodeYAML(file, YAMLLimits{MaxCatalogueFile, maxCatalogueEntries}, &about); err != nil {
		return nil, fmt.Errorf("catalogue %s: %w", CatalogueDescriptions, err)
	}
	return about, nil
}

// printable replaces what could do something to a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// All returns the entries by name.
func (c *Catalogue) All() []Entry { return slices.Clone(c.entries) }

// Find returns the extension of a name. Where only its new name is there, it returns that entry and, as alias, the name asked for.
func (c *Catalogue) Find(name string) (e Entry, alias string, ok bool) {
	if e, ok = c.find(name); ok {
		return e, "", true
	}
	for _, now := range renamed[name] {
		if e, ok = c.find(now); ok {
			return e, name, true
		}
	}
	return Entry{}, "", false
}

func (c *Catalogue) find(name string) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(c.entries, name, func(e Entry, name string) int { return strings.Compare(e.Name, name) })
	if !ok {
		return Entry{}, false
	}
	return c.entries[i], true
}

// Nearest returns up to n names that somebody who wrote name could have meant; the namespace may be missing.
func (c *Catalogue) Nearest(name string, n int) []string {
	names := make([]string, len(c.entries))
	full := map[string]string{}
	for i, e := range c.entries {
		names[i] = e.Image()
		full[e.Image()] = e.Name
	}
	var nearest []string
	for _, image := range Nearest(path.Base(name), names, n) {
		nearest = append(nearest, full[image])
	}
	return nearest
}

// renamed are the extensions that had other names, tried where a catalogue hasn't the name asked for, one step only.
// Source: github.com/siderolabs/image-factory, internal/profile/profile.go. Its name for the fabric manager is in no catalogue since
// the extension is called nvidia-fabricmanager-lts, so that comes second.
var renamed = map[string][]string{
	"siderolabs/v4l-uvc":                        {"siderolabs/v4l-uvc-drivers"},
	"siderolabs/usb-modem":                      {"siderolabs/usb-modem-drivers"},
	"siderolabs/gasket":                         {"siderolabs/gasket-driver"},
	"siderolabs/talos-vmtoolsd":                 {"siderolabs/vmtoolsd-guest-agent"},
	"siderolabs/xe-guest-utilities":             {"siderolabs/xen-guest-agent"},
	"siderolabs/nvidia-container-toolkit":       {"siderolabs/nvidia-container-toolkit-lts"},
	"siderolabs/nvidia-open-gpu-kernel-modules": {"siderolabs/nvidia-open-gpu-kernel-modules-lts"},
	"siderolabs/nonfree-kmod-nvidia":            {"siderolabs/nonfree-kmod-nvidia-lts"},
	"siderolabs/nvidia-fabricmanager":           {"siderolabs/nvidia-fabric-manager-lts", "siderolabs/nvidia-fabricmanager-lts"},
	"siderolabs/i915-ucode":                     {"siderolabs/i915"},
	"siderolabs/amdgpu-firmware":                {"siderolabs/amdgpu"},
}
