package profile

import (
	"bytes"
	"encoding/json"
	"maps"
)

// Schema returns the JSON Schema of a profile in JSON syntax, for editors. It is made from the table that the decoder uses.
func Schema() []byte {
	defs := schemaDefs{
		// Any value can be computed; what a template gives, only Load can check.
		"template": object{"type": "string", "pattern": `[$%]\{`, "description": "A template: ${…} is evaluated."},
		"comment":  object{"description": "A comment."},
	}
	top := defs.body(fileSpec, "")
	top["properties"].(object)[schemaProperty] = object{"type": "string", "description": "Where this schema is, for editors."}
	top["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	top["title"] = "talosmith profile (extensions.hcl.json)"
	top["$defs"] = defs
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(top); err != nil {
		panic(err) // maps, slices, strings and numbers always encode
	}
	return b.Bytes()
}

// schemaDefs are the parts of a schema that others refer to, by name.
type schemaDefs map[string]object

func ref(name string) object { return object{"$ref": "#/$defs/" + name} }

// define names a part, and returns the reference to it.
func (d schemaDefs) define(name string, part object) object {
	d[name] = part
	return ref(name)
}

// body describes a block's body; label is given where the label decides which attributes there are.
func (d schemaDefs) body(spec *blockSpec, label string) object {
	properties := object{"//": ref("comment")}
	var required []string
	body := object{"type": "object", "properties": properties, "additionalProperties": false}
	for i := range spec.attributes {
		a := &spec.attributes[i]
		switch {
		case spec.anyName:
			body["additionalProperties"] = schemaOfAttribute(a)
			body["propertyNames"] = object{"anyOf": []any{written(a.rule), object{"const": "//"}}}
			continue
		case !a.applies(label):
			continue
		case a.required:
			required = append(required, a.name)
		}
		properties[a.name] = schemaOfAttribute(a)
	}
	for _, inner := range spec.blocks {
		part := d.blocks(inner)
		part["description"] = inner.doc
		properties[inner.name] = part
	}
	if required != nil {
		body["required"] = required
	}
	return body
}

// blocks describes all blocks of a kind: a body, or an object of bodies by label; or an array of those.
func (d schemaDefs) blocks(spec *blockSpec) object {
	if spec.label == nil {
		return oneOrMore(d.define(spec.name, d.body(spec, "")))
	}
	labelled := object{"type": "object"}
	if spec.label.values != nil {
		properties := object{}
		for _, label := range spec.label.values() {
			properties[label] = oneOrMore(d.define(spec.name+"-"+label, d.body(spec, label)))
		}
		labelled["properties"] = properties
		labelled["additionalProperties"] = false
	} else {
		labelled["additionalProperties"] = oneOrMore(d.define(spec.name, d.body(spec, "")))
		labelled["propertyNames"] = written(spec.label.rule)
	}
	return oneOrMore(d.define(spec.name+"-blocks", labelled))
}

func oneOrMore(of object) object {
	return object{"anyOf": []any{of, object{"type": "array", "items": of}}}
}

// schemaOfAttribute describes an attribute's value: null, a template, or what its kind is.
func schemaOfAttribute(a *attribute) object {
	s := object{"description": a.doc}
	if a.byDefault != nil {
		s["default"] = a.byDefault
	}
	value := schemaOfKind(a.kind)
	if element, ok := value["items"].(object); ok && a.kind.isList() {
		value["items"] = object{"anyOf": []any{constrained(element, a), ref("template")}}
	} else if value["type"] == "string" {
		value = constrained(value, a)
	}
	if len(value) > 0 { // else anything goes
		s["anyOf"] = []any{value, ref("template"), object{"type": "null"}}
	}
	return s
}

func constrained(s object, a *attribute) object {
	s = maps.Clone(s)
	if a.values != nil {
		s["enum"] = a.values()
		return s
	}
	maps.Copy(s, written(a.rule))
	return s
}

// written is what a schema can say of a rule.
func written(r rule) object {
	of := object{}
	if r.pattern != "" {
		of["pattern"] = r.pattern
	}
	if r.max > 0 {
		of["maxLength"] = r.max
	}
	return of
}

// schemaOfKind describes a kind; objects by their fields.
func schemaOfKind(k kind) object {
	if k.fields == nil {
		return maps.Clone(k.json)
	}
	properties := object{}
	var required []string
	for i := range k.fields {
		f := &k.fields[i]
		properties[f.name] = schemaOfAttribute(f)
		if f.required {
			required = append(required, f.name)
		}
	}
	fields := object{"type": "object", "properties": properties, "additionalProperties": false}
	if required != nil {
		fields["required"] = required
	}
	element := object{"anyOf": []any{fields, ref("template")}}
	if k.keys != nil {
		return object{"type": "object", "additionalProperties": element, "propertyNames": object{"anyOf": []any{written(*k.keys), ref("template")}}}
	}
	return object{"type": "array", "items": element, "maxItems": MaxList}
}
