package cli

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/inspect"
)

// maxComment is what GitHub takes as a comment, in characters. GitLab takes more.
const maxComment = 65536

// comment is Markdown as GitHub and GitLab understand it: what is always to be seen, and blocks that can be unfolded. What does not fit is
// left out from the end, and said.
type comment struct {
	title  string
	lines  []string // below the title
	blocks []block
}

// block is something to unfold. Its lines can be cut off.
type block struct {
	summary    string
	head, tail string // around the lines
	lines      []string
}

func (b block) open() string { return "\n<details>\n<summary>" + b.summary + "</summary>\n\n" + b.head }

const closeDetails = "\n</details>\n"

// writeMarkdown writes a comment of at most maxComment characters.
func writeMarkdown(w io.Writer, c *comment) error {
	_, err := io.WriteString(w, c.render(maxComment))
	return err
}

// roomForCuts is for what says what was left out, in characters.
const roomForCuts = 600

func (c *comment) render(limit int) string {
	var b strings.Builder
	left := limit - roomForCuts
	write := func(text string) bool {
		n := utf8.RuneCountInString(text)
		if n > left {
			return false
		}
		left -= n
		b.WriteString(text)
		return true
	}
	write("### " + c.title + "\n\n")
	cut := 0
	for _, line := range c.lines {
		if cut > 0 || !write(line+"\n") {
			cut++
		}
	}
	var without []string
	for _, block := range c.blocks {
		if !writeBlock(write, &left, block) {
			without = append(without, block.summary)
		}
	}
	if cut > 0 {
		fmt.Fprintf(&b, "\n%s more did not fit.\n", count(cut, "line"))
	}
	if len(without) > 0 {
		fmt.Fprintf(&b, "\nLeft out, as a comment has at most %d characters: %s.\n", limit, shortened(few(without), roomForCuts-200))
	}
	return b.String()
}

// writeBlock writes a block, without its last lines where they don't fit; false where not even the first does.
func writeBlock(write func(string) bool, left *int, k block) bool {
	const more = "\n… and %d more.\n"
	frame := utf8.RuneCountInString(k.open()+k.tail+closeDetails+more) + 10
	n, size := 0, frame
	for _, line := range k.lines {
		if size += utf8.RuneCountInString(line) + 1; size > *left {
			break
		}
		n++
	}
	if n == 0 && len(k.lines) > 0 || frame > *left {
		return false
	}
	text := k.open()
	for _, line := range k.lines[:n] {
		text += line + "\n"
	}
	text += k.tail
	if n < len(k.lines) {
		text += fmt.Sprintf(more, len(k.lines)-n)
	}
	return write(text + closeDetails)
}

func shortened(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}

// planMarkdown is a plan for reviewers: what this machine has done of it already is left out.
func planMarkdown(d *imager.Description) *comment {
	c := &comment{title: fmt.Sprintf("Plan: Talos %s, %s", d.Talos, count(len(d.Images), "image"))}
	c.lines = append(c.lines, tableHead("image", "architecture", "platform", "extensions", "outputs"))
	for _, img := range d.Images {
		var outputs []string
		for _, o := range img.Outputs {
			outputs = append(outputs, string(o.Kind))
		}
		c.lines = append(c.lines, tableRow(img.Name, img.Architecture, img.Platform, fmt.Sprint(len(img.Extensions)), strings.Join(outputs, ", ")))
	}
	for _, img := range d.Images {
		name := escape(img.Name + " " + img.Architecture)
		if len(img.Extensions) > 0 {
			b := block{summary: name + ": " + count(len(img.Extensions), "extension"), head: tableHead("ID", "extension", "version", "tier", "size", "digest", "from") + "\n"}
			for _, e := range img.Extensions {
				b.lines = append(b.lines, tableRow(e.ID, e.Name, known(e.Version), orDash(e.Tier), knownBytes(e.Size), short(e.Digest), e.From))
			}
			c.blocks = append(c.blocks, b)
		}
		if o := img.Overlay; o != nil {
			for _, line := range runs(o) {
				c.lines = append(c.lines, "\n**"+name+", overlay "+escape(o.Name)+" of "+escape(o.Image)+": "+escape(line)+"**")
			}
		}
		b := block{summary: name + ": " + count(len(img.Outputs), "output"), head: tableHead("output", "file", "size", "boot loader", "partitions", "adds") + "\n"}
		for _, o := range img.Outputs {
			b.lines = append(b.lines, tableRow(string(o.Kind), o.File, estimated(o.Size, o.Estimated), loader(o), dash(partitions(o)), dash(adds(o))))
		}
		c.blocks = append(c.blocks, b)
		b = block{summary: name + ": kernel command line", head: tableHead("argument", "from") + "\n"}
		for _, a := range img.Args {
			b.lines = append(b.lines, tableRow(a.Arg, a.Origin))
		}
		for _, a := range img.Removed {
			b.lines = append(b.lines, tableRow("("+a.Arg+")", a.Origin+", removed by "+a.By))
		}
		for _, line := range reach(img) {
			b.tail += "\n" + escape(line) + "\n"
		}
		c.blocks = append(c.blocks, b)
		if len(img.Meta) > 0 {
			b := block{summary: name + ": " + count(len(img.Meta), "META value"), head: tableHead("key", "size", "reaches", "misses") + "\n"}
			for _, m := range img.Meta {
				b.lines = append(b.lines, tableRow(m.Label(), amount(int64(m.Size)), kindList(m.Reaches), dash(kindList(m.Misses))))
			}
			c.blocks = append(c.blocks, b)
		}
	}
	return c
}

// tableHead is the first two lines of a table.
func tableHead(columns ...string) string {
	return "| " + strings.Join(columns, " | ") + " |\n" + strings.Repeat("|---", len(columns)) + "|"
}

func tableRow(cells ...string) string {
	for i, c := range cells {
		cells[i] = escape(c)
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

// special are the characters that mean something in Markdown or HTML, and those that make references: to people, issues, merge requests.
var special = regexp.MustCompile("[\\\\`*_\\[\\]<>|~&$@#!]")

// escape makes a text of any origin plain within a line and within a table. An entity means nothing but its character; but references are
// looked for in what is rendered: there, a comment keeps the parts of one apart.
func escape(s string) string {
	return special.ReplaceAllStringFunc(printable(s), func(c string) string {
		if strings.Contains("@#!", c) {
			return c + "<!-- -->"
		}
		return fmt.Sprintf("&#%d;", c[0])
	})
}

// diffMarkdown is what changes since a revision.
func diffMarkdown(d *inspect.Differences, rev, commit string) *comment {
	since := escape(rev)
	if !strings.HasPrefix(commit, rev) {
		since += " (" + escape(commit[:min(12, len(commit))]) + ")"
	}
	c := &comment{title: "What the images change since " + since}
	if d.Same {
		c.lines = append(c.lines, "Nothing.")
	}
	for _, s := range d.Summary {
		c.lines = append(c.lines, "- "+escape(s))
	}
	for _, s := range d.Sections {
		b := block{summary: escape(s.Name) + ": " + count(len(s.Changes), "change")}
		for _, change := range s.Changes {
			b.lines = append(b.lines, diffLines(change)...)
		}
		fence := "```"
		for strings.Contains(strings.Join(b.lines, "\n"), fence) {
			fence += "`"
		}
		b.head, b.tail = fence+"diff\n", fence+"\n"
		c.blocks = append(c.blocks, b)
	}
	return c
}

// diffLines are a change as lines that are coloured by their first character.
func diffLines(c inspect.Change) (lines []string) {
	name, from, to := printable(c.Name), printable(inspect.Shorten(c.From)), printable(inspect.Shorten(c.To))
	line := func(mark, value string) { lines = append(lines, strings.TrimRight(mark+" "+name+"  "+value, " ")) }
	if c.Change != inspect.Added {
		line("-", from)
	}
	if c.Change != inspect.Removed {
		line("+", to)
	}
	return lines
}
