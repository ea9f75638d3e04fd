package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// live is the last lines of a terminal, which are drawn again and again. A nil one draws nothing.
type live struct {
	w     io.Writer
	width func() int // columns
	lines int        // that are on the screen
}

// What terminals understand (ECMA-48).
const (
	up        = "\r\x1b[%dA" // to the first column: Ctrl-C was echoed in the last line
	erase     = "\x1b[J"     // to the end of the screen
	eraseLine = "\x1b[K"     // to its end
)

const (
	redraw   = 100 * time.Millisecond // between two frames
	maxLines = 8                      // of a frame
)

// clear removes the lines from the screen, so that something else can be written.
func (l *live) clear() {
	if l == nil || l.lines == 0 {
		return
	}
	fmt.Fprintf(l.w, up+erase, l.lines)
	l.lines = 0
}

// draw shows a frame in place of the last.
func (l *live) draw(lines []string) {
	var b strings.Builder
	if l.lines > 0 {
		fmt.Fprintf(&b, up, l.lines)
	}
	for _, line := range lines {
		b.WriteString(line + eraseLine + "\n")
	}
	b.WriteString(erase)
	_, _ = io.WriteString(l.w, b.String()) // in one go, against flicker
	l.lines = len(lines)
}

// frame is a line for each step and download that is under way, the oldest first, and one that counts.
func (p *printer) frame(now time.Time, width int) []string {
	all := slices.SortedFunc(maps.Values(p.running), func(a, b *work) int {
		return cmp.Or(a.began.Compare(b.began), cmp.Compare(a.what+a.subject, b.what+b.subject))
	})
	var lines []string
	for i, w := range all {
		if i == maxLines-2 && len(all) > maxLines-1 {
			lines = append(lines, fmt.Sprintf("  and %d more", len(all)-i))
			break
		}
		lines = append(lines, w.line(now))
	}
	lines = append(lines, fmt.Sprintf("%s, %.0f s", cmp.Or(p.counts(), "0 steps done"), now.Sub(p.began).Seconds()))
	for i, line := range lines {
		lines[i] = line[:min(len(line), max(width-1, 0))]
	}
	return lines
}

const (
	barWidth     = 10 // columns
	subjectWidth = 22
)

// line says how far something is: with a bar where its end is known.
func (w *work) line(now time.Time) string {
	subject := strings.Map(printableASCII, w.subject)
	for len(subject) > subjectWidth { // the end tells more: host and repository come first
		_, last, ok := strings.Cut(subject, "/")
		if !ok {
			subject = subject[:subjectWidth]
			break
		}
		subject = last
	}
	seconds := now.Sub(w.began).Seconds()
	var said []string
	if w.total > 0 {
		done := min(w.done, w.total)
		full := int(done * barWidth / w.total)
		bar := strings.Repeat("#", full) + strings.Repeat(".", barWidth-full)
		said = append(said, fmt.Sprintf("[%s] %d%% of %s", bar, done*100/w.total, amount(w.total)))
	} else if w.done > 0 {
		said = append(said, amount(w.done))
	}
	if w.done > 0 && seconds > 0.1 {
		said = append(said, amount(int64(float64(w.done)/seconds))+"/s")
	}
	said = append(said, fmt.Sprintf("%.0f s", seconds))
	return fmt.Sprintf("%-9s %-*s %s", w.what, subjectWidth, subject, strings.Join(said, ", "))
}

// printableASCII keeps what takes one column each; anything else could shift or colour the line.
func printableASCII(r rune) rune {
	if r < ' ' || r > '~' {
		return '?'
	}
	return r
}
