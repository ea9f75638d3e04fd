package profile

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/talosmith/talosmith/internal/atomicfile"
)

// Format writes the files of a profile, a file or a directory, in the canonical style, and returns the names of those that weren't. If
// check is set, it writes nothing. A file with a syntax error keeps all of them as they are.
func Format(name string, check bool) (changed []string, files map[string]*hcl.File, all hcl.Diagnostics) {
	var diags diagnostics
	files = map[string]*hcl.File{}
	names, _ := diags.find(name)
	formatted := map[string][]byte{}
	for _, name := range names {
		if diags.parse(files, name) == nil {
			continue
		}
		formatted[name] = canonical(name, files[name].Bytes)
		if !bytes.Equal(formatted[name], files[name].Bytes) {
			changed = append(changed, name)
		}
	}
	if diags.failed() {
		return nil, files, diags.sorted()
	}
	if !check {
		for _, name := range changed {
			if err := replaceFile(name, formatted[name]); err != nil {
				diags.addAbsent("Unwritable file", "Can't write "+name+": "+cause(err)+".")
			}
		}
	}
	return changed, files, diags.sorted()
}

// canonical returns a source, which has no syntax errors, in the canonical style.
func canonical(name string, source []byte) []byte {
	if filepath.Ext(name) != ".json" {
		return hclwrite.Format(source)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(source), "", "  "); err != nil {
		return source // HCL's parser takes some JSON that isn't
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// replaceFile replaces the content of a file, completely or not at all. It keeps the mode, and a link stays one.
func replaceFile(name string, content []byte) error {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	st, err := os.Stat(name)
	if err != nil {
		return err
	}
	return atomicfile.WriteMode(name, content, st.Mode().Perm())
}
