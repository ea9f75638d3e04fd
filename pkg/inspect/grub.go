package inspect

import (
	"strconv"
	"strings"
)

// maxEntries of a boot menu are read.
const maxEntries = 1000

// parseGRUB reads the entries of a grub.cfg that start Linux. It knows words and quoting as GRUB's shell has them, but neither
// variables nor conditions: Talos's files have none.
func parseGRUB(text string) []Entry {
	var entries []Entry
	first := "0"
	open := false
	for line := range strings.Lines(text) {
		words := grubWords(line)
		if len(words) == 0 {
			continue
		}
		switch {
		case words[0] == "set" && len(words) > 1 && strings.HasPrefix(words[1], "default="):
			first = strings.TrimPrefix(words[1], "default=")
		case words[0] == "menuentry" && len(words) > 1 && len(entries) < maxEntries:
			entries, open = append(entries, Entry{Loader: "grub", Title: words[1]}), true
		case words[0] == "}":
			open = false
		case open && words[0] == "linux" && len(words) > 1:
			e := &entries[len(entries)-1]
			e.Kernel, e.Cmdline = words[1], strings.Join(words[2:], " ")
		case open && words[0] == "initrd" && len(words) > 1:
			entries[len(entries)-1].Initrd = words[1]
		}
	}
	n, err := strconv.Atoi(first)
	for i := range entries {
		entries[i].Default = err == nil && i == n || err != nil && entries[i].Title == first
	}
	return entries
}

// grubWords splits a line: https://www.gnu.org/software/grub/manual/grub/html_node/Shell_002dlike-scripting.html.
func grubWords(line string) []string {
	var words []string
	var word strings.Builder
	var quote rune
	inWord, escaped := false, false
	for _, r := range strings.TrimRight(line, "\r\n") {
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune(`$"\`, r) {
				word.WriteByte('\\')
			}
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '"' || r == '\'':
			quote, inWord = r, true
		case r == ' ' || r == '\t':
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		case r == '#' && !inWord:
			return words
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words
}
