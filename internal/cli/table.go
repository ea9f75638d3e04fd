package cli

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// style is how a cell looks on a terminal that has colours: parameters of ECMA-48's SGR.
type style string

const (
	plain  style = ""
	bold   style = "1"
	faint  style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
)

// cell is a text in a table.
type cell struct {
	text string
	style
}

// texts are cells of one style.
func texts(s style, all ...string) (cells []cell) {
	for _, t := range all {
		cells = append(cells, cell{t, s})
	}
	return cells
}

// page is text with tables in it, whose columns are aligned. Everything that goes in is made printable.
type page struct {
	b      strings.Builder
	colors bool
	rows   [][]cell // of the table that is being made
}

// row adds a row to a table; a line that is no row ends it.
func (p *page) row(cells ...cell) {
	for i := range cells {
		cells[i].text = printable(cells[i].text)
	}
	p.rows = append(p.rows, cells)
}

// line writes a line by itself.
func (p *page) line(s style, text string) {
	p.flush()
	p.write(cell{printable(text), s})
	p.b.WriteByte('\n')
}

func (p *page) write(c cell) {
	if p.colors && c.style != plain && c.text != "" {
		c.text = "\x1b[" + string(c.style) + "m" + c.text + "\x1b[0m"
	}
	p.b.WriteString(c.text)
}

const (
	indent = "  " // of tables
	gap    = "  " // between columns
)

// flush writes the table.
func (p *page) flush() {
	var widths []int
	for _, row := range p.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range p.rows {
		for len(row) > 0 && row[len(row)-1].text == "" {
			row = row[:len(row)-1]
		}
		p.b.WriteString(indent)
		for i, c := range row {
			p.write(c)
			if i < len(row)-1 {
				p.b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)) + gap)
			}
		}
		p.b.WriteByte('\n')
	}
	p.rows = nil
}

// writeTo writes all of it.
func (p *page) writeTo(w io.Writer) error {
	p.flush()
	_, err := io.WriteString(w, p.b.String())
	return err
}

// printable replaces what could move a terminal's cursor, or end a line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return utf8.RuneError
		}
		return r
	}, s)
}
