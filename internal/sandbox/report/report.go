package report

import "strings"

// Report collects the lines of one boot. Its Line method is what vm.Boot calls.
type Report struct {
	Console []string // every line, those of firmware, boot menu and kernel too
	Lines   []Line
	Ready   bool
	Failure string // what followed Failed
}

// Line takes a line of the console and tells whether the report is complete.
func (r *Report) Line(text string) (done bool) {
	r.Console = append(r.Console, text)
	if reason, ok := strings.CutPrefix(text, Failed); ok {
		r.Failure = reason
		return true
	}
	if l, ok := Parse(text); ok {
		r.Lines = append(r.Lines, l)
	}
	r.Ready = text == Ready
	return r.Ready
}

// Of returns the lines of a kind.
func (r *Report) Of(kind string) (lines []Line) {
	for _, l := range r.Lines {
		if l.Kind == kind {
			lines = append(lines, l)
		}
	}
	return lines
}

// First returns the value of a field in the first line of a kind.
func (r *Report) First(kind, key string) string {
	for _, l := range r.Of(kind) {
		return l.Get(key)
	}
	return ""
}

// Extension returns the line of a layer by its extension's name.
func (r *Report) Extension(name string) (Line, bool) {
	for _, l := range r.Of("EXTENSION") {
		if l.Get("name") == name {
			return l, true
		}
	}
	return Line{}, false
}
