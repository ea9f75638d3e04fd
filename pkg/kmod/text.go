package kmod

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/talosmith/talosmith/pkg/tree"
)

// readText reads a file directly in a release directory. The error wraps [io/fs.ErrNotExist] where it is missing.
func readText(dir *tree.Tree, name string) ([]byte, error) {
	return dir.ReadSmall(name, maxText)
}

// dependencies are the lines of modules.dep: the module's path, a colon, the paths of all that it needs, users first.
func (g *graph) dependencies() ([]Entry, error) {
	lines := make([]Entry, len(g.modules))
	size := 0
	for i, m := range g.modules {
		var line strings.Builder
		line.WriteString(m.Path + ":")
		for _, d := range g.closure(i) {
			line.WriteString(" " + g.modules[d].Path)
		}
		lines[i] = Entry{Key: m.Name, Value: line.String(), Priority: uint32(i)} // at most maxModules
		if size += line.Len(); size > maxText {
			return nil, fmt.Errorf("make modules.dep: it is over %d bytes, the limit of its binary form", maxText)
		}
	}
	return lines, nil
}

func depText(deps []Entry) []byte {
	var b bytes.Buffer
	for _, e := range deps {
		b.WriteString(e.Value + "\n")
	}
	return b.Bytes()
}

func (g *graph) aliasText() []byte {
	b := bytes.NewBufferString("# Aliases extracted from modules themselves.\n")
	for _, m := range g.modules {
		for _, alias := range m.Aliases {
			fmt.Fprintf(b, "alias %s %s\n", alias, m.Name)
		}
	}
	return b.Bytes()
}

func (g *graph) softdepText() []byte {
	b := bytes.NewBufferString("# Soft dependencies extracted from modules themselves.\n")
	for _, m := range g.modules {
		for _, deps := range m.Softdeps {
			fmt.Fprintf(b, "softdep %s %s\n", m.Name, deps)
		}
	}
	return b.Bytes()
}

func (g *graph) weakdepText() []byte {
	b := bytes.NewBufferString("# Weak dependencies extracted from modules themselves.\n")
	for _, m := range g.modules {
		for _, deps := range m.Weakdeps {
			fmt.Fprintf(b, "weakdep %s %s\n", m.Name, deps)
		}
	}
	return b.Bytes()
}

// aliasEntries leaves out aliases with unmatched brackets, which no device matches.
func (g *graph) aliasEntries() []Entry {
	var entries []Entry
	for i, m := range g.modules {
		for _, alias := range m.Aliases {
			if key, ok := normalize(alias); ok {
				entries = append(entries, Entry{Key: key, Value: m.Name, Priority: uint32(i)}) // at most maxModules
			}
		}
	}
	return entries
}

// normalize writes - as _ but for ranges in brackets.
func normalize(alias string) (string, bool) {
	b := []byte(alias)
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '-':
			b[i] = '_'
		case ']':
			return "", false
		case '[':
			end := bytes.IndexByte(b[i:], ']')
			if end < 0 {
				return "", false
			}
			i += end
		}
	}
	return string(b), true
}

// symbols are all exports, as depmod's hash table lists them.
func (g *graph) symbols() []string {
	names := slices.Collect(maps.Keys(g.owners))
	sortAsHashed(names, 2048)
	return names
}

func (g *graph) symbolText() []byte {
	b := bytes.NewBufferString("# Aliases for symbols, used by symbol_request().\n")
	for _, name := range g.symbols() {
		fmt.Fprintf(b, "alias symbol:%s %s\n", name, g.modules[g.owners[name]].Name)
	}
	return b.Bytes()
}

func (g *graph) symbolEntries() []Entry {
	entries := make([]Entry, 0, len(g.owners))
	for _, name := range g.symbols() {
		owner := g.owners[name]
		entries = append(entries, Entry{Key: "symbol:" + name, Value: g.modules[owner].Name, Priority: uint32(owner)}) // at most maxModules
	}
	return entries
}

// devnameText lists modules to load when their device node is opened: those with an alias devname:NAME and the numbers of the device in
// another. A devname without numbers is left out.
func (g *graph) devnameText() []byte {
	var b bytes.Buffer
	for _, m := range g.modules {
		var name, device string
		for _, alias := range m.Aliases {
			if s, ok := strings.CutPrefix(alias, "devname:"); ok {
				name = s
			} else if d, ok := deviceNumbers(alias); ok {
				device = d
			}
			if name != "" && device != "" {
				if b.Len() == 0 {
					b.WriteString("# Device nodes to trigger on-demand module loading.\n")
				}
				fmt.Fprintf(&b, "%s %s %s\n", m.Name, name, device)
				break
			}
		}
	}
	return b.Bytes()
}

// deviceNumbers reads "char-major-10-234" as "c10:234"; whatever follows the numbers does not count.
func deviceNumbers(alias string) (string, bool) {
	kind, rest, ok := strings.Cut(alias, "-major-")
	if !ok || kind != "char" && kind != "block" {
		return "", false
	}
	major, minor, _ := strings.Cut(rest, "-")
	end := strings.IndexFunc(minor, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		minor = minor[:end]
	}
	x, errMajor := strconv.ParseUint(major, 10, 32)
	y, errMinor := strconv.ParseUint(minor, 10, 32)
	return fmt.Sprintf("%c%d:%d", kind[0], x, y), errMajor == nil && errMinor == nil
}
