package kmod

import (
	"bytes"
	"fmt"
	"path"
	"strings"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Builtins returns the names of the modules that are part of the kernel image, from modules.builtin of a release directory. The error
// wraps [io/fs.ErrNotExist] where there is no such file.
func Builtins(dir *tree.Tree) ([]string, error) {
	list, err := readText(dir, "modules.builtin")
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(list)) {
		line = strings.TrimSuffix(line, "\n")
		stem, ok := moduleStem(path.Base(line))
		if !ok || strings.Contains(stem, ".") {
			return nil, fmt.Errorf("read modules.builtin line %d: %q is not the path of a module", len(names)+1, line)
		}
		names = append(names, strings.ReplaceAll(stem, "-", "_"))
	}
	return names, nil
}

func builtinEntries(names []string) []Entry {
	entries := make([]Entry, len(names))
	for i, name := range names {
		entries[i].Key = name
	}
	return entries
}

// builtinAliasEntries takes the aliases of modules.builtin.modinfo: strings module.key=value, each with a NUL at its end.
func builtinAliasEntries(info []byte) ([]Entry, error) {
	var entries []Entry
	for len(info) > 0 {
		line, rest, ended := bytes.Cut(info, []byte{0})
		if !ended {
			return nil, fmt.Errorf("read modules.builtin.modinfo: its last string has no end: the file is cut off")
		}
		info = rest
		name, value, _ := strings.Cut(string(line), ".")
		key, value, ok := strings.Cut(value, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("read modules.builtin.modinfo: %q is not module.key=value", line)
		}
		if key != "alias" || value == "" {
			continue
		}
		if alias, ok := normalize(value); ok {
			entries = append(entries, Entry{Key: alias, Value: name})
		}
	}
	return entries, nil
}
