// Package architecture keeps the code as docs/architecture.md draws it.
package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/talosmith/talosmith/"

// formats are the packages of one on-disk format each: they know trees, and nothing of each other.
var formats = []string{
	"pkg/ext4", "pkg/fat", "pkg/gpt", "pkg/grub", "pkg/initramfs", "pkg/iso9660", "pkg/meta", "pkg/squashfs", "pkg/uki", "pkg/vmdisk", "pkg/xfs",
}

// rooms are the packages and what they may import of ours. A trailing /... stands for everything below.
var rooms = map[string][]string{
	"pkg/tree":             {},
	"pkg/talos":            {},
	"pkg/kmod":             {"pkg/tree"},
	"pkg/extension":        {"pkg/tree", "pkg/talos", "pkg/kmod"},
	"pkg/source":           {"pkg/tree"},
	"pkg/profile":          {"pkg/talos", "pkg/vmdisk"},
	"pkg/schematic":        {"pkg/talos", "pkg/profile"},
	"pkg/migrate":          {"pkg/talos", "pkg/profile", "pkg/schematic", "pkg/vmdisk"},
	"pkg/store":            {"pkg/tree"},
	"pkg/store/oci":        {"pkg/tree", "pkg/store", "pkg/source"},
	"pkg/elfinfo":          {},
	"pkg/errdoc":           {},
	"pkg/overlay":          {"pkg/tree", "pkg/talos", "pkg/elfinfo"},
	"pkg/overlay/confine":  {"pkg/overlay", "pkg/talos"},
	"pkg/preflight":        {"pkg/tree", "pkg/talos", "pkg/kmod", "pkg/extension", "pkg/elfinfo"},
	"pkg/inspect":          slices.Concat(formats, []string{"pkg/tree", "pkg/talos", "pkg/kmod", "pkg/extension", "pkg/source"}),
	"pkg/imager":           slices.Concat(formats, []string{"pkg/tree", "pkg/talos", "pkg/kmod", "pkg/extension", "pkg/source", "pkg/profile", "pkg/schematic", "pkg/store", "pkg/inspect", "pkg/preflight", "pkg/overlay"}),
	"internal/cli":         {"pkg/..."},
	"magefiles/targets":    {"pkg/imager", "pkg/profile", "pkg/talos", "pkg/inspect", "internal/cli"},
	"magefiles":            {"pkg/...", "internal/...", "magefiles/targets"},
	"internal/debian":      {"pkg/tree"},
	"internal/vm":          {},
	"internal/tooltest":    {"internal/debian"},
	"internal/formattest":  {"pkg/tree"},
	"internal/sandbox/...": {"pkg/tree", "pkg/squashfs", "pkg/kmod", "pkg/initramfs", "internal/..."},
	"internal/...":         {"pkg/...", "internal/..."},
}

// outside are the packages where time, environment, processes and the terminal may enter.
var outside = []string{"magefiles/...", "internal/...", "pkg/source", "pkg/store/oci", "pkg/overlay/confine"}

// forbidden elsewhere, by import path.
var forbidden = map[string][]string{
	"time":    {"Now", "Since", "Until"},
	"os":      {"Getenv", "LookupEnv", "Environ", "Exit"},
	"os/exec": {"Command", "CommandContext"},
	"log":     {"Fatal", "Fatalf", "Fatalln", "Print", "Printf", "Println"},
	"fmt":     {"Print", "Printf", "Println"},
}

func init() {
	for _, f := range formats {
		rooms[f] = []string{"pkg/tree"}
	}
	for _, r := range []string{"pkg/profile", "pkg/imager", "pkg/source"} {
		rooms[r] = append(slices.Clone(rooms[r]), "pkg/errdoc")
	}
	for _, r := range []string{"pkg/profile", "pkg/imager"} {
		rooms[r] = append(slices.Clone(rooms[r]), "internal/atomicfile")
	}
}

func matches(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		below, ok := strings.CutSuffix(p, "/...")
		return p == pkg || ok && (pkg == below || strings.HasPrefix(pkg, below+"/"))
	})
}

// room is the most exact entry for a package.
func room(pkg string) ([]string, bool) {
	if allowed, ok := rooms[pkg]; ok {
		return allowed, true
	}
	for _, p := range slices.Backward(slices.Sorted(maps.Keys(rooms))) { // longest pattern first
		if strings.HasSuffix(p, "/...") && matches([]string{p}, pkg) {
			return rooms[p], true
		}
	}
	return nil, false
}

func TestImportsAndCalls(t *testing.T) {
	seen := map[string]bool{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "out" || strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		seen[pkg] = true
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		checkImports(t, pkg, name, file)
		if !matches(outside, pkg) {
			checkCalls(t, name, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for p := range rooms {
		if !strings.HasSuffix(p, "/...") && !seen[p] {
			t.Errorf("there is no package %s: take it out of the table, and out of docs/architecture.md", p)
		}
	}
}

func checkImports(t *testing.T, pkg, name string, file *ast.File) {
	allowed, ok := room(pkg)
	if !ok {
		t.Errorf("%s: package %s has no room in docs/architecture.md and in this table", name, pkg)
		return
	}
	for _, i := range file.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if ours, ok := strings.CutPrefix(p, module); ok && !matches(allowed, ours) {
			t.Errorf("%s: %s must not import %s", name, pkg, ours)
		}
	}
}

func checkCalls(t *testing.T, name string, file *ast.File) {
	local := map[string]string{} // package name in the file, to import path
	for _, i := range file.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if _, watched := forbidden[p]; !watched {
			continue
		}
		as := path.Base(p)
		if i.Name != nil {
			as = i.Name.Name
		}
		local[as] = p
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && slices.Contains(forbidden[local[x.Name]], s.Sel.Name) {
				t.Errorf("%s: %s.%s: time, environment, processes and the terminal enter at the top only", name, x.Name, s.Sel.Name)
			}
		}
		return true
	})
}
