package migrate

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"

	"github.com/talosmith/talosmith/pkg/profile"
)

// converter turns what YAML can hold into what a profile can.
type converter struct{ left int }

// convert returns a value for the profile, and what the profile's decoder will make of it.
func (c *converter) convert(v any, depth int) (cty.Value, any, error) {
	if c.left--; depth == 0 || c.left < 0 {
		return cty.NilVal, nil, fmt.Errorf("it is nested more than %d deep, or has more than %d values", profile.MaxPlainDepth, profile.MaxPlain)
	}
	switch v := v.(type) {
	case nil:
		return cty.NullVal(cty.DynamicPseudoType), nil, nil
	case bool:
		return cty.BoolVal(v), v, nil
	case string:
		if !utf8.ValidString(v) {
			return cty.NilVal, nil, errUTF8
		}
		of := cty.StringVal(v)
		return of, of.AsString(), nil
	case int:
		return cty.NumberIntVal(int64(v)), int64(v), nil
	case int64:
		return cty.NumberIntVal(v), v, nil
	case uint64:
		return cty.NumberUIntVal(v), float64(v), nil // larger than an int64
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return cty.NilVal, nil, fmt.Errorf("there is no number %v", v)
		}
		if v == math.Trunc(v) && math.Abs(v) < 1<<63 {
			return cty.NumberIntVal(int64(v)), int64(v), nil
		}
		return cty.NumberFloatVal(v), v, nil
	case []any:
		return c.list(v, depth)
	case map[string]any:
		return c.object(v, depth)
	case map[any]any:
		named := map[string]any{}
		var twice []string
		for key, of := range v {
			name := fmt.Sprint(key)
			if _, have := named[name]; have {
				twice = append(twice, name)
			}
			named[name] = of
		}
		if len(twice) > 0 {
			return cty.NilVal, nil, fmt.Errorf("two keys are %.100q", slices.Min(twice))
		}
		return c.object(named, depth)
	}
	return cty.NilVal, nil, errors.New("it has a date or something else that JSON has not")
}

func (c *converter) list(list []any, depth int) (cty.Value, any, error) {
	values, plain := []cty.Value{}, []any{}
	for _, of := range list {
		v, p, err := c.convert(of, depth-1)
		if err != nil {
			return cty.NilVal, nil, err
		}
		values, plain = append(values, v), append(plain, p)
	}
	return cty.TupleVal(values), plain, nil
}

func (c *converter) object(object map[string]any, depth int) (cty.Value, any, error) {
	values, plain := map[string]cty.Value{}, map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		v, p, err := c.convert(object[name], depth-1)
		if err == nil && !utf8.ValidString(name) {
			err = errUTF8
		}
		if err != nil {
			return cty.NilVal, nil, err
		}
		name = cty.NormalizeString(name)
		if _, twice := plain[name]; twice {
			return cty.NilVal, nil, fmt.Errorf("two keys are %.100q", name)
		}
		values[name], plain[name] = v, p
	}
	return cty.ObjectVal(values), plain, nil
}
