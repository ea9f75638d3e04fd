package profile

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// TestEachRowRefused: for each row of the table, testdata/bad has a value that breaks its rule or is none of its values, and for one without either, a
// value of the wrong type or the like; complained of at the row's place. So whoever adds a row has to show what its limits look like.
func TestEachRowRefused(t *testing.T) {
	t.Parallel()
	said := refusals(t)
	want := func(where, what string, values func() []string, r rule, otherwise func(*hcl.Diagnostic) bool) {
		refused := otherwise
		switch {
		case values != nil:
			refused = func(d *hcl.Diagnostic) bool { return d.Summary == "Unknown "+what }
		case r.check != nil:
			refused = func(d *hcl.Diagnostic) bool { return d.Summary == "Bad "+what }
		}
		if !slices.ContainsFunc(said[where], refused) {
			t.Errorf("testdata/bad has no bad %s (%s)", what, where)
		}
	}
	var visit func(spec *blockSpec, path string)
	visit = func(spec *blockSpec, path string) {
		if l := spec.label; l != nil {
			want(path, spec.name+" "+l.name, l.values, l.rule, nil)
		}
		for i := range spec.attributes {
			a := &spec.attributes[i]
			where := strings.TrimPrefix(path+"."+a.name, ".")
			if spec.anyName {
				want(path, spec.name+" name", nil, a.rule, nil)
				continue
			}
			want(where, a.what(), a.values, a.rule, func(d *hcl.Diagnostic) bool {
				return d.Summary == "Bad path" || !strings.HasPrefix(a.kind.name, "the path of")
			})
			for j := range a.kind.fields {
				f := &a.kind.fields[j]
				want(where, f.what(), f.values, f.rule, func(d *hcl.Diagnostic) bool { return strings.Contains(d.Detail, quote(f.name)) })
			}
			if a.kind.keys != nil {
				want(where, "file path", nil, *a.kind.keys, nil)
			}
		}
		for _, inner := range spec.blocks {
			visit(inner, strings.TrimPrefix(path+"."+inner.name, "."))
		}
	}
	visit(fileSpec, "")
}

// TestLongest: each rule has a longest string, which the reference page and the JSON Schema give, and the decoder takes no longer one.
func TestLongest(t *testing.T) {
	t.Parallel()
	around := [][2]string{{"", ""}, {"/", ""}, {"A=", ""}, {"https://", ""}, {"registry.corp/", ""}, {"registry.corp/", ":v1"}, {"version: ", ""}, {"0", "755"}}
	var visit func(spec *blockSpec)
	visit = func(spec *blockSpec) {
		var rules []rule
		if spec.label != nil {
			rules = append(rules, spec.label.rule)
		}
		for _, a := range spec.attributes {
			rules = append(rules, a.rule)
			for _, f := range a.kind.fields {
				rules = append(rules, f.rule)
			}
		}
		for _, r := range rules {
			if r.check != nil && !slices.ContainsFunc(around, func(a [2]string) bool {
				of := func(length int) string { return a[0] + strings.Repeat("a", max(0, length-len(a[0]+a[1]))) + a[1] }
				return r.check(of(r.max)) == "" && r.check(of(r.max+1)) != ""
			}) {
				t.Errorf("in %s: the longest of %q is not %d bytes long", spec.name, r.doc, r.max)
			}
		}
		for _, inner := range spec.blocks {
			visit(inner)
		}
	}
	visit(fileSpec)
}

// refusals are all diagnostics of testdata/bad, by the blocks and the attribute that they point at: "image.output.size". Those that point at no
// attribute's value are found by the blocks alone.
func refusals(t *testing.T) map[string][]*hcl.Diagnostic {
	t.Helper()
	names, err := filepath.Glob("testdata/bad/*.hcl")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]*hcl.Diagnostic{}
	for _, name := range names {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, diags := hclsyntax.ParseConfig(source, name, hcl.InitialPos)
		if diags.HasErrors() {
			continue
		}
		_, diags = Load(name, Options{Env: environment(source)})
		for _, d := range diags {
			if d.Subject != nil {
				where := placeIn(f.Body.(*hclsyntax.Body), d.Subject.Start, nil)
				all[where] = append(all[where], d)
			}
		}
	}
	return all
}

func placeIn(body *hclsyntax.Body, at hcl.Pos, path []string) string {
	for _, a := range body.Attributes {
		if a.Expr.Range().ContainsPos(at) {
			path = append(path, a.Name)
		}
	}
	for _, b := range body.Blocks {
		if b.Range().ContainsPos(at) {
			return placeIn(b.Body, at, append(path, b.Type))
		}
	}
	return strings.Join(path, ".")
}
