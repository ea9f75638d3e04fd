package profile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
)

// evaluator gives expressions their values. Variables and locals are evaluated when something first refers to them.
type evaluator struct {
	*diagnostics
	env        func(string) (string, bool)
	meter      meter
	functions  map[string]function.Function
	names      map[string]*binding // variables by name, locals as "local.NAME"
	extensions map[string]*block
	// resolving are the names whose evaluation led here, to find cycles.
	resolving []string
	// exhaustedSaid: the budget's diagnostic was reported.
	exhaustedSaid bool
}

// binding is a variable or a local.
type binding struct {
	at      hcl.Range
	resolve func() cty.Value
	state   state
	value   cty.Value
}

type state int

const (
	untouched state = iota
	resolving
	resolved
)

// maxChain bounds how long a chain of references can be.
const maxChain = 500

// extensionPrefix begins the string that a reference to a declared extension is. A string goes through every function for lists.
const extensionPrefix = "extension."

// value evaluates an expression. More are names that only it sees: those of a matrix, or arch. What is wrong is reported here. The value, or
// a part of it, is then unknown, and nothing further is said about what depends on it.
func (e *evaluator) value(x *expression, more map[string]cty.Value) cty.Value {
	if e.full() {
		return cty.DynamicVal
	}
	ctx := &hcl.EvalContext{Variables: maps.Clone(more), Functions: e.functions}
	if ctx.Variables == nil {
		ctx.Variables = map[string]cty.Value{}
	}
	locals := map[string]cty.Value{}
	extensions := map[string]cty.Value{}
	for _, ref := range x.variables {
		name := ref.RootName()
		if _, local := more[name]; local {
			continue
		}
		switch name {
		case "local":
			member := memberOf(ref)
			if e.names["local."+member] == nil {
				e.unknownMember(ref, member, "local", e.localNames())
				locals[member] = cty.DynamicVal
				continue
			}
			locals[member] = e.lookUp("local."+member, ref.SourceRange())
		case "extension":
			member := memberOf(ref)
			extensions[member] = cty.StringVal(extensionPrefix + member)
			if e.extensions[member] == nil {
				e.unknownMember(ref, member, "extension", sortedKeys(e.extensions))
				extensions[member] = cty.DynamicVal
			}
		default:
			if e.names[name] == nil {
				e.unknownVariable(ref, more)
				ctx.Variables[name] = cty.DynamicVal
				continue
			}
			ctx.Variables[name] = e.lookUp(name, ref.SourceRange())
		}
	}
	object := func(name string, members map[string]cty.Value) {
		if _, whole := members[""]; whole { // the reference names no member, which was reported
			ctx.Variables[name] = cty.DynamicVal
			return
		}
		ctx.Variables[name] = cty.ObjectVal(members)
	}
	object("local", locals)
	object("extension", extensions)
	return e.evaluate(x, ctx)
}

// evaluate evaluates with the budget.
func (e *evaluator) evaluate(x *expression, ctx *hcl.EvalContext) cty.Value {
	v, diags := metered{x.Expression, &e.meter}.Value(ctx)
	if e.meter.exhausted() {
		if !e.exhaustedSaid {
			e.exhaustedSaid = true
			e.add(x.Range(), "Too much work",
				"Evaluating the profile takes too many steps or too much memory. The expression here is where it was given up; make its loops, ranges or strings smaller.")
		}
		return cty.DynamicVal
	}
	e.addForeign(diags)
	if diags.HasErrors() {
		return cty.DynamicVal
	}
	return v
}

// memberOf returns NAME of a reference local.NAME or extension.NAME; empty if there is none.
func memberOf(ref hcl.Traversal) string {
	if len(ref) > 1 {
		switch step := ref[1].(type) {
		case hcl.TraverseAttr:
			return step.Name
		case hcl.TraverseIndex:
			if step.Key.Type() == cty.String && !step.Key.IsNull() {
				return step.Key.AsString()
			}
		}
	}
	return ""
}

func (e *evaluator) unknownMember(ref hcl.Traversal, member, of string, known []string) {
	if member == "" {
		e.add(ref.SourceRange(), "Incomplete reference", "Write %s.NAME: %[1]s alone has no value.", of)
		return
	}
	e.add(ref.SourceRange(), "Unknown "+of, "The profile declares no %s.%s. %s", of, member, didYouMean(member, known))
}

func (e *evaluator) unknownVariable(ref hcl.Traversal, more map[string]cty.Value) {
	name := ref.RootName()
	known := slices.Sorted(maps.Keys(more))
	for n := range e.names {
		if !strings.HasPrefix(n, "local.") {
			known = append(known, n)
		}
	}
	slices.Sort(known)
	switch {
	case name == "var" && len(ref) > 1:
		if step, ok := ref[1].(hcl.TraverseAttr); ok {
			e.add(ref.SourceRange(), "Unknown variable",
				"Variables are used by their bare names here. Write %s instead of var.%[1]s.", step.Name)
			return
		}
	case name == "arch":
		e.add(ref.SourceRange(), "Unknown variable", "arch is known in extension blocks only, which are evaluated for each architecture.")
		return
	case e.extensions[name] != nil:
		e.add(ref.SourceRange(), "Unknown variable", "There is no variable %q. Did you mean the declared extension, extension.%[1]s?", name)
		return
	case e.names["local."+name] != nil:
		e.add(ref.SourceRange(), "Unknown variable", "There is no variable %q. Did you mean local.%[1]s?", name)
		return
	}
	e.add(ref.SourceRange(), "Unknown variable", "There is no variable %q. %s", name, didYouMean(name, known))
}

func (e *evaluator) localNames() []string {
	var names []string
	for n := range e.names {
		if local, ok := strings.CutPrefix(n, "local."); ok {
			names = append(names, local)
		}
	}
	slices.Sort(names)
	return names
}

// lookUp returns the value of a variable or local that the expression at a range refers to.
func (e *evaluator) lookUp(name string, from hcl.Range) cty.Value {
	b := e.names[name]
	switch {
	case b.state == resolved:
		return b.value
	case b.state == resolving:
		chain := append(slices.Clone(e.resolving[slices.Index(e.resolving, name):]), name)
		e.add(from, "Circular reference",
			"The value of %s would depend on itself: %s. Break the circle at one of them.", name, strings.Join(chain, " → "))
		return cty.DynamicVal
	case len(e.resolving) == maxChain:
		e.add(from, "Too deep", "The chain of references that leads here is longer than %d. Make it shorter.", maxChain)
		return cty.DynamicVal
	}
	b.state = resolving
	e.resolving = append(e.resolving, name)
	b.value = b.resolve()
	e.resolving = e.resolving[:len(e.resolving)-1]
	b.state = resolved
	return b.value
}

// declare makes a name known.
func (e *evaluator) declare(what, name string, at hcl.Range, resolve func() cty.Value) {
	if first, ok := e.names[name]; ok {
		e.add(at, "Duplicate "+what, "%s is already declared at %s. Remove one or rename it.", name, place(first.at))
		return
	}
	e.names[name] = &binding{at: at, resolve: resolve}
}

// resolveAll evaluates what nothing refers to, so that its mistakes are found, too.
func (e *evaluator) resolveAll() {
	for _, name := range slices.Sorted(maps.Keys(e.names)) {
		e.lookUp(name, e.names[name].at)
	}
}

// variable returns the value of a variable block.
func (e *evaluator) variable(b *block) cty.Value {
	want := cty.NilType
	if a := b.attributes["type"]; a != nil {
		t, diags := typeexpr.TypeConstraint(a.expr.Expression)
		e.addForeign(diags)
		if diags.HasErrors() {
			return cty.DynamicVal
		}
		want = t
	}
	v, at := cty.NullVal(cty.String), b.at
	given := b.attributes["default"]
	if given != nil {
		v, at = e.value(given.expr, nil), given.expr.Range()
		if !v.IsWhollyKnown() {
			return cty.DynamicVal
		}
	}
	if want == cty.NilType {
		want = impliedType(v)
	}
	if text, ok := e.env(b.label); ok {
		return e.fromEnvironment(b, text, want)
	}
	if given == nil {
		e.add(b.at, "Variable without a value",
			"The environment has no variable %q, and there is no default. Set it, or add one: default = …", b.label)
		return cty.DynamicVal
	}
	converted, err := convert.Convert(v, want)
	if err != nil {
		e.add(at, "Wrong type",
			"The default does not fit the variable's type, %s: %s.", typeexpr.TypeString(want), convert.MismatchMessage(v.Type(), want))
		return cty.DynamicVal
	}
	return converted
}

// impliedType is the type of a variable that says only its default: a list where the default looks like one.
func impliedType(v cty.Value) cty.Type {
	t := v.Type()
	switch {
	case v.IsNull():
		return cty.String
	case t.IsTupleType() && t.Length() > 0:
		if element, _ := convert.Unify(t.TupleElementTypes()); element != cty.NilType {
			return cty.List(element)
		}
	}
	return t
}

func (e *evaluator) fromEnvironment(b *block, text string, want cty.Type) cty.Value {
	bad := func(why string) cty.Value {
		e.add(b.at, "Bad environment variable",
			"The environment variable %q does not fit the variable's type, %s: %s.", b.label, typeexpr.TypeString(want), why)
		return cty.DynamicVal
	}
	if len(text) > MaxBytes {
		return bad("it is too long")
	}
	v := cty.StringVal(text)
	if !want.IsPrimitiveType() && want != cty.DynamicPseudoType {
		source := []byte(text)
		start := hcl.Pos{Line: 1, Column: 1}
		tokens, diags := hclsyntax.LexExpression(source, b.label, start)
		if _, deep := tooDeep(tokens); deep || diags.HasErrors() {
			return bad("it is not an HCL or JSON value")
		}
		parsed, diags := hclsyntax.ParseExpression(source, b.label, start)
		if diags.HasErrors() {
			return bad("it is not an HCL or JSON value")
		}
		v, diags = metered{newExpression(&e.meter, parsed).Expression, &e.meter}.Value(nil)
		if diags.HasErrors() || e.meter.exhausted() {
			return bad("it is not a plain HCL or JSON value")
		}
	} else if want != cty.String && want != cty.DynamicPseudoType {
		v = cty.StringVal(strings.TrimSpace(text))
	}
	e.meter.charge(v)
	converted, err := convert.Convert(v, want)
	if err != nil {
		return bad(err.Error())
	}
	return converted
}

// validate checks a variable's description, and its validation blocks.
func (e *evaluator) validate(b *block) {
	if a := b.attributes["description"]; a != nil {
		e.convert(a, e.value(a.expr, nil), a.row.kind.cty)
	}
	v := e.names[b.label]
	if v == nil || !v.value.IsWhollyKnown() {
		return
	}
	for _, check := range b.blocks {
		condition, message := check.attributes["condition"], check.attributes["error_message"]
		if condition == nil || message == nil {
			continue // reported as missing
		}
		ok := e.convert(condition, e.value(condition.expr, nil), cty.Bool)
		text := e.convert(message, e.value(message.expr, nil), cty.String)
		if !ok.IsKnown() || !text.IsKnown() || ok.IsNull() || text.IsNull() || ok.True() {
			continue
		}
		from := "default"
		if _, ok := e.env(b.label); ok {
			from = "environment"
		}
		e.add(condition.expr.Range(), "Invalid value of a variable", "%s The value of %q comes from the %s.", sentence(text.AsString()), b.label, from)
	}
}

// sentence ends a text with a full stop where it has no end, as another sentence follows.
func sentence(text string) string {
	if text = strings.TrimSpace(text); strings.HasSuffix(text, ".") || strings.HasSuffix(text, "!") || strings.HasSuffix(text, "?") {
		return text
	}
	return text + "."
}

// convert converts an attribute's value, or reports that it can't.
func (e *evaluator) convert(a *setting, v cty.Value, want cty.Type) cty.Value {
	converted, err := convert.Convert(v, want)
	if err != nil {
		remedy := ""
		if a.row.kind.isList() && v.Type() == cty.String {
			remedy = fmt.Sprintf(" Write: %s = [%s]", a.row.name, quote(v.AsString()))
		}
		e.add(a.expr.Range(), "Wrong type", "%q takes %s, not %s.%s", a.row.name, a.row.kind.name, describe(v), remedy)
		return cty.DynamicVal
	}
	return converted
}

// describe names what a value is.
func describe(v cty.Value) string {
	t := v.Type()
	switch {
	case v.IsNull():
		return "null"
	case t == cty.Bool:
		return "true or false"
	case t == cty.String:
		return "a string"
	case t == cty.Number:
		return "a number"
	case t.IsTupleType() || t.IsListType() || t.IsSetType():
		if v.LengthInt() > 0 {
			for it := v.ElementIterator(); it.Next(); {
				if _, element := it.Element(); element.IsKnown() && !element.IsNull() && !element.Type().IsPrimitiveType() {
					return "a list with " + describe(element) + " in it"
				} else if element.IsNull() {
					return "a list with null in it"
				}
			}
		}
		return "a list"
	case t.IsObjectType() || t.IsMapType():
		return "an object"
	}
	return t.FriendlyName()
}
