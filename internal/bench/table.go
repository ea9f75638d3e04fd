package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// table is what a section found.
type table struct {
	title string
	load  string
	rows  []row
	notes []string
}

// row is one measure.
type row struct {
	measure         string
	unit            func(float64) string
	ours, reference float64 // no reference: 0
	goal            goal
}

// goal is what a measure is to reach: ours, or its ratio to the reference, at most.
type goal struct {
	limit float64
	ratio bool
	set   bool
}

// none is the goal of what is shown for information.
var none goal

func atMost(limit float64) goal     { return goal{limit: limit, set: true} }
func ratioAtMost(of float64) goal   { return goal{limit: of, ratio: true, set: true} }
func (r row) ratio() float64        { return r.ours / r.reference }
func (r row) text(v float64) string { return r.unit(v) }

// verdict tells whether a row reaches its goal.
func (r row) verdict() string {
	got := r.ours
	switch {
	case !r.goal.set:
		return ""
	case r.goal.ratio:
		got = r.ratio()
	}
	if got <= r.goal.limit {
		return "reached"
	}
	return "MISSED"
}

// mustBe is the goal in words.
func (r row) mustBe() string {
	switch {
	case !r.goal.set:
		return ""
	case r.goal.ratio:
		return fmt.Sprintf("≤ %.3g of it", r.goal.limit)
	}
	return "≤ " + r.text(r.goal.limit)
}

func (t *table) add(measure string, unit func(float64) string, ours, reference float64, g goal) {
	t.rows = append(t.rows, row{measure, unit, ours, reference, g})
}

func (t *table) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// print writes a table, aligned.
func (t table) print(out io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "\n%s\n(%s)\n", t.title, t.load)
	w := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "measure\tours\treference\tratio\tmust be\t")
	for _, r := range t.rows {
		reference, ratio := "", ""
		if r.reference != 0 {
			reference, ratio = r.text(r.reference), fmt.Sprintf("%.3f", r.ratio())
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.measure, r.text(r.ours), reference, ratio, r.mustBe(), r.verdict())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, n := range t.notes {
		fmt.Fprintf(&text, "%s\n", n)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func seconds(v float64) string {
	if v < 1 {
		return fmt.Sprintf("%.0f ms", v*1000)
	}
	return fmt.Sprintf("%.2f s", v)
}

func count(v float64) string { return fmt.Sprintf("%.0f", v) }

func size(v float64) string {
	if v < 1<<20 {
		return fmt.Sprintf("%.1f KiB", v/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", v/(1<<20))
}
