package profile

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// pureFunctions are those that depend on their arguments only. None depends on time or chance.
var pureFunctions = map[string]function.Function{
	"abs":             stdlib.AbsoluteFunc,
	"alltrue":         boolFunction(func(all []bool) bool { return !slices.Contains(all, false) }),
	"anytrue":         boolFunction(func(all []bool) bool { return slices.Contains(all, true) }),
	"base64decode":    stringFunction("str", func(s string) (string, error) { return decodeBase64(s) }),
	"base64encode":    stringFunction("str", func(s string) (string, error) { return base64.StdEncoding.EncodeToString([]byte(s)), nil }),
	"basename":        stringFunction("path", func(s string) (string, error) { return path.Base(s), nil }),
	"can":             tryfunc.CanFunc,
	"ceil":            stdlib.CeilFunc,
	"chomp":           stdlib.ChompFunc,
	"chunklist":       stdlib.ChunklistFunc,
	"coalesce":        stdlib.CoalesceFunc,
	"coalescelist":    stdlib.CoalesceListFunc,
	"compact":         stdlib.CompactFunc,
	"concat":          stdlib.ConcatFunc,
	"contains":        stdlib.ContainsFunc,
	"convert":         typeexpr.ConvertFunc,
	"csvdecode":       stdlib.CSVDecodeFunc,
	"dirname":         stringFunction("path", func(s string) (string, error) { return path.Dir(s), nil }),
	"distinct":        guarded(stdlib.DistinctFunc, distinctCost),
	"element":         stdlib.ElementFunc,
	"endswith":        affixFunction("suffix", strings.HasSuffix),
	"flatten":         stdlib.FlattenFunc,
	"floor":           stdlib.FloorFunc,
	"format":          guarded(stdlib.FormatFunc, formatCost),
	"formatlist":      guarded(stdlib.FormatListFunc, formatCost),
	"indent":          guarded(stdlib.IndentFunc, indentCost),
	"index":           stdlib.IndexFunc,
	"int":             stdlib.IntFunc,
	"join":            guarded(stdlib.JoinFunc, joinCost),
	"jsondecode":      stdlib.JSONDecodeFunc,
	"jsonencode":      stdlib.JSONEncodeFunc,
	"keys":            stdlib.KeysFunc,
	"length":          stdlib.LengthFunc,
	"log":             stdlib.LogFunc,
	"lookup":          stdlib.LookupFunc,
	"lower":           stdlib.LowerFunc,
	"max":             stdlib.MaxFunc,
	"merge":           stdlib.MergeFunc,
	"min":             stdlib.MinFunc,
	"parseint":        stdlib.ParseIntFunc,
	"pow":             stdlib.PowFunc,
	"range":           stdlib.RangeFunc,
	"regex":           stdlib.RegexFunc,
	"regex_replace":   guarded(stdlib.RegexReplaceFunc, replaceCost),
	"regexall":        stdlib.RegexAllFunc,
	"replace":         guarded(stdlib.ReplaceFunc, replaceCost),
	"reverse":         stdlib.ReverseListFunc,
	"setintersection": stdlib.SetIntersectionFunc,
	"setproduct":      guarded(stdlib.SetProductFunc, productCost),
	"setsubtract":     stdlib.SetSubtractFunc,
	"setunion":        stdlib.SetUnionFunc,
	"sha256": stringFunction("str", func(s string) (string, error) {
		sum := sha256.Sum256([]byte(s))
		return hex.EncodeToString(sum[:]), nil
	}),
	"signum":     stdlib.SignumFunc,
	"slice":      stdlib.SliceFunc,
	"sort":       stdlib.SortFunc,
	"split":      stdlib.SplitFunc,
	"startswith": affixFunction("prefix", strings.HasPrefix),
	"strlen":     stdlib.StrlenFunc,
	"strrev":     stdlib.ReverseFunc,
	"substr":     stdlib.SubstrFunc,
	"title":      stdlib.TitleFunc,
	"tobool":     stdlib.MakeToFunc(cty.Bool),
	"tolist":     stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)),
	"tomap":      stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)),
	"tonumber":   stdlib.MakeToFunc(cty.Number),
	"toset":      stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)),
	"tostring":   stdlib.MakeToFunc(cty.String),
	"trim":       stdlib.TrimFunc,
	"trimprefix": stdlib.TrimPrefixFunc,
	"trimspace":  stdlib.TrimSpaceFunc,
	"trimsuffix": stdlib.TrimSuffixFunc,
	"try":        tryfunc.TryFunc,
	"upper":      stdlib.UpperFunc,
	"values":     stdlib.ValuesFunc,
	"zipmap":     stdlib.ZipmapFunc,
}

// standardFunctions are the functions of a profile in a directory.
func (e *evaluator) standardFunctions(dir string) map[string]function.Function {
	all := maps.Clone(pureFunctions)
	all["file"] = fileFunction(dir)
	inTemplates := maps.Clone(all) // without templatefile: a template that renders itself would not end
	all["templatefile"] = e.templateFunction(dir, inTemplates)
	return all
}

func stringFunction(parameter string, of func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: parameter, Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			s, err := of(args[0].AsString())
			if err != nil {
				return cty.UnknownVal(cty.String), function.NewArgError(0, err)
			}
			return cty.StringVal(s), nil
		},
	})
}

func affixFunction(parameter string, has func(s, affix string) bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "str", Type: cty.String}, {Name: parameter, Type: cty.String}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(has(args[0].AsString(), args[1].AsString())), nil
		},
	})
}

// boolFunction makes one of a list of conditions, of which null counts as false.
func boolFunction(of func([]bool) bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "list", Type: cty.List(cty.Bool)}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			var all []bool
			for _, v := range args[0].AsValueSlice() {
				if !v.IsKnown() {
					return cty.UnknownVal(cty.Bool), nil
				}
				all = append(all, !v.IsNull() && v.True())
			}
			return cty.BoolVal(of(all)), nil
		},
	})
}

func decodeBase64(s string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return "", errors.New("it is not base64")
	}
	if !utf8.Valid(b) {
		return "", errors.New("its content is not UTF-8 text")
	}
	return string(b), nil
}

// fileFunction reads a text file, relative to the profile.
func fileFunction(dir string) function.Function {
	return stringFunction("path", func(name string) (string, error) { return readText(dir, name) })
}

func readText(dir, name string) (string, error) {
	full := name
	if !filepath.IsAbs(name) {
		full = filepath.Join(dir, name)
	}
	b, err := readFile(full, maxText)
	if err != nil {
		return "", fmt.Errorf("can't read %s: %s", filepath.ToSlash(full), cause(err))
	}
	if !utf8.Valid(b) {
		return "", fmt.Errorf("%s is not UTF-8 text", filepath.ToSlash(full))
	}
	return string(b), nil
}

// templateFunction renders a file as a template with the variables that it is given.
func (e *evaluator) templateFunction(dir string, functions map[string]function.Function) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}, {Name: "variables", Type: cty.DynamicPseudoType}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			s, err := e.render(dir, args[0].AsString(), args[1], functions)
			if err != nil {
				return cty.UnknownVal(cty.String), err
			}
			return s, nil
		},
	})
}

func (e *evaluator) render(dir, name string, variables cty.Value, functions map[string]function.Function) (cty.Value, error) {
	if t := variables.Type(); !t.IsObjectType() && !t.IsMapType() {
		return cty.NilVal, function.NewArgErrorf(1, "an object is needed: { name = value }")
	}
	source, err := readText(dir, name)
	if err != nil {
		return cty.NilVal, function.NewArgError(0, err)
	}
	bad := func(diags hcl.Diagnostics) error {
		d := diags[0]
		return function.NewArgErrorf(0, "in the template, line %d: %s", d.Subject.Start.Line, strings.TrimSuffix(d.Detail, "."))
	}
	x, diags := parseTemplate(&e.meter, source, name, hcl.InitialPos)
	if diags.HasErrors() {
		return cty.NilVal, bad(diags)
	}
	ctx := &hcl.EvalContext{Variables: map[string]cty.Value{}, Functions: functions}
	maps.Copy(ctx.Variables, variables.AsValueMap())
	v, diags := metered{x.Expression, &e.meter}.Value(ctx)
	if diags.HasErrors() {
		return cty.NilVal, bad(diags)
	}
	if v, err = convert.Convert(v, cty.String); err != nil {
		return cty.NilVal, function.NewArgErrorf(0, "the template gives no string: %w", err)
	}
	return v, nil
}

// parseTemplate parses text with ${…} in it.
func parseTemplate(m *meter, source, name string, start hcl.Pos) (*expression, hcl.Diagnostics) {
	tokens, _ := hclsyntax.LexTemplate([]byte(source), name, start)
	if at, deep := tooDeep(tokens); deep {
		return nil, hcl.Diagnostics{{
			Severity: hcl.DiagError, Summary: "Too deep", Detail: "It is nested too deeply, or has too many parts.", Subject: &at,
		}}
	}
	parsed, diags := hclsyntax.ParseTemplate([]byte(source), name, start)
	if diags.HasErrors() {
		return nil, diags
	}
	return newExpression(m, parsed), nil
}

// maxResult bounds what a function may make, in bytes or comparisons, where that isn't in proportion to its arguments.
const maxResult = 16 << 20

// guarded refuses a call whose cost is too high before the function spends it.
func guarded(f function.Function, cost func(args []cty.Value) int64) function.Function {
	check := func(args []cty.Value) error {
		if cost(args) > maxResult {
			return errors.New("its result would be too large")
		}
		return nil
	}
	return function.New(&function.Spec{
		Description: f.Description(),
		Params:      f.Params(),
		VarParam:    f.VarParam(),
		Type: func(args []cty.Value) (cty.Type, error) {
			if err := check(args); err != nil {
				return cty.NilType, err
			}
			return f.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f.Call(args) },
	})
}

// length of a string or collection; 0 of what isn't there or isn't known.
func length(args []cty.Value, i int) int64 {
	if i >= len(args) || args[i].IsNull() || !args[i].IsKnown() {
		return 0
	}
	switch v := args[i]; {
	case v.Type() == cty.String:
		return int64(len(v.AsString()))
	case v.CanIterateElements():
		return int64(v.LengthInt())
	}
	return 0
}

func distinctCost(args []cty.Value) int64 { return length(args, 0) * length(args, 0) }

func replaceCost(args []cty.Value) int64 { return (length(args, 0) + 1) * (length(args, 2) + 1) }

func joinCost(args []cty.Value) int64 {
	var elements int64
	for i := range args[min(1, len(args)):] {
		elements += length(args, i+1)
	}
	return elements * (length(args, 0) + 1)
}

func productCost(args []cty.Value) int64 {
	product := int64(1)
	for i := range args {
		product *= length(args, i)
		if product > maxElements {
			return maxResult + 1
		}
	}
	return product
}

func indentCost(args []cty.Value) int64 {
	if len(args) < 2 || args[0].IsNull() || !args[0].IsKnown() {
		return 0
	}
	spaces, _ := args[0].AsBigFloat().Int64()
	return min(max(spaces, 0), maxResult+1) * (length(args, 1) + 1)
}

// wide is a format verb with a width or a precision of four digits, or one taken from an argument.
var wide = regexp.MustCompile(`%[^a-zA-Z%]*([0-9]{4}|\*)`)

func formatCost(args []cty.Value) int64 {
	if length(args, 0) > 0 && wide.MatchString(args[0].AsString()) {
		return maxResult + 1
	}
	return 0
}
