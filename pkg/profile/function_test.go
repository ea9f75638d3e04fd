package profile

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// evaluate returns the JSON of an expression's value, or what is wrong with it.
func evaluate(t *testing.T, dir, source string) string {
	t.Helper()
	e := &evaluator{diagnostics: &diagnostics{}, meter: meter{left: budget}}
	e.functions = e.standardFunctions(dir)
	parsed, diags := hclsyntax.ParseExpression([]byte(source), "test", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	v := e.value(newExpression(&e.meter, parsed), nil)
	if e.failed() {
		return e.all[0].Detail
	}
	b, err := ctyjson.Marshal(v, cty.DynamicPseudoType)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := strings.CutPrefix(string(b), `{"value":`)
	text, _, _ = strings.Cut(text, `,"type":`)
	return text
}

func TestFunctions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{"text": "line\n", "binary": "\xff", "template": "a=${a}%{ for x in list ~}\n ${x}%{ endfor }", "self": `${templatefile("self", {})}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, maxText+1), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ source, want string }{
		{`startswith("ttyS0", "tty")`, `true`},
		{`endswith("ttyS0", "tty")`, `false`},
		{`alltrue([])`, `true`},
		{`alltrue([for c in ["ttyS0", "hvc0"] : startswith(c, "tty")])`, `false`},
		{`anytrue([for c in ["ttyS0", "hvc0"] : startswith(c, "tty")])`, `true`},
		{`anytrue([null])`, `false`},
		{`alltrue(["x"])`, `bool`},
		{`base64encode("ä")`, `"w6Q="`},
		{`base64decode("w6Q=")`, `"ä"`},
		{`base64decode("/w==")`, `its content is not UTF-8 text`},
		{`base64decode("!")`, `it is not base64`},
		{`sha256("")`, `"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"`},
		{`basename("/a/b")`, `"b"`},
		{`dirname("/a/b")`, `"/a"`},
		{`try(upper(1, 2), "else")`, `"else"`},
		{`can(upper(1, 2))`, `false`},
		{`tolist(["a", 1])`, `["a","1"]`},
		{`regex_replace("a1", "[0-9]", "")`, `"a"`},
		{`file("text")`, `"line\n"`},
		{`file("./../` + filepath.Base(dir) + `/text")`, `"line\n"`},
		{`file("` + filepath.Join(dir, "text") + `")`, `"line\n"`},
		{`file("binary")`, `is not UTF-8 text`},
		{`file("large")`, `it is larger than 1024 KiB`},
		{`file("absent")`, `no such file`},
		{`file("/dev/zero")`, `not a regular file`},
		{`templatefile("template", { a = 1, list = ["x", "y"] })`, `"a=1 x y"`},
		{`templatefile("self", {})`, `There is no function named "templatefile"`},
		{`format("%999d", 1) == ""`, `false`},
		{`format("%1000d", 1)`, `too large`},
		{`length(range(1024))`, `1024`},
		{`range(1025)`, `more than 1024 values`},
		{`length(distinct(range(1024)))`, `1024`},
		{`length(setproduct(range(100), range(100)))`, `10000`},
		{`setproduct(range(100), range(101))`, `too large`},
		{`strlen(indent(1000, "a\nb"))`, `1003`},
	} {
		if got := evaluate(t, dir, c.source); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %.300s, want %s", c.source, got, c.want)
		}
	}
}

// TestPure: functions that depend on time or chance don't exist.
func TestPure(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"timestamp", "plantimestamp", "formatdate", "uuid", "uuidv4", "random", "bcrypt", "env", "getenv"} {
		if _, ok := pureFunctions[name]; ok {
			t.Errorf("%s exists", name)
		}
	}
}

// TestFunctionsOfMessages: a function that a message tells to call is there.
func TestFunctionsOfMessages(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	types := []string{"list", "set", "map", "object", "tuple"}
	n := 0
	for _, name := range names {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\b([a-z0-9_]+)\([{[]?…`).FindAllStringSubmatch(string(source), -1) {
			n++
			if _, ok := pureFunctions[m[1]]; !ok && !slices.Contains(types, m[1]) {
				t.Errorf("%s: there is no function %s", name, m[1])
			}
		}
	}
	if n < 10 {
		t.Errorf("found %d calls only", n)
	}
}
