package docstest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// page is a document.
type page struct {
	name   string // relative to the top
	text   string
	fences []fence
}

// fence is a block of code.
type fence struct {
	line     int    // of its first line of code
	language string // empty where nothing is said
	file     string // the second word of what is said: where a reader puts it
	code     string
}

var openFence = regexp.MustCompile("^```(.*)$")

// pages are README.md and all of docs.
func pages(t *testing.T) (all []page) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(top, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, filepath.Join(top, "README.md")) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(top, name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page{rel, string(b), fences(string(b))})
	}
	return all
}

func fences(text string) (all []fence) {
	var open *fence
	for i, line := range strings.Split(text, "\n") {
		m := openFence.FindStringSubmatch(line)
		switch {
		case open == nil && m != nil:
			language, file, _ := strings.Cut(m[1], " ")
			open = &fence{line: i + 2, language: language, file: file}
		case m != nil:
			all, open = append(all, *open), nil
		case open != nil:
			open.code += line + "\n"
		}
	}
	return all
}

// anchor is that of a heading, as GitHub makes it.
func anchor(heading string) string {
	heading = strings.ToLower(strings.TrimSpace(heading))
	heading = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(heading, "")
	return strings.ReplaceAll(heading, " ", "-")
}

// TestLinks: what a page links to in this repository is there, heading included.
func TestLinks(t *testing.T) {
	t.Parallel()
	all := pages(t)
	headings := map[string]bool{}
	for _, p := range all {
		for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(p.text, -1) {
			headings[p.name+"#"+anchor(m[1])] = true
		}
	}
	n := 0
	for _, p := range all {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(p.text, -1) {
			target, heading, has := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			n++
			name := p.name
			if target != "" {
				name = filepath.Join(filepath.Dir(p.name), target)
			}
			if _, err := os.Stat(filepath.Join(top, name)); err != nil {
				t.Errorf("%s links to %s: %v", p.name, m[1], err)
			}
			if has && !headings[name+"#"+heading] {
				t.Errorf("%s links to %s: %s has no such heading", p.name, m[1], name)
			}
		}
	}
	if n < 20 {
		t.Errorf("found %d links only", n)
	}
}
