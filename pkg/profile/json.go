package profile

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"
)

// schemaProperty is where a file says by which JSON Schema an editor checks it.
const schemaProperty = "$schema"

// parseJSON reads HCL's JSON syntax (https://github.com/hashicorp/hcl/blob/main/json/spec.md) as the body that the native syntax would give:
// the table says which properties are blocks, and everything after it handles one form only.
func (d *diagnostics) parseJSON(files map[string]*hcl.File, source []byte, name string) *hclsyntax.Body {
	f, diags := hcljson.Parse(source, name)
	d.all = append(d.all, diags...)
	if f == nil || diags.HasErrors() {
		return nil
	}
	files[name].Nav = f.Nav
	properties, diags := f.Body.JustAttributes()
	d.all = append(d.all, diags...)
	body := &hclsyntax.Body{Attributes: hclsyntax.Attributes{}, SrcRange: hcl.Range{Filename: name, Start: hcl.InitialPos, End: hcl.InitialPos}}
	inOrder := slices.SortedFunc(maps.Values(properties), func(a, b *hcl.Attribute) int { return a.NameRange.Start.Byte - b.NameRange.Start.Byte })
	for _, p := range inOrder {
		if p.Name == schemaProperty {
			continue
		}
		d.jsonProperty(body, fileSpec, p.Name, p.NameRange, p.Expr)
	}
	return body
}

// jsonBody reads an object as a block's body.
func (d *diagnostics) jsonBody(spec *blockSpec, e hcl.Expression) *hclsyntax.Body {
	body := &hclsyntax.Body{Attributes: hclsyntax.Attributes{}, SrcRange: e.Range()}
	pairs, diags := hcl.ExprMap(e)
	if diags.HasErrors() {
		d.add(e.Range(), "Wrong type", "%s is an object here.", spec.phrase())
		return body
	}
	for _, p := range pairs {
		d.jsonProperty(body, spec, keyOf(p), p.Key.Range(), p.Value)
	}
	return body
}

func keyOf(p hcl.KeyValuePair) string {
	v, _ := p.Key.Value(nil) // without a context, the string as it is written
	return v.AsString()
}

func (d *diagnostics) jsonProperty(body *hclsyntax.Body, spec *blockSpec, name string, at hcl.Range, e hcl.Expression) {
	inner := spec.block(name)
	switch {
	case name == "//": // a comment
	case inner != nil:
		d.jsonBlocks(body, inner, at, e)
	case body.Attributes[name] != nil:
		d.add(at, "Duplicate attribute", "%q is set already, at %s. Remove one.", name, place(body.Attributes[name].NameRange))
	default:
		row := spec.attribute(name)
		x := d.jsonExpression(e, row != nil && row.kind.cty == cty.NilType)
		body.Attributes[name] = &hclsyntax.Attribute{Name: name, Expr: x, SrcRange: hcl.RangeBetween(at, e.Range()), NameRange: at}
	}
}

// jsonBlocks reads blocks: an object, or an array of them; with labels, an object of those.
func (d *diagnostics) jsonBlocks(body *hclsyntax.Body, spec *blockSpec, at hcl.Range, e hcl.Expression) {
	if list, diags := hcl.ExprList(e); !diags.HasErrors() {
		for _, element := range list {
			d.jsonBlocks(body, spec, at, element)
		}
		return
	}
	if spec.label == nil {
		body.Blocks = append(body.Blocks, &hclsyntax.Block{Type: spec.name, TypeRange: at, Body: d.jsonBody(spec, e)})
		return
	}
	labels, diags := hcl.ExprMap(e)
	if diags.HasErrors() {
		d.add(e.Range(), "Wrong type", "%s blocks are an object here, with their %ss as keys.", title(spec.name), spec.label.name)
		return
	}
	for _, l := range labels {
		bodies, diags := hcl.ExprList(l.Value)
		if diags.HasErrors() {
			bodies = []hcl.Expression{l.Value}
		}
		for _, b := range bodies {
			body.Blocks = append(body.Blocks, &hclsyntax.Block{
				Type: spec.name, TypeRange: l.Key.Range(), Body: d.jsonBody(spec, b),
				Labels: []string{keyOf(l)}, LabelRanges: []hcl.Range{l.Key.Range()},
			})
		}
	}
}

// jsonExpression turns JSON into an expression of the native syntax: strings are templates. A type is written as a string, too.
func (d *diagnostics) jsonExpression(e hcl.Expression, isType bool) hclsyntax.Expression {
	if list, diags := hcl.ExprList(e); !diags.HasErrors() {
		x := &hclsyntax.TupleConsExpr{SrcRange: e.Range(), OpenRange: e.StartRange()}
		for _, element := range list {
			x.Exprs = append(x.Exprs, d.jsonExpression(element, false))
		}
		return x
	}
	if pairs, diags := hcl.ExprMap(e); !diags.HasErrors() {
		x := &hclsyntax.ObjectConsExpr{SrcRange: e.Range(), OpenRange: e.StartRange()}
		for _, p := range pairs {
			key := &hclsyntax.ObjectConsKeyExpr{Wrapped: d.jsonExpression(p.Key, false), ForceNonLiteral: true}
			x.Items = append(x.Items, hclsyntax.ObjectConsItem{KeyExpr: key, ValueExpr: d.jsonExpression(p.Value, false)})
		}
		return x
	}
	v, diags := e.Value(nil)
	d.all = append(d.all, diags...)
	if v.Type() != cty.String || v.IsNull() {
		return &hclsyntax.LiteralValueExpr{Val: v, SrcRange: e.Range()}
	}
	start := e.Range().Start // of the quotation mark
	start.Byte++
	start.Column++
	return d.jsonString(v.AsString(), e.Range(), start, isType)
}

func (d *diagnostics) jsonString(s string, at hcl.Range, start hcl.Pos, isType bool) hclsyntax.Expression {
	parse, lex := hclsyntax.ParseTemplate, hclsyntax.LexTemplate
	if isType {
		parse, lex = hclsyntax.ParseExpression, hclsyntax.LexExpression
	}
	broken := &hclsyntax.LiteralValueExpr{Val: cty.DynamicVal, SrcRange: at}
	tokens, _ := lex([]byte(s), at.Filename, start)
	if _, deep := tooDeep(tokens); deep {
		d.add(at, "Too deep", "The expression is nested too deeply.")
		return broken
	}
	x, diags := parse([]byte(s), at.Filename, start)
	d.all = append(d.all, diags...)
	if diags.HasErrors() {
		return broken
	}
	return x
}
