package profile

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/talosmith/talosmith/pkg/talos"
)

// MetaValue is a value of the META store.
type MetaValue struct {
	talos.MetaValue
	Range hcl.Range
}

// MetaValues are sorted by key, each of which is there once.
type MetaValues []MetaValue

// with returns these values and others, which win.
func (m MetaValues) with(others MetaValues) MetaValues {
	out := slices.Clone(others)
	for _, v := range m {
		if !slices.ContainsFunc(others, func(o MetaValue) bool { return o.Key == v.Key }) {
			out = append(out, v)
		}
	}
	out.sort()
	return out
}

func (m MetaValues) sort() {
	slices.SortFunc(m, func(a, b MetaValue) int { return cmp.Compare(a.Key, b.Key) })
}

// MetaOf are the values that an output carries; none where it has no place for them.
func (i *Image) MetaOf(o Output) (values []talos.MetaValue) {
	if talos.CheckMeta(o.Kind, []talos.MetaValue{{Key: 1}}) != nil {
		return nil
	}
	for _, v := range i.Meta.with(o.Meta) {
		values = append(values, v.MetaValue)
	}
	return values
}

// metaValues are an object whose keys are numbers or names.
var metaValues = kind{name: "an object of META values", cty: cty.DynamicPseudoType, decode: decodeMeta,
	json: object{"type": "object", "additionalProperties": stringSchema}}

func metaKeyNames() string { return "`" + strings.Join(talos.MetaKeyNames(), "`, `") + "`" }

// decodeMeta makes MetaValues.
func decodeMeta(d *decoder, s *setting, v cty.Value) any {
	if !v.Type().IsObjectType() && !v.Type().IsMapType() {
		d.add(s.expr.Range(), "Wrong type", "%q takes an object of META values, not %s. Write { network = file(\"network.yaml\") }.", s.row.name, describe(v))
		return nil
	}
	ok := true
	written := d.metaKeys(s, &ok)
	values := MetaValues{}
	for _, name := range sortedKeys(v.AsValueMap()) {
		at, found := written[name]
		if !found {
			at = s.expr.Range()
		}
		key, wrong := metaKey(name)
		if wrong != "" {
			d.add(at, "Bad META key", "%s", wrong)
			ok = false
			continue
		}
		text, err := convert.Convert(v.AsValueMap()[name], cty.String)
		if err != nil || text.IsNull() {
			d.add(at, "Wrong type", "The META value %s is a string, not %s. jsonencode(…) makes one of anything; where Talos wants YAML, JSON will do.",
				quote(name), describe(v.AsValueMap()[name]))
			ok = false
			continue
		}
		if i := slices.IndexFunc(values, func(o MetaValue) bool { return o.Key == key }); i >= 0 {
			d.add(at, "Repeated META key", "%s is the key %d, which has a value already, at %s. Remove one.", quote(name), key, place(values[i].Range))
			ok = false
			continue
		}
		values = append(values, MetaValue{talos.MetaValue{Key: key, Value: text.AsString()}, at})
	}
	if !ok {
		return nil
	}
	values.sort()
	return values
}

// metaKey is the key that a name or a number stands for, or says what is wrong with it.
func metaKey(name string) (key uint8, wrong string) {
	if n, err := strconv.ParseInt(name, 0, 64); err == nil {
		if n < 1 || n > 255 {
			return 0, "The META key " + name + " is not between 1 and 255."
		}
		return uint8(n), ""
	}
	key, err := talos.MetaKey(name)
	if err != nil {
		return 0, "There is no META key " + quote(name) + ". " + didYouMean(name, talos.MetaKeyNames()) + " Others are written as numbers from 1 to 255."
	}
	return key, ""
}

// metaKeys are the ranges of keys where the object is written out. It reports what HCL would drop without a word: a key that is there twice.
func (d *decoder) metaKeys(s *setting, ok *bool) map[string]hcl.Range {
	ranges := map[string]hcl.Range{}
	literal, isLiteral := s.expr.Expression.(*hclsyntax.ObjectConsExpr)
	if !isLiteral {
		return ranges
	}
	for _, item := range literal.Items {
		v, diags := item.KeyExpr.Value(nil)
		if diags.HasErrors() {
			continue // computed
		}
		v, err := convert.Convert(v, cty.String)
		if err != nil || !v.IsKnown() || v.IsNull() {
			continue
		}
		if first, twice := ranges[v.AsString()]; twice {
			d.add(item.KeyExpr.Range(), "Repeated META key", "%s has a value already, at %s. Remove one.", quote(v.AsString()), place(first))
			*ok = false
			continue
		}
		ranges[v.AsString()] = hcl.RangeBetween(item.KeyExpr.Range(), item.ValueExpr.Range())
	}
	return ranges
}
