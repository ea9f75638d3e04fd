package profile

import (
	"fmt"
	"slices"
	"strings"
)

// Reference returns the page, in Markdown, that describes every block, attribute and function. It is made from the table that the
// decoder uses.
func Reference() []byte {
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, spec := range fileSpec.blocks {
		writeBlock(&b, spec, nil)
	}
	b.WriteString("## Functions\n\n" + referenceFunctions)
	names := slices.Concat(sortedKeys(pureFunctions), []string{"file", "templatefile"})
	slices.Sort(names)
	for i, name := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("`" + name + "`")
	}
	b.WriteString(".\n")
	return []byte(b.String())
}

const referenceHead = `# The profile

` + "`extensions.hcl`" + ` says which images are built. This page is made from the table that reads it.

The language is [HCL](https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md), as in Terraform and ` + "`docker buildx bake`" + `: blocks, attributes,
expressions. A profile is one file; or a directory (` + "`-profile=DIR`" + `), of which all ` + "`*.hcl`" + ` and ` + "`*.hcl.json`" + ` count as one. The JSON form follows
[HCL's JSON syntax](https://github.com/hashicorp/hcl/blob/main/json/spec.md): an expression is a string with ` + "`${…}`" + `, and a declared extension
can be written ` + "`\"extension.motd\"`" + `; editors check it by [a JSON Schema](profile.schema.json), which the file may name in a property ` + "`$schema`" + `.

Paths are relative to the profile. An attribute that is ` + "`null`" + ` counts as not written. Every mistake is reported, with its place and what to do, in one run.

In expressions there are variables (` + "`console`" + `), locals (` + "`local.common`" + `), declared extensions (` + "`extension.motd`" + `), in an image the keys of its matrix,
in an extension ` + "`arch`" + `, and functions. Variables and locals can refer to each other, in any order, but not in a circle.

`

const referenceFunctions = "None depends on time or chance. `file(path)` reads a text file of at most 1 MiB; `templatefile(path, { name = value })` renders one with `${name}` " +
	"in it. The others are those of [cty](https://pkg.go.dev/github.com/zclconf/go-cty/cty/function/stdlib), with the names that Terraform and bake give them: "

func writeBlock(b *strings.Builder, spec *blockSpec, parents []string) {
	path := slices.Concat(parents, []string{spec.name})
	title := "`" + spec.name
	if spec.label != nil {
		title += " \"" + strings.ToUpper(spec.label.name) + "\""
	}
	title += "`"
	if len(parents) > 0 {
		title += " in `" + strings.Join(parents, "`, `") + "`"
	}
	fmt.Fprintf(b, "%s %s\n\n%s%s\n\n", strings.Repeat("#", min(len(path)+1, 6)), title, spec.doc, count(spec))
	if l := spec.label; l != nil {
		fmt.Fprintf(b, "%s is %s.\n\n", strings.ToUpper(l.name), limits(l.values, l.rule))
	}
	if len(spec.attributes) > 0 {
		b.WriteString("| attribute | takes | default | meaning |\n|---|---|---|---|\n")
	}
	for i := range spec.attributes {
		writeAttribute(b, &spec.attributes[i])
	}
	if len(spec.attributes) > 0 {
		b.WriteString("\n")
	}
	if spec.example != "" {
		b.WriteString("```hcl\n" + spec.example + "```\n\n")
	}
	for _, inner := range spec.blocks {
		writeBlock(b, inner, path)
	}
}

func count(spec *blockSpec) string {
	switch {
	case spec.once && spec.required:
		return " There is exactly one."
	case spec.once:
		return " There is at most one."
	case spec.required:
		return " There is at least one."
	}
	return ""
}

func writeAttribute(b *strings.Builder, a *attribute) {
	doc := a.doc
	if len(a.only) > 0 {
		doc += " Only of `" + strings.Join(a.only, "`, `") + "`."
	}
	for _, f := range a.kind.fields {
		doc += fmt.Sprintf("<br>`%s`, %s", f.name, takes(&f))
		if d := defaultOf(&f); f.required {
			doc += "; required"
		} else if d != "" {
			doc += "; default " + d
		}
		doc += ". " + f.doc
	}
	fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", a.name, cell(takes(a)), cell(defaultOf(a)), cell(doc))
}

// takes is what an attribute takes, with its limits.
func takes(a *attribute) string {
	text := a.kind.name
	if a.kind.keys != nil {
		text += ", by " + a.kind.keys.doc
	}
	if l := limits(a.values, a.rule); l != "" {
		each := ""
		if a.kind.isList() {
			each = "each "
		}
		text += ": " + each + l
	}
	return text
}

// cell keeps text in its cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func limits(values func() []string, r rule) string {
	if values != nil {
		return "one of `" + strings.Join(values(), "`, `") + "`"
	}
	if r.max > 0 {
		return fmt.Sprintf("%s; at most %d bytes", r.doc, r.max)
	}
	return r.doc
}

func defaultOf(a *attribute) string {
	switch {
	case a.required:
		return "required"
	case a.defaultDoc != "":
		return a.defaultDoc
	}
	switch v := a.byDefault.(type) {
	case string:
		return fmt.Sprintf("`%q`", v)
	case bool:
		return fmt.Sprintf("`%t`", v)
	case []string:
		return fmt.Sprintf("`[%q]`", v[0])
	}
	return ""
}
