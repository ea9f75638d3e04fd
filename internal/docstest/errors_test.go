// Package docstest keeps the documentation true: its commands run, its profiles load, its links lead somewhere, and every class of errors
// has a section.
package docstest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/errdoc"
)

const top = "../.."

// sections are the headings of docs/errors.md for classes, and how often each was named.
func sections(t *testing.T) map[string]int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(top, "docs", "errors.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^### (.+)$`).FindAllStringSubmatch(string(b), -1) {
		if _, twice := all[m[1]]; twice {
			t.Errorf("docs/errors.md has two sections %q", m[1])
		}
		all[m[1]] = 0
	}
	return all
}

// TestErrors compares docs/errors.md with what the code can say: each class has a section, and each section a class.
func TestErrors(t *testing.T) {
	t.Parallel()
	have := sections(t)
	named := func(where, class string) {
		if _, ok := have[class]; !ok {
			t.Errorf("%s: docs/errors.md has no section %q", where, class)
			return
		}
		have[class]++
	}
	for _, class := range errdoc.Classes() {
		named("pkg/errdoc", class)
	}
	for _, pkg := range []string{"pkg/extension", "pkg/preflight"} {
		for name, code := range constants(t, pkg, "Code") {
			named(pkg+" "+name, code)
			wantFixture(t, pkg+" "+name, code)
		}
	}
	for name, class := range constants(t, "pkg/source", "class") {
		named("pkg/source "+name, class)
	}
	n := 0
	for _, pkg := range []string{"pkg/profile", "pkg/imager"} {
		for where, summary := range summaries(t, pkg) {
			n++
			class := errdoc.Class(summary)
			if class == errdoc.Syntax {
				t.Errorf("%s: pkg/errdoc has no class for the summary %q", where, summary)
			}
			named(where, class)
		}
	}
	if n < 80 {
		t.Errorf("found %d summaries only: does the code still call what is looked for here?", n)
	}
	for class, n := range have {
		if n == 0 {
			t.Errorf("docs/errors.md: nothing in the code names the section %q", class)
		}
	}
}

// wantFixture wants an image that has a finding, with what is said of it.
func wantFixture(t *testing.T, where, code string) {
	t.Helper()
	fixture := "pkg/imager/testdata/findings/" + code + ".hcl.txt"
	said, err := os.ReadFile(filepath.Join(top, fixture))
	if err != nil {
		t.Errorf("%s: %v", where, err)
	} else if !regexp.MustCompile(`(?m)(^|#)` + code + `(:|$)`).Match(said) {
		t.Errorf("%s: %s does not say %s", where, fixture, code)
	}
}

// constants are the string constants of a package whose names begin so.
func constants(t *testing.T, pkg, prefix string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, file := range parse(t, pkg) {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) == 0 || !strings.HasPrefix(spec.Names[0].Name, prefix) {
				return true
			}
			if text, ok := literal(spec.Values[0]); ok {
				all[spec.Names[0].Name] = text
			}
			return true
		})
	}
	if len(all) == 0 {
		t.Errorf("%s has no constants %s…", pkg, prefix)
	}
	return all
}

// position is which argument of a function is a diagnostic's summary.
var position = map[string]int{"add": 1, "warn": 1, "addAbsent": 0, "report": 2, "base": 2, "diagnostic": 2}

// summaries are those of a package's diagnostics, by where they stand.
func summaries(t *testing.T, pkg string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name, file := range parse(t, pkg) {
		note := func(e ast.Expr) {
			if text, ok := literal(e); ok && regexp.MustCompile(`^[A-Z][a-z]+( |$)`).MatchString(text) {
				all[name+": "+text] = text
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if len(n.Names) == 1 && n.Names[0].Name == "summary" && len(n.Values) == 1 {
					note(n.Values[0])
				}
			case *ast.AssignStmt:
				for i, left := range n.Lhs {
					if called(left) == "summary" || called(left) == "Summary" {
						note(n.Rhs[min(i, len(n.Rhs)-1)])
					}
				}
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Summary" {
					note(n.Value)
				}
			case *ast.CallExpr:
				if at, ok := position[called(n.Fun)]; ok && at < len(n.Args) {
					note(n.Args[at])
				}
			}
			return true
		})
	}
	return all
}

// called is the last name of an expression.
func called(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// literal is the text of a string, or how a sum of strings, or a format, begins.
func literal(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		return literal(e.X)
	case *ast.CallExpr:
		if called(e.Fun) == "Sprintf" {
			return literal(e.Args[0])
		}
	}
	return "", false
}

func parse(t *testing.T, pkg string) map[string]*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(top, pkg, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s has no files: %v", pkg, err)
	}
	files := map[string]*ast.File{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[pkg+"/"+filepath.Base(name)] = f
	}
	return files
}
