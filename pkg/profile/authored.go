package profile

import (
	"io/fs"
	"maps"
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Kinds that only authored extensions have.
var (
	files = kind{name: "an object of files", cty: cty.DynamicPseudoType, decode: decodeFiles, keys: &absoluteRule, fields: []attribute{
		{name: "source", kind: text, doc: "A file, relative to the profile."},
		{name: "content", kind: text, doc: "The content itself, instead of `source`."},
		{name: "mode", noun: "file mode", kind: text, rule: modeRule, defaultDoc: "`0755` for an executable source, else `0644`", doc: "Its permissions."},
	}}
	mounts = kind{name: "a list of mounts", cty: cty.DynamicPseudoType, decode: decodeMounts, fields: []attribute{
		{name: "source", noun: "mount source", kind: text, required: true, rule: mountSourceRule, doc: "What is mounted."},
		{name: "destination", noun: "mount destination", kind: text, required: true, rule: absoluteRule, doc: "Where the container has it."},
		{name: "type", noun: "mount type", kind: text, rule: mountTypeRule, defaultDoc: "`bind`", doc: "A file system."},
		{name: "options", noun: "mount option", kind: texts, rule: mountOptionRule, defaultDoc: "`bind` and `ro`", doc: "Mount options."},
	}}
	depends = kind{name: "a list of dependencies", cty: cty.DynamicPseudoType, decode: decodeDepends, fields: []attribute{
		{name: "service", noun: "dependency service", kind: text, rule: dependencyRule, doc: "A service of Talos (`cri`) or of an extension (`ext-NAME`)."},
		{name: "path", noun: "dependency path", kind: text, rule: absoluteRule, doc: "A path that must exist."},
		{name: "network", noun: "network state", kind: texts, values: oneOf("addresses", "connectivity", "hostname", "etcfiles"), doc: "States of the network."},
		{name: "time", kind: boolean, doc: "`true`: the time is in sync."},
		{name: "configuration", kind: boolean, doc: "`true`: there is a configuration of the service."},
	}}
)

func fieldIndex(fields []attribute, name string) int {
	return slices.IndexFunc(fields, func(f attribute) bool { return f.name == name })
}

func fieldNames(fields []attribute) []string {
	var names []string
	for _, f := range fields {
		names = append(names, f.name)
	}
	return names
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func str(v cty.Value) string {
	if v == cty.NilVal {
		return ""
	}
	return v.AsString()
}

func strs(v cty.Value) []string {
	if v == cty.NilVal {
		return nil
	}
	var out []string
	for _, element := range v.AsValueSlice() {
		if !element.IsNull() {
			out = append(out, element.AsString())
		}
	}
	return out
}

// countable reports a collection with more elements than a list can have.
func (d *decoder) countable(s *setting, v cty.Value) bool {
	if v.LengthInt() > MaxList {
		d.add(s.expr.Range(), "Too many elements", "%q has %d elements; at most %d are allowed.", s.row.name, v.LengthInt(), MaxList)
		return false
	}
	return true
}

// decodeFiles makes a []File, sorted by path.
func decodeFiles(d *decoder, s *setting, v cty.Value) any {
	if !v.Type().IsObjectType() && !v.Type().IsMapType() {
		d.add(s.expr.Range(), "Wrong type",
			"%q takes an object of files, not %s. Write { \"/usr/local/bin/agent\" = { source = \"bin/agent\" } }.", s.row.name, describe(v))
		return nil
	}
	if !d.countable(s, v) {
		return nil
	}
	ranges := itemRanges(s.expr)
	entries := v.AsValueMap()
	out, ok := []File{}, true
	for _, name := range sortedKeys(entries) {
		at, found := ranges[name]
		if !found {
			at = s.expr.Range()
		}
		if !d.checkString(name, at, "file path", nil, *s.row.kind.keys) {
			ok = false
			continue
		}
		fields := d.object(at, "a file", s.row.kind.fields, entries[name])
		if fields == nil {
			ok = false
			continue
		}
		f := File{Path: name, Source: str(fields["source"]), Content: str(fields["content"]), Range: at}
		if d.file(&f, fields) {
			out = append(out, f)
		} else {
			ok = false
		}
	}
	if !ok {
		return nil
	}
	return out
}

// file checks a file and completes it.
func (d *decoder) file(f *File, fields map[string]cty.Value) bool {
	_, source := fields["source"]
	_, content := fields["content"]
	if source == content {
		d.add(f.Range, "Bad file", "%s needs one of source (a file) and content (a string).", quote(f.Path))
		return false
	}
	if source {
		full, wrong := d.path(f.Source, isFile, false)
		if wrong != "" {
			d.add(f.Range, "Bad path", "%s", wrong)
			return false
		}
		f.Source = full
	}
	if mode, given := fields["mode"]; given {
		n, _ := strconv.ParseUint(mode.AsString(), 8, 32) // its rule was looked at
		f.Mode = fs.FileMode(n)
	}
	return true
}

// itemRanges returns the ranges of an object's keys where it is written out.
func itemRanges(x *expression) map[string]hcl.Range {
	ranges := map[string]hcl.Range{}
	object, ok := x.Expression.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return ranges
	}
	for _, item := range object.Items {
		if key, diags := item.KeyExpr.Value(nil); !diags.HasErrors() && key.Type() == cty.String && key.IsWhollyKnown() && !key.IsNull() {
			ranges[key.AsString()] = hcl.RangeBetween(item.KeyExpr.Range(), item.ValueExpr.Range())
		}
	}
	return ranges
}

// objects returns the objects of a list with their ranges; false after it reported what is wrong.
func (d *decoder) objects(s *setting, v cty.Value, what string, each func(at hcl.Range, fields map[string]cty.Value) bool) bool {
	if t := v.Type(); !t.IsTupleType() && !t.IsListType() {
		d.add(s.expr.Range(), "Wrong type",
			"%q takes %s, not %s. Write [{ %s = … }].", s.row.name, s.row.kind.name, describe(v), s.row.kind.fields[0].name)
		return false
	}
	ok := d.countable(s, v)
	ranges := s.ranges(v.LengthInt())
	for i, element := range v.AsValueSlice()[:min(v.LengthInt(), MaxList)] {
		fields := d.object(ranges[i], what, s.row.kind.fields, element)
		ok = fields != nil && each(ranges[i], fields) && ok
	}
	return ok
}

func decodeMounts(d *decoder, s *setting, v cty.Value) any {
	out := []Mount{}
	ok := d.objects(s, v, "a mount", func(_ hcl.Range, fields map[string]cty.Value) bool {
		m := Mount{str(fields["source"]), str(fields["destination"]), str(fields["type"]), strs(fields["options"])}
		if _, given := fields["type"]; !given {
			m.Type = "bind"
		}
		if _, given := fields["options"]; !given {
			m.Options = []string{"bind", "ro"}
		}
		out = append(out, m)
		return true
	})
	if !ok {
		return nil
	}
	return out
}

func decodeDepends(d *decoder, s *setting, v cty.Value) any {
	out := []Dependency{}
	ok := d.objects(s, v, "a dependency", func(at hcl.Range, fields map[string]cty.Value) bool {
		if len(fields) != 1 {
			d.add(at, "Bad dependency",
				"A dependency has exactly one of %s. Make an element of each.", list(fieldNames(s.row.kind.fields), "and"))
			return false
		}
		dep := Dependency{Service: str(fields["service"]), Path: str(fields["path"]), Network: strs(fields["network"])}
		for name, of := range fields {
			if of.Type() != cty.Bool {
				continue
			}
			if of.False() {
				d.add(at, "Bad dependency", "%q can only be true. Leave the element out where the service need not wait for it.", name)
				return false
			}
			dep.Time, dep.Configuration = name == "time", name == "configuration"
		}
		out = append(out, dep)
		return true
	})
	if !ok {
		return nil
	}
	return out
}
