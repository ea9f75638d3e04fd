package talos

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

func keys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: v\n", i)
	}
	return b.String()
}

func TestDecodeYAML(t *testing.T) {
	t.Parallel()
	limits := YAMLLimits{Bytes: 1 << 20, Keys: 1000}
	aliased := func(n int) string { return "a: &a x\nb: [" + strings.Repeat("*a,", n) + "]" }
	for name, tt := range map[string]struct{ file, want string }{
		"empty":              {"", ""},
		"second document":    {"a: b\n--- [", ""},
		"keys":               {keys(1000), ""},
		"keys, one more":     {keys(1001), "line 1: a mapping with 1001 keys, the limit is 1000"},
		"keys deep":          {"- - {x: {" + strings.ReplaceAll(keys(1001), "\n", ",") + "}}", "a mapping with 1001 keys"},
		"aliases":            {aliased(100), ""},
		"aliases one more":   {aliased(101), "line 2: more than 100 aliases"},
		"bytes":              {strings.Repeat("#", 1<<20), ""},
		"bytes, one more":    {strings.Repeat("#", 1<<20+1), "1048577 bytes, the limit is 1048576"},
		"itself":             {"a: &a [*a]", "contains itself"},
		"depth":              {strings.Repeat("[", 20000), "exceeded max depth"},
		"no YAML":            {"a: b: c", "mapping"},
		"mappings × aliases": {"a: &a {" + strings.ReplaceAll(keys(1000), "\n", ",") + "}\nb: [" + strings.Repeat("*a,", 100) + "]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			var out any
			err := DecodeYAML([]byte(tt.file), limits, &out)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
	var n yaml.Node
	if err := DecodeYAML([]byte("[a]"), limits, &n); err != nil || n.Kind != yaml.SequenceNode {
		t.Errorf("%v, %v", n.Kind, err)
	}
}
