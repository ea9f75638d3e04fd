package profile

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// What evaluating a whole profile may cost. A step is one evaluation of a part of an expression; values cost their size each time
// that they pass on. Real profiles need a thousandth of it.
const (
	budget      = 32 << 20
	stepCost    = 256
	valueCost   = 16
	byteCost    = 4      // bytes for 1
	maxElements = 10_000 // of one collection: some functions compare each with each
)

// meter counts down the budget.
type meter struct{ left int64 }

func (m *meter) exhausted() bool { return m.left <= 0 }

// charge takes the size of a value. It stops counting when nothing is left, so a value that shares its parts a million times over
// can't hold it up.
func (m *meter) charge(v cty.Value) {
	m.left -= valueCost
	if m.exhausted() || v == cty.NilVal || v.IsNull() || !v.IsKnown() {
		return
	}
	switch t := v.Type(); {
	case t == cty.String:
		m.left -= int64(len(v.AsString()) / byteCost)
	case t == cty.Number:
		exp := int64(v.AsBigFloat().MantExp(nil)) // the number of bits before the point; written out, it has that many digits, or nearly
		m.left -= max(exp, -exp)
	case v.CanIterateElements():
		if v.LengthInt() > maxElements {
			m.left = 0
			return
		}
		for it := v.ElementIterator(); it.Next() && !m.exhausted(); {
			key, element := it.Element()
			m.charge(key)
			m.charge(element)
		}
	}
}

// metered is a part of an expression that charges for its evaluation. When the budget is spent, its value is unknown, without a diagnostic:
// that comes once, from evaluator.value.
type metered struct {
	hclsyntax.Expression
	meter *meter
}

func (e metered) Value(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	e.meter.left -= stepCost
	if e.meter.exhausted() {
		return cty.DynamicVal, nil
	}
	v, diags := e.Expression.Value(ctx)
	e.meter.charge(v)
	if e.meter.exhausted() {
		return cty.DynamicVal, nil
	}
	return v, diags
}

// expression is one that can be evaluated safely.
type expression struct {
	hclsyntax.Expression
	// variables are those that it refers to.
	variables []hcl.Traversal
	// items are the ranges of the elements where it is a list written out.
	items []hcl.Range
}

// newExpression makes an expression metered. It changes e: HCL evaluates a tree as a whole, so the counting has to be in the tree.
func newExpression(m *meter, e hclsyntax.Expression) *expression {
	x := &expression{Expression: e, variables: e.Variables()}
	if tuple, ok := e.(*hclsyntax.TupleConsExpr); ok {
		for _, item := range tuple.Exprs {
			x.items = append(x.items, item.Range())
		}
	}
	var nodes []hclsyntax.Node // first collected, then changed: the walk must not see what it changes
	hclsyntax.VisitAll(e, func(n hclsyntax.Node) hcl.Diagnostics {
		nodes = append(nodes, n)
		return nil
	})
	for _, n := range nodes {
		meterChildren(m, n)
	}
	return x
}

func meterChildren(m *meter, n hclsyntax.Node) {
	wrap := func(children ...*hclsyntax.Expression) {
		for _, c := range children {
			if *c != nil {
				*c = metered{*c, m}
			}
		}
	}
	all := func(list []hclsyntax.Expression) {
		for i := range list {
			wrap(&list[i])
		}
	}
	switch n := n.(type) {
	case *hclsyntax.BinaryOpExpr:
		wrap(&n.LHS, &n.RHS)
	case *hclsyntax.UnaryOpExpr:
		wrap(&n.Val)
	case *hclsyntax.ConditionalExpr:
		wrap(&n.Condition, &n.TrueResult, &n.FalseResult)
	case *hclsyntax.ForExpr:
		wrap(&n.CollExpr, &n.KeyExpr, &n.ValExpr, &n.CondExpr)
	case *hclsyntax.FunctionCallExpr:
		all(n.Args)
	case *hclsyntax.IndexExpr:
		wrap(&n.Collection, &n.Key)
	case *hclsyntax.ObjectConsExpr:
		for i := range n.Items {
			wrap(&n.Items[i].ValueExpr)
		}
	case *hclsyntax.ObjectConsKeyExpr:
		if hcl.ExprAsKeyword(n.Wrapped) == "" || n.ForceNonLiteral { // a bare key isn't evaluated
			wrap(&n.Wrapped)
		}
	case *hclsyntax.SplatExpr:
		wrap(&n.Source, &n.Each)
	case *hclsyntax.TemplateExpr:
		all(n.Parts)
	case *hclsyntax.TemplateJoinExpr:
		wrap(&n.Tuple)
	case *hclsyntax.TupleConsExpr:
		all(n.Exprs)
	}
}

// maxDepth bounds how deep an expression can be, and with it the stack that parsing and evaluating it takes.
const maxDepth = 2000

// tooDeep returns the place where tokens make an expression that is too deep. Whatever the grammar makes of them, a tree is not deeper
// than the number of tokens since the last separator, summed over the brackets that are open.
func tooDeep(tokens hclsyntax.Tokens) (hcl.Range, bool) {
	counts := []int{0} // of the tokens since the last separator, for each open bracket
	brace := []bool{true}
	depth := 0
	for _, t := range tokens {
		top := len(counts) - 1
		switch t.Type {
		case hclsyntax.TokenComma:
			depth -= counts[top]
			counts[top] = 0
		case hclsyntax.TokenNewline:
			if brace[top] {
				depth -= counts[top]
				counts[top] = 0
			}
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd,
			hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc:
			if top > 0 {
				depth -= counts[top]
				counts, brace = counts[:top], brace[:top]
			}
		case hclsyntax.TokenQuotedLit, hclsyntax.TokenStringLit, hclsyntax.TokenComment:
		default:
			depth++
			counts[top]++
			switch t.Type {
			case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl,
				hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc:
				counts = append(counts, 0)
				brace = append(brace, t.Type == hclsyntax.TokenOBrace)
			}
		}
		if depth > maxDepth {
			return t.Range, true
		}
	}
	return hcl.Range{}, false
}
