package profile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// each joins what f makes of the numbers below n.
func each(n int, f func(i int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(f(i))
	}
	return b.String()
}

func numbered(format string) func(int) string {
	return func(i int) string { return strings.ReplaceAll(format, "#", fmt.Sprint(i)) }
}

// local is an expression as a profile's only local.
func local(expr string) string { return "locals {\n  x = " + expr + "\n}\n" }

// TestHostile: profiles that would take forever, or all memory, or the whole stack, get a diagnostic soon.
func TestHostile(t *testing.T) {
	t.Parallel()
	deep := func(open, inner, shut string, n int) string {
		return strings.Repeat(open, n) + inner + strings.Repeat(shut, n)
	}
	for _, c := range []struct {
		name, source, want string // want is a summary
	}{
		{"operators", local("1" + strings.Repeat("+1", 10_000)), "Too deep"},
		{"negations", local(strings.Repeat("!", 10_000) + "true"), "Too deep"},
		{"minus", local(strings.Repeat("-\n", 5_000) + "1"), "Invalid expression"},
		{"parentheses", local(deep("(", "1", ")", 10_000)), "Too deep"},
		{"lines in parentheses", local(deep("(\n", "1", ")", 5_000)), "Too deep"},
		{"conditions", local(strings.Repeat("true ? 1 : ", 10_000) + "1"), "Too deep"},
		{"indexes", local("a" + strings.Repeat("[a]", 10_000)), "Too deep"},
		{"attributes", local("a" + strings.Repeat(".a", 10_000)), "Too deep"},
		{"splats", local("a" + strings.Repeat("[*]", 10_000)), "Too deep"},
		{"templates", local(deep(`"${`, "1", `}"`, 10_000)), "Too deep"},
		{"template conditions", local("\"" + deep("%{ if true }", "x", "%{ endif }", 10_000) + "\""), "Too deep"},
		{"objects", local(deep("{ a = ", "1", " }", 10_000)), "Too deep"},
		{"objects on lines", local(deep("{\n a = ", "1", "\n}", 10_000)), "Too deep"},
		{"blocks", deep("a {\n", "", "}\n", 10_000), "Too deep"},
		{"calls", local(deep("upper(", `"x"`, ")", 10_000)), "Too deep"},
		{"loops", local(deep("[for a in [1]: ", "1", "]", 10_000)), "Too deep"},
		{"tries", local(deep("try(", `"x"`, ")", 100)), "Too much work"},
		{"nested loops", local("[for a in range(1000): [for b in range(1000): [for c in range(1000): [for d in range(1000): 1]]]]"), "Too much work"},
		{"conditions of loops", local("[for a in range(1000): [for b in range(1000): [for c in range(1000): c if length(range(1000)) < 5]]]"), "Too much work"},
		{"keys of loops", local("[for a in range(1000): {for b in range(1000): \"${a}${b}\" => range(1000)}]"), "Too much work"},
		{"doubled lists", "locals {\n a0 = [1]\n" + each(60, func(i int) string { return fmt.Sprintf(" a%d = [local.a%d, local.a%[2]d]\n", i+1, i) }) + "}\n", "Too much work"},
		{"compared lists", "locals {\n a0 = [1]\n" + each(60, func(i int) string { return fmt.Sprintf(" a%d = [local.a%d, local.a%[2]d]\n", i+1, i) }) +
			" same = local.a60 == local.a60\n}\n", "Too much work"},
		{"doubled strings", "locals {\n a0 = \"x\"\n" + each(60, func(i int) string { return fmt.Sprintf(" a%d = \"${local.a%d}${local.a%[2]d}\"\n", i+1, i) }) + "}\n", "Too much work"},
		{"products", local("setproduct(range(1000), range(1000), range(1000), range(1000), range(1000), range(1000), range(1000), range(1000))"), "Error in function call"},
		{"mixed lists", local(`tolist(flatten([for a in range(100): [for b in range(100): [a, "x", true]]]))`), "Too much work"},
		{"power", local("pow(10, 1000000000)"), ""},
		{"digits", local(`"${parseint(join("", [for i in range(1000): join("", [for j in range(1000): "9"])]), 10)}"`), "Too much work"},
		{"exponent", local(`tostring(1e1000000000)`), ""},
		{"modulo", local(`1e90000000 % 7`), "Too much work"},
		{"small number", local(`"x${1e-90000000}"`), "Too much work"},
		{"number as a key", local(`{ (1e90000000) = 1 }`), "Too much work"},
		{"number among strings", local(`true ? 1e90000000 : "x"`), "Too much work"},
		{"width", local(`formatlist("%*d", 1000000000, [1, 2])`), "Error in function call"},
		{"expressions", local(`regex("(((a{1000}){1000}){1000})", "a")`), "Invalid function argument"},
		{"chain", "locals {\n" + each(3_000, func(i int) string { return fmt.Sprintf("a%d = local.a%d\n", i, i+1) }) + "a3000 = 1\n}\n", "Too deep"},
		{"circle", "locals {\n" + each(3_000, func(i int) string { return fmt.Sprintf("a%d = local.a%d\n", i, (i+1)%3_000) }) + "}\n", "Too deep"},
		{"unknown blocks", each(5_000, numbered("a {}\n")), "More mistakes"},
		{"unknown attributes", each(10_000, numbered("a# = 1\n")), "More mistakes"},
		{"unknown names", "locals {\n" + each(3_000, numbered("a# = local.b#\n")) + "}\n", "More mistakes"},
		{"unknown extensions", each(2_000, numbered("extension \"e#\" {\n image = \"a.b/c:1\"\n}\n")) +
			"image \"x\" {\n extensions = [" + each(900, numbered("extension.f#, ")) + "]\n}\n", "More mistakes"},
		{"images", each(2_000, numbered("image \"i#\" {\n output \"iso\" {}\n}\n")), "Too many images"},
		{"bases", each(900, func(i int) string { return fmt.Sprintf("image \"_%d\" {\n inherits = [\"_%d\"]\n}\n", i, i+1) }) +
			"image \"_900\" {\n}\nimage \"x\" {\n inherits = [\"_0\"]\n}\n", "Too many bases"},
		{"circle of images", each(900, func(i int) string { return fmt.Sprintf("image \"_%d\" {\n inherits = [\"_%d\"]\n}\n", i, (i+1)%900) }), "Inheritance cycle"},
		{"long list", "image \"x\" {\n kernel_args = [" + strings.Repeat(`"x", `, MaxList+1) + "]\n}\n", "Too many elements"},
		{"inherited lists", each(90, func(i int) string { return fmt.Sprintf("image \"_%d\" {\n kernel_args = range(900)\n}\n", i) }) +
			"image \"x\" {\n inherits = [" + each(90, numbered(`"_#", `)) + "]\n}\n", "Too many elements"},
		{"outputs", "image \"x\" {\n" + strings.Repeat("output \"iso\" {}\n", 3_000) + "}\n", "Too many outputs"},
		{"bytes", strings.Repeat("\x00", 10_000), "Too deep"},
		{"quotes", strings.Repeat("\"", 10_000), "Too deep"},
		{"heredocs", strings.Repeat("a = <<A\n", 10_000), "Unterminated template string"},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "extensions.hcl")
			source := "talos {\n  version = \"v1.13.9\"\n}\n\n" + c.source
			source = source[:min(len(source), MaxBytes)]
			if err := os.WriteFile(name, []byte(source), 0o644); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			p, diags := Load(name, Options{})
			text := printed(t, p, diags[:min(len(diags), 1)])
			if took := time.Since(start); took > time.Minute {
				t.Errorf("took %s", took)
			}
			if c.want != "" && !has(diags, c.want) {
				t.Errorf("no diagnostic %q in\n%.3000s", c.want, text)
			}
		})
	}
}

func has(diags hcl.Diagnostics, summary string) bool {
	for _, d := range diags {
		if d.Summary == summary {
			return true
		}
	}
	return false
}

// TestAtTheLimit: one less than what TestHostile has too much of.
func TestAtTheLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, source string }{
		{"operators", local("1" + strings.Repeat("+1", maxDepth/2-5))},
		{"parentheses", local(strings.Repeat("(", maxDepth-10) + "1" + strings.Repeat(")", maxDepth-10))},
		{"chain", "locals {\n" + each(maxChain-1, func(i int) string { return fmt.Sprintf("a%03d = local.a%03d\n", i, i+1) }) + fmt.Sprintf("a%d = 1\n}\n", maxChain-1)},
		{"list", "locals {\n x = [" + strings.Repeat(`"x", `, MaxList) + "]\n}\nimage \"y\" {\n kernel_args = local.x\n output \"iso\" {}\n}\n"},
		{"images", each(maxImages-1, numbered("image \"i#\" {\n output \"iso\" {}\n}\n"))},
		{"matrix", "image \"m\" {\n name = \"m-${a}\"\n matrix = { a = range(999) }\n kernel_args = [for x in range(10): \"x=${x}\"]\n output \"iso\" {}\n}\n"},
		{"bases", each(maxBases-2, func(i int) string { return fmt.Sprintf("image \"_%d\" {\n inherits = [\"_%d\"]\n}\n", i, i+1) }) +
			fmt.Sprintf("image \"_%d\" {\n}\nimage \"y\" {\n inherits = [\"_0\"]\n output \"iso\" {}\n}\n", maxBases-2)},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "extensions.hcl")
			if err := os.WriteFile(name, []byte("talos {\n  version = \"v1.13.9\"\n}\nimage \"x\" {\n output \"iso\" {}\n}\n"+c.source), 0o644); err != nil {
				t.Fatal(err)
			}
			load(t, name, Options{})
		})
	}
}
