package cli

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/talosmith/talosmith/pkg/inspect"
)

// TestCommentFits: whatever there is to say, it fits; and what is left out is said.
func TestCommentFits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claims, sections, changes, width int
		cut, without                     bool
	}{
		{1, 1, 1, 10, false, false},
		{3, 20, 20, 60, false, false},
		{3, 1, 5000, 60, true, false},
		{3, 300, 300, 60, true, true},
		{3, 3, 2, 70000, true, true}, // lines that are longer than a comment
		{5000, 1, 1, 60, true, true},
	} {
		d := &inspect.Differences{}
		text := strings.Repeat("ü", c.width)
		for range c.claims {
			d.Summary = append(d.Summary, text)
		}
		for i := range c.sections {
			s := inspect.DiffSection{Name: fmt.Sprint("section ", i)}
			for range c.changes {
				s.Changes = append(s.Changes, inspect.Change{Change: inspect.Added, Name: "x", To: text})
			}
			d.Sections = append(d.Sections, s)
		}
		got := diffMarkdown(d, "main", "0123456789abcdef").render(maxComment)
		if n := utf8.RuneCountInString(got); n > maxComment {
			t.Errorf("%+v: %d characters", c, n)
		}
		if cut := strings.Contains(got, " more did not fit.\n") || strings.Contains(got, "\n… and "); cut != c.cut {
			t.Errorf("%+v: cut: %v", c, cut)
		}
		if without := strings.Contains(got, "Left out, as a comment has at most 65536 characters: section "); without != c.without {
			t.Errorf("%+v: left out: %v", c, without)
		}
		if open, closed := strings.Count(got, "<details>"), strings.Count(got, "</details>"); open != closed || strings.Count(got, "```")%2 != 0 {
			t.Errorf("%+v: %d blocks begin, %d end", c, open, closed)
		}
	}
}

// TestCommentIsPlain: what comes from registries and profiles is neither markup nor a reference.
func TestCommentIsPlain(t *testing.T) {
	t.Parallel()
	d := &inspect.Differences{
		Summary:  []string{"this adds <script>*x*</script> @somebody #12 !3 | a `b` [c](http://d)\nand more"},
		Sections: []inspect.DiffSection{{Name: "</details><b>", Changes: []inspect.Change{{Change: inspect.Changed, Name: "a", From: "```\nx", To: "````"}}}},
	}
	got := diffMarkdown(d, "feature/@x", "0123").render(maxComment)
	const want = `### What the images change since feature/@<!-- -->x (0123)

- this adds &#60;script&#62;&#42;x&#42;&#60;/script&#62; @<!-- -->somebody #<!-- -->12 !<!-- -->3 &#124; a &#96;b&#96; &#91;c&#93;(http://d)` + "\uFFFD" + `and more

<details>
<summary>&#60;/details&#62;&#60;b&#62;: 1 change</summary>

` + "`````diff\n- a  ```\uFFFDx\n+ a  ````\n`````" + `

</details>
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if same := diffMarkdown(inspect.NewDifferences(), "main", "0123").render(maxComment); same != "### What the images change since main (0123)\n\nNothing.\n" {
		t.Errorf("the same: %q", same)
	}
}
