package profile

import (
	"errors"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/gocty"
)

// Limits of free values: how deep they are nested, and how many there are, all together.
const (
	MaxPlainDepth = 20
	MaxPlain      = 10000
)

// tree is an object of anything.
var tree = kind{name: "an object", cty: cty.DynamicPseudoType, json: object{"type": "object"}, decode: decodeTree}

// decodeTree makes a map[string]any.
func decodeTree(d *decoder, s *setting, v cty.Value) any {
	if !v.Type().IsObjectType() && !v.Type().IsMapType() {
		d.add(s.expr.Range(), "Wrong type", "%q takes an object, not %s. Write { configTxtAppend = \"…\" }.", s.row.name, describe(v))
		return nil
	}
	left := MaxPlain
	p, err := plainValue(v, MaxPlainDepth, &left)
	if err != nil {
		d.add(s.expr.Range(), "Bad value", "%q %v.", s.row.name, err)
		return nil
	}
	return p
}

// plainValue is a value as encoders of JSON and YAML take it: maps, lists, strings, booleans, int64 or else float64, nil.
func plainValue(v cty.Value, depth int, left *int) (any, error) {
	if *left--; depth == 0 || *left < 0 {
		return nil, errors.New("is nested more than 20 deep, or has more than 10000 values")
	}
	t := v.Type()
	switch {
	case v.IsNull():
		return nil, nil
	case t == cty.String:
		return v.AsString(), nil
	case t == cty.Bool:
		return v.True(), nil
	case t == cty.Number:
		var n int64
		if err := gocty.FromCtyValue(v, &n); err == nil {
			return n, nil
		}
		var f float64
		if err := gocty.FromCtyValue(v, &f); err != nil {
			return nil, errors.New("has a number that is too large")
		}
		return f, nil
	case t.IsObjectType() || t.IsMapType():
		out := map[string]any{}
		fields := v.AsValueMap()
		for _, name := range sortedKeys(fields) {
			p, err := plainValue(fields[name], depth-1, left)
			if err != nil {
				return nil, err
			}
			out[name] = p
		}
		return out, nil
	}
	out := []any{}
	for _, of := range v.AsValueSlice() {
		p, err := plainValue(of, depth-1, left)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}
