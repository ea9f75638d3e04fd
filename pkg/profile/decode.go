package profile

import (
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/talosmith/talosmith/pkg/talos"
)

// block is a block whose names are checked against the table; its expressions are not evaluated yet.
type block struct {
	spec       *blockSpec
	label      string
	at         hcl.Range // the header
	attributes map[string]*setting
	blocks     []*block
}

// setting is an attribute with its expression.
type setting struct {
	row  *attribute
	expr *expression
	name hcl.Range
}

// node is a block with values.
type node struct {
	*block
	values map[string]value
	blocks []*node
}

// value is what an attribute was set to: what its kind makes of the expression.
type value struct {
	// of is nil where the expression was wrong, which has been reported.
	of any
	at hcl.Range
}

// decoder checks blocks and gives them values.
type decoder struct {
	*evaluator
	dir      string
	declared map[string]*Extension
	// mustExist: files of the host are looked for.
	mustExist bool
	// bundled: archives and layouts need not exist.
	bundled bool
	// arch that an extension is evaluated for; empty elsewhere.
	arch string
}

// block checks a block's names.
func (d *decoder) block(spec *blockSpec, b *hclsyntax.Block) *block {
	out := &block{spec: spec, at: hcl.RangeBetween(b.TypeRange, b.TypeRange), attributes: map[string]*setting{}}
	if len(b.LabelRanges) > 0 {
		out.at = hcl.RangeBetween(b.TypeRange, b.LabelRanges[len(b.LabelRanges)-1])
	}
	switch l := spec.label; {
	case l == nil && len(b.Labels) > 0:
		d.add(b.LabelRanges[0], "Label not allowed", "%s has no label. Remove %q.", spec.phrase(), b.Labels[0])
	case l != nil && len(b.Labels) == 0:
		d.add(out.at, "Missing label", "%s has a label, its %s. Write: %s %q { … }", spec.phrase(), l.name, spec.name, d.labelExample(l))
	case l != nil:
		out.label = b.Labels[0]
		if len(b.Labels) > 1 {
			d.add(b.LabelRanges[1], "Label not allowed", "%s has one label, its %s. Remove %q.", spec.phrase(), l.name, b.Labels[1])
		}
		d.checkString(out.label, b.LabelRanges[0], spec.name+" "+l.name, l.values, l.rule)
	}
	d.body(out, b.Body)
	return out
}

func (d *decoder) labelExample(l *labelSpec) string {
	if l.values != nil {
		return l.values()[0]
	}
	return "NAME"
}

// body checks the names in a block's body, and what must be there.
func (d *decoder) body(out *block, body *hclsyntax.Body) {
	spec := out.spec
	for _, a := range inOrder(body.Attributes) {
		if d.full() {
			return
		}
		row := spec.attribute(a.Name)
		switch {
		case row == nil:
			d.unknownAttribute(spec, out.label, a)
			continue
		case !row.applies(out.label) && slices.Contains(spec.label.values(), out.label):
			d.add(a.NameRange, "Attribute not allowed", "%q exists in %s %s only. Remove it here.", a.Name, spec.name, list(row.only, "and"))
			continue
		case spec.anyName:
			d.checkString(a.Name, a.NameRange, spec.name+" name", nil, row.rule)
		}
		x := &expression{Expression: a.Expr}
		if row.kind.cty != cty.NilType { // a type is no value
			x = newExpression(&d.meter, a.Expr)
		}
		out.attributes[a.Name] = &setting{row: row, expr: x, name: a.NameRange}
	}
	for _, row := range spec.attributes {
		if row.required && row.applies(out.label) && out.attributes[row.name] == nil {
			d.add(out.at, "Missing attribute", "%s needs %q: %s Write: %[2]s = …", spec.phrase(), row.name, row.doc)
		}
	}
	seen := map[string]*block{}
	for _, b := range body.Blocks {
		if d.full() {
			return
		}
		inner := spec.block(b.Type)
		if inner == nil {
			d.unknownBlock(spec, b)
			continue
		}
		child := d.block(inner, b)
		if first := seen[b.Type]; first != nil && inner.once {
			d.add(child.at, "Duplicate block", "There can be one %s block; the first one is at %s. Merge them.", b.Type, place(first.at))
			continue
		}
		seen[b.Type] = child
		out.blocks = append(out.blocks, child)
	}
}

func inOrder(attributes hclsyntax.Attributes) []*hclsyntax.Attribute {
	var sorted []*hclsyntax.Attribute
	for _, a := range attributes {
		sorted = append(sorted, a)
	}
	slices.SortFunc(sorted, func(a, b *hclsyntax.Attribute) int { return a.NameRange.Start.Byte - b.NameRange.Start.Byte })
	return sorted
}

func (d *decoder) unknownAttribute(spec *blockSpec, label string, a *hclsyntax.Attribute) {
	if inner := spec.block(a.Name); inner != nil {
		header := inner.name
		if inner.label != nil {
			header += ` "` + d.labelExample(inner.label) + `"`
		}
		d.add(a.NameRange, "Unknown attribute", "%q is a block, not an attribute. Write it without \"=\": %s { … }", a.Name, header)
		return
	}
	if spec.name == "" {
		if near := talos.Nearest(a.Name, blockNames(spec), 1); len(near) > 0 {
			d.add(a.NameRange, "Unknown attribute", "A profile has no attribute %q. Did you mean a block, %s?", a.Name, near[0])
			return
		}
		d.add(a.NameRange, "Unknown attribute",
			"A profile has no attributes outside of its blocks. For a value of your own, write: locals { %s = … }", a.Name)
		return
	}
	if a.Name == "secureboot" { // the official tools' name
		d.add(a.NameRange, "Unknown attribute", "Images for SecureBoot are not built here: nothing is signed. Remove %q, and switch SecureBoot off.", a.Name)
		return
	}
	var known []string
	for _, row := range spec.attributes {
		if row.applies(label) && !spec.anyName {
			known = append(known, row.name)
		}
	}
	what := spec.phrase()
	if spec.label != nil && spec.label.values != nil {
		what = spec.name + ` "` + label + `"`
	}
	if len(known) == 0 {
		d.add(a.NameRange, "Unknown attribute", "%s has no attribute %q, nor any other. Remove it.", what, a.Name)
		return
	}
	d.add(a.NameRange, "Unknown attribute", "%s has no attribute %q. %s", what, a.Name, didYouMean(a.Name, known))
}

func (d *decoder) unknownBlock(spec *blockSpec, b *hclsyntax.Block) {
	if spec.attribute(b.Type) != nil && !spec.anyName {
		d.add(b.TypeRange, "Unknown block", "%q is an attribute, not a block. Write it with \"=\": %[1]s = …", b.Type)
		return
	}
	known := blockNames(spec)
	if len(known) == 0 {
		d.add(b.TypeRange, "Unknown block", "%s has no blocks. Remove %q.", spec.phrase(), b.Type)
		return
	}
	d.add(b.TypeRange, "Unknown block", "%s has no block %q. %s", spec.phrase(), b.Type, didYouMean(b.Type, known))
}

// phrase is how a sentence begins that is about a block.
func (s *blockSpec) phrase() string {
	switch {
	case s.name == "":
		return "A profile"
	case strings.Contains("aeiou", s.name[:1]):
		return "An " + s.name + " block"
	}
	return "A " + s.name + " block"
}

func blockNames(spec *blockSpec) []string {
	var names []string
	for _, b := range spec.blocks {
		names = append(names, b.name)
	}
	return names
}

// checkString reports a string that is none of the values that there are, or that breaks a rule.
func (d *decoder) checkString(s string, at hcl.Range, what string, values func() []string, r rule) bool {
	switch {
	case values != nil && !slices.Contains(values(), s):
		d.add(at, "Unknown "+what, "There is no %s %s. %s", what, quote(s), didYouMean(s, values()))
		return false
	case r.check != nil:
		if wrong := r.check(s); wrong != "" {
			d.add(at, "Bad "+what, "%s", wrong)
			return false
		}
	}
	return true
}

// node evaluates a block's attributes.
func (d *decoder) node(b *block, more map[string]cty.Value) *node {
	n := &node{block: b, values: map[string]value{}}
	for _, name := range sortedKeys(b.attributes) { // the same are over a limit each time
		s := b.attributes[name]
		if s.row.kind.decode == nil {
			continue // an expression that its block has its own use for
		}
		if v, ok := d.setting(s, more); ok {
			n.values[name] = v
		}
	}
	for _, inner := range b.blocks {
		n.blocks = append(n.blocks, d.node(inner, more))
	}
	return n
}

// setting evaluates an attribute. An attribute that is null counts as not written.
func (d *decoder) setting(s *setting, more map[string]cty.Value) (value, bool) {
	v := d.value(s.expr, more)
	if v.IsKnown() && v.IsNull() {
		if s.row.required {
			d.add(s.expr.Range(), "Missing attribute", "%q must not be null.", s.row.name)
		}
		return value{}, false
	}
	out := value{at: s.expr.Range()}
	v = d.convert(s, v, s.row.kind.cty)
	if v.IsWhollyKnown() || v.IsKnown() && s.row.kind.isList() { // what is known of a list is looked at
		out.of = s.row.kind.decode(d, s, v)
	}
	return out, true
}

// fill sets the fields of dst, a pointer to a struct, that have the tag of an attribute, and its Place.
func fill(dst any, n *node) {
	v := reflect.ValueOf(dst).Elem()
	for i := range n.spec.attributes {
		row := &n.spec.attributes[i]
		field := fieldOf(v, row.name)
		if !field.IsValid() || !row.applies(n.label) {
			continue
		}
		given, ok := n.values[row.name]
		if !ok {
			given.of = row.byDefault
		}
		set(field, given.of)
	}
	if field := v.FieldByName("Place"); field.IsValid() {
		field.Set(reflect.ValueOf(placeOf(n)))
	}
}

func placeOf(n *node) Place {
	p := Place{Range: n.at, attributes: map[string]hcl.Range{}}
	for name, v := range n.values {
		p.attributes[name] = v.at
	}
	return p
}

func fieldOf(v reflect.Value, name string) reflect.Value {
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("hcl") == name {
			return v.Field(i)
		}
	}
	return reflect.Value{}
}

func set(field reflect.Value, of any) {
	if of == nil {
		return
	}
	if list, ok := of.([]Text); ok && field.Type() == reflect.TypeFor[[]string]() {
		of = plain(list)
	}
	field.Set(reflect.ValueOf(of).Convert(field.Type())) // to a type of string with a name of its own
}

// plain drops the ranges.
func plain(list []Text) []string {
	var values []string
	for _, t := range list {
		values = append(values, t.Value)
	}
	return values
}

// inherit returns a node with what it takes from its base. Lists append, anything else of the node's own wins; so with an output of the base
// that the node has one of the same kind for.
func (n *node) inherit(base *node) *node {
	out := &node{block: n.block, values: map[string]value{}}
	for name, v := range base.values {
		if !base.spec.attribute(name).own {
			out.values[name] = v
		}
	}
	for name, v := range n.values {
		out.values[name] = v
		if from, ok := base.values[name]; ok && !n.spec.attribute(name).own {
			out.values[name] = join(from, v)
		}
	}
	count := func(in *node, like *node) (count int, last *node) {
		for _, b := range in.blocks {
			if b.spec == like.spec && b.label == like.label {
				count, last = count+1, b
			}
		}
		return count, last
	}
	for _, b := range base.blocks {
		theirs, _ := count(base, b)
		ours, own := count(n, b)
		if theirs == 1 && ours == 1 {
			b = own.inherit(b)
		}
		out.blocks = append(out.blocks, b)
	}
	for _, b := range n.blocks {
		theirs, _ := count(base, b)
		ours, _ := count(n, b)
		if theirs != 1 || ours != 1 {
			out.blocks = append(out.blocks, b)
		}
	}
	return out
}

// join appends lists and merges META values; of anything else it returns the second.
func join(a, b value) value {
	if values, ok := b.of.(MetaValues); ok {
		if base, ok := a.of.(MetaValues); ok {
			b.of = base.with(values)
		}
		return b
	}
	if a.of == nil || b.of == nil { // one of them was wrong
		if reflect.ValueOf(b.of).Kind() == reflect.Slice || reflect.ValueOf(a.of).Kind() == reflect.Slice {
			return value{at: b.at}
		}
		return b
	}
	if v := reflect.ValueOf(b.of); v.Kind() == reflect.Slice {
		both := reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, 0), reflect.ValueOf(a.of))
		return value{of: reflect.AppendSlice(both, v).Interface(), at: b.at}
	}
	return b
}

// ranges returns a range for each of n elements: its own where the list is written out, else that of the whole expression.
func (s *setting) ranges(n int) []hcl.Range {
	if len(s.expr.items) == n {
		return s.expr.items
	}
	return slices.Repeat([]hcl.Range{s.expr.Range()}, n)
}

// title returns a name as a sentence begins with it.
func title(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
