package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/talosmith/talosmith/pkg/schematic"
	"github.com/talosmith/talosmith/pkg/talos"
)

// draft is a profile of one image, as it will be written. Notes are sentences for comments.
type draft struct {
	head  []string
	talos block
	// others come between talos and the image: base, registries, declared extensions.
	others []block
	image  block
	meta   []schematic.MetaValue
	output []block
}

// block is a block of a profile.
type block struct {
	name       string
	labels     []string
	notes      []string
	attributes []attribute
	blocks     []block
}

// attribute is written with value, or with what is written already.
type attribute struct {
	name   string
	notes  []string
	tokens hclwrite.Tokens
}

func (b *block) set(name string, v cty.Value, notes ...string) {
	b.attributes = append(b.attributes, attribute{name, notes, hclwrite.TokensForValue(v)})
}

func (b *block) text(name, value string, notes ...string) {
	if heredoc := heredocOf(value); heredoc != nil {
		b.attributes = append(b.attributes, attribute{name, notes, heredoc})
		return
	}
	b.set(name, cty.StringVal(value), notes...)
}

func (b *block) list(name string, elements []hclwrite.Tokens, notes ...string) {
	if len(elements) == 0 {
		b.notes = append(b.notes, notes...)
		return
	}
	b.attributes = append(b.attributes, attribute{name, notes, listOf(elements)})
}

func stringsOf(list []string) (all []hclwrite.Tokens) {
	for _, s := range list {
		all = append(all, hclwrite.TokensForValue(cty.StringVal(s)))
	}
	return all
}

// listOf is a list, on a line for each element where it would be long.
func listOf(elements []hclwrite.Tokens) hclwrite.Tokens {
	const most = 100
	oneLine := hclwrite.TokensForTuple(elements)
	if len(oneLine.Bytes()) <= most {
		return oneLine
	}
	newline := func() *hclwrite.Token { return &hclwrite.Token{Type: hclsyntax.TokenNewline, Bytes: []byte("\n")} }
	tokens := hclwrite.Tokens{{Type: hclsyntax.TokenOBrack, Bytes: []byte("[")}, newline()}
	for _, e := range elements {
		tokens = append(append(tokens, e...), &hclwrite.Token{Type: hclsyntax.TokenComma, Bytes: []byte(",")}, newline())
	}
	return append(tokens, &hclwrite.Token{Type: hclsyntax.TokenCBrack, Bytes: []byte("]")})
}

// heredocOf writes text of several lines as one reads it; nil where that would not say the same.
func heredocOf(s string) hclwrite.Tokens {
	lines := strings.Split(s, "\n")
	if len(lines) < 2 || s != cty.NormalizeString(s) ||
		strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }) {
		return nil
	}
	end := "EOT"
	for slices.ContainsFunc(lines, func(line string) bool { return strings.TrimSpace(line) == end }) {
		end += "_"
	}
	escaped := strings.NewReplacer("${", "$${", "%{", "%%{").Replace(s)
	open := hclwrite.Tokens{{Type: hclsyntax.TokenOHeredoc, Bytes: []byte("<<" + end + "\n")}}
	text := &hclwrite.Token{Type: hclsyntax.TokenStringLit, Bytes: []byte(escaped)}
	if strings.HasSuffix(s, "\n") {
		return append(open, text, &hclwrite.Token{Type: hclsyntax.TokenCHeredoc, Bytes: []byte(end)})
	}
	text.Bytes = append(text.Bytes, '\n')
	return hclwrite.TokensForFunctionCall("chomp", append(open, text, &hclwrite.Token{Type: hclsyntax.TokenCHeredoc, Bytes: []byte(end + "\n")}))
}

// write returns the profile's text, in the canonical style.
func (d *draft) write() ([]byte, error) {
	f := hclwrite.NewEmptyFile()
	comment(f.Body(), d.head)
	if len(d.meta) > 0 {
		d.setMeta()
	}
	d.image.blocks = append(d.image.blocks, d.output...)
	for i, b := range slices.Concat([]block{d.talos}, d.others, []block{d.image}) {
		if i > 0 || len(d.head) > 0 {
			f.Body().AppendNewline()
		}
		b.write(f.Body())
	}
	return finish(hclwrite.Format(f.Bytes()))
}

// setMeta gives the values to the image; or, since an installer can't carry any, to the outputs that can.
func (d *draft) setMeta() {
	var values []hclwrite.ObjectAttrTokens
	for _, v := range d.meta {
		values = append(values, hclwrite.ObjectAttrTokens{Name: hclwrite.TokensForIdentifier(cmp.Or(talos.MetaName(v.Key), strconv.Itoa(int(v.Key)))), Value: hclwrite.TokensForValue(cty.StringVal(v.Value))})
	}
	object := attribute{name: "meta", tokens: hclwrite.TokensForObject(values)}
	if !slices.ContainsFunc(d.output, func(b block) bool { return b.labels[0] == string(talos.KindInstaller) }) {
		d.image.attributes = append(d.image.attributes, object)
		return
	}
	d.others = append(d.others, block{name: "locals", notes: []string{"META values of the outputs that can carry some."}, attributes: []attribute{object}})
	for i := range d.output {
		if o := &d.output[i]; talos.CheckMeta(talos.Kind(o.labels[0]), []talos.MetaValue{{Key: 1}}) == nil {
			o.attributes = append(o.attributes, attribute{name: "meta", tokens: hclwrite.TokensForIdentifier("local.meta")})
		}
	}
}

func (b *block) write(to *hclwrite.Body) {
	if len(b.notes)+len(b.attributes)+len(b.blocks) == 0 {
		header := b.name
		for _, l := range b.labels {
			header += " " + strconv.Quote(l)
		}
		to.AppendUnstructuredTokens(hclwrite.Tokens{{Type: hclsyntax.TokenIdent, Bytes: []byte(header + " {}\n")}})
		return
	}
	body := to.AppendNewBlock(b.name, b.labels).Body()
	comment(body, b.notes)
	for _, a := range b.attributes {
		comment(body, a.notes)
		body.SetAttributeRaw(a.name, a.tokens)
	}
	for i, inner := range b.blocks {
		if i == 0 && len(b.attributes)+len(b.notes) > 0 || i > 0 && b.blocks[i-1].name != inner.name {
			body.AppendNewline()
		}
		inner.write(body)
	}
}

// comment writes sentences, each from a line of its own on.
func comment(to *hclwrite.Body, notes []string) {
	const width = 120
	for _, note := range notes {
		line := "#"
		for word := range strings.FieldsSeq(note) {
			if len(line)+1+len(word) > width && line != "#" {
				appendComment(to, line)
				line = "#"
			}
			line += " " + word
		}
		appendComment(to, line)
	}
}

func appendComment(to *hclwrite.Body, line string) {
	to.AppendUnstructuredTokens(hclwrite.Tokens{{Type: hclsyntax.TokenComment, Bytes: []byte(line + "\n")}})
}

// none says that something has no equivalent, and why.
func none(what, why string, args ...any) string {
	return "No equivalent: " + what + ". " + fmt.Sprintf(why, args...)
}

// sentence is an error as one.
func sentence(err error) string {
	s := strings.ReplaceAll(err.Error(), "\n", "; ")
	s = strings.ToUpper(s[:1]) + s[1:]
	if strings.HasSuffix(s, ".") || strings.HasSuffix(s, "?") {
		return s
	}
	return s + "."
}

// quoted keeps a foreign string short, and on its line.
func quoted(s string) string {
	const most = 120
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.Quote(s)
}
